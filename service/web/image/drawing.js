// A drawing sheet with the resolution of the network's input, for pointer and arrow keys.

import { context2d } from "../colours.js";
import { ARROW_STEPS, byId } from "../elements.js";

/** @typedef {{x: number, y: number}} Point in pixels of the sheet */

/** @param {boolean} isOpen */
export function setDrawingOpen(isOpen) {
  byId("sketch", HTMLElement).hidden = !isOpen;
  byId("pen", HTMLElement).setAttribute("aria-expanded", String(isOpen));
}

/** @param {import("./sources.js").OnImage} onImage @param {[number, number, number]} shape of the network's input */
export function initDrawing(onImage, [height, width]) {
  const sheet = byId("sheet", HTMLCanvasElement);
  const thickness = byId("thickness", HTMLInputElement);
  const ctx = context2d(sheet);
  [sheet.width, sheet.height] = [width, height];
  sheet.style.aspectRatio = `${width} / ${height}`;
  byId("paper", HTMLElement).style.setProperty("--columns", String(width));
  byId("paper", HTMLElement).style.setProperty("--rows", String(height));

  /** @type {Point | undefined} */
  let last;
  /** @type {Point} */
  let cursor = { x: width / 2, y: height / 2 };

  const clear = () => {
    ctx.fillStyle = "black";
    ctx.fillRect(0, 0, width, height);
  };
  const submit = () => {
    last = undefined;
    sheet.toBlob((file) => file && onImage({ file, name: "drawing.png" }), "image/png");
  };
  /** @param {Point} from @param {Point} to */
  const stroke = (from, to) => {
    const colour = byId("rubber", HTMLInputElement).checked ? "black" : "white";
    Object.assign(ctx, { strokeStyle: colour, lineWidth: Number(thickness.value), lineCap: "round", lineJoin: "round" });
    ctx.beginPath();
    ctx.moveTo(from.x, from.y);
    ctx.lineTo(to.x + 0.01, to.y); // a line of no length would leave no dot
    ctx.stroke();
  };
  /** @param {PointerEvent} event @returns {Point} */
  const pointOf = (event) => ({
    x: event.offsetX * width / sheet.clientWidth, y: event.offsetY * height / sheet.clientHeight,
  });

  clear();
  byId("pen", HTMLElement).addEventListener("click", () => setDrawingOpen(byId("sketch", HTMLElement).hidden === true));
  byId("wipe", HTMLElement).addEventListener("click", () => {
    clear();
    submit();
  });
  sheet.addEventListener("pointerdown", (event) => {
    sheet.setPointerCapture(event.pointerId);
    last = pointOf(event);
    stroke(last, last);
  });
  sheet.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = pointOf(event);
    stroke(last, next);
    last = next;
  });
  sheet.addEventListener("pointerup", () => last && submit());
  sheet.addEventListener("pointercancel", () => { last = undefined; });
  sheet.addEventListener("keydown", (event) => {
    const step = ARROW_STEPS.get(event.key);
    if (!step) return;
    event.preventDefault();
    const next = {
      x: Math.min(Math.max(cursor.x + step[1], 0), width), y: Math.min(Math.max(cursor.y + step[0], 0), height),
    };
    if (!event.shiftKey) stroke(cursor, next); // Shift lifts the pen
    cursor = next;
  });
  sheet.addEventListener("keyup", (event) => ARROW_STEPS.has(event.key) && !event.shiftKey && submit());
}
