// The service's public API, as the page uses it. All of it is documented at /docs.

/**
 * @typedef {number[][]} Plane rows of numbers
 * @typedef {{name: string, type: string, configuration: Record<string, any>, output_shape: number[], parameters: number, inputs: string[]}} Layer `inputs`: the layers it takes; none if it takes the image
 * @typedef {{name: string, version: number, engine: string, class_names: string[], layers: Layer[], input: {name: string, shape: [number, number, number], scale: number}, parameters: {total: number}, novelty: {threshold: number, photo_threshold: number | null} | null, scores: Record<string, any>}} Summary
 * @typedef {"none" | "photo" | "plain"} Preparation
 * @typedef {{label: string, class_id: number, confidence: number, probabilities: Record<string, number>, preparation: Preparation, novelty: number | null, in_distribution: boolean | null}} Prediction
 * @typedef {{name: string, width: number, height: number, png: string}} Step
 * @typedef {{preparation: Preparation, image: Plane, steps: Step[]}} Prepared
 * @typedef {[left: number, top: number, right: number, bottom: number]} Frame where the network's input lies, as shares of the upright image
 * @typedef {{class_id: number, label: string, probability: number, heat: Plane, frame: Frame}} Explanation
 * @typedef {{kernel: Plane[] | number[], bias: number}} Weights of one output: (inputs, height, width) or (inputs,)
 */

/** The most kernel numbers the service answers at a time. */
const MOST_NUMBERS = 100_000;

/** How long an answer is waited for. */
const PATIENCE_MS = 30_000;

/** What is refused in the words of a protocol has no code of its own. @type {Record<number, string>} */
const CODES = { 401: "unauthenticated", 403: "forbidden", 413: "body_too_large", 429: "overloaded", 503: "overloaded", 504: "deadline_exceeded" };

/** A request that failed: refused by the service with one of its codes, or `slow` or `unreachable`. */
export class Failed extends Error {
  /** @param {string} code @param {string} [message] the service's own words */
  constructor(code, message = "") {
    super(message);
    this.code = code;
  }
}

let key = sessionStorage.getItem("key") ?? "";

/** Send this API key from now on. @param {string} given */
export function useKey(given) {
  key = given;
  sessionStorage.setItem("key", given);
}

/** @returns {boolean} whether the service asked for a key and got one */
export const hasKey = () => key !== "";

/**
 * @param {string} path
 * @param {"json" | "text" | "blob"} form of the answer
 * @param {RequestInit} [request]
 * @returns {Promise<any>}
 */
async function send(path, form, request = {}) {
  const headers = new Headers(request.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
  const signal = request.signal ? AbortSignal.any([patience.signal, request.signal]) : patience.signal;
  try {
    const response = await fetch(path, { ...request, headers, signal });
    if (response.ok) return await response[form]();
    const { error } = await response.json().catch(() => ({ error: response.statusText }));
    throw new Failed(error.code ?? CODES[response.status] ?? `http_${response.status}`, error.message ?? error);
  } catch (error) {
    if (error instanceof Failed || request.signal?.aborted) throw error;
    throw new Failed(patience.signal.aborted ? "slow" : "unreachable");
  } finally {
    clearTimeout(timer);
  }
}

/**
 * @param {unknown} body
 * @param {AbortSignal} [signal]
 * @returns {RequestInit}
 */
const json = (body, signal) => (
  { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });

/** @param {number | undefined} version undefined: the one that answers who asks for none */
const only = (version) => (version === undefined ? "" : `&version=${version}`);

/** @param {number} [version] @returns {Promise<Summary>} */
export const askSummary = (version) => send(`model/summary?${only(version)}`, "json");

/** @param {string} name of the model @returns {Promise<number[]>} the versions that are served, the highest first */
export async function askVersions(name) {
  const { model_version_status: all } = await send(`v1/models/${name}`, "json");
  return all.filter((/** @type {any} */ { state }) => state === "AVAILABLE")
    .map((/** @type {any} */ { version }) => Number(version)).sort((/** @type {number} */ a, /** @type {number} */ b) => b - a);
}

/** @param {number} sample @param {AbortSignal} signal @returns {Promise<Blob>} */
export const askSample = (sample, signal) => send(`web/samples/${sample}.png`, "blob", { signal });

/**
 * @param {Blob} image
 * @param {string} prepare
 * @param {number | undefined} version
 * @param {AbortSignal} signal
 * @returns {Promise<{prediction: Prediction, version: number, written: string}>} `written`: as it was answered
 */
export async function askPrediction(image, prepare, version, signal) {
  const written = await send(`predict?prepare=${prepare}${only(version)}`, "text", { method: "POST", body: image, signal });
  const answer = JSON.parse(written);
  return { prediction: answer.predictions[0], version: answer.model.version, written };
}

/**
 * @param {Blob} image
 * @param {string} prepare
 * @param {number} version
 * @param {AbortSignal} signal
 * @returns {Promise<Prepared>}
 */
export const askPreparation = (image, prepare, version, signal) =>
  send(`preparation?prepare=${prepare}${only(version)}`, "json", { method: "POST", body: image, signal });

/**
 * What in the image speaks for a class, and what against it.
 * @param {Blob} image
 * @param {string} prepare
 * @param {number} version
 * @param {number} classId
 * @param {AbortSignal} signal
 * @returns {Promise<Explanation>}
 */
export const askWhy = (image, prepare, version, classId, signal) =>
  send(`explain?prepare=${prepare}&class_id=${classId}${only(version)}`, "json", { method: "POST", body: image, signal });

/**
 * @param {Plane} image
 * @param {number} version
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, Plane[]>>} the maps of each layer that has maps
 */
export async function askMaps(image, version, signal) {
  const answer = await send(`feature-maps?${only(version)}`, "json", json({ instances: [image] }, signal));
  return new Map(answer.layers.map((/** @type {{name: string, maps: Plane[]}} */ { name, maps }) => [name, maps]));
}

/**
 * @param {Plane} image
 * @param {number} version
 * @param {string | undefined} layer all of them if undefined
 * @returns {Promise<Blob>} a PNG with its colour scale
 */
export function askMapsImage(image, version, layer) {
  const query = layer === undefined ? "" : `&layer=${layer}`;
  return send(`feature-maps?format=png${query}${only(version)}`, "blob", json({ instances: [image] }));
}

/**
 * The outputs of layers that have no maps, by the Open Inference Protocol.
 * @param {Summary} summary
 * @param {Plane} image
 * @param {string[]} layers
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, number[]>>}
 */
export async function askValues({ name, version, input }, image, layers, signal) {
  if (layers.length === 0) return new Map();
  const tensor = { name: input.name, shape: [1, ...input.shape], datatype: "UINT8", data: image.flat() };
  const body = { inputs: [tensor], outputs: layers.map((layer) => ({ name: layer })) };
  const answer = await send(`v2/models/${name}/versions/${version}/infer`, "json", json(body, signal));
  return new Map(answer.outputs.map((/** @type {{name: string, data: number[]}} */ output) => [output.name, output.data]));
}

/** What was asked before, by its path: a version's weights never change. @type {Map<string, Promise<{channels: number[], kernels: any[], bias: number[]}>>} */
const learned = new Map();

/**
 * What one output of a layer learned. As many outputs as the service answers at a time are asked for together.
 * @param {Layer} layer one that has parameters
 * @param {number} version
 * @param {number} channel
 * @returns {Promise<Weights>}
 */
export async function askWeights(layer, version, channel) {
  const outputs = layer.output_shape[layer.output_shape.length - 1];
  const together = Math.max(1, Math.floor(MOST_NUMBERS / (layer.parameters / outputs)));
  const first = channel - channel % together;
  const channels = Array.from({ length: Math.min(together, outputs - first) }, (_, i) => first + i);
  const path = `model/layers/${layer.name}?channels=${channels}${only(version)}`;
  let asked = learned.get(path);
  if (!asked) {
    asked = send(path, "json");
    learned.set(path, asked);
    asked.catch(() => learned.delete(path));
  }
  const { kernels, bias } = await asked;
  return { kernel: kernels[channel - first], bias: bias[channel - first] };
}
