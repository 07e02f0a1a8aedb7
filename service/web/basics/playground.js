// The kernel playground: an editable kernel that slides over the user's image or over ten numbers, with pooling of the result.

import { WHITE, greyScale, scaleOf } from "../colours.js";
import { addCellNavigation, byId, clampIndex, make } from "../elements.js";
import { text } from "../language/text.js";
import { convolve, maxAbsPosition, nextPosition, pool } from "../network/arithmetic.js";
import { paddingOf, patchOf } from "../network/windows.js";
import { drawZoomed } from "../network/zoom.js";
import { decimal } from "../numbers.js";
import { outputSize } from "./shapes.js";

/** @typedef {import("../api.js").Plane} Plane */

/** Presets for an image and for a row of numbers. @type {Record<string, [Plane, Plane]>} */
const PRESETS = {
  edge: [[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[-1, 0, 1]]],
  flatEdge: [[[-1, -2, -1], [0, 0, 0], [1, 2, 1]], [[1, 0, -1]]],
  blur: [[[0.11, 0.11, 0.11], [0.11, 0.11, 0.11], [0.11, 0.11, 0.11]], [[0.33, 0.33, 0.33]]],
  sharpen: [[[0, -1, 0], [-1, 5, -1], [0, -1, 0]], [[-1, 3, -1]]],
};
/** One step up and one step down. */
const TEN_NUMBERS = [[1, 1, 2, 5, 9, 9, 9, 4, 2, 1]];
const POOL_SIZE = 2;
const STEP_MS = 350;

const source = byId("lab-what", HTMLSelectElement);
const preset = byId("lab-preset", HTMLSelectElement);
const weights = byId("lab-kernel", HTMLElement);
const padding = byId("lab-padding", HTMLSelectElement);
const stride = byId("lab-stride", HTMLSelectElement);
const play = byId("lab-play", HTMLButtonElement);
const output = byId("lab-output", HTMLCanvasElement);

/** The prepared image in 0…1; undefined until it is loaded. @type {Plane | undefined} */
let image;
/** @type {Plane} */
let kernel = [];
/** @type {Plane} */
let result = [[0]];
let [row, column] = [0, 0];
/** @type {ReturnType<typeof setInterval> | undefined} */
let timer;

/** @param {Plane | undefined} pixels in 0…255 */
export function setPlaygroundImage(pixels) {
  image = pixels?.map((line) => line.map((pixel) => pixel / WHITE));
  if (kernel.length === 0) applyPreset();
  else restart();
}

/** Moves the window to the strongest result. */
function restart() {
  compute();
  if (input().length === 0) return;
  const strongest = maxAbsPosition(result);
  moveTo(strongest.row, strongest.column);
}

const isNumbers = () => source.value === "numbers";
const input = () => (isNumbers() ? TEN_NUMBERS : image ?? []);

/** Fills in the weights of the preset; "own" keeps the present ones. */
function applyPreset() {
  // After a reload the browser restores the choice "own", but not its weights.
  if (preset.value === "own" && kernel.length !== (isNumbers() ? 1 : 3)) preset.value = "edge";
  byId("lab", HTMLElement).classList.toggle("row-of-numbers", isNumbers());
  const chosen = PRESETS[preset.value]?.[isNumbers() ? 1 : 0];
  if (chosen) kernel = chosen.map((line) => [...line]);
  weights.style.setProperty("--columns", String(kernel[0].length));
  weights.replaceChildren(...kernel.flatMap((line, y) => line.map((weight, x) => {
    const field = make("input");
    Object.assign(field, { type: "number", step: "any", value: String(weight), ariaLabel: text("weightAt", { row: y, column: x }) });
    field.dataset.weight = `${y},${x}`;
    field.addEventListener("input", () => {
      field.ariaInvalid = String(field.value === "");
      if (field.value === "") return;
      kernel[y][x] = field.valueAsNumber;
      preset.value = "own";
      compute();
    });
    return field;
  })));
  restart();
}

/** The output size and the padding along one axis. @param {number} size @param {number} window */
const axis = (size, window) => ({
  out: window > size && padding.value === "valid" ? 0 : outputSize(size, window, Number(stride.value), padding.value),
  border: paddingOf(size, window, Number(stride.value), padding.value),
});

const axes = () => [axis(input().length, kernel.length), axis(input()[0].length, kernel[0].length)];

function compute() {
  const plane = input();
  byId("lab", HTMLElement).classList.toggle("empty", plane.length === 0);
  if (plane.length === 0) return;
  const [rows, columns] = axes();
  result = Array.from({ length: rows.out }, (_, y) => Array.from({ length: columns.out }, (_v, x) => convolve(patchOf(plane, windowAt(y, x)), kernel)));
  const size = (/** @type {number} */ height, /** @type {number} */ width) => (isNumbers() ? width : `${height} × ${width}`);
  byId("lab-sizes", HTMLElement).textContent = text("labSizes", {
    size: size(plane.length, plane[0].length), out: size(rows.out, columns.out),
    pooled: size(Math.floor(rows.out / POOL_SIZE), Math.floor(columns.out / POOL_SIZE)),
  });
  moveTo(row, column);
}

/** @param {number} y @param {number} x of the output @returns {import("../network/windows.js").Window} */
function windowAt(y, x) {
  const [rows, columns] = axes();
  return {
    top: y * Number(stride.value) - rows.border.before, left: x * Number(stride.value) - columns.border.before,
    height: kernel.length, width: kernel[0].length,
  };
}

/** @param {number} newRow @param {number} newColumn of the output */
function moveTo(newRow, newColumn) {
  if (input().length === 0) return;
  [row, column] = [clampIndex(newRow, result.length), clampIndex(newColumn, result[0].length)];
  draw();
}

function draw() {
  const plane = input();
  const window = windowAt(row, column);
  const [rows, columns] = axes();
  drawZoomed(byId("lab-input", HTMLCanvasElement), plane, isNumbers() ? scaleOf([plane]) : greyScale(1), window, { rows: rows.border, columns: columns.border });
  drawZoomed(output, result, scaleOf([result]), { top: row, left: column, height: 1, width: 1 });
  const poolHeight = isNumbers() ? 1 : POOL_SIZE;
  const [top, left] = [Math.floor(row / poolHeight), Math.floor(column / POOL_SIZE)];
  for (const [id, isMax] of /** @type {const} */ ([["lab-max", true], ["lab-average", false]])) {
    const pooled = Array.from({ length: Math.floor(result.length / poolHeight) }, (_, y) => Array.from({ length: Math.floor(result[0].length / POOL_SIZE) }, (_v, x) =>
      pool(patchOf(result, { top: y * poolHeight, left: x * POOL_SIZE, height: poolHeight, width: POOL_SIZE }), isMax)));
    const canvas = byId(id, HTMLCanvasElement);
    canvas.hidden = pooled.length === 0 || pooled[0].length === 0;
    if (canvas.hidden) continue;
    const side = top < pooled.length && left < pooled[0].length ? 1 : 0; // pooling drops an odd last row or column
    drawZoomed(canvas, pooled, scaleOf([pooled]), { top: top * side, left: left * side, height: side, width: side });
  }
  showSum(patchOf(plane, window));
}

/** Lists the products in descending order; zeros are only counted. @param {import("../network/arithmetic.js").Patch} patch */
function showSum(patch) {
  const terms = patch.flatMap((line, y) => line.map((value, x) => ({ value: value ?? 0, weight: kernel[y][x], product: (value ?? 0) * kernel[y][x] })))
    .sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  const nonZero = terms.filter(({ product }) => product !== 0);
  const short = (/** @type {number} */ value) => decimal(value, Number.isInteger(value) ? 0 : 2);
  const formatted = nonZero.map(({ value, weight }) => `${decimal(value, isNumbers() ? 0 : 2)} × ${weight < 0 ? `(${short(weight)})` : short(weight)}`);
  const zeros = terms.length - nonZero.length;
  if (zeros > 0) formatted.push(text("zeros", { count: zeros }));
  byId("lab-sum", HTMLElement).textContent = `${text("atOutput", { row, column })}: ${formatted.join(" + ")} = ${short(result[row][column])}`;
}

/** @param {boolean} isPlaying whether the window moves by itself */
function setPlaying(isPlaying) {
  clearInterval(timer);
  timer = isPlaying ? setInterval(() => {
    if (input().length === 0) return;
    const next = nextPosition(result, row, column);
    moveTo(next.row, next.column);
  }, STEP_MS) : undefined;
  play.setAttribute("aria-pressed", String(isPlaying));
  play.textContent = text(isPlaying ? "pause" : "play");
}

addCellNavigation(output, () => ({ row, column, rows: result.length, columns: result[0].length }), (newRow, newColumn) => {
  setPlaying(false);
  moveTo(newRow, newColumn);
});
play.addEventListener("click", () => setPlaying(timer === undefined));
for (const control of [padding, stride]) control.addEventListener("change", compute);
for (const control of [source, preset]) control.addEventListener("change", applyPreset);
addEventListener("resize", () => kernel.length > 0 && input().length > 0 && draw());
