// Numbers to colours: viridis for what a layer answers, purple to orange round zero for what it learned.

/** @param {string[]} stops */
const ramp = (stops) => stops.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

// Every eighth of viridis; PuOr of ColorBrewer. Straight lines between.
const VIRIDIS = ramp(["440154", "472c7a", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"]);
const AROUND_ZERO = ramp(["542788", "8073ac", "b2abd2", "d8daeb", "f7f7f7", "fee0b6", "fdb863", "e08214", "b35806"]);
const GREY = ramp(["000000", "ffffff"]);

/**
 * @typedef {number[][]} Ramp
 * @typedef {{low: number, high: number, ramp: Ramp}} Scale
 * @typedef {import("./api.js").Plane} Plane
 */

/** From the smallest to the largest of what the planes hold. @param {Plane[]} planes @returns {Scale} */
export function scaleOf(planes) {
  let [low, high] = [Infinity, -Infinity];
  for (const plane of planes) for (const row of plane) for (const value of row) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high, ramp: VIRIDIS };
}

/** As far below zero as above it. @param {number[]} values @returns {Scale} */
export function scaleAroundZero(values) {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return { low: -most, high: most, ramp: AROUND_ZERO };
}

/** The largest pixel of an image. */
export const WHITE = 255;

/** @param {number} high @returns {Scale} */
export const greyUpTo = (high) => ({ low: 0, high, ramp: GREY });

/** @param {number} value @param {Scale} scale @returns {number[]} red, green, blue in 0…255 */
export function colour(value, { low, high, ramp: stops }) {
  const share = high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : stops === AROUND_ZERO ? 0.5 : 0;
  const place = share * (stops.length - 1);
  const below = Math.min(Math.floor(place), stops.length - 2);
  return stops[below].map((from, c) => from + (place - below) * (stops[below + 1][c] - from));
}

/** Black or white, whichever is read on that colour. @param {number[]} rgb */
export function inkOn(rgb) {
  const [red, green, blue] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000" : "#fff";
}

/** @param {HTMLCanvasElement} canvas */
export const context = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/**
 * Draw a plane, one canvas pixel a number.
 * @param {HTMLCanvasElement} canvas
 * @param {Plane} plane
 * @param {Scale} scale
 */
export function paint(canvas, plane, scale) {
  const [height, width] = [plane.length, plane[0].length];
  [canvas.width, canvas.height] = [width, height];
  const pixels = new ImageData(width, height);
  let at = 0;
  for (const row of plane) for (const value of row) {
    [pixels.data[at], pixels.data[at + 1], pixels.data[at + 2]] = colour(value, scale);
    pixels.data[at + 3] = 255;
    at += 4;
  }
  context(canvas).putImageData(pixels, 0, 0);
}

/**
 * Draw planes beside and below each other, a pixel apart.
 * @param {HTMLCanvasElement} canvas
 * @param {Plane[]} planes all of one size
 * @param {Scale} scale
 */
export function paintTogether(canvas, planes, scale) {
  const [height, width] = [planes[0].length + 1, planes[0][0].length + 1];
  const columns = Math.ceil(Math.sqrt(planes.length));
  canvas.width = columns * width - 1;
  canvas.height = Math.ceil(planes.length / columns) * height - 1;
  const one = document.createElement("canvas");
  planes.forEach((plane, i) => {
    paint(one, plane, scale);
    context(canvas).drawImage(one, (i % columns) * width, Math.floor(i / columns) * height);
  });
}
