// Numbers to colours: every eighth of viridis, straight lines between.

const STOPS = ["440154", "472c7a", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"]
  .map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

/** @typedef {[number, number]} Range smallest and largest value */

/** @param {number[][][]} planes @returns {Range} */
export function rangeOf(planes) {
  let [low, high] = [Infinity, -Infinity];
  for (const plane of planes) for (const row of plane) for (const value of row) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/**
 * Draw a plane, one canvas pixel a value.
 * @param {HTMLCanvasElement} canvas
 * @param {number[][]} plane
 * @param {Range} range
 * @param {boolean} grey
 */
export function paint(canvas, plane, [low, high], grey = false) {
  const [height, width] = [plane.length, plane[0].length];
  [canvas.width, canvas.height] = [width, height];
  const pixels = new ImageData(width, height);
  plane.flat().forEach((value, i) => {
    const share = high > low ? (value - low) / (high - low) : 0;
    pixels.data.set([...(grey ? Array(3).fill(255 * share) : viridis(share)), 255], 4 * i);
  });
  context(canvas).putImageData(pixels, 0, 0);
}

/** @param {HTMLCanvasElement} canvas */
export function context(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/** @param {number} share in [0, 1] */
function viridis(share) {
  const place = share * (STOPS.length - 1);
  const below = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[below].map((from, c) => from + (place - below) * (STOPS[below + 1][c] - from));
}
