// The network as the page walks it: its input and its layers, each with the one before.

import { WHITE } from "../colours.js";
import { sum } from "./sums.js";

/** @typedef {import("../api.js").Layer} Layer */
/** @typedef {import("../api.js").Plane} Plane */

/**
 * @typedef {"input" | "convolution" | "pooling" | "flatten" | "dense" | "softmax" | "dropout" | "addition" | "other"} Kind
 *   `other`: a layer whose arithmetic the page does not know
 * @typedef {{layer: Layer, kind: Kind, before: Stage | undefined, sources: Stage[]}} Stage
 *   `sources`: those whose outputs it takes; `before`: the only one of them
 */

/** @type {Record<string, Kind>} */
const KINDS = {
  Conv2D: "convolution", MaxPooling2D: "pooling", AveragePooling2D: "pooling",
  Flatten: "flatten", Dense: "dense", Softmax: "softmax", Dropout: "dropout",
};

/** @param {import("../api.js").Summary} summary @returns {Stage[]} */
export function stagesOf({ input, layers }) {
  const configuration = { white: WHITE / input.scale };
  const first = { name: input.name, type: "Input", configuration, output_shape: [...input.shape], parameters: 0, inputs: [] };
  /** @type {Stage[]} */
  const stages = [{ layer: first, kind: "input", before: undefined, sources: [] }];
  for (const layer of layers) {
    const sources = layer.inputs.length === 0 ? [stages[0]] : stages.filter((stage) => layer.inputs.includes(stage.layer.name));
    const before = layer.inputs.length > 1 ? undefined : sources[0];
    stages.push({ layer, kind: before ? kindOf(layer) : isSum(layer, sources) ? "addition" : "other", before, sources });
  }
  return stages;
}

/** Whether it adds up numbers that lie at the same place. @param {Layer} layer @param {Stage[]} sources */
const isSum = ({ type, inputs, output_shape: shape }, sources) =>
  type === "Add" && sources.length === inputs.length && sources.every(({ layer }) => layer.output_shape.join() === shape.join());

/** @param {Layer} layer @returns {Kind} */
function kindOf({ type, configuration }) {
  const kind = KINDS[type] ?? "other";
  const dilated = (configuration.dilation_rate ?? [1, 1]).some((/** @type {number} */ rate) => rate !== 1);
  const grouped = (configuration.groups ?? 1) !== 1;
  const turned = configuration.data_format === "channels_first";
  return dilated || grouped || turned ? "other" : kind;
}

/** Whether the output is a stack of maps. @param {Stage} stage */
export const hasMaps = ({ layer }) => layer.output_shape.length === 3;

/** How many maps, or units. @param {Stage} stage */
export const channelsOf = ({ layer }) => layer.output_shape[layer.output_shape.length - 1];

/** Whether the outputs are shares of the classes. @param {Stage} stage */
export const isSoftmax = ({ kind, layer }) => kind === "softmax" || layer.configuration.activation === "softmax";

/** The layer that computes the logits: the last, or the one before it if that is a softmax of its own. @param {Stage[]} stages @returns {Stage} */
export function logitsLayerOf(stages) {
  const last = stages[stages.length - 1];
  return last.kind === "softmax" && last.before ? last.before : last;
}

/** The layer whose units vote on the classes: the dense one before. @param {Stage} logitsLayer @returns {Stage | undefined} */
export function votersOf({ before: stage }) {
  while (stage?.kind === "dropout") stage = stage.before;
  return stage?.kind === "dense" ? stage : undefined;
}

/** How much a map differs from place to place; where only its bias speaks, it is the same everywhere. @param {Plane} plane */
export function spread(plane) {
  const values = plane.flat();
  const mean = sum(values) / values.length;
  return sum(values.map((value) => (value - mean) ** 2));
}

/** The map that differs most from place to place. @param {Plane[]} planes */
export function busiest(planes) {
  const spreads = planes.map(spread);
  return spreads.indexOf(Math.max(...spreads));
}

/** The numbers of maps one after the other: row by row, all channels of a pixel together. @param {Plane[]} planes */
export const flatten = (planes) =>
  planes[0].flatMap((row, y) => row.flatMap((_, x) => planes.map((plane) => plane[y][x])));
