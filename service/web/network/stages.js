// The network as the page walks it: its input and its layers, each with the one before.

import { sum } from "./sums.js";

/** @typedef {import("../api.js").Layer} Layer */
/** @typedef {import("../api.js").Plane} Plane */

/**
 * @typedef {"input" | "convolution" | "pooling" | "flatten" | "dense" | "dropout" | "other"} Kind
 *   `other`: a layer whose arithmetic the page does not know
 * @typedef {{layer: Layer, kind: Kind, before: Stage | undefined}} Stage
 */

/** @type {Record<string, Kind>} */
const KINDS = {
  Conv2D: "convolution", MaxPooling2D: "pooling", AveragePooling2D: "pooling",
  Flatten: "flatten", Dense: "dense", Dropout: "dropout",
};

/** @param {import("../api.js").Summary} summary @returns {Stage[]} */
export function stagesOf({ input, layers }) {
  const first = { name: input.name, type: "Input", configuration: {}, output_shape: [...input.shape], parameters: 0 };
  /** @type {Stage[]} */
  const stages = [{ layer: first, kind: "input", before: undefined }];
  for (const layer of layers) {
    stages.push({ layer, kind: kindOf(layer), before: stages[stages.length - 1] });
  }
  return stages;
}

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

/** The layer whose units vote on the classes: the dense one before the last. @param {Stage} last @returns {Stage | undefined} */
export function votersOf({ before: stage }) {
  while (stage?.kind === "dropout") stage = stage.before;
  return stage?.kind === "dense" ? stage : undefined;
}

/** The map that differs most from place to place. @param {Plane[]} planes */
export function busiest(planes) {
  const spread = planes.map((plane) => {
    const values = plane.flat();
    const mean = sum(values) / values.length;
    return sum(values.map((value) => (value - mean) ** 2));
  });
  return spread.indexOf(Math.max(...spread));
}

/** The numbers of maps one after the other: row by row, all channels of a pixel together. @param {Plane[]} planes */
export const flatten = (planes) =>
  planes[0].flatMap((row, y) => row.flatMap((_, x) => planes.map((plane) => plane[y][x])));
