// A diagram of a kernel sliding over its input: the window, the padding, and the output that they make.

import { addCellNavigation, byId, clampIndex } from "../elements.js";
import { paddingOf } from "../network/windows.js";

const SVG = "http://www.w3.org/2000/svg";
const CELL = 10;

/** @type {{size: number, kernel: number, stride: number, padding: string, out: number}} */
let geometry = { size: 0, kernel: 0, stride: 0, padding: "", out: 0 };
let [row, column] = [0, 0];

/** @param {number} size @param {number} kernel @param {number} stride @param {string} padding @param {number} out size of the output */
export function showSliding(size, kernel, stride, padding, out) {
  geometry = { size, kernel, stride, padding, out };
  moveTo(row, column);
}

/** @param {number} newRow @param {number} newColumn of the output */
function moveTo(newRow, newColumn) {
  const { size, kernel, stride, padding, out } = geometry;
  [row, column] = [clampIndex(newRow, Math.max(out, 1)), clampIndex(newColumn, Math.max(out, 1))];
  const border = paddingOf(size, kernel, stride, padding);
  const isInput = (/** @type {number} */ at) => at >= border.before && at < border.before + size;
  const isInWindow = (/** @type {number} */ at, /** @type {number} */ output) => at >= output * stride && at < output * stride + kernel;
  byId("sliding-input", HTMLElement).replaceChildren(grid(size + border.before + border.after, (y, x) =>
    `${isInput(y) && isInput(x) ? "cell" : "cell pad"}${out > 0 && isInWindow(y, row) && isInWindow(x, column) ? " under" : ""}`));
  output.replaceChildren(grid(Math.max(out, 0), (y, x) => (y === row && x === column ? "cell made" : "cell")));
}

/** @param {number} side @param {(row: number, column: number) => string} classOf */
function grid(side, classOf) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `-1 -1 ${side * CELL + 2} ${side * CELL + 2}`);
  svg.setAttribute("aria-hidden", "true");
  for (let y = 0; y < side; y += 1) for (let x = 0; x < side; x += 1) {
    const cell = document.createElementNS(SVG, "rect");
    const attributes = { x: x * CELL, y: y * CELL, width: CELL, height: CELL, class: classOf(y, x) };
    for (const [name, value] of Object.entries(attributes)) cell.setAttribute(name, String(value));
    svg.append(cell);
  }
  return svg;
}

const output = byId("sliding-output", HTMLElement);
addCellNavigation(output, () => ({ row, column, rows: geometry.out, columns: geometry.out }), moveTo);
