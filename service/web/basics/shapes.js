// The output shape of each layer of a network that is not trained yet, and its encodings for the address and for training.

/**
 * A convolution and the pooling after it, with the names of the training settings.
 * @typedef {object} Block
 * @property {number} filters
 * @property {number} kernel_size
 * @property {string} activation
 * @property {"same" | "valid"} padding
 * @property {number} strides
 * @property {"max" | "average" | "none"} pooling
 * @property {number} pool_size
 */
/** @typedef {{dense_units: number, dense_activation: string, dropout: number}} Head the layers after the blocks */
/** @typedef {{blocks: Block[]} & Head} Network */
/** @typedef {{name: string, shape: number[], parameters: number, sizeFormula: string}} LayerShape */

// Defaults of training. The order of the keys is the order in links.
/** @type {Block} */
export const DEFAULT_BLOCK = { filters: 32, kernel_size: 3, activation: "relu", padding: "same", strides: 1, pooling: "max", pool_size: 2 };
/** @type {Head} */
export const DEFAULT_HEAD = { dense_units: 100, dense_activation: "relu", dropout: 0.4 };

/**
 * The number of outputs along one axis; less than 1 if the window is larger than the input.
 * @param {number} size @param {number} window @param {number} stride @param {string} padding
 */
export const outputSize = (size, window, stride, padding) =>
  padding === "same" ? Math.ceil(size / stride) : Math.floor((size - window) / stride) + 1;

/** @param {number} size @param {number} window @param {number} stride @param {string} padding */
export function outputSizeFormula(size, window, stride, padding) {
  const result = outputSize(size, window, stride, padding);
  const equals = result < 1 ? "< 1" : `= ${result}`;
  return padding === "same" ? `⌈${size} / ${stride}⌉ ${equals}` : `⌊(${size} − ${window}) / ${stride}⌋ + 1 ${equals}`;
}

/**
 * Stops at the first layer that has no output.
 * @param {Network} network
 * @param {number} side of the square image
 * @param {number} classes
 * @returns {LayerShape[]}
 */
export function layerShapes(network, side, classes) {
  /** @type {LayerShape[]} */
  const layers = [];
  let channels = 1;
  for (const [index, block] of network.blocks.entries()) {
    const { filters, kernel_size: kernel, strides, padding, pooling, pool_size: pool } = block;
    const out = outputSize(side, kernel, strides, padding);
    layers.push({
      name: `conv2d_${index + 1}`, shape: [out, out, filters], parameters: (kernel * kernel * channels + 1) * filters,
      sizeFormula: outputSizeFormula(side, kernel, strides, padding),
    });
    if (out < 1) return layers;
    [side, channels] = [out, filters];
    if (pooling === "none") continue;
    const pooled = outputSize(side, pool, pool, "valid");
    layers.push({
      name: `${pooling}_pooling2d_${index + 1}`, shape: [pooled, pooled, channels], parameters: 0,
      sizeFormula: outputSizeFormula(side, pool, pool, "valid"),
    });
    if (pooled < 1) return layers;
    side = pooled;
  }
  const flat = side * side * channels;
  const units = network.dense_units;
  layers.push(
    { name: "flatten", shape: [flat], parameters: 0, sizeFormula: `${side} × ${side} × ${channels} = ${flat}` },
    { name: "dense_1", shape: [units], parameters: (flat + 1) * units, sizeFormula: "" },
    { name: "dropout", shape: [units], parameters: 0, sizeFormula: "" },
    { name: "dense_2", shape: [classes], parameters: (units + 1) * classes, sizeFormula: "" },
  );
  return layers;
}

/** Encodes a network for the address: the values of each block, then of the head. @param {Network} network */
export const encodeNetwork = ({ blocks, ...head }) => [...blocks, head].map((part) => Object.values(part).join("-")).join("*");

/**
 * @param {string} encoded by `encodeNetwork`
 * @param {(name: string, value: string | number) => boolean} isAllowed
 * @returns {Network | undefined} undefined if it is not valid
 */
export function decodeNetwork(encoded, isAllowed) {
  const parts = encoded.split("*").map((part) => part.split("-"));
  /** @template {object} T @param {string[]} values @param {T} like @returns {T | undefined} */
  const decodePart = (values, like) => {
    const entries = Object.keys(like).map((name, i) => [name, values[i] !== "" && !Number.isNaN(Number(values[i])) ? Number(values[i]) : values[i] ?? ""]);
    const isValid = values.length === entries.length && entries.every(([name, value]) => isAllowed(String(name), value));
    return isValid ? Object.fromEntries(entries) : undefined;
  };
  const head = decodePart(parts.pop() ?? [], DEFAULT_HEAD);
  const blocks = parts.map((part) => decodePart(part, DEFAULT_BLOCK)).filter((block) => block !== undefined);
  return head && blocks.length === parts.length && blocks.length > 0 ? { blocks, ...head } : undefined;
}

/** The network as settings of training. @param {Network} network */
export function toToml({ blocks, ...head }) {
  const lines = (/** @type {object} */ settings) =>
    Object.entries(settings).map(([name, value]) => `${name} = ${typeof value === "string" ? `"${value}"` : value}`);
  const tables = blocks.flatMap((block) => ["", "[[network.blocks]]", ...lines(block)]);
  return ["[network]", ...lines(head), ...tables, ""].join("\n");
}
