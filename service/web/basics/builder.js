// The network builder: forms for the settings of a network, and the layer shapes that follow from them.

import { byId, make, makeButton } from "../elements.js";
import { dimensions, integer } from "../numbers.js";
import { DEFAULT_BLOCK, DEFAULT_HEAD, decodeNetwork, encodeNetwork, layerShapes, outputSize, outputSizeFormula, toToml } from "./shapes.js";
import { codeBlock } from "../image/snippets.js";
import { showSliding } from "./sliding.js";
import { ACTIVATIONS, sum } from "../network/arithmetic.js";
import { setState, state, subscribe } from "../state.js";
import { text } from "../language/text.js";

/** @typedef {import("./shapes.js").Block} Block */

const MAX = { blocks: 5, filters: 512, kernel_size: 28, strides: 28, pool_size: 28, dense_units: 4096 };

const COMMANDS = [
  "python -m training fit --config network.toml --run-dir runs/network", "python -m training evaluate --run-dir runs/network",
  "python -m training export --run-dir runs/network", "python -m service --artifacts runs/network/exported",
].join("\n");

/** @type {Record<string, string[]>} */
const CHOICES = {
  padding: ["same", "valid"], pooling: ["max", "average", "none"],
  activation: Object.keys(ACTIVATIONS).sort(), dense_activation: Object.keys(ACTIVATIONS).sort(),
};

/** @returns {import("./shapes.js").Network} */
const defaultNetwork = () => ({ blocks: [{ ...DEFAULT_BLOCK }, { ...DEFAULT_BLOCK, filters: 64 }], ...DEFAULT_HEAD });

/** @param {string} name @param {string | number} value */
const isAllowed = (name, value) => (typeof value === "string" ? CHOICES[name]?.includes(value) ?? false
  : name === "dropout" ? value >= 0 && value < 1
    : Number.isInteger(value) && value >= 1 && value <= (MAX[/** @type {keyof typeof MAX} */ (name)] ?? 0));

const linked = decodeNetwork(state.network, isAllowed);
let network = linked && linked.blocks.length <= MAX.blocks ? linked : defaultNetwork();
/** The index of the block in the sliding window diagram. */
let activeBlock = 0;
/** @type {import("../api.js").Summary | undefined} */
let summary;

/** @param {import("../api.js").Summary} served whose input and classes the network has */
export function showBuilder(served) {
  summary = served;
  byId("blocks", HTMLElement).replaceChildren(...network.blocks.map(blockForm));
  byId("rest", HTMLElement).replaceChildren(
    numberField("dense_units", network.dense_units, 1, MAX.dense_units, (value) => { network.dense_units = value; }),
    selectField("dense_activation", network.dense_activation, (value) => { network.dense_activation = value; }),
    numberField("dropout", network.dropout, 0, 0.99, (value) => { network.dropout = value; }, 0.05),
  );
  byId("add-block", HTMLButtonElement).disabled = network.blocks.length >= MAX.blocks;
  update();
}

subscribe(["network"], () => {
  const next = state.network === "" ? defaultNetwork() : decodeNetwork(state.network, isAllowed);
  if (!next || encodeNetwork(next) === encodeNetwork(network)) return;
  [network, activeBlock] = [next, 0];
  if (summary) showBuilder(summary);
});
byId("add-block", HTMLElement).addEventListener("click", () => {
  network.blocks.push({ ...network.blocks[network.blocks.length - 1] });
  activeBlock = network.blocks.length - 1;
  if (summary) showBuilder(summary);
});
byId("inputs", HTMLInputElement).addEventListener("input", update);

/** @param {Block} block @param {number} index */
function blockForm(block, index) {
  const form = make("fieldset", "", make("legend", "", `${text("block")} ${index + 1}`));
  const set = (/** @type {Partial<Block>} */ changes) => {
    Object.assign(block, changes);
    activeBlock = index;
  };
  form.append(
    numberField("filters", block.filters, 1, MAX.filters, (value) => set({ filters: value })),
    numberField("kernel_size", block.kernel_size, 1, MAX.kernel_size, (value) => set({ kernel_size: value })),
    numberField("strides", block.strides, 1, MAX.strides, (value) => set({ strides: value })),
    selectField("padding", block.padding, (value) => set({ padding: /** @type {Block["padding"]} */ (value) })),
    selectField("activation", block.activation, (value) => set({ activation: value })),
    selectField("pooling", block.pooling, (value) => set({ pooling: /** @type {Block["pooling"]} */ (value) })),
    numberField("pool_size", block.pool_size, 1, MAX.pool_size, (value) => set({ pool_size: value })),
  );
  form.addEventListener("focusin", () => {
    if (activeBlock === index) return;
    activeBlock = index;
    update();
  });
  if (network.blocks.length > 1) {
    const remove = makeButton("quiet", () => {
      network.blocks.splice(index, 1);
      activeBlock = 0;
      if (summary) showBuilder(summary);
      byId("add-block", HTMLElement).focus();
    }, "×");
    remove.ariaLabel = remove.title = text("removeBlock", { block: index + 1 });
    form.append(remove);
  }
  return form;
}

/**
 * @param {import("../language/text.js").TextKey} name of the setting and key of its label
 * @param {number} value @param {number} min @param {number} max
 * @param {(value: number) => void} onChange is called with valid values only
 */
function numberField(name, value, min, max, onChange, step = 1) {
  const input = make("input");
  Object.assign(input, { type: "number", min: String(min), max: String(max), step: String(step), value: String(value) });
  input.dataset.setting = name;
  const hint = make("small", "invalid");
  let lastValid = value;
  input.addEventListener("input", () => {
    const isValid = input.validity.valid && input.value !== "";
    input.ariaInvalid = String(!isValid);
    hint.textContent = isValid ? "" : text(step === 1 ? "invalidInteger" : "invalidNumber", { least: min, most: max, kept: lastValid });
    if (!isValid) return;
    lastValid = input.valueAsNumber;
    onChange(lastValid);
    update();
  });
  return make("label", "", make("span", "", text(name)), input, hint);
}

/** @param {import("../language/text.js").TextKey} name @param {string} value @param {(value: string) => void} onChange */
function selectField(name, value, onChange) {
  const select = make("select", "", ...CHOICES[name].map((choice) => make("option", "", choice)));
  select.value = value;
  select.dataset.setting = name;
  select.addEventListener("change", () => {
    onChange(select.value);
    update();
  });
  return make("label", "", make("span", "", text(name)), select);
}

/** Shows everything that depends on the settings. */
function update() {
  if (!summary) return;
  const layers = layerShapes(network, summary.input.shape[0], summary.class_names.length);
  const isInvalid = layers[layers.length - 1].shape[0] < 1;
  byId("shapes", HTMLElement).replaceChildren(...layers.map(({ name, shape, parameters, sizeFormula }) =>
    make("tr", shape[0] < 1 ? "broken" : "", make("th", "", name), make("td", "", sizeFormula), make("td", "", dimensions(shape)), make("td", "", integer(parameters)))));
  const total = byId("total", HTMLElement);
  total.textContent = isInvalid ? text("noOutput")
    : text("parameterCount", { count: integer(sum(layers.map(({ parameters }) => parameters))) });
  total.classList.toggle("strange", isInvalid);
  byId("command", HTMLElement).replaceChildren(codeBlock("sh", COMMANDS));
  const encoded = encodeNetwork(network);
  setState({ network: encoded === encodeNetwork(defaultNetwork()) ? "" : encoded });
  byId("recipe", HTMLElement).replaceChildren(...(isInvalid ? [] : [codeBlock("network.toml", toToml(network))]));
  showTrial();
}

/** Shows the active block on an input of the chosen size. */
function showTrial() {
  const index = Math.min(activeBlock, network.blocks.length - 1);
  const { kernel_size: kernel, strides: stride, padding, pooling, pool_size: pool, filters } = network.blocks[index];
  const field = byId("inputs", HTMLInputElement);
  const size = field.validity.valid && field.value ? field.valueAsNumber : 10;
  const out = outputSize(size, kernel, stride, padding);
  byId("trial-label", HTMLElement).textContent = text("trial", { block: index + 1 });
  const lines = [out < 1 ? text("tooLarge", { size, kernel })
    : text(padding === "same" ? "trySame" : "tryValid", { size, kernel, stride, sum: outputSizeFormula(size, kernel, stride, padding) })];
  if (out > 0 && pooling !== "none") {
    lines.push(out < pool ? text("tooLarge", { size: out, kernel: pool }) : text("tryPooling", { size: out, pool, filters, sum: outputSizeFormula(out, pool, pool, "valid") }));
  }
  byId("trial-result", HTMLElement).replaceChildren(...lines.map((line) => make("p", "", line)));
  showSliding(size, kernel, stride, padding, out);
}
