// An enlarged map: large pixels with their values, the padding around it, and a highlighted window.

import { colour, context2d, textColourOn } from "../colours.js";
import { decimal, compact } from "../numbers.js";

/** @typedef {import("./windows.js").Window} Window */
/** @typedef {import("./windows.js").Padding} Padding */

const MIN_CELL_FOR_TEXT = 29; // CSS pixels
const NO_PADDING = { before: 0, after: 0 };

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import("../api.js").Plane} plane
 * @param {import("../colours.js").Scale} scale
 * @param {Window} window to highlight
 * @param {{rows: Padding, columns: Padding}} [padding]
 */
export function drawZoomed(canvas, plane, scale, window, padding = { rows: NO_PADDING, columns: NO_PADDING }) {
  const rows = plane.length + padding.rows.before + padding.rows.after;
  const columns = plane[0].length + padding.columns.before + padding.columns.after;
  const pixelRatio = devicePixelRatio || 1;
  const cell = Math.max(1, Math.floor(canvas.clientWidth * pixelRatio / Math.max(rows, columns)));
  [canvas.width, canvas.height] = [columns * cell, rows * cell];
  canvas.style.aspectRatio = `${columns} / ${rows}`;
  const ctx = context2d(canvas);
  const [left, top] = [padding.columns.before * cell, padding.rows.before * cell];
  drawHatching(ctx, cell); // remains visible on the padding
  plane.forEach((row, y) => row.forEach((value, x) => {
    const background = colour(value, scale);
    ctx.fillStyle = `rgb(${background})`;
    ctx.fillRect(left + x * cell, top + y * cell, cell, cell);
    if (cell < MIN_CELL_FOR_TEXT * pixelRatio) return;
    Object.assign(ctx, { fillStyle: textColourOn(background), font: `${11 * pixelRatio}px system-ui`, textAlign: "center", textBaseline: "middle" });
    ctx.fillText(Number.isInteger(value) ? decimal(value, 0) : compact(value), left + (x + 0.5) * cell, top + (y + 0.5) * cell, cell - 2);
  }));
  for (const [strokeStyle, lineWidth] of /** @type {const} */ ([["#fff", 4], ["#d6006c", 2]])) {
    Object.assign(ctx, { strokeStyle, lineWidth: lineWidth * pixelRatio });
    const inset = 1.5 * pixelRatio;
    ctx.strokeRect(left + window.left * cell + inset, top + window.top * cell + inset, window.width * cell - 2 * inset, window.height * cell - 2 * inset);
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {number} cell */
function drawHatching(ctx, cell) {
  const { width, height } = ctx.canvas;
  Object.assign(ctx, { strokeStyle: "#8888", lineWidth: 1 });
  ctx.beginPath();
  for (let x = -height; x < width; x += Math.max(4, cell / 3)) {
    ctx.moveTo(x, height);
    ctx.lineTo(x + height, 0);
  }
  ctx.stroke();
}
