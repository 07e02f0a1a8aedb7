// Writes out how one number of the network comes about, with the real numbers.

import { askWeights } from "../api.js";
import { colour, inkOn, paint, scaleAroundZero } from "../colours.js";
import { dense } from "./dense.js";
import { byId, make, makeButton, rove } from "../elements.js";
import { activated, disagreement, ledger, line, table } from "./ledger.js";
import { added, decimal, short, whole } from "../numbers.js";
import { pooled, sum, underKernel } from "./sums.js";
import { text } from "../language/text.js";
import { legendOf } from "./tiles.js";
import { patchOf, windowOf } from "./windows.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../api.js").Plane} Plane */
/** @typedef {import("./sums.js").Patch} Patch */
/**
 * @typedef {object} Subject what is written about
 * @property {Stage} stage
 * @property {import("../picture/looks.js").Look} look
 * @property {number} channel @property {number} row @property {number} column
 * @property {number | undefined} input which map of the layer before is wanted
 * @property {number} value what the service answered
 * @property {number} scale that pixels are divided by
 * @property {string[]} classes
 * @property {(channel: number) => void} choose another map of the layer before
 * @property {(stage: Stage, channel: number, row: number, column: number) => void} drawSource
 */

let latest = 0;

/** @param {Subject} subject */
export async function write(subject) {
  latest += 1;
  const mine = latest;
  const place = byId("written", HTMLElement);
  const parts = await (WRITERS[subject.stage.kind] ?? unknown)(subject);
  if (mine === latest) place.replaceChildren(...parts);
}

/** @type {Record<string, (subject: Subject) => Promise<HTMLElement[]> | HTMLElement[]>} */
const WRITERS = { input: pixel, convolution, pooling, dense };

const unknown = () => [make("p", "", text("unknownArithmetic"))];

/** @param {Subject} subject */
function pixel({ look, row, column, value, scale }) {
  const sent = look.prepared?.image[row][column] ?? 0;
  return [ledger([line(text("pixelOver", { scale }), `${sent} ÷ ${scale}`), line("=", decimal(value), "result")])];
}

/** @param {Subject} subject */
async function convolution({ stage, look, channel, row, column, input, value, choose, drawSource }) {
  const before = /** @type {Stage} */ (stage.before);
  const learned = await askWeights(stage.layer, channel);
  const kernels = /** @type {Plane[]} */ (learned.kernel);
  const window = windowOf(stage, row, column);
  const patches = (look.maps.get(before.layer.name) ?? []).map((plane) => patchOf(plane, window));
  const sums = patches.map((patch, i) => underKernel(patch, kernels[i]));
  const sizes = kernels.map((kernel) => sum(kernel.flat().map(Math.abs)));
  const shown = input !== undefined && input < kernels.length ? input : sizes.indexOf(Math.max(...sizes));
  drawSource(stage, shown, row, column);
  const scale = scaleAroundZero(kernels.flat(2));
  const many = kernels.length > 1;
  const count = kernels.length * kernels[0].length * kernels[0][0].length;
  const others = many ? [
    line(text("ofThisMap", { map: shown }), decimal(sums[shown])),
    line(text("ofOtherMaps", { count: kernels.length - 1 }), added(sum(sums) - sums[shown])),
  ] : [];
  const name = many ? text("underKernelOf", { map: shown, layer: before.layer.name }) : text("underKernel");
  const parts = [
    make("h4", "", name), patchTimesKernel(patches[shown], kernels[shown], scale), legendOf(scale),
    activated(stage, [
      ...others, line(text("sumOf", { count: whole(count) }), decimal(sum(sums)), many ? "total" : ""),
      line(text("bias"), added(learned.bias)),
    ], sum(sums) + learned.bias, value),
  ];
  if (many) parts.push(make("h4", "", text("perInput", { count: kernels.length })), inputs(kernels, sums, scale, shown, choose));
  return parts;
}

/**
 * What each map of the layer before adds, with its kernel as a picture.
 * @param {Plane[]} kernels @param {number[]} sums @param {import("../colours.js").Scale} scale
 * @param {number} shown @param {(channel: number) => void} choose
 */
function inputs(kernels, sums, scale, shown, choose) {
  const group = make("div", "inputs", ...kernels.map((kernel, i) => {
    const canvas = make("canvas");
    paint(canvas, kernel, scale);
    const button = makeButton("", () => choose(i), canvas, make("span", "", short(sums[i])));
    button.ariaLabel = text("inputLabel", { map: i, sum: short(sums[i]) });
    button.setAttribute("aria-pressed", String(i === shown));
    return button;
  }));
  group.role = "group";
  group.ariaLabel = text("perInput", { count: kernels.length });
  rove(group);
  return group;
}

/** @param {Patch} patch @param {Plane} kernel @param {import("../colours.js").Scale} scale */
function patchTimesKernel(patch, kernel, scale) {
  return table("products", patch.map((row, y) => row.map((value, x) => {
    const rgb = colour(kernel[y][x], scale);
    const cell = make("td", "", make("span", value === undefined ? "padding" : "", value === undefined ? "0" : decimal(value, 3)), make("span", "", `× ${decimal(kernel[y][x], 3)}`));
    cell.style.background = `rgb(${rgb})`;
    cell.style.color = inkOn(rgb);
    return cell;
  })));
}

/** @param {Subject} subject */
function pooling({ stage, look, channel, row, column, value, drawSource }) {
  const before = /** @type {Stage} */ (stage.before);
  const patch = patchOf((look.maps.get(before.layer.name) ?? [])[channel], windowOf(stage, row, column));
  drawSource(stage, channel, row, column);
  const largest = stage.layer.type.startsWith("Max");
  const result = pooled(patch, largest);
  let won = false;
  const cells = patch.map((numbers) => numbers.map((number) => {
    const wins = largest && !won && number === result;
    won ||= wins;
    return make("td", number === undefined ? "padding" : wins ? "winner" : "", number === undefined ? "–" : decimal(number), ...(wins ? [make("small", "", text("winner"))] : []));
  }));
  const numbers = patch.flat().filter((number) => number !== undefined);
  const how = largest ? text("largestOf", { count: numbers.length }) : text("averageOf", { count: numbers.length });
  const lines = largest ? [] : [line(text("sumOfNumbers", { count: numbers.length }), decimal(sum(numbers))), line(text("divided"), `÷ ${numbers.length}`)];
  return [table("pool", cells), ledger([...lines, line(how, decimal(result), "result"), ...disagreement(result, value)])];
}
