// One map, large: its pixels, the padding round it, and what is lit in it.

import { colour, context, inkOn } from "../colours.js";
import { decimal, short } from "../numbers.js";

/** @typedef {import("./windows.js").Window} Window */
/** @typedef {import("./windows.js").Border} Border */

const ROOM_FOR_NUMBERS = 29; // CSS pixels of a cell
const NONE = { before: 0, after: 0 };

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("../api.js").Plane} plane
 * @param {import("../colours.js").Scale} scale
 * @param {Window} lit
 * @param {{rows: Border, columns: Border}} [padding]
 */
export function enlarge(canvas, plane, scale, lit, padding = { rows: NONE, columns: NONE }) {
  const rows = plane.length + padding.rows.before + padding.rows.after;
  const columns = plane[0].length + padding.columns.before + padding.columns.after;
  const sharp = devicePixelRatio || 1;
  const cell = Math.max(1, Math.floor(canvas.clientWidth * sharp / Math.max(rows, columns)));
  [canvas.width, canvas.height] = [columns * cell, rows * cell];
  canvas.style.aspectRatio = `${columns} / ${rows}`;
  const ink = context(canvas);
  const [left, top] = [padding.columns.before * cell, padding.rows.before * cell];
  hatch(ink, cell);
  plane.forEach((row, y) => row.forEach((value, x) => {
    const rgb = colour(value, scale);
    ink.fillStyle = `rgb(${rgb})`;
    ink.fillRect(left + x * cell, top + y * cell, cell, cell);
    if (cell < ROOM_FOR_NUMBERS * sharp) return;
    Object.assign(ink, { fillStyle: inkOn(rgb), font: `${11 * sharp}px system-ui`, textAlign: "center", textBaseline: "middle" });
    ink.fillText(Number.isInteger(value) ? decimal(value, 0) : short(value), left + (x + 0.5) * cell, top + (y + 0.5) * cell, cell - 2);
  }));
  outline(ink, left + lit.left * cell, top + lit.top * cell, lit.width * cell, lit.height * cell, sharp);
}

/** What shows where there is only padding. @param {CanvasRenderingContext2D} ink @param {number} cell */
function hatch(ink, cell) {
  const { width, height } = ink.canvas;
  Object.assign(ink, { strokeStyle: "#8888", lineWidth: 1 });
  ink.beginPath();
  for (let at = -height; at < width; at += Math.max(4, cell / 3)) {
    ink.moveTo(at, height);
    ink.lineTo(at + height, 0);
  }
  ink.stroke();
}

/**
 * @param {CanvasRenderingContext2D} ink
 * @param {number} x @param {number} y @param {number} width @param {number} height
 * @param {number} sharp
 */
function outline(ink, x, y, width, height, sharp) {
  for (const [strokeStyle, line] of /** @type {const} */ ([["#fff", 4], ["#d6006c", 2]])) {
    Object.assign(ink, { strokeStyle, lineWidth: line * sharp });
    const inset = 1.5 * sharp;
    ink.strokeRect(x + inset, y + inset, width - 2 * inset, height - 2 * inset);
  }
}
