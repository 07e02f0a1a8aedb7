// Derives one value of the network from the values and weights that it is computed from.

import { fetchWeights } from "../api.js";
import { colour, divergingScale, paintPlane, textColourOn } from "../colours.js";
import { dense, softmaxTable, sourceOf } from "./dense.js";
import { addRovingTabindex, byId, make, makeButton, setRole } from "../elements.js";
import { errorBox } from "../errors.js";
import { convolve, descending, pool, sum } from "./arithmetic.js";
import { activationFormula, cellGrid, formula, line, linkTo, mismatch } from "./formula.js";
import { compact, decimal, integer, signedTerm } from "../numbers.js";
import { text } from "../language/text.js";
import { legendOf } from "./tiles.js";
import { patchOf, windowOf } from "./windows.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../api.js").Plane} Plane */
/** @typedef {import("../colours.js").Scale} Scale */
/** @typedef {import("./arithmetic.js").Patch} Patch */
/**
 * @typedef {object} Target the value to derive
 * @property {Stage} stage
 * @property {import("../image/analysis.js").Analysis} analysis
 * @property {number} channel @property {number} row @property {number} column
 * @property {number | undefined} inputChannel the selected map of the layer before; undefined selects the one that adds most
 * @property {number} value that the service returned
 * @property {number} scale that the service divides pixels by
 * @property {string[]} classes
 * @property {() => void} retry
 * @property {(channel: number) => void} selectInput
 * @property {(stage: Stage, channel: number, row: number, column: number) => unknown} drawSource draws the map of the layer before
 */

let latestCall = 0;

/** @param {Target} target */
export async function showDerivation(target) {
  latestCall += 1;
  const call = latestCall;
  const box = byId("derivation", HTMLElement);
  box.replaceChildren(); // the derivation of another value must not stay while weights load
  const drawSource = (/** @type {Parameters<Target["drawSource"]>} */ ...source) => call === latestCall && target.drawSource(...source);
  const derive = DERIVATIONS[target.stage.kind] ?? unknown;
  const content = await Promise.resolve(derive({ ...target, drawSource })).catch((error) => [errorBox(error, target.retry)]);
  if (call === latestCall) box.replaceChildren(...content);
}

/** @type {Record<string, (target: Target) => Promise<HTMLElement[]> | HTMLElement[]>} */
const DERIVATIONS = { input: pixel, convolution, pooling, dense, softmax, addition, flatten: identity, dropout: identity };

const unknown = () => [make("p", "", text("unknownArithmetic"))];

/** @param {Target} target */
function identity({ stage, channel, value }) {
  const { name, position } = sourceOf(/** @type {Stage} */ (stage.before), channel, stage.kind === "flatten");
  return [formula([line(name, decimal(value), "result", position)])];
}

/** @param {Target} target */
function addition({ stage, analysis, channel, row, column, value }) {
  const names = stage.inputs.map(({ layer }) => layer.name);
  const terms = names.map((name) => analysis.maps.get(name)?.[channel][row][column] ?? analysis.values.get(name)?.[channel] ?? NaN);
  const lines = terms.map((term, i) => line(names[i], i === 0 ? decimal(term) : signedTerm(term), "", { layer: names[i], channel, row, column }));
  return [formula([...lines, line(text("total"), decimal(sum(terms)), "result"), ...mismatch(sum(terms), value)])];
}

/** A Softmax layer of its own. @param {Target} target */
function softmax(target) {
  const { layer } = /** @type {Stage} */ (target.stage.before);
  return softmaxTable(target.analysis.values.get(layer.name) ?? [], target);
}

/** @param {Target} target */
function pixel({ analysis, row, column, value, scale }) {
  const original = analysis.prepared?.image[row][column] ?? 0;
  return [formula([line(text("scaledPixel", { scale }), `${original} ÷ ${scale}`), line("=", decimal(value), "result")])];
}

/** @param {Target} target */
async function convolution({ stage, analysis, channel, row, column, inputChannel, value, selectInput, drawSource }) {
  const before = /** @type {Stage} */ (stage.before);
  const planes = analysis.maps.get(before.layer.name) ?? []; // read before waiting: a new run replaces the maps
  const { kernel, bias } = await fetchWeights(stage.layer, analysis.version, channel);
  const kernels = /** @type {Plane[]} */ (kernel);
  const window = windowOf(stage, row, column);
  const patches = planes.map((plane) => patchOf(plane, window));
  const sums = patches.map((patch, i) => convolve(patch, kernels[i]));
  const total = sum(sums);
  const order = descending(sums.map(Math.abs));
  const shown = inputChannel !== undefined && inputChannel < kernels.length ? inputChannel : order[0];
  drawSource(stage, shown, row, column);
  const scale = divergingScale(kernels.flat(2));
  const hasManyInputs = kernels.length > 1;
  const perInput = hasManyInputs ? [
    line(text("thisMap", { map: shown }), decimal(sums[shown])),
    line(text("otherMaps", { count: kernels.length - 1 }), signedTerm(total - sums[shown])),
  ] : [];
  const label = hasManyInputs ? text("windowTimesKernelOf", { map: shown, layer: before.layer.name }) : text("windowTimesKernel");
  const content = [
    make("h4", "", label), patchTimesKernel(label, before, shown, window, patches[shown], kernels[shown], scale), legendOf(scale),
    activationFormula(stage, [
      ...perInput, line(text("sumOf", { count: integer(kernels.flat(2).length) }), decimal(total), hasManyInputs ? "total" : ""),
      line(text("bias"), signedTerm(bias)),
    ], total + bias, value),
  ];
  if (hasManyInputs) content.push(make("h4", "", text("inputContributions", { count: kernels.length })), inputList(order, kernels, sums, scale, shown, selectInput));
  return content;
}

/**
 * The maps of the layer before, each with its kernel and what it adds.
 * @param {number[]} order @param {Plane[]} kernels @param {number[]} sums @param {Scale} scale
 * @param {number} shown @param {(channel: number) => void} selectInput
 */
function inputList(order, kernels, sums, scale, shown, selectInput) {
  const buttons = order.map((map) => {
    const canvas = make("canvas");
    paintPlane(canvas, kernels[map], scale);
    const button = makeButton("", () => selectInput(map), canvas, make("span", "", compact(sums[map])));
    button.dataset.map = String(map);
    button.ariaLabel = button.title = text("inputContribution", { map, sum: compact(sums[map]) });
    button.setAttribute("aria-pressed", String(map === shown));
    return button;
  });
  const group = setRole(make("div", "inputs", ...buttons), "group", text("inputContributions", { count: kernels.length }));
  addRovingTabindex(group);
  return group;
}

/** @param {Stage} before @param {number} channel @param {number} row @param {number} column @param {string} className "padding" has no pixel to link to @param {...(string | Node)} content */
function cell(before, channel, row, column, className, ...content) {
  const button = linkTo({ layer: before.layer.name, channel, row, column }, className, ...content);
  button.disabled = className === "padding";
  return button;
}

/**
 * @param {string} label @param {Stage} before @param {number} channel @param {import("./windows.js").Window} window
 * @param {Patch} patch @param {Plane} kernel @param {Scale} scale
 */
function patchTimesKernel(label, before, channel, { top, left }, patch, kernel, scale) {
  return cellGrid("products", label, patch.map((row, y) => row.map((value, x) => {
    const background = colour(kernel[y][x], scale);
    const button = cell(before, channel, top + y, left + x, value === undefined ? "padding" : "",
      make("span", "", value === undefined ? "0" : decimal(value, 3)), make("span", "", `× ${decimal(kernel[y][x], 3)}`));
    button.style.background = `rgb(${background})`;
    button.style.color = textColourOn(background);
    return button;
  })));
}

/** @param {Target} target */
function pooling({ stage, analysis, channel, row, column, value, drawSource }) {
  const before = /** @type {Stage} */ (stage.before);
  const window = windowOf(stage, row, column);
  const { top, left } = window;
  const patch = patchOf((analysis.maps.get(before.layer.name) ?? [])[channel], window);
  drawSource(stage, channel, row, column);
  const isMax = stage.layer.type.startsWith("Max");
  const result = pool(patch, isMax);
  const winner = isMax ? patch.flat().indexOf(result) : -1;
  const buttons = patch.map((values, y) => values.map((each, x) => {
    if (each === undefined) return cell(before, channel, top + y, left + x, "padding", "–");
    const isWinner = y * values.length + x === winner;
    return cell(before, channel, top + y, left + x, isWinner ? "winner" : "", decimal(each), ...(isWinner ? [make("small", "", text("winner"))] : []));
  }));
  const values = patch.flat().filter((each) => each !== undefined);
  const label = text(isMax ? "largestOf" : "averageOf", { count: values.length });
  const lines = isMax ? [] : [line(text("sumOfNumbers", { count: values.length }), decimal(sum(values))), line(text("dividedByCount"), `÷ ${values.length}`)];
  return [cellGrid("pool", label, buttons), formula([...lines, line(label, decimal(result), "result"), ...mismatch(result, value)])];
}
