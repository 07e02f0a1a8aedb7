// The network layer by layer: grids of feature maps, their colour scales, one map enlarged.

import { context, paint, rangeOf } from "./colours.js";
import { byId, make } from "./elements.js";
import { text } from "./strings.js";

/** @typedef {{layer: import("./api.js").Layer, maps?: number[][][], before?: number[][][]}} Shown */

const large = byId("large", HTMLCanvasElement);

/** @type {{layer: string, channel: number, row: number, column: number}} */
const cursor = { layer: "", channel: 0, row: 0, column: 0 };
/** @type {Shown[]} */
let all = [];

/** @param {import("./api.js").Summary} summary @param {import("./api.js").Maps} answer */
export function showLayers(summary, answer) {
  const maps = new Map(answer.layers.map((layer) => [layer.name, layer.maps]));
  /** @type {number[][][]} */
  let before = [answer.image];
  all = summary.layers.map((layer) => {
    const shown = { layer, maps: maps.get(layer.name), before };
    before = shown.maps ?? before;
    return shown;
  });
  drawLayers();
}

/** Draw all layers again: with new maps, another scale or in another language. */
export function drawLayers() {
  const scope = byId("scale", HTMLSelectElement).value;
  const common = rangeOf(all.flatMap(({ maps }) => maps ?? []));
  byId("layers", HTMLElement).replaceChildren(...all.map(({ layer, maps }) => {
    const block = make("div", "", "layer");
    const head = make("div", "", "row");
    const facts = `${layer.output_shape.join("×")} · ${layer.parameters.toLocaleString()} ${text("parameters")}`;
    head.append(make("h3", `${layer.name} · ${layer.type}`), make("span", facts, "facts"));
    block.append(head);
    if (!maps) return block;
    const range = scope === "all" ? common : rangeOf(maps);
    if (scope !== "map") head.append(legend(range));
    const grid = make("div", "", "maps");
    grid.append(...maps.map((plane, channel) => mapButton(layer, plane, channel, scope === "map" ? rangeOf([plane]) : range)));
    block.append(grid);
    return block;
  }));
  inspect();
}

/**
 * @param {import("./api.js").Layer} layer
 * @param {number[][]} plane
 * @param {number} channel
 * @param {import("./colours.js").Range} range
 */
function mapButton(layer, plane, channel, range) {
  const button = make("button");
  button.type = "button";
  const printed = range.map((value) => value.toFixed(2)).join(" … ");
  button.setAttribute("aria-label", `${layer.name}, ${text("channel")} ${channel}, ${printed}`);
  button.title = `${text("channel")} ${channel}: ${printed}`;
  const canvas = make("canvas");
  paint(canvas, plane, range);
  button.append(canvas);
  button.addEventListener("click", () => {
    Object.assign(cursor, { layer: layer.name, channel, row: 0, column: 0 });
    inspect();
    large.focus();
  });
  return button;
}

/** @param {import("./colours.js").Range} range */
function legend([low, high]) {
  const box = make("span", "", "legend");
  const canvas = make("canvas");
  paint(canvas, [Array.from({ length: 64 }, (_, i) => i)], [0, 63]);
  box.append(low.toFixed(2), canvas, high.toFixed(2));
  return box;
}

/** Show the chosen map, and the arithmetic of the chosen pixel where it is a pooled one. */
function inspect() {
  const shown = all.find(({ layer }) => layer.name === cursor.layer);
  byId("inspector", HTMLElement).hidden = !shown?.maps;
  if (!shown?.maps) return;
  const plane = shown.maps[cursor.channel];
  const small = make("canvas");
  paint(small, plane, rangeOf([plane]));
  const ink = context(large);
  ink.imageSmoothingEnabled = false;
  ink.drawImage(small, 0, 0, large.width, large.height);
  const [height, width] = [large.height / plane.length, large.width / plane[0].length];
  Object.assign(ink, { strokeStyle: "#ff3b6b", lineWidth: 2 });
  ink.strokeRect(cursor.column * width, cursor.row * height, width, height);
  byId("where", HTMLElement).textContent = `${cursor.layer} · ${text("channel")} ${cursor.channel}`;
  const value = plane[cursor.row][cursor.column].toFixed(4);
  const place = `${text("row")} ${cursor.row}, ${text("column")} ${cursor.column}: ${value}`;
  byId("sum", HTMLElement).textContent = place + pooling(shown);
}

/** @param {Shown} shown */
function pooling({ layer, before }) {
  if (!before || !layer.type.includes("Pooling") || layer.configuration.padding !== "valid") return "";
  const { pool_size: [height, width], strides: [down, right] } = layer.configuration;
  const window = before[cursor.channel]
    .slice(cursor.row * down, cursor.row * down + height)
    .map((row) => row.slice(cursor.column * right, cursor.column * right + width));
  const kind = layer.type.startsWith("Max") ? "largest" : "average";
  return `\n= ${text(kind)}\n${window.map((row) => row.map((v) => v.toFixed(4)).join("  ")).join("\n")}`;
}

/** @param {number} row @param {number} column */
function moveTo(row, column) {
  const plane = all.find(({ layer }) => layer.name === cursor.layer)?.maps?.[cursor.channel];
  if (!plane) return;
  cursor.row = Math.min(Math.max(row, 0), plane.length - 1);
  cursor.column = Math.min(Math.max(column, 0), plane[0].length - 1);
  inspect();
}

const STEPS = new Map([["ArrowUp", [-1, 0]], ["ArrowDown", [1, 0]], ["ArrowLeft", [0, -1]], ["ArrowRight", [0, 1]]]);

large.addEventListener("keydown", (event) => {
  const step = STEPS.get(event.key);
  if (!step) return;
  event.preventDefault();
  moveTo(cursor.row + step[0], cursor.column + step[1]);
});
large.addEventListener("pointermove", (event) => {
  const shown = all.find(({ layer }) => layer.name === cursor.layer);
  if (!shown) return;
  const [height, width] = shown.layer.output_shape;
  moveTo(Math.floor(event.offsetY / large.clientHeight * height), Math.floor(event.offsetX / large.clientWidth * width));
});
