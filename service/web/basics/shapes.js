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
  const comes = result < 1 ? "< 1" : `= ${result}`;
  return padding === "same" ? `⌈${size} / ${stride}⌉ ${comes}` : `⌊(${size} − ${window}) / ${stride}⌋ + 1 ${comes}`;
}

/**
 * The layers of a network, up to the one whose maps shrink to nothing.
 * @param {Network} network
 * @param {number} side of the square image
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
    { name: "dropout", shape: [dense], parameters: 0, arithmetic: "" },
    { name: "dense_2", shape: [classes], parameters: (dense + 1) * classes, arithmetic: "" },
  );
  return steps;
}

/** The network as an address has it: blocks, then the rest. @param {Network} network */
export const writtenShort = ({ blocks, ...rest }) => [...blocks, rest].map((part) => Object.values(part).join("-")).join("*");

/**
 * @param {string} written as by `writtenShort`
 * @param {(name: string, value: string | number) => boolean} allowed
 * @returns {Network | undefined} undefined if it is none
 */
export function readShort(written, allowed) {
  const parts = written.split("*").map((part) => part.split("-"));
  /** @template {object} T @param {string[]} values @param {T} like @returns {T | undefined} */
  const named = (values, like) => {
    const entries = Object.keys(like).map((name, i) => [name, values[i] !== "" && !Number.isNaN(Number(values[i])) ? Number(values[i]) : values[i] ?? ""]);
    const fits = values.length === entries.length && entries.every(([name, value]) => allowed(String(name), value));
    return fits ? Object.fromEntries(entries) : undefined;
  };
  const rest = named(parts.pop() ?? [], REST);
  const blocks = parts.map((part) => named(part, BLOCK)).filter((block) => block !== undefined);
  return rest && blocks.length === parts.length && blocks.length > 0 ? { blocks, ...rest } : undefined;
}

/** The settings that are not at their default, as training reads them. @param {Network} network */
export function tomlOf({ blocks, ...rest }) {
  const written = (/** @type {unknown} */ value) => (typeof value === "string" ? `"${value}"` : String(value));
  const lines = (/** @type {object} */ settings) => Object.entries(settings).map(([name, value]) => `${name} = ${written(value)}`);
  const tables = blocks.flatMap((block) => ["", "[[network.blocks]]", ...lines(block)]);
  return ["[network]", ...lines(rest), ...tables, ""].join("\n");
}
