// The arithmetic of the layers, written so that each step of it can be shown.

/** @typedef {(number | undefined)[][]} Patch undefined on padding */

/**
 * The sum of a patch under its kernel; padding counts as zero.
 * @param {Patch} patch
 * @param {number[][]} kernel
 */
export const underKernel = (patch, kernel) => sum(patch.flatMap((row, y) => row.map((v, x) => (v ?? 0) * kernel[y][x])));

/**
 * What pooling makes of a patch; padding does not count.
 * @param {Patch} patch
 * @param {boolean} largest or else the average
 */
export function pooled(patch, largest) {
  const values = patch.flat().filter((value) => value !== undefined);
  return largest ? Math.max(...values) : sum(values) / values.length;
}

/** @param {number[]} values @param {number[]} weights */
export const products = (values, weights) => values.map((value, i) => value * weights[i]);

/** @param {number[]} values */
export function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The exponentials, less the largest so that none overflows, and their shares. @param {number[]} logits */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const total = sum(powers);
  return { largest, powers, total, shares: powers.map((power) => power / total) };
}

const SELU = { alpha: 1.6732632423543772, scale: 1.0507009873554805 };
const LEAK = 0.2;

/**
 * Keras' activations, each with how it is written.
 * @type {Record<string, {of: (x: number) => number, written: string}>}
 */
export const ACTIVATIONS = {
  linear: { of: (x) => x, written: "x" },
  relu: { of: (x) => Math.max(0, x), written: "max(0, x)" },
  leaky_relu: { of: (x) => (x < 0 ? LEAK * x : x), written: "x < 0 ? 0.2 x : x" },
  elu: { of: (x) => (x < 0 ? Math.expm1(x) : x), written: "x < 0 ? eˣ − 1 : x" },
  selu: {
    of: (x) => SELU.scale * (x < 0 ? SELU.alpha * Math.expm1(x) : x),
    written: "1.0507 · (x < 0 ? 1.6733 (eˣ − 1) : x)",
  },
  gelu: { of: (x) => x * normal(x), written: "x Φ(x)" },
  sigmoid: { of: sigmoid, written: "1 / (1 + e⁻ˣ)" },
  silu: { of: (x) => x * sigmoid(x), written: "x / (1 + e⁻ˣ)" },
  softplus: { of: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))), written: "log(1 + eˣ)" },
  tanh: { of: Math.tanh, written: "tanh x" },
};

/** @param {number} x */
function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

/**
 * Cumulative normal distribution by the series of erf and, far out, its continued fraction.
 * @param {number} x
 */
function normal(x) {
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
