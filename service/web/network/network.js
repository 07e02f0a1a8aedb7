// A card for each layer, with its maps, kernels or units.

import { fetchFeatureMapsPng, fetchWeights } from "../api.js";
import { divergingScale, greyScale, paintMosaic, scaleOf } from "../colours.js";
import { addRovingTabindex, byId, download, make, makeButton, setRole } from "../elements.js";
import { runAction } from "../errors.js";
import { descending } from "./arithmetic.js";
import { layerFacts } from "./facts.js";
import { channelsOf, hasMaps, isSoftmax, variance } from "./stages.js";
import { state } from "../state.js";
import { text } from "../language/text.js";
import { classTile, legendOf, mapTile, unitTile } from "./tiles.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../image/analysis.js").Analysis} Analysis */
/** @typedef {import("../colours.js").Scale} Scale */
/** @typedef {import("../api.js").Plane} Plane */

/** @param {Stage} stage */
export const cardOf = ({ layer }) => byId(`layer-${layer.name}`, HTMLElement);

/** @param {Stage} stage @param {Plane[]} planes */
export const mapScale = ({ kind, layer }, planes) => (kind === "input" ? greyScale(layer.configuration.white) : scaleOf(planes));

/**
 * @param {Stage[]} stages
 * @param {Analysis[]} analyses
 * @param {import("../api.js").Summary} summary
 */
export function showNetwork(stages, analyses, summary) {
  const complete = analyses.filter(({ maps }) => maps.size > 0);
  const networkScale = scaleOf(stages.slice(1).flatMap((stage) => complete.flatMap(({ maps }) => maps.get(stage.layer.name) ?? [])));
  byId("layers", HTMLElement).replaceChildren(...stages.map((stage) => layerCard(stage, complete, networkScale, summary)));
}

/**
 * @param {Stage} stage
 * @param {Analysis[]} analyses
 * @param {Scale} networkScale
 * @param {import("../api.js").Summary} summary
 */
function layerCard(stage, analyses, networkScale, summary) {
  const { layer, kind } = stage;
  const heading = make("h3", "", layer.name, " ", make("small", "", layer.type));
  heading.id = `name-${layer.name}`;
  heading.tabIndex = -1;
  const header = make("header", "", heading);
  const card = make("section", `layer ${kind}`, header, layerFacts(stage), make("p", "explain", explanationOf(stage)));
  card.id = `layer-${layer.name}`;
  card.setAttribute("aria-labelledby", heading.id);
  if (analyses.length === 0) return card;
  card.append(...(hasMaps(stage) ? [mapGrid(stage, analyses, networkScale, header)] : unitGrid(stage, analyses, header, summary.class_names)));
  return card;
}

/** @param {Stage} stage */
function explanationOf(stage) {
  const { kind, layer: { configuration, inputs } } = stage;
  if (kind === "input") return text(configuration.white === 1 ? "explain_input" : "explain_unscaled");
  if (kind === "addition" || inputs.length > 1) return text(kind === "addition" ? "explain_addition" : "explain_merge", { layers: inputs.join(", ") });
  return text(kind === "dense" && isSoftmax(stage) ? "explain_denseSoftmax" : `explain_${kind}`);
}

/** @param {Stage} stage @param {Analysis[]} analyses @param {Scale} networkScale @param {HTMLElement} header */
function mapGrid(stage, analyses, networkScale, header) {
  const { name } = stage.layer;
  const isInput = stage.kind === "input";
  const planes = analyses.map(({ maps }) => maps.get(name) ?? []);
  const scale = state.scale === "all" && !isInput ? networkScale : mapScale(stage, planes.flat());
  const isPerMap = state.scale === "map" && !isInput;
  header.append(isPerMap ? legendOf(scale, text("minimum"), text("maximum")) : legendOf(scale));
  if (!isInput) header.append(downloadButton(name, analyses[0]));
  const grid = group(stage, "maps", text("mapsOf", { layer: name }));
  for (const channel of channelOrder(planes, channelsOf(stage))) {
    const maps = planes.map((ofImage) => ofImage[channel]);
    grid.append(mapTile(stage, channel, maps, isPerMap ? scaleOf(maps) : scale, isPerMap));
  }
  addRovingTabindex(grid);
  if (stage.kind === "convolution") addKernels(stage, analyses[0].version, grid, header);
  return grid;
}

/** @param {Plane[][]} planes of each image @param {number} count of channels */
function channelOrder(planes, count) {
  const channels = Array.from({ length: count }, (_, channel) => channel);
  if (state.order === "number") return channels;
  return descending(channels.map((channel) => Math.max(...planes.map((ofImage) => variance(ofImage[channel])))));
}

/** Adds to each map the kernel that computes it. @param {Stage} stage @param {number} version @param {HTMLElement} grid @param {HTMLElement} header */
async function addKernels(stage, version, grid, header) {
  const channels = Array.from({ length: channelsOf(stage) }, (_, channel) => channel);
  const weights = await Promise.all(channels.map((channel) => fetchWeights(stage.layer, version, channel))).catch(() => []);
  if (weights.length === 0) return; // the inspector needs the same weights and shows the error
  const kernels = weights.map(({ kernel }) => /** @type {Plane[]} */ (kernel));
  const layerScale = divergingScale(kernels.flat(3));
  const isPerMap = state.scale === "map";
  for (const channel of channels) {
    const canvas = make("canvas", "kernel");
    paintMosaic(canvas, kernels[channel], isPerMap ? divergingScale(kernels[channel].flat(2)) : layerScale);
    grid.querySelector(`[data-channel="${channel}"] .planes`)?.append(canvas);
  }
  const legend = isPerMap ? legendOf(layerScale, "−", "+") : legendOf(layerScale);
  header.querySelector(".legend")?.after(make("span", "kernels", text("kernel"), legend));
}

/** @param {Stage} stage @param {Analysis[]} analyses @param {HTMLElement} header @param {string[]} classes */
function unitGrid(stage, analyses, header, classes) {
  const { layer, kind } = stage;
  const values = analyses.map((analysis) => analysis.values.get(layer.name) ?? []);
  if (kind === "flatten" || kind === "dropout" || values.some((ofImage) => ofImage.length === 0)) return [];
  const isClasses = isSoftmax(stage) && channelsOf(stage) === classes.length;
  const grid = group(stage, isClasses ? "classes" : "units", text("unitsOf", { layer: layer.name }));
  const scale = scaleOf(values.map((ofImage) => [ofImage]));
  if (!isClasses) header.append(legendOf(scale));
  for (const unit of values[0].keys()) {
    const ofUnit = values.map((ofImage) => ofImage[unit]);
    grid.append(isClasses ? classTile(classes[unit], unit, ofUnit) : unitTile(unit, ofUnit, scale));
  }
  addRovingTabindex(grid);
  return [grid];
}

/** @param {Stage} stage @param {string} className @param {string} label */
function group({ layer }, className, label) {
  const grid = setRole(make("div", className), "group", label);
  grid.dataset.layer = layer.name;
  return grid;
}

/** @param {string} layer @param {Analysis} analysis */
function downloadButton(layer, { prepared, version }) {
  const button = makeButton("quiet", () => runAction(button, async () => {
    if (prepared) download(await fetchFeatureMapsPng(prepared.image, version, layer), `${layer}.png`);
  }), "PNG");
  button.ariaLabel = button.title = text("saveMaps", { layer });
  return button;
}

/** Marks the selected map or unit in its card, and its layer in the overview. @param {Stage} stage */
export function markSelected(stage) {
  for (const pressed of document.querySelectorAll("#layers [aria-pressed=true]")) pressed.setAttribute("aria-pressed", "false");
  cardOf(stage).querySelector(`[data-channel="${state.channel}"]`)?.setAttribute("aria-pressed", "true");
  for (const button of document.querySelectorAll("#overview button")) {
    if (button.getAttribute("data-layer") === stage.layer.name) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}
