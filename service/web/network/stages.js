// The network as a graph of stages: the input and the layers, each linked to the stages before it.

import { WHITE } from "../colours.js";
import { sum } from "./arithmetic.js";

/** @typedef {import("../api.js").Layer} Layer */
/** @typedef {import("../api.js").Plane} Plane */

/**
 * @typedef {"input" | "convolution" | "pooling" | "flatten" | "dense" | "softmax" | "dropout" | "addition" | "other"} Kind
 *   `other`: a layer whose arithmetic the page does not know
 * @typedef {{layer: Layer, kind: Kind, before: Stage | undefined, inputs: Stage[]}} Stage
 *   `inputs`: the stages whose outputs it takes; `before`: the stage before it, if there is only one
 */

/** @type {Record<string, Kind>} */
const KINDS = {
  Conv2D: "convolution", MaxPooling2D: "pooling", AveragePooling2D: "pooling",
  Flatten: "flatten", Dense: "dense", Softmax: "softmax", Dropout: "dropout",
};

/** @param {import("../api.js").Summary} summary @returns {Stage[]} */
export function buildStages({ input, layers }) {
  const configuration = { white: WHITE / input.scale };
  const first = { name: input.name, type: "Input", configuration, output_shape: [...input.shape], parameters: 0, inputs: [] };
  /** @type {Stage[]} */
  const stages = [{ layer: first, kind: "input", before: undefined, inputs: [] }];
  for (const layer of layers) {
    const inputs = layer.inputs.length === 0 ? [stages[0]] : stages.filter((stage) => layer.inputs.includes(stage.layer.name));
    const before = layer.inputs.length > 1 ? undefined : inputs[0];
    stages.push({ layer, kind: before ? kindOf(layer) : isAddition(layer, inputs) ? "addition" : "other", before, inputs });
  }
  return stages;
}

/** An Add layer may also broadcast, which the page does not show. @param {Layer} layer @param {Stage[]} stages */
const isAddition = ({ type, inputs, output_shape: shape }, stages) =>
  type === "Add" && stages.length === inputs.length && stages.every(({ layer }) => layer.output_shape.join() === shape.join());

/** @param {Layer} layer @returns {Kind} */
function kindOf({ type, configuration }) {
  const isDilated = (configuration.dilation_rate ?? [1, 1]).some((/** @type {number} */ rate) => rate !== 1);
  const isGrouped = (configuration.groups ?? 1) !== 1;
  const isChannelsFirst = configuration.data_format === "channels_first";
  return isDilated || isGrouped || isChannelsFirst ? "other" : KINDS[type] ?? "other";
}

/** @param {Stage} stage */
export const hasMaps = ({ layer }) => layer.output_shape.length === 3;

/** The number of maps or units. @param {Stage} stage */
export const channelsOf = ({ layer }) => layer.output_shape[layer.output_shape.length - 1];

/** Whether its outputs are probabilities. @param {Stage} stage */
export const isSoftmax = ({ kind, layer }) => kind === "softmax" || layer.configuration.activation === "softmax";

/** The last layer, or the one before a separate Softmax layer. @param {Stage[]} stages @returns {Stage} */
export function logitsLayerOf(stages) {
  const last = stages[stages.length - 1];
  return last.kind === "softmax" && last.before ? last.before : last;
}

/** The dense layer before the logits. @param {Stage} logitsLayer @returns {Stage | undefined} */
export function lastHiddenLayerOf({ before: stage }) {
  while (stage?.kind === "dropout") stage = stage.before;
  return stage?.kind === "dense" ? stage : undefined;
}

/** Ranks maps by information: a map that shows only its bias has a variance of zero. @param {Plane} plane */
export function variance(plane) {
  const values = plane.flat();
  const mean = sum(values) / values.length;
  return sum(values.map((value) => (value - mean) ** 2)) / values.length;
}

/** The index of the map with the highest variance. @param {Plane[]} planes */
export function mostVaried(planes) {
  const variances = planes.map(variance);
  return variances.indexOf(Math.max(...variances));
}
