// Colour scales: viridis for activations, purple to orange around zero for weights.

/** @param {string[]} stops */
const parseRamp = (stops) => stops.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

// Nine stops each, interpolated linearly; PuOr is ColorBrewer's.
const VIRIDIS = parseRamp(["440154", "472c7a", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"]);
const PUOR = parseRamp(["542788", "8073ac", "b2abd2", "d8daeb", "f7f7f7", "fee0b6", "fdb863", "e08214", "b35806"]);
const GREY = parseRamp(["000000", "ffffff"]);

/**
 * @typedef {number[][]} Ramp
 * @typedef {{low: number, high: number, ramp: Ramp}} Scale
 * @typedef {import("./api.js").Plane} Plane
 */

/** Spans the smallest to the largest value. @param {Plane[]} planes @returns {Scale} */
export function scaleOf(planes) {
  let [low, high] = [Infinity, -Infinity];
  for (const plane of planes) for (const row of plane) for (const value of row) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high, ramp: VIRIDIS };
}

/** Symmetric around zero. @param {number[]} values @returns {Scale} */
export function divergingScale(values) {
  let high = 0;
  for (const value of values) high = Math.max(high, Math.abs(value));
  return { low: -high, high, ramp: PUOR };
}

/** The largest pixel value of an image. */
export const WHITE = 255;

/** @param {number} high @returns {Scale} */
export const greyScale = (high) => ({ low: 0, high, ramp: GREY });

/** @param {number} value @param {Scale} scale @returns {number[]} red, green, blue in 0…255 */
export function colour(value, { low, high, ramp }) {
  const share = high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : ramp === PUOR ? 0.5 : 0;
  const position = share * (ramp.length - 1);
  const stop = Math.min(Math.floor(position), ramp.length - 2);
  return ramp[stop].map((from, c) => from + (position - stop) * (ramp[stop + 1][c] - from));
}

/** Black or white, whichever has more contrast with the background. @param {number[]} background */
export function textColourOn(background) {
  const [red, green, blue] = background.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 ? "#000" : "#fff";
}

/** @param {HTMLCanvasElement} canvas */
export const context2d = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/**
 * One pixel for each number.
 * @param {Plane} plane
 * @param {(value: number) => number[]} rgbaOf
 */
function pixelsOf(plane, rgbaOf) {
  const pixels = new ImageData(plane[0].length, plane.length);
  plane.flat().forEach((value, i) => pixels.data.set(rgbaOf(value), 4 * i));
  return pixels;
}

/**
 * Draws one canvas pixel for each number.
 * @param {HTMLCanvasElement} canvas
 * @param {Plane} plane
 * @param {(value: number) => number[]} rgbaOf
 */
export function paintPixels(canvas, plane, rgbaOf) {
  [canvas.width, canvas.height] = [plane[0].length, plane.length];
  context2d(canvas).putImageData(pixelsOf(plane, rgbaOf), 0, 0);
}

/** @param {Scale} scale @returns {(value: number) => number[]} */
const opaque = (scale) => (value) => [...colour(value, scale), 255];

/** @param {HTMLCanvasElement} canvas @param {Plane} plane @param {Scale} scale */
export const paintPlane = (canvas, plane, scale) => paintPixels(canvas, plane, opaque(scale));

/**
 * Draws planes as tiles of a grid, with a gap of one pixel.
 * @param {HTMLCanvasElement} canvas
 * @param {Plane[]} planes all of one size
 * @param {Scale} scale
 */
export function paintMosaic(canvas, planes, scale) {
  const [height, width] = [planes[0].length + 1, planes[0][0].length + 1];
  const columns = Math.ceil(Math.sqrt(planes.length));
  canvas.width = columns * width - 1;
  canvas.height = Math.ceil(planes.length / columns) * height - 1;
  const context = context2d(canvas);
  planes.forEach((plane, i) => {
    const pixels = pixelsOf(plane, opaque(scale));
    context.putImageData(pixels, (i % columns) * width, Math.floor(i / columns) * height);
  });
}
