// Client of the service's public HTTP API. The service documents it at /docs.

import { AppError } from "./errors.js";

/**
 * @typedef {number[][]} Plane rows of numbers
 * @typedef {{
 *   name: string, type: string, configuration: Record<string, any>, output_shape: number[], parameters: number, inputs: string[]
 * }} Layer `inputs`: the layers before it; empty if it takes the image
 * @typedef {{
 *   name: string, version: number, engine: string, class_names: string[], layers: Layer[], parameters: {total: number},
 *   input: {name: string, shape: [number, number, number], scale: number}, scores: Record<string, any>,
 *   novelty: {threshold: number, photo_threshold: number | null} | null
 * }} Summary
 * @typedef {"none" | "photo" | "plain"} Preparation
 * @typedef {{
 *   label: string, class_id: number, confidence: number, probabilities: Record<string, number>,
 *   preparation: Preparation, novelty: number | null, in_distribution: boolean | null
 * }} Prediction
 * @typedef {{name: string, width: number, height: number, png: string}} PreparationStep
 * @typedef {{preparation: Preparation, image: Plane, steps: PreparationStep[]}} PreparedImage
 * @typedef {[left: number, top: number, right: number, bottom: number]} Frame the area that the network sees, in shares of the upright image
 * @typedef {{class_id: number, label: string, probability: number, heat: Plane, frame: Frame}} Explanation
 * @typedef {{kernel: Plane[] | number[], bias: number}} Weights of one output: (inputs, height, width) or (inputs,)
 */

/** The service's limit on the weights in one response. */
const MAX_WEIGHTS = 100_000;

const TIMEOUT_MS = 30_000;

/** By HTTP status, for errors in the format of another protocol, which has no codes. @type {Record<number, string>} */
const CODES = { 401: "unauthenticated", 403: "forbidden", 413: "body_too_large", 429: "overloaded", 503: "overloaded", 504: "deadline_exceeded" };

let apiKey = sessionStorage.getItem("key") ?? "";

/** Sets the key for all further requests of this tab. @param {string} key */
export function setApiKey(key) {
  apiKey = key;
  sessionStorage.setItem("key", key);
}

export const hasApiKey = () => apiKey !== "";

/**
 * @param {string} path
 * @param {"json" | "text" | "blob"} format of the response
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
async function request(path, format, options = {}) {
  const headers = new Headers(options.headers);
  if (apiKey) headers.set("Authorization", `Bearer ${apiKey}`);
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([timeout.signal, options.signal]) : timeout.signal;
  try {
    const response = await fetch(path, { ...options, headers, signal });
    if (response.ok) return await response[format]();
    const { error } = await response.json().catch(() => ({ error: response.statusText }));
    throw new AppError(error.code ?? CODES[response.status] ?? `http_${response.status}`, error.message ?? error);
  } catch (error) {
    if (error instanceof AppError || options.signal?.aborted) throw error;
    throw new AppError(timeout.signal.aborted ? "timeout" : "unreachable");
  } finally {
    clearTimeout(timer);
  }
}

/** @param {unknown} body @param {AbortSignal} [signal] @returns {RequestInit} */
const postJson = (body, signal) => (
  { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });

/** @param {number | undefined} version undefined for the service's default */
const versionQuery = (version) => (version === undefined ? "" : `&version=${version}`);

/** @param {number} [version] @returns {Promise<Summary>} */
export const fetchSummary = (version) => request(`model/summary?${versionQuery(version)}`, "json");

/** @param {string} name of the model @returns {Promise<number[]>} the versions that are served, in descending order */
export async function fetchVersions(name) {
  const { model_version_status: versions } = await request(`v1/models/${name}`, "json");
  return versions.filter((/** @type {any} */ { state }) => state === "AVAILABLE")
    .map((/** @type {any} */ { version }) => Number(version)).sort((/** @type {number} */ a, /** @type {number} */ b) => b - a);
}

/** @param {number} sample @param {AbortSignal} signal @returns {Promise<Blob>} */
export const fetchSample = (sample, signal) => request(`web/samples/${sample}.png`, "blob", { signal });

/**
 * @param {Blob} image
 * @param {string} prepare
 * @param {number | undefined} version
 * @param {AbortSignal} signal
 * @returns {Promise<{prediction: Prediction, version: number, responseText: string}>}
 */
export async function fetchPrediction(image, prepare, version, signal) {
  const responseText = await request(`predict?prepare=${prepare}${versionQuery(version)}`, "text", { method: "POST", body: image, signal });
  const { predictions: [prediction], model } = JSON.parse(responseText);
  return { prediction, version: model.version, responseText };
}

/**
 * @param {Blob} image
 * @param {string} prepare
 * @param {number} version
 * @param {AbortSignal} signal
 * @returns {Promise<PreparedImage>}
 */
export const fetchPreparation = (image, prepare, version, signal) =>
  request(`preparation?prepare=${prepare}${versionQuery(version)}`, "json", { method: "POST", body: image, signal });

/**
 * @param {Blob} image
 * @param {string} prepare
 * @param {number} version
 * @param {number} classId
 * @param {AbortSignal} signal
 * @returns {Promise<Explanation>}
 */
export const fetchExplanation = (image, prepare, version, classId, signal) =>
  request(`explain?prepare=${prepare}&class_id=${classId}${versionQuery(version)}`, "json", { method: "POST", body: image, signal });

/**
 * @param {Plane} image
 * @param {number} version
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, Plane[]>>} by layer, for layers that have maps
 */
export async function fetchFeatureMaps(image, version, signal) {
  const { layers } = await request(`feature-maps?${versionQuery(version)}`, "json", postJson({ instances: [image] }, signal));
  return new Map(layers.map((/** @type {{name: string, maps: Plane[]}} */ { name, maps }) => [name, maps]));
}

/**
 * @param {Plane} image
 * @param {number} version
 * @param {string} [layer] all layers if undefined
 * @returns {Promise<Blob>}
 */
export function fetchFeatureMapsPng(image, version, layer) {
  const query = layer === undefined ? "" : `&layer=${layer}`;
  return request(`feature-maps?format=png${query}${versionQuery(version)}`, "blob", postJson({ instances: [image] }));
}

/**
 * Fetches the outputs of layers that have no maps, by the Open Inference Protocol.
 * @param {Summary} summary
 * @param {Plane} image
 * @param {string[]} layers
 * @param {AbortSignal} signal
 * @returns {Promise<Map<string, number[]>>} by layer
 */
export async function fetchOutputs({ name, version, input }, image, layers, signal) {
  if (layers.length === 0) return new Map();
  const tensor = { name: input.name, shape: [1, ...input.shape], datatype: "UINT8", data: image.flat() };
  const body = { inputs: [tensor], outputs: layers.map((layer) => ({ name: layer })) };
  const { outputs } = await request(`v2/models/${name}/versions/${version}/infer`, "json", postJson(body, signal));
  return new Map(outputs.map((/** @type {{name: string, data: number[]}} */ output) => [output.name, output.data]));
}

/** By path. An entry never expires: the weights of a version do not change. @type {Map<string, Promise<{channels: number[], kernels: any[], bias: number[]}>>} */
const weightsCache = new Map();

/**
 * Fetches the weights of one output of a layer, together with as many of its neighbours as fit in one response.
 * @param {Layer} layer one that has parameters
 * @param {number} version
 * @param {number} channel
 * @returns {Promise<Weights>}
 */
export async function fetchWeights(layer, version, channel) {
  const outputs = layer.output_shape[layer.output_shape.length - 1];
  const batch = Math.max(1, Math.floor(MAX_WEIGHTS / (layer.parameters / outputs)));
  const first = channel - channel % batch;
  const channels = Array.from({ length: Math.min(batch, outputs - first) }, (_, i) => first + i);
  const path = `model/layers/${layer.name}?channels=${channels}${versionQuery(version)}`;
  let response = weightsCache.get(path);
  if (!response) {
    response = request(path, "json");
    weightsCache.set(path, response);
    response.catch(() => weightsCache.delete(path));
  }
  const { kernels, bias } = await response;
  return { kernel: kernels[channel - first], bias: bias[channel - first] };
}
