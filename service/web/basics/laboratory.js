// A kernel to edit, slid over the reader's own image or over ten numbers, with pooling beside it: every sum is real.

import { WHITE, greyUpTo, scaleOf } from "../colours.js";
import { ARROWS, byId, cellAt, make, within } from "../elements.js";
import { text } from "../language/text.js";
import { enlarge } from "../network/enlarged.js";
import { pooled, underKernel } from "../network/sums.js";
import { borderOf, patchOf } from "../network/windows.js";
import { decimal } from "../numbers.js";
import { outputSize } from "./shapes.js";

/** @typedef {import("../api.js").Plane} Plane */

/** By name, of an image and of a row. @type {Record<string, [Plane, Plane]>} */
const KERNELS = {
  edge: [[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], [[-1, 0, 1]]],
  flatEdge: [[[-1, -2, -1], [0, 0, 0], [1, 2, 1]], [[1, 0, -1]]],
  blur: [[[0.11, 0.11, 0.11], [0.11, 0.11, 0.11], [0.11, 0.11, 0.11]], [[0.33, 0.33, 0.33]]],
  sharpen: [[[0, -1, 0], [-1, 5, -1], [0, -1, 0]], [[-1, 3, -1]]],
};
/** The lesson's: a step up and a step down. */
const TEN = [[1, 1, 2, 5, 9, 9, 9, 4, 2, 1]];
const POOL = 2;
const STEP_MS = 350;

const what = byId("lab-what", HTMLSelectElement);
const preset = byId("lab-preset", HTMLSelectElement);
const weights = byId("lab-kernel", HTMLElement);
const padding = byId("lab-padding", HTMLSelectElement);
const stride = byId("lab-stride", HTMLSelectElement);
const play = byId("lab-play", HTMLButtonElement);
const output = byId("lab-output", HTMLCanvasElement);

/** The image as the network sees it, in 0…1; none while it is not known. @type {Plane | undefined} */
let pixels;
/** @type {Plane} */
let kernel = [];
/** @type {Plane} */
let made = [[0]];
let [row, column] = [0, 0];
/** @type {ReturnType<typeof setInterval> | undefined} */
let sliding;

/** @param {Plane | undefined} image that is shown, in 0…255 */
export function experimentWith(image) {
  pixels = image?.map((line) => line.map((pixel) => pixel / WHITE));
  if (kernel.length === 0) choosePreset();
  else show();
}

/** Compute anew, and begin where most is to be seen. */
function show() {
  compute();
  if (input().length === 0) return;
  const sizes = made.flat().map(Math.abs);
  const at = sizes.indexOf(Math.max(...sizes));
  moveTo(Math.floor(at / made[0].length), at % made[0].length);
}

const isRow = () => what.value === "numbers";
const input = () => (isRow() ? TEN : pixels ?? []);

/** The fields of a preset; `own` leaves what is there, if it is there: a browser keeps the choice over a reload, not the weights. */
function choosePreset() {
  if (preset.value === "own" && kernel.length !== (isRow() ? 1 : 3)) preset.value = "edge";
  byId("lab", HTMLElement).classList.toggle("row-of-numbers", isRow());
  const chosen = KERNELS[preset.value]?.[isRow() ? 1 : 0];
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
  show();
}

/** How a window lies on an axis. @param {number} size @param {number} window */
const axis = (size, window) => ({
  out: window > size && padding.value === "valid" ? 0 : outputSize(size, window, Number(stride.value), padding.value),
  border: borderOf(size, window, Number(stride.value), padding.value),
});

function compute() {
  const plane = input();
  byId("lab", HTMLElement).classList.toggle("empty", plane.length === 0);
  if (plane.length === 0) return;
  const [rows, columns] = [axis(plane.length, kernel.length), axis(plane[0].length, kernel[0].length)];
  made = Array.from({ length: rows.out }, (_, y) => Array.from({ length: columns.out }, (_v, x) => underKernel(patchOf(plane, windowAt(y, x)), kernel)));
  byId("lab-sizes", HTMLElement).textContent = text("labSizes", {
    size: isRow() ? plane[0].length : `${plane.length} × ${plane[0].length}`, out: isRow() ? columns.out : `${rows.out} × ${columns.out}`,
    pooled: isRow() ? Math.floor(columns.out / POOL) : `${Math.floor(rows.out / POOL)} × ${Math.floor(columns.out / POOL)}`,
  });
  moveTo(row, column);
}

/** @param {number} y @param {number} x of the output @returns {import("../network/windows.js").Window} */
function windowAt(y, x) {
  const plane = input();
  const [rows, columns] = [axis(plane.length, kernel.length), axis(plane[0].length, kernel[0].length)];
  return {
    top: y * Number(stride.value) - rows.border.before, left: x * Number(stride.value) - columns.border.before,
    height: kernel.length, width: kernel[0].length,
  };
}

/** @param {number} toRow @param {number} toColumn of the output */
function moveTo(toRow, toColumn) {
  if (input().length === 0) return;
  [row, column] = [within(toRow, made.length), within(toColumn, made[0].length)];
  draw();
}

function draw() {
  const plane = input();
  const window = windowAt(row, column);
  const frame = { rows: axis(plane.length, kernel.length).border, columns: axis(plane[0].length, kernel[0].length).border };
  enlarge(byId("lab-input", HTMLCanvasElement), plane, isRow() ? scaleOf([plane]) : greyUpTo(1), window, frame);
  enlarge(output, made, scaleOf([made]), { top: row, left: column, height: 1, width: 1 });
  const high = isRow() ? 1 : POOL;
  const at = { top: Math.floor(row / high), left: Math.floor(column / POOL), height: 1, width: 1 };
  for (const [id, largest] of /** @type {const} */ ([["lab-max", true], ["lab-average", false]])) {
    const smaller = Array.from({ length: Math.floor(made.length / high) }, (_, y) => Array.from({ length: Math.floor(made[0].length / POOL) }, (_v, x) =>
      pooled(patchOf(made, { top: y * high, left: x * POOL, height: high, width: POOL }), largest)));
    const canvas = byId(id, HTMLCanvasElement);
    canvas.hidden = smaller.length === 0 || smaller[0].length === 0;
    if (!canvas.hidden) enlarge(canvas, smaller, scaleOf([smaller]), at.top < smaller.length && at.left < smaller[0].length ? at : { top: 0, left: 0, height: 0, width: 0 });
  }
  writeSum(patchOf(plane, window));
}

/** The largest products first; those that are zero are only counted. @param {(number | undefined)[][]} patch */
function writeSum(patch) {
  const terms = patch.flatMap((line, y) => line.map((value, x) => ({ value: value ?? 0, weight: kernel[y][x], term: (value ?? 0) * kernel[y][x] })))
    .sort((a, b) => Math.abs(b.term) - Math.abs(a.term));
  const some = terms.filter(({ term }) => term !== 0);
  const places = isRow() ? 0 : 2;
  const short = (/** @type {number} */ value) => (Number.isInteger(value) ? decimal(value, 0) : decimal(value, 2));
  const written = some.map(({ value, weight }) => `${decimal(value, places)} × ${weight < 0 ? `(${short(weight)})` : short(weight)}`);
  const zeros = terms.length - some.length;
  if (zeros > 0) written.push(text("zeros", { count: zeros }));
  byId("lab-sum", HTMLElement).textContent = `${text("atOutput", { row, column })}: ${written.join(" + ")} = ${short(made[row][column])}`;
}

/** Let the window slide by itself, or hold it. @param {boolean} now */
function slide(now) {
  clearInterval(sliding);
  sliding = now ? setInterval(() => {
    if (input().length === 0) return;
    const next = row * made[0].length + column + 1;
    const at = next % (made.length * made[0].length);
    moveTo(Math.floor(at / made[0].length), at % made[0].length);
  }, STEP_MS) : undefined;
  play.setAttribute("aria-pressed", String(now));
  play.textContent = text(now ? "pause" : "play");
}

output.addEventListener("keydown", (event) => {
  const step = ARROWS.get(event.key);
  if (!step) return;
  event.preventDefault();
  slide(false);
  moveTo(row + step[0], column + step[1]);
});
for (const type of /** @type {const} */ (["pointermove", "pointerdown"])) {
  output.addEventListener(type, (event) => {
    slide(false);
    const at = cellAt(output, event, made.length, made[0].length);
    moveTo(at.row, at.column);
  });
}
play.addEventListener("click", () => slide(sliding === undefined));
for (const control of [padding, stride]) control.addEventListener("change", compute);
for (const control of [what, preset]) control.addEventListener("change", choosePreset);
addEventListener("resize", () => kernel.length > 0 && input().length > 0 && draw());
