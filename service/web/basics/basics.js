// Convolution basics: set a network's building blocks, and see what shapes come of it.

import { byId, make, makeButton } from "../elements.js";
import { sizes, whole } from "../numbers.js";
import { BLOCK, REST, arithmeticOf, outputSize, readShort, stepsOf, tomlOf, writtenShort } from "./shapes.js";
import { code } from "../image/requests.js";
import { showSliding } from "./sliding.js";
import { ACTIVATIONS, sum } from "../network/sums.js";
import { change, onChange, state } from "../state.js";
import { text } from "../language/text.js";

/** @typedef {import("./shapes.js").Block} Block */

const MOST = { blocks: 5, filters: 512, kernel_size: 28, strides: 28, pool_size: 28, dense_units: 4096 };

const COMMANDS = [
  "python -m training fit --config network.toml --run-dir runs/network", "python -m training evaluate --run-dir runs/network",
  "python -m training export --run-dir runs/network", "python -m service --artifacts runs/network/exported",
].join("\n");

/** @type {Record<string, string[]>} */
const CHOICES = {
  padding: ["same", "valid"], pooling: ["max", "average", "none"],
  activation: Object.keys(ACTIVATIONS).sort(), dense_activation: Object.keys(ACTIVATIONS).sort(),
};

/** @returns {import("./shapes.js").Network} that of the lesson */
const lesson = () => ({ blocks: [{ ...BLOCK }, { ...BLOCK, filters: 64 }], ...REST });

/** @param {string} name @param {string | number} value */
const isAllowed = (name, value) => (typeof value === "string" ? CHOICES[name]?.includes(value) ?? false
  : name === "dropout" ? value >= 0 && value < 1
    : Number.isInteger(value) && value >= 1 && value <= (MOST[/** @type {keyof typeof MOST} */ (name)] ?? 0));

const remembered = readShort(state.network, isAllowed);
/** That is being built; the address tells it. */
let network = remembered && remembered.blocks.length <= MOST.blocks ? remembered : lesson();
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
    choice("dense_activation", network.dense_activation, (value) => { network.dense_activation = value; }),
    number("dropout", network.dropout, 0, 0.99, (value) => { network.dropout = value; }, 0.05),
  );
  byId("add-block", HTMLButtonElement).disabled = network.blocks.length >= MOST.blocks;
  update();
}

onChange(["network"], () => {
  const told = state.network === "" ? lesson() : readShort(state.network, isAllowed);
  if (!told || writtenShort(told) === writtenShort(network)) return;
  [network, shown] = [told, 0]; // a link to another network
  if (summary) showBasics(summary);
});
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
    choice("padding", block.padding, (value) => set({ padding: /** @type {Block["padding"]} */ (value) })),
    choice("activation", block.activation, (value) => set({ activation: value })),
    choice("pooling", block.pooling, (value) => set({ pooling: /** @type {Block["pooling"]} */ (value) })),
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
  const told = make("small", "invalid");
  let kept = value;
  input.addEventListener("input", () => {
    const fits = input.validity.valid && input.value !== "";
    input.ariaInvalid = String(!fits);
    told.textContent = fits ? "" : text(step === 1 ? "outOf" : "outOfParts", { least, most, kept });
    if (!fits) return;
    kept = input.valueAsNumber;
    set(kept);
    update();
  });
  return make("label", "", make("span", "", text(name)), input, told);
}

/**
 * @param {keyof typeof import("../language/english.js").english} name
 * @param {string} value
 * @param {(value: string) => void} set
 */
function choice(name, value, set) {
  const select = make("select", "", ...CHOICES[name].map((each) => make("option", "", each)));
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
    : text("parameterCount", { count: whole(sum(steps.map(({ parameters }) => parameters))) });
  byId("total", HTMLElement).classList.toggle("strange", broken);
  byId("command", HTMLElement).replaceChildren(code("sh", COMMANDS));
  const short = writtenShort(network);
  change({ network: short === writtenShort(lesson()) ? "" : short });
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
  const lines = out < 1 ? [text("tooLarge", { size, kernel })] : [text(padding === "same" ? "trySame" : "tryValid", { size, kernel, stride: strides, sum: arithmeticOf(size, kernel, strides, padding) })];
  if (out > 0 && pooling !== "none") {
    lines.push(out < pool ? text("tooLarge", { size: out, kernel: pool }) : text("tryPooling", { size: out, pool, filters, sum: arithmeticOf(out, pool, pool, "valid") }));
  }
  byId("tried", HTMLElement).replaceChildren(...lines.map((line) => make("p", "", line)));
  showSliding(size, kernel, strides, padding, out);
}
