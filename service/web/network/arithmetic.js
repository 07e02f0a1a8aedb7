// The arithmetic of the layers, in steps that the page can show.

/** @typedef {(number | undefined)[][]} Patch undefined on padding */

/** The sum of a patch times a kernel; padding counts as zero. @param {Patch} patch @param {number[][]} kernel */
export const convolve = (patch, kernel) => sum(patch.flatMap((row, y) => row.map((v, x) => (v ?? 0) * kernel[y][x])));

/** The largest value of a patch, or the average; padding does not count. @param {Patch} patch @param {boolean} isMax */
export function pool(patch, isMax) {
  const values = patch.flat().filter((value) => value !== undefined);
  return isMax ? Math.max(...values) : sum(values) / values.length;
}

/** @param {number[]} values @param {number[]} weights */
export const products = (values, weights) => values.map((value, i) => value * weights[i]);

/** @param {number[]} values */
export function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The indices of the values, in descending order. @param {number[]} values */
export const descending = (values) => values.map((_, i) => i).sort((a, b) => values[b] - values[a]);

/** The position of the largest value. @param {number[][]} plane */
export function maxPosition(plane) {
  const values = plane.flat();
  const index = values.indexOf(Math.max(...values));
  return { row: Math.floor(index / plane[0].length), column: index % plane[0].length };
}

/** The position of the largest absolute value. @param {number[][]} plane */
export const maxAbsPosition = (plane) => maxPosition(plane.map((row) => row.map(Math.abs)));

/** The position that follows in reading order; the first follows the last. @param {number[][]} plane @param {number} row @param {number} column */
export function nextPosition(plane, row, column) {
  const [height, width] = [plane.length, plane[0].length];
  const next = (row * width + column + 1) % (height * width);
  return { row: Math.floor(next / width), column: next % width };
}

/** Reorders maps into the output of Flatten: by row, column, channel. @param {number[][][]} planes */
export const flatten = (planes) =>
  planes[0].flatMap((row, y) => row.flatMap((_, x) => planes.map((plane) => plane[y][x])));

/** The inverse of `flatten`. @param {number[]} values @param {number[]} shape height, width and channels of the maps */
export const unflatten = (values, [height, width, channels]) => Array.from({ length: channels }, (_, c) =>
  Array.from({ length: height }, (_row, y) => Array.from({ length: width }, (_column, x) => values[(y * width + x) * channels + c])));

/** Subtracts the largest logit first, so that no exponential overflows. @param {number[]} logits */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - largest));
  const total = sum(exponentials);
  return { largest, exponentials, total, probabilities: exponentials.map((each) => each / total) };
}

const SELU = { alpha: 1.6732632423543772, scale: 1.0507009873554805 };
const LEAKY_SLOPE = 0.2;

/**
 * Keras' activation functions, each with its formula for display.
 * @type {Record<string, {apply: (x: number) => number, formula: string}>}
 */
export const ACTIVATIONS = {
  linear: { apply: (x) => x, formula: "x" },
  relu: { apply: (x) => Math.max(0, x), formula: "max(0, x)" },
  leaky_relu: { apply: (x) => (x < 0 ? LEAKY_SLOPE * x : x), formula: "x < 0 ? 0.2 x : x" },
  elu: { apply: (x) => (x < 0 ? Math.expm1(x) : x), formula: "x < 0 ? eˣ − 1 : x" },
  selu: {
    apply: (x) => SELU.scale * (x < 0 ? SELU.alpha * Math.expm1(x) : x),
    formula: "1.0507 · (x < 0 ? 1.6733 (eˣ − 1) : x)",
  },
  gelu: { apply: (x) => x * normalCdf(x), formula: "x Φ(x)" },
  sigmoid: { apply: sigmoid, formula: "1 / (1 + e⁻ˣ)" },
  silu: { apply: (x) => x * sigmoid(x), formula: "x / (1 + e⁻ˣ)" },
  softplus: { apply: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), formula: "log(1 + eˣ)" },
  tanh: { apply: Math.tanh, formula: "tanh x" },
};

/** @param {number} x */
function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

/** The standard normal distribution: the series of erf near zero, its continued fraction in the tails. @param {number} x */
function normalCdf(x) {
  const z = Math.abs(x) / Math.SQRT2;
  let tail;
  if (z < 2.5) {
    let term = z;
    let series = z;
    for (let n = 1; n < 60; n += 1) {
      term *= -z * z / n;
      series += term / (2 * n + 1);
    }
    tail = 1 - 2 / Math.sqrt(Math.PI) * series;
  } else {
    let fraction = 0;
    for (let n = 60; n > 0; n -= 1) fraction = n / 2 / (z + fraction);
    tail = Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + fraction);
  }
  return x < 0 ? tail / 2 : 1 - tail / 2;
}
