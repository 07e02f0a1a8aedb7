// The network, layer by layer: a card for each, with its maps, kernels or units.

import { askMapsImage, askWeights } from "../api.js";
import { greyUpTo, paintTogether, scaleAroundZero, scaleOf } from "../colours.js";
import { byId, make, makeButton, rove, save } from "../elements.js";
import { doOrTell } from "../failures.js";
import { factsOf } from "./facts.js";
import { channelsOf, hasMaps, isSoftmax, spread } from "./stages.js";
import { state } from "../state.js";
import { text } from "../language/text.js";
import { classBars, legendOf, legendOfEach, mapTile, unitTile } from "./tiles.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../image/looks.js").Look} Look */
/** @typedef {import("../colours.js").Scale} Scale */

/** @param {Stage} stage */
export const cardOf = ({ layer }) => byId(`layer-${layer.name}`, HTMLElement);

/**
 * Draw every layer anew.
 * @param {Stage[]} stages
 * @param {Look[]} looks
 * @param {import("../api.js").Summary} summary
 */
export function showNetwork(stages, looks, summary) {
  const answered = looks.filter(({ maps }) => maps.size > 0);
  const common = scaleOf(stages.slice(1).flatMap((stage) => answered.flatMap(({ maps }) => maps.get(stage.layer.name) ?? [])));
  byId("layers", HTMLElement).replaceChildren(...stages.map((stage) => card(stage, answered, common, summary)));
}

/**
 * @param {Stage} stage
 * @param {Look[]} looks
 * @param {Scale} common
 * @param {import("../api.js").Summary} summary
 */
function card(stage, looks, common, summary) {
  const { layer, kind } = stage;
  const heading = make("h3", "", layer.name, " ", make("small", "", layer.type));
  heading.id = `name-${layer.name}`;
  heading.tabIndex = -1;
  const head = make("header", "", heading);
  const box = make("section", `layer ${kind}`, head, factsOf(stage), make("p", "explain", explanationOf(stage)));
  box.id = `layer-${layer.name}`;
  box.setAttribute("aria-labelledby", heading.id);
  if (looks.length === 0) return box;
  box.append(...(hasMaps(stage) ? [maps(stage, looks, common, head)] : units(stage, looks, head, summary.class_names)));
  return box;
}

/** @param {Stage} stage */
function explanationOf(stage) {
  const { kind, layer: { configuration, inputs } } = stage;
  if (kind === "input") return text(configuration.white === 1 ? "explain_input" : "explain_undivided");
  if (kind === "addition" || inputs.length > 1) return text(kind === "addition" ? "explain_addition" : "explain_merge", { layers: inputs.join(", ") });
  return text(kind === "dense" && isSoftmax(stage) ? "explain_denseSoftmax" : `explain_${kind}`);
}

/** @param {Stage} stage @param {Look[]} looks @param {Scale} common @param {HTMLElement} head */
function maps(stage, looks, common, head) {
  const { name } = stage.layer;
  const planes = looks.map(({ maps: all }) => all.get(name) ?? []);
  const own = stage.kind === "input" ? greyUpTo(stage.layer.configuration.white) : scaleOf(planes.flat());
  const scale = state.scale === "all" && stage.kind !== "input" ? common : own;
  const perMap = state.scale === "map" && stage.kind !== "input";
  head.append(perMap ? legendOfEach(scale) : legendOf(scale));
  if (stage.kind !== "input") head.append(download(name, looks[0]));
  const grid = group(stage, text("mapsOf", { layer: name }));
  for (const channel of orderOf(planes, channelsOf(stage))) {
    const shown = planes.map((all) => all[channel]);
    grid.append(mapTile(stage, channel, shown, perMap ? scaleOf(shown) : scale, perMap));
  }
  rove(grid);
  if (stage.kind === "convolution") addKernels(stage, looks[0].version, grid, head);
  return grid;
}

/** The channels by how much their maps hold, or by number. @param {import("../api.js").Plane[][]} planes of each image @param {number} count */
function orderOf(planes, count) {
  const order = Array.from({ length: count }, (_, channel) => channel);
  if (state.order === "number") return order;
  const strength = order.map((channel) => Math.max(...planes.map((all) => spread(all[channel]))));
  return order.sort((a, b) => strength[b] - strength[a]);
}

/** Beside each map the kernel that makes it. @param {Stage} stage @param {number} version @param {HTMLElement} grid @param {HTMLElement} head */
async function addKernels(stage, version, grid, head) {
  const channels = Array.from({ length: channelsOf(stage) }, (_, channel) => channel);
  const learned = await Promise.all(channels.map((channel) => askWeights(stage.layer, version, channel))).catch(() => []);
  if (learned.length === 0) return; // the inspector, which needs the same weights, says what is wrong
  const kernels = learned.map(({ kernel }) => /** @type {import("../api.js").Plane[]} */ (kernel));
  const common = scaleAroundZero(kernels.flat(3));
  const perMap = state.scale === "map";
  for (const channel of channels) {
    const canvas = make("canvas", "kernel");
    paintTogether(canvas, kernels[channel], perMap ? scaleAroundZero(kernels[channel].flat(2)) : common);
    grid.querySelector(`[data-channel="${channel}"] .planes`)?.append(canvas);
  }
  const legend = perMap ? legendOf(common, "−", "+") : legendOf(common);
  head.querySelector(".legend")?.after(make("span", "kernels", text("kernel"), legend));
}

/** @param {Stage} stage @param {Look[]} looks @param {HTMLElement} head @param {string[]} classes */
function units(stage, looks, head, classes) {
  const { layer, kind } = stage;
  const values = looks.map(({ values: all }) => all.get(layer.name) ?? []);
  if (kind === "flatten" || kind === "dropout" || values.some((some) => some.length === 0)) return [];
  if (isSoftmax(stage) && channelsOf(stage) === classes.length) {
    const list = group(stage, text("unitsOf", { layer: layer.name }));
    list.className = "classes";
    list.append(...classes.map((name, unit) => classBars(name, unit, values.map((some) => some[unit]))));
    rove(list);
    return [list];
  }
  const scale = scaleOf(values.map((some) => [some]));
  head.append(legendOf(scale));
  const grid = group(stage, text("unitsOf", { layer: layer.name }));
  grid.className = "units";
  grid.append(...values[0].map((_, unit) => unitTile(unit, values.map((some) => some[unit]), scale)));
  rove(grid);
  return [grid];
}

/** @param {Stage} stage @param {string} label */
function group({ layer }, label) {
  const grid = make("div", "maps");
  grid.role = "group";
  grid.ariaLabel = label;
  grid.dataset.layer = layer.name;
  return grid;
}

/** @param {string} layer @param {Look} look */
function download(layer, look) {
  const button = makeButton("quiet", () => doOrTell(button, async () => {
    if (look.prepared) save(await askMapsImage(look.prepared.image, look.version, layer), `${layer}.png`);
  }), "PNG");
  button.ariaLabel = button.title = text("saveMaps", { layer });
  return button;
}

/** Mark the chosen map or unit of a layer, and the layer. @param {Stage} stage */
export function markChosen(stage) {
  for (const pressed of document.querySelectorAll("#layers [aria-pressed=true]")) pressed.setAttribute("aria-pressed", "false");
  cardOf(stage).querySelector(`[data-channel="${state.channel}"]`)?.setAttribute("aria-pressed", "true");
  for (const go of document.querySelectorAll("#overview button")) {
    if (go.getAttribute("data-layer") === stage.layer.name) go.setAttribute("aria-current", "true");
    else go.removeAttribute("aria-current");
  }
}
