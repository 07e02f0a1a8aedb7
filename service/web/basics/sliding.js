// A kernel sliding over its input: which inputs, padding among them, make which output.

import { ARROWS, byId, cellAt, within } from "../elements.js";
import { borderOf } from "../network/windows.js";

const SVG = "http://www.w3.org/2000/svg";
const CELL = 10;

/** @type {{size: number, kernel: number, stride: number, padding: string, out: number}} */
let drawn = { size: 0, kernel: 0, stride: 0, padding: "", out: 0 };
let [row, column] = [0, 0];

/** @param {number} size @param {number} kernel @param {number} stride @param {string} padding @param {number} out */
export function showSliding(size, kernel, stride, padding, out) {
  drawn = { size, kernel, stride, padding, out };
  [row, column] = [Math.min(row, Math.max(out - 1, 0)), Math.min(column, Math.max(out - 1, 0))];
  draw();
}

function draw() {
  const { size, kernel, stride, padding, out } = drawn;
  const border = borderOf(size, kernel, stride, padding);
  const all = size + border.before + border.after;
  const input = grid(all, (y, x) => {
    const [inputRow, inputColumn] = [y - border.before, x - border.before];
    const inside = inputRow >= 0 && inputRow < size && inputColumn >= 0 && inputColumn < size;
    const lit = y >= row * stride && y < row * stride + kernel && x >= column * stride && x < column * stride + kernel;
    return `${inside ? "cell" : "cell pad"}${lit && out > 0 ? " under" : ""}`;
  });
  const output = grid(Math.max(out, 0), (y, x) => (y === row && x === column ? "cell made" : "cell"));
  byId("sliding-input", HTMLElement).replaceChildren(input);
  byId("sliding-output", HTMLElement).replaceChildren(output);
}

/** @param {number} side @param {(row: number, column: number) => string} classOf */
function grid(side, classOf) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", `-1 -1 ${side * CELL + 2} ${side * CELL + 2}`);
  drawing.setAttribute("aria-hidden", "true");
  for (let y = 0; y < side; y += 1) for (let x = 0; x < side; x += 1) {
    const cell = document.createElementNS(SVG, "rect");
    const place = { x: x * CELL, y: y * CELL, width: CELL, height: CELL, class: classOf(y, x) };
    for (const [name, value] of Object.entries(place)) cell.setAttribute(name, String(value));
    drawing.append(cell);
  }
  return drawing;
}

const output = byId("sliding-output", HTMLElement);

/** @param {number} toRow @param {number} toColumn */
function moveTo(toRow, toColumn) {
  const last = Math.max(drawn.out, 1);
  [row, column] = [within(toRow, last), within(toColumn, last)];
  draw();
}

output.addEventListener("keydown", (event) => {
  const step = ARROWS.get(event.key);
  if (!step) return;
  event.preventDefault();
  moveTo(row + step[0], column + step[1]);
});
for (const type of /** @type {const} */ (["pointermove", "pointerdown"])) {
  output.addEventListener(type, (event) => {
    const at = cellAt(output, event, drawn.out, drawn.out);
    moveTo(at.row, at.column);
  });
}
