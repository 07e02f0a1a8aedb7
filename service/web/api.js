// The service's public API, as the page uses it.

/**
 * @typedef {number[][]} Plane rows of numbers
 * @typedef {{name: string, type: string, configuration: Record<string, any>, output_shape: number[], parameters: number}} Layer
 * @typedef {{class_names: string[], layers: Layer[]}} Summary
 * @typedef {{label: string, confidence: number, probabilities: Record<string, number>, preparation: "none" | "photo" | "plain", in_distribution?: boolean | null}} Prediction
 * @typedef {{image: Plane, layers: {name: string, maps: Plane[]}[]}} Maps
 */

/** What the service refused, in its own words. */
export class Refused extends Error {}

/**
 * @param {string} path
 * @param {RequestInit} [request]
 * @returns {Promise<any>}
 */
async function ask(path, request) {
  const response = await fetch(path, request);
  const body = await response.json();
  if (!response.ok) throw new Refused(body.error.message);
  return body;
}

/** @returns {Promise<Summary>} */
export const summary = () => ask("model/summary");

/**
 * @param {Blob} picture
 * @param {string} prepare
 * @param {AbortSignal} signal
 * @returns {Promise<Prediction>}
 */
export async function predict(picture, prepare, signal) {
  const request = { method: "POST", body: picture, signal };
  return (await ask(`predict?prepare=${prepare}`, request)).predictions[0];
}

/**
 * @param {Blob} picture
 * @param {string} prepare
 * @param {AbortSignal} signal
 * @returns {Promise<Maps>}
 */
export const featureMaps = (picture, prepare, signal) =>
  ask(`feature-maps?prepare=${prepare}`, { method: "POST", body: picture, signal });
