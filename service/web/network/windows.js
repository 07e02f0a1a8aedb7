// The window of a convolution or pooling layer: the input pixels that one output pixel is computed from.

/** @typedef {import("./stages.js").Stage} Stage */
/**
 * @typedef {{top: number, left: number, height: number, width: number}} Window
 *   in pixels of the layer before; any part outside of its map is padding
 * @typedef {{before: number, after: number}} Padding along one axis
 */

/**
 * Follows TensorFlow: if the total is odd, the extra pixel goes after.
 * @param {number} size of the input
 * @param {number} window
 * @param {number} stride
 * @param {string} mode "same" or "valid"
 * @returns {Padding}
 */
export function paddingOf(size, window, stride, mode) {
  if (mode !== "same") return { before: 0, after: 0 };
  const total = Math.max((Math.ceil(size / stride) - 1) * stride + window - size, 0);
  return { before: Math.floor(total / 2), after: Math.ceil(total / 2) };
}

/**
 * @param {Stage} stage a convolution or pooling layer
 * @returns {{size: [number, number], strides: [number, number], rows: Padding, columns: Padding}}
 */
export function geometryOf({ layer: { configuration }, before }) {
  const size = configuration.kernel_size ?? configuration.pool_size;
  const strides = configuration.strides ?? size;
  const [height, width] = /** @type {Stage} */ (before).layer.output_shape;
  return {
    size, strides,
    rows: paddingOf(height, size[0], strides[0], configuration.padding),
    columns: paddingOf(width, size[1], strides[1], configuration.padding),
  };
}

/**
 * @param {Stage} stage a convolution or pooling layer
 * @param {number} row @param {number} column of its output
 * @returns {Window}
 */
export function windowOf(stage, row, column) {
  const { size, strides, rows, columns } = geometryOf(stage);
  return {
    top: row * strides[0] - rows.before, left: column * strides[1] - columns.before,
    height: size[0], width: size[1],
  };
}

/**
 * The values in a window, undefined on padding.
 * @param {import("../api.js").Plane} plane
 * @param {Window} window
 * @returns {import("./arithmetic.js").Patch}
 */
export const patchOf = (plane, { top, left, height, width }) =>
  Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_v, x) => plane[top + y]?.[left + x]));
