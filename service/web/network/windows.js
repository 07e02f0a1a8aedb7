// Which pixels of the layer before one pixel of a convolution or pooling layer comes from.

/** @typedef {import("./stages.js").Stage} Stage */
/**
 * @typedef {{top: number, left: number, height: number, width: number}} Window
 *   in pixels of the layer before; what is outside of it is padding
 * @typedef {{before: number, after: number}} Border padding along one axis
 */

/**
 * The padding along one axis, as TensorFlow places it: what is odd goes after.
 * @param {number} size inputs
 * @param {number} window
 * @param {number} stride
 * @param {string} padding "same" or "valid"
 * @returns {Border}
 */
export function borderOf(size, window, stride, padding) {
  if (padding !== "same") return { before: 0, after: 0 };
  const total = Math.max((Math.ceil(size / stride) - 1) * stride + window - size, 0);
  return { before: Math.floor(total / 2), after: Math.ceil(total / 2) };
}

/**
 * @param {Stage} stage a convolution or pooling layer
 * @returns {{size: [number, number], strides: [number, number], rows: Border, columns: Border}}
 */
export function frameOf({ layer, before }) {
  const { configuration } = layer;
  const size = configuration.kernel_size ?? configuration.pool_size;
  const strides = configuration.strides ?? size;
  const [height, width] = /** @type {Stage} */ (before).layer.output_shape;
  return {
    size, strides,
    rows: borderOf(height, size[0], strides[0], configuration.padding),
    columns: borderOf(width, size[1], strides[1], configuration.padding),
  };
}

/**
 * @param {Stage} stage a convolution or pooling layer
 * @param {number} row @param {number} column of its output
 * @returns {Window}
 */
export function windowOf(stage, row, column) {
  const { size, strides, rows, columns } = frameOf(stage);
  return {
    top: row * strides[0] - rows.before, left: column * strides[1] - columns.before,
    height: size[0], width: size[1],
  };
}

/**
 * The numbers under a window; undefined where it lies on padding.
 * @param {import("../api.js").Plane} plane
 * @param {Window} window
 * @returns {(number | undefined)[][]}
 */
export const patchOf = (plane, { top, left, height, width }) =>
  Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => plane[top + y]?.[left + x]));
