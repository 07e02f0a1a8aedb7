// Convolution basics: set a network's building blocks, and see what shapes come of it.

import { byId, make, makeButton } from "../elements.js";
import { sizes, whole } from "../numbers.js";
import { BLOCK, REST, arithmeticOf, outputSize, stepsOf, tomlOf } from "./shapes.js";
import { code } from "../picture/requests.js";
import { showSliding } from "./sliding.js";
import { ACTIVATIONS, sum } from "../network/sums.js";
import { text } from "../language/text.js";

/** @typedef {import("./shapes.js").Block} Block */

const MOST = { blocks: 5, filters: 512, kernel_size: 28, strides: 28, pool_size: 28, dense_units: 4096 };

const COMMAND = "python -m training fit --config network.toml --run-dir runs/network";

/** @type {import("./shapes.js").Network} */
const network = { blocks: [{ ...BLOCK }, { ...BLOCK, filters: 64 }], ...REST };
/** Which block the sliding window shows. */
let shown = 0;
/** @type {import("../api.js").Summary | undefined} */
let summary;

/** @param {import("../api.js").Summary} served its input and classes are those of any network that can be trained */
export function showBasics(served) {
  summary = served;
  byId("blocks", HTMLElement).replaceChildren(...network.blocks.map(blockForm));
  byId("rest", HTMLElement).replaceChildren(
    number("dense_units", network.dense_units, 1, MOST.dense_units, (value) => { network.dense_units = value; }),
    choice("dense_activation", network.dense_activation, Object.keys(ACTIVATIONS).sort(), (value) => { network.dense_activation = value; }),
    number("dropout", network.dropout, 0, 0.99, (value) => { network.dropout = value; }, 0.05),
  );
  byId("add-block", HTMLButtonElement).disabled = network.blocks.length >= MOST.blocks;
  update();
}

byId("add-block", HTMLElement).addEventListener("click", () => {
  network.blocks.push({ ...network.blocks[network.blocks.length - 1] });
  shown = network.blocks.length - 1;
  if (summary) showBasics(summary);
});
byId("inputs", HTMLInputElement).addEventListener("input", update);

/** @param {Block} block @param {number} index */
function blockForm(block, index) {
  const title = `${text("block")} ${index + 1}`;
  const form = make("fieldset", "", make("legend", "", title));
  const set = (/** @type {Partial<Block>} */ changes) => {
    Object.assign(block, changes);
    shown = index;
  };
  form.append(
    number("filters", block.filters, 1, MOST.filters, (value) => set({ filters: value })),
    number("kernel_size", block.kernel_size, 1, MOST.kernel_size, (value) => set({ kernel_size: value })),
    number("strides", block.strides, 1, MOST.strides, (value) => set({ strides: value })),
    choice("padding", block.padding, ["same", "valid"], (value) => set({ padding: /** @type {Block["padding"]} */ (value) })),
    choice("activation", block.activation, Object.keys(ACTIVATIONS).sort(), (value) => set({ activation: value })),
    choice("pooling", block.pooling, ["max", "average", "none"], (value) => set({ pooling: /** @type {Block["pooling"]} */ (value) })),
    number("pool_size", block.pool_size, 1, MOST.pool_size, (value) => set({ pool_size: value })),
  );
  form.addEventListener("focusin", () => {
    if (shown === index) return;
    shown = index;
    update();
  });
  if (network.blocks.length > 1) {
    const remove = makeButton("quiet", () => {
      network.blocks.splice(index, 1);
      shown = 0;
      if (summary) showBasics(summary);
      byId("add-block", HTMLElement).focus();
    }, "×");
    remove.ariaLabel = remove.title = text("removeBlock", { block: index + 1 });
    form.append(remove);
  }
  return form;
}

/**
 * @param {keyof typeof import("../language/english.js").english} name of the setting, and of its words
 * @param {number} value @param {number} least @param {number} most
 * @param {(value: number) => void} set
 */
function number(name, value, least, most, set, step = 1) {
  const input = make("input");
  Object.assign(input, { type: "number", min: String(least), max: String(most), step: String(step), value: String(value) });
  input.dataset.setting = name;
  input.addEventListener("input", () => {
    if (!input.validity.valid || input.value === "") return;
    set(input.valueAsNumber);
    update();
  });
  return make("label", "", make("span", "", text(name)), input);
}

/**
 * @param {keyof typeof import("../language/english.js").english} name
 * @param {string} value @param {string[]} values
 * @param {(value: string) => void} set
 */
function choice(name, value, values, set) {
  const select = make("select", "", ...values.map((each) => make("option", "", each)));
  select.value = value;
  select.dataset.setting = name;
  select.addEventListener("change", () => {
    set(select.value);
    update();
  });
  return make("label", "", make("span", "", text(name)), select);
}

/** Write what follows from the settings. */
function update() {
  if (!summary) return;
  const [side] = summary.input.shape;
  const steps = stepsOf(network, side, summary.class_names.length);
  const broken = steps[steps.length - 1].shape[0] < 1;
  byId("shapes", HTMLElement).replaceChildren(...steps.map(({ name, shape, parameters, arithmetic }) =>
    make("tr", shape[0] < 1 ? "broken" : "", make("th", "", name), make("td", "", arithmetic), make("td", "", sizes(shape)), make("td", "", whole(parameters)))));
  byId("total", HTMLElement).textContent = broken ? text("shrunk")
    : `${whole(sum(steps.map(({ parameters }) => parameters)))} ${text("parameters")}`;
  byId("total", HTMLElement).classList.toggle("strange", broken);
  byId("command", HTMLElement).replaceChildren(code("sh", COMMAND));
  byId("recipe", HTMLElement).replaceChildren(...(broken ? [] : [code("network.toml", tomlOf(network))]));
  tryOut();
}

/** Show the chosen block on as many inputs as were asked for. */
function tryOut() {
  const block = network.blocks[Math.min(shown, network.blocks.length - 1)];
  const field = byId("inputs", HTMLInputElement);
  const size = field.validity.valid && field.value ? field.valueAsNumber : 10;
  const { kernel_size: kernel, strides, padding, pooling, pool_size: pool, filters } = block;
  const out = outputSize(size, kernel, strides, padding);
  byId("trial", HTMLElement).textContent = text("trial", { block: Math.min(shown, network.blocks.length - 1) + 1 });
  const lines = [text(padding === "same" ? "trySame" : "tryValid", { size, kernel, stride: strides, sum: arithmeticOf(size, kernel, strides, padding) })];
  if (out > 0 && pooling !== "none") {
    lines.push(text("tryPooling", { size: out, pool, filters, sum: arithmeticOf(out, pool, pool, "valid") }));
  }
  byId("tried", HTMLElement).replaceChildren(...lines.map((line) => make("p", "", line)));
  showSliding(size, kernel, strides, padding, out);
}
