// Writes out how one number of the network comes about, with the real numbers.

import { Failed, askWeights } from "../api.js";
import { colour, inkOn, paint, scaleAroundZero } from "../colours.js";
import { dense, shares, sourceOf } from "./dense.js";
import { byId, make, makeButton, rove } from "../elements.js";
import { failureBox } from "../failures.js";
import { activated, cells, disagreement, ledger, line, wayTo } from "./ledger.js";
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
 * @property {import("../image/looks.js").Look} look
 * @property {number} channel @property {number} row @property {number} column
 * @property {number | undefined} input which map of the layer before is wanted
 * @property {number} value what the service answered
 * @property {number} scale that pixels are divided by
 * @property {string[]} classes
 * @property {() => void} again after a failure
 * @property {(channel: number) => void} choose another map of the layer before
 * @property {(stage: Stage, channel: number, row: number, column: number) => unknown} drawSource
 */

let latest = 0;

/** @param {Subject} subject */
export async function write(subject) {
  latest += 1;
  const mine = latest;
  const place = byId("written", HTMLElement);
  place.replaceChildren(); // what stood there is the sum of another number
  const drawSource = (/** @type {Parameters<Subject["drawSource"]>} */ ...at) => mine === latest && subject.drawSource(...at);
  const writer = WRITERS[subject.stage.kind] ?? unknown;
  const parts = await Promise.resolve(writer({ ...subject, drawSource })).catch((error) => describeFailure(error, subject.again));
  if (mine === latest) place.replaceChildren(...parts);
}

/** @type {Record<string, (subject: Subject) => Promise<HTMLElement[]> | HTMLElement[]>} */
const WRITERS = { input: pixel, convolution, pooling, dense, softmax, addition, flatten: passed, dropout: passed };

const unknown = () => [make("p", "", text("unknownArithmetic"))];

/** The service gives no weights that were merged into others. @param {unknown} error @param {() => void} again */
export const describeFailure = (error, again) =>
  [error instanceof Failed && error.code === "unknown_layer" ? make("p", "", text("noWeights")) : failureBox(error, again)];

/** Nothing is computed: the number is one of the layer before. @param {Subject} subject */
function passed({ stage, channel, value }) {
  const { name, place } = sourceOf(/** @type {Stage} */ (stage.before), channel, stage.kind === "flatten");
  return [ledger([line(name, decimal(value), "result", place)])];
}

/** @param {Subject} subject */
function addition({ stage, look, channel, row, column, value }) {
  const terms = stage.sources.map(({ layer: { name } }) => ({ name, term: look.maps.get(name)?.[channel][row][column] ?? look.values.get(name)?.[channel] ?? NaN }));
  const total = sum(terms.map(({ term }) => term));
  const lines = terms.map(({ name, term }, i) => line(name, i === 0 ? decimal(term) : added(term), "", { layer: name, channel, row, column }));
  return [ledger([...lines, line(text("total"), decimal(total), "result"), ...disagreement(total, value)])];
}

/** Of logits that another layer computed. @param {Subject} subject */
function softmax({ stage, look, channel, value, classes }) {
  const { layer } = /** @type {Stage} */ (stage.before);
  return shares(look.values.get(layer.name) ?? [], channel, classes, value, look);
}

/** @param {Subject} subject */
function pixel({ look, row, column, value, scale }) {
  const sent = look.prepared?.image[row][column] ?? 0;
  return [ledger([line(text("pixelOver", { scale }), `${sent} ÷ ${scale}`), line("=", decimal(value), "result")])];
}

/** @param {Subject} subject */
async function convolution({ stage, look, channel, row, column, input, value, choose, drawSource }) {
  const before = /** @type {Stage} */ (stage.before);
  const planes = look.maps.get(before.layer.name) ?? []; // of this image: while this waits, another may come
  const learned = await askWeights(stage.layer, look.version, channel);
  const kernels = /** @type {Plane[]} */ (learned.kernel);
  const window = windowOf(stage, row, column);
  const patches = planes.map((plane) => patchOf(plane, window));
  const sums = patches.map((patch, i) => underKernel(patch, kernels[i]));
  const most = sums.map(Math.abs);
  const shown = input !== undefined && input < kernels.length ? input : most.indexOf(Math.max(...most));
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
    make("h4", "", name), patchTimesKernel(name, before, shown, window, patches[shown], kernels[shown], scale), legendOf(scale),
    activated(stage, [
      ...others, line(text("sumOf", { count: whole(count) }), decimal(sum(sums)), many ? "total" : ""),
      line(text("bias"), added(learned.bias)),
    ], sum(sums) + learned.bias, value),
  ];
  if (many) parts.push(make("h4", "", text("perInput", { count: kernels.length })), inputs(kernels, sums, scale, shown, choose));
  return parts;
}

/**
 * What each map of the layer before adds, the most first, with its kernel as an image.
 * @param {Plane[]} kernels @param {number[]} sums @param {import("../colours.js").Scale} scale
 * @param {number} shown @param {(channel: number) => void} choose
 */
function inputs(kernels, sums, scale, shown, choose) {
  const order = sums.map((_, i) => i).sort((a, b) => Math.abs(sums[b]) - Math.abs(sums[a]));
  const group = make("div", "inputs", ...order.map((i) => {
    const canvas = make("canvas");
    paint(canvas, kernels[i], scale);
    const button = makeButton("", () => choose(i), canvas, make("span", "", short(sums[i])));
    button.dataset.map = String(i);
    button.ariaLabel = button.title = text("inputLabel", { map: i, sum: short(sums[i]) });
    button.setAttribute("aria-pressed", String(i === shown));
    return button;
  }));
  group.role = "group";
  group.ariaLabel = text("perInput", { count: kernels.length });
  rove(group);
  return group;
}

/** A cell that leads to its pixel, if it lies on one. @param {Stage} before @param {number} channel @param {number} row @param {number} column @param {string} className @param {...(string | Node)} content */
function cell(before, channel, row, column, className, ...content) {
  const button = wayTo({ layer: before.layer.name, channel, row, column }, className, ...content);
  button.disabled = className.includes("padding");
  return button;
}

/**
 * @param {string} label @param {Stage} before @param {number} channel @param {import("./windows.js").Window} window
 * @param {Patch} patch @param {Plane} kernel @param {import("../colours.js").Scale} scale
 */
function patchTimesKernel(label, before, channel, { top, left }, patch, kernel, scale) {
  return cells("products", label, patch.map((row, y) => row.map((value, x) => {
    const rgb = colour(kernel[y][x], scale);
    const button = cell(before, channel, top + y, left + x, value === undefined ? "padding" : "",
      make("span", "", value === undefined ? "0" : decimal(value, 3)), make("span", "", `× ${decimal(kernel[y][x], 3)}`));
    button.style.background = `rgb(${rgb})`;
    button.style.color = inkOn(rgb);
    return button;
  })));
}

/** @param {Subject} subject */
function pooling({ stage, look, channel, row, column, value, drawSource }) {
  const before = /** @type {Stage} */ (stage.before);
  const window = windowOf(stage, row, column);
  const patch = patchOf((look.maps.get(before.layer.name) ?? [])[channel], window);
  drawSource(stage, channel, row, column);
  const largest = stage.layer.type.startsWith("Max");
  const result = pooled(patch, largest);
  let won = false;
  const buttons = patch.map((numbers, y) => numbers.map((number, x) => {
    const wins = largest && !won && number === result;
    won ||= wins;
    return cell(before, channel, window.top + y, window.left + x, number === undefined ? "padding" : wins ? "winner" : "",
      number === undefined ? "–" : decimal(number), ...(wins ? [make("small", "", text("winner"))] : []));
  }));
  const numbers = patch.flat().filter((number) => number !== undefined);
  const how = largest ? text("largestOf", { count: numbers.length }) : text("averageOf", { count: numbers.length });
  const lines = largest ? [] : [line(text("sumOfNumbers", { count: numbers.length }), decimal(sum(numbers))), line(text("divided"), `÷ ${numbers.length}`)];
  return [cells("pool", how, buttons), ledger([...lines, line(how, decimal(result), "result"), ...disagreement(result, value)])];
}
