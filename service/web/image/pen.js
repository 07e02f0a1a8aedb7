// A sheet of the network's own pixels to draw on, with finger, mouse, or the arrow keys.

import { context } from "../colours.js";
import { ARROWS, byId } from "../elements.js";

/** @typedef {{x: number, y: number}} Place in pixels of the sheet */

/** Show the sheet, or put it away. */
export function openPen(now = true) {
  byId("sketch", HTMLElement).hidden = !now;
  byId("pen", HTMLElement).setAttribute("aria-expanded", String(now));
}

/** @param {import("./giving.js").Give} give @param {[number, number, number]} shape of the network's input */
export function listenToPen(give, [height, width]) {
  const sheet = byId("sheet", HTMLCanvasElement);
  const thickness = byId("thickness", HTMLInputElement);
  const ink = context(sheet);
  [sheet.width, sheet.height] = [width, height];
  sheet.style.aspectRatio = `${width} / ${height}`;
  byId("paper", HTMLElement).style.setProperty("--columns", String(width));
  byId("paper", HTMLElement).style.setProperty("--rows", String(height));

  /** @type {Place | undefined} */
  let last;
  /** @type {Place} */
  let cursor = { x: width / 2, y: height / 2 };

  const wipe = () => {
    ink.fillStyle = "black";
    ink.fillRect(0, 0, width, height);
  };
  const finish = () => {
    last = undefined;
    sheet.toBlob((image) => image && give({ image, name: "drawing.png" }), "image/png");
  };
  /** @param {Place} from @param {Place} to */
  const stroke = (from, to) => {
    const colour = byId("rubber", HTMLInputElement).checked ? "black" : "white";
    Object.assign(ink, { strokeStyle: colour, lineWidth: Number(thickness.value), lineCap: "round", lineJoin: "round" });
    ink.beginPath();
    ink.moveTo(from.x, from.y);
    ink.lineTo(to.x + 0.01, to.y); // a dot, if it is the same place
    ink.stroke();
  };
  /** @param {PointerEvent} event @returns {Place} */
  const placeOf = (event) => ({
    x: event.offsetX * width / sheet.clientWidth, y: event.offsetY * height / sheet.clientHeight,
  });

  wipe();
  byId("pen", HTMLElement).addEventListener("click", () => openPen(byId("sketch", HTMLElement).hidden === true));
  byId("wipe", HTMLElement).addEventListener("click", () => {
    wipe();
    finish();
  });
  sheet.addEventListener("pointerdown", (event) => {
    sheet.setPointerCapture(event.pointerId);
    last = placeOf(event);
    stroke(last, last);
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = placeOf(event);
    stroke(last, next);
    last = next;
  });
  sheet.addEventListener("pointerup", () => last && finish());
  sheet.addEventListener("pointercancel", () => { last = undefined; });
  sheet.addEventListener("keydown", (event) => {
    const step = ARROWS.get(event.key);
    if (!step) return;
    event.preventDefault();
    const next = {
      x: Math.min(Math.max(cursor.x + step[1], 0), width), y: Math.min(Math.max(cursor.y + step[0], 0), height),
    };
    if (!event.shiftKey) stroke(cursor, next); // with Shift the pen is lifted
    cursor = next;
  });
  sheet.addEventListener("keyup", (event) => ARROWS.has(event.key) && !event.shiftKey && finish());
}
