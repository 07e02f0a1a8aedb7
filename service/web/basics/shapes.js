// How large the maps of a network are that is not trained yet, with the arithmetic.

/**
 * One convolution and the pooling after it, by the names that training gives its settings.
 * @typedef {object} Block
 * @property {number} filters
 * @property {number} kernel_size
 * @property {string} activation
 * @property {"same" | "valid"} padding
 * @property {number} strides
 * @property {"max" | "average" | "none"} pooling
 * @property {number} pool_size
 */
/** @typedef {{blocks: Block[], dense_units: number, dense_activation: string, dropout: number}} Network */
/** @typedef {{name: string, shape: number[], parameters: number, arithmetic: string}} Step */

/** What a block is where nothing else is said. @type {Block} */
export const BLOCK = { filters: 32, kernel_size: 3, activation: "relu", padding: "same", strides: 1, pooling: "max", pool_size: 2 };

/** What the rest of the network is where nothing else is said. @type {Omit<Network, "blocks">} */
export const REST = { dense_units: 100, dense_activation: "relu", dropout: 0.4 };

/**
 * Outputs along one axis: below 1 where the window is larger than what it is laid on.
 * @param {number} size @param {number} window @param {number} stride @param {string} padding
 */
export const outputSize = (size, window, stride, padding) =>
  padding === "same" ? Math.ceil(size / stride) : Math.floor((size - window) / stride) + 1;

/** @param {number} size @param {number} window @param {number} stride @param {string} padding */
export function arithmeticOf(size, window, stride, padding) {
  const result = outputSize(size, window, stride, padding);
  return padding === "same" ? `⌈${size} / ${stride}⌉ = ${result}` : `⌊(${size} − ${window}) / ${stride}⌋ + 1 = ${result}`;
}

/**
 * The layers of a network, up to the one whose maps shrink to nothing.
 * @param {Network} network
 * @param {number} side of the square picture
 * @param {number} classes
 * @returns {Step[]}
 */
export function stepsOf(network, side, classes) {
  /** @type {Step[]} */
  const steps = [];
  let channels = 1;
  for (const [index, block] of network.blocks.entries()) {
    const { filters, kernel_size: kernel, strides, padding, pooling, pool_size: pool } = block;
    const out = outputSize(side, kernel, strides, padding);
    steps.push({
      name: `conv2d_${index + 1}`, shape: [out, out, filters], parameters: (kernel * kernel * channels + 1) * filters,
      arithmetic: arithmeticOf(side, kernel, strides, padding),
    });
    if (out < 1) return steps;
    [side, channels] = [out, filters];
    if (pooling === "none") continue;
    const pooled = outputSize(side, pool, pool, "valid");
    steps.push({
      name: `${pooling}_pooling2d_${index + 1}`, shape: [pooled, pooled, channels], parameters: 0,
      arithmetic: arithmeticOf(side, pool, pool, "valid"),
    });
    if (pooled < 1) return steps;
    side = pooled;
  }
  const flat = side * side * channels;
  const dense = network.dense_units;
  steps.push(
    { name: "flatten", shape: [flat], parameters: 0, arithmetic: `${side} × ${side} × ${channels} = ${flat}` },
    { name: "dense_1", shape: [dense], parameters: (flat + 1) * dense, arithmetic: "" },
    { name: "dense_2", shape: [classes], parameters: (dense + 1) * classes, arithmetic: "" },
  );
  return steps;
}

/** The settings that are not at their default, as training reads them. @param {Network} network */
export function tomlOf({ blocks, ...rest }) {
  const written = (/** @type {unknown} */ value) => (typeof value === "string" ? `"${value}"` : String(value));
  const lines = (/** @type {object} */ settings) => Object.entries(settings).map(([name, value]) => `${name} = ${written(value)}`);
  const tables = blocks.flatMap((block) => ["", "[[network.blocks]]", ...lines(block)]);
  return ["[network]", ...lines(rest), ...tables, ""].join("\n");
}
