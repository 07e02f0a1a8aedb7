// The service's public API, as the page uses it. All of it is documented at /docs.

/**
 * @typedef {number[][]} Plane rows of numbers
 * @typedef {{name: string, type: string, configuration: Record<string, any>, output_shape: number[], parameters: number}} Layer
 * @typedef {{name: string, version: number, engine: string, class_names: string[], layers: Layer[], input: {name: string, shape: [number, number, number], scale: number}, parameters: {total: number}, novelty: {threshold: number} | null, scores: Record<string, any>}} Summary
 * @typedef {"none" | "photo" | "plain"} Preparation
 * @typedef {{label: string, confidence: number, probabilities: Record<string, number>, preparation: Preparation, novelty: number | null, in_distribution: boolean | null}} Prediction
 * @typedef {{name: string, width: number, height: number, png: string}} Step
 * @typedef {{preparation: Preparation, image: Plane, steps: Step[]}} Prepared
 * @typedef {{kernel: Plane[] | number[], bias: number}} Weights of one output: (inputs, height, width) or (inputs,)
 */

/** The most kernel numbers the service answers at a time. */
const MOST_NUMBERS = 100_000;

/** What the service refused, in its own words. */
export class Refused extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
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
 * @param {RequestInit} [request]
 */
async function send(path, request) {
  const headers = new Headers(request?.headers);
  if (key) headers.set("Authorization", `Bearer ${key}`);
  const response = await fetch(path, { ...request, headers });
  if (response.ok) return response;
  const { error } = await response.json();
  throw new Refused(error.code ?? "", error.message ?? error);
}

/**
 * @param {unknown} body
 * @param {AbortSignal} [signal]
 * @returns {RequestInit}
 */
const json = (body, signal) => (
  { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });

/** @returns {Promise<Summary>} */
export const askSummary = async () => (await send("model/summary")).json();

/**
 * @param {Blob} picture
 * @param {string} prepare
 * @param {AbortSignal} signal
 * @returns {Promise<{prediction: Prediction, version: number, written: string}>} `written`: as it was answered
 */
export async function askPrediction(picture, prepare, signal) {
  const request = { method: "POST", body: picture, signal };
  const written = await (await send(`predict?prepare=${prepare}`, request)).text();
  const answer = JSON.parse(written);
  return { prediction: answer.predictions[0], version: answer.model.version, written };
}

/**
 * @param {Blob} picture
 * @param {string} prepare
 * @param {AbortSignal} signal
 * @returns {Promise<Prepared>}
 */
export const askPreparation = async (picture, prepare, signal) =>
  (await send(`preparation?prepare=${prepare}`, { method: "POST", body: picture, signal })).json();

/**
 * @param {Plane} image
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, Plane[]>>} the maps of each layer that has maps
 */
export async function askMaps(image, signal) {
  const answer = await (await send("feature-maps", json({ instances: [image] }, signal))).json();
  return new Map(answer.layers.map((/** @type {{name: string, maps: Plane[]}} */ { name, maps }) => [name, maps]));
}

/**
 * @param {Plane} image
 * @param {string | undefined} layer all of them if undefined
 * @returns {Promise<Blob>} a PNG with its colour scale
 */
export async function askMapsPicture(image, layer) {
  const query = layer === undefined ? "" : `&layer=${layer}`;
  return (await send(`feature-maps?format=png${query}`, json({ instances: [image] }))).blob();
}

/**
 * The outputs of layers that have no maps, by the Open Inference Protocol.
 * @param {Summary} summary
 * @param {Plane} image
 * @param {string[]} layers
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, number[]>>}
 */
export async function askValues({ name, input }, image, layers, signal) {
  if (layers.length === 0) return new Map();
  const tensor = { name: input.name, shape: [1, ...input.shape], datatype: "UINT8", data: image.flat() };
  const body = { inputs: [tensor], outputs: layers.map((layer) => ({ name: layer })) };
  const answer = await (await send(`v2/models/${name}/infer`, json(body, signal))).json();
  return new Map(answer.outputs.map((/** @type {{name: string, data: number[]}} */ output) => [output.name, output.data]));
}

/** @type {Map<string, Promise<{channels: number[], kernels: any[], bias: number[]}>>} */
const learned = new Map();

/** Forget all kernels: another version of the model is served. */
export const forgetWeights = () => learned.clear();

/**
 * What one output of a layer learned. As many outputs as the service answers at a time are asked for together.
 * @param {Layer} layer one that has parameters
 * @param {number} channel
 * @returns {Promise<Weights>}
 */
export async function askWeights(layer, channel) {
  const outputs = layer.output_shape[layer.output_shape.length - 1];
  const together = Math.max(1, Math.floor(MOST_NUMBERS / (layer.parameters / outputs)));
  const first = channel - channel % together;
  const channels = Array.from({ length: Math.min(together, outputs - first) }, (_, i) => first + i);
  const path = `model/layers/${layer.name}?channels=${channels}`;
  let asked = learned.get(path);
  if (!asked) {
    asked = send(path).then((response) => response.json());
    learned.set(path, asked);
    asked.catch(() => learned.delete(path));
  }
  const { kernels, bias } = await asked;
  return { kernel: kernels[channel - first], bias: bias[channel - first] };
}
