// The inspector: one map enlarged, or one unit, and the derivation of its value.

import { byId, make, makeButton } from "../elements.js";
import { letterOf } from "../image/analysis.js";
import { maxPosition } from "./arithmetic.js";
import { drawZoomed } from "./zoom.js";
import { cardOf, mapScale, markSelected } from "./network.js";
import { decimal } from "../numbers.js";
import { channelsOf, hasMaps, mostVaried } from "./stages.js";
import { setState, state, subscribe } from "../state.js";
import { classLabel, text } from "../language/text.js";
import { legendOf } from "./tiles.js";
import { geometryOf, windowOf } from "./windows.js";
import { showDerivation } from "./derivation.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../image/analysis.js").Analysis} Analysis */
/** @typedef {import("./windows.js").Window} Window */
/** @typedef {import("../state.js").Position} Position */

const panel = byId("inspector", HTMLElement);
const zoomed = byId("zoomed", HTMLCanvasElement);
const source = byId("source", HTMLCanvasElement);
/** The inspector is beside the layers on a wide screen, and a sheet at the bottom of a narrow one. */
export const wideScreen = matchMedia("(min-width: 64rem)");

/** @type {Stage[]} */
let stages = [];
/** @type {Analysis[]} */
let analyses = [];
/** Index of the inspected image. */
let imageIndex = 0;
/** The selected map of the layer before; undefined selects the one that adds most. @type {number | undefined} */
let inputChannel;
/** @type {import("../api.js").Summary} */
let summary;
/** The positions that led to the current one. @type {(Position & {layer: string, channel: number})[]} */
let trail = [];

/** @param {Stage[]} newStages @param {Analysis[]} newAnalyses @param {import("../api.js").Summary} newSummary */
export function updateInspector(newStages, newAnalyses, newSummary) {
  [stages, summary] = [newStages, newSummary];
  analyses = newAnalyses.some(({ busy }) => busy) ? [] : newAnalyses.filter(({ maps }) => maps.size > 0);
  imageIndex = Math.min(imageIndex, Math.max(analyses.length - 1, 0));
  if (!selectedStage() && analyses.length > 0) {
    const first = stages.find(({ kind }) => kind === "convolution") ?? stages[0];
    const planes = analyses[0].maps.get(first.layer.name) ?? [];
    const channel = mostVaried(planes);
    setState({ layer: first.layer.name, channel, ...maxPosition(planes[channel]) });
  }
  renderInspector();
}

/** @param {string} name */
export const stageByName = (name) => stages.find(({ layer }) => layer.name === name);

export const selectedStage = () => stageByName(state.layer);

export async function renderInspector() {
  const stage = selectedStage();
  const analysis = analyses[imageIndex];
  panel.hidden = !stage || !analysis;
  for (const highlighted of document.querySelectorAll(".lit")) highlighted.classList.remove("lit");
  if (!stage || !analysis) return;
  markSelected(stage);
  const channel = Math.min(state.channel, channelsOf(stage) - 1);
  if (channel !== state.channel) return setState({ channel }); // which renders again
  const plane = analysis.maps.get(stage.layer.name)?.[channel];
  const row = Math.min(state.row, (plane?.length ?? 1) - 1);
  const column = Math.min(state.column, (plane?.[0].length ?? 1) - 1);
  const valueIn = (/** @type {Analysis | undefined} */ of) =>
    of?.maps.get(stage.layer.name)?.[channel]?.[row]?.[column] ?? of?.values.get(stage.layer.name)?.[channel];
  const value = valueIn(analysis) ?? NaN;
  byId("inspected-letter", HTMLElement).textContent = letterOf(analyses, imageIndex);
  byId("inspected-name", HTMLElement).textContent = nameOf({ layer: stage.layer.name, channel });
  byId("inspected-value", HTMLElement).textContent = plane
    ? text("atPixel", { row, column, value: decimal(value) }) : text("ofUnit", { value: decimal(value) });
  const otherValue = valueIn(analyses[1 - imageIndex]);
  byId("other-value", HTMLElement).textContent = otherValue === undefined ? "" : text("otherPixel", { letter: letterOf(analyses, 1 - imageIndex), value: decimal(otherValue) });
  byId("inspected-maps", HTMLElement).hidden = !plane;
  if (plane) drawMap(stage, plane, row, column);
  showTrail();
  await showDerivation({
    stage, analysis, channel, row, column, inputChannel, value, selectInput, retry: renderInspector,
    drawSource: (...at) => drawSource(analysis, ...at), classes: summary.class_names, scale: summary.input.scale,
  });
}

/** @param {{layer: string, channel: number}} position */
function nameOf({ layer, channel }) {
  const stage = stageByName(layer);
  const className = stage === stages[stages.length - 1] && summary.class_names[channel];
  return `${layer} · ${text(stage && hasMaps(stage) ? "map" : "unit")} ${channel}${className ? `: ${classLabel(className)}` : ""}`;
}

function showTrail() {
  byId("trail", HTMLElement).hidden = trail.length === 0;
  byId("trail-list", HTMLElement).replaceChildren(...trail.map((position, i) => make("li", "", makeButton("quiet", () => {
    inspectWithTrail(position, trail.slice(0, i));
  }, nameOf(position)))));
}

/** @param {Position} position @param {typeof trail} newTrail */
function inspectWithTrail(position, newTrail) {
  inspect(position);
  trail = newTrail;
  showTrail();
}

/** Selects the source of the current value and adds the current position to the trail. @param {Position} position */
export function drillDown(position) {
  const { layer, channel, row, column } = state;
  inspectWithTrail(position, [...trail, { layer, channel, row, column }]);
  panel.scrollTo(0, 0);
}

/** Brings the inspector into view. */
export function openInspector(takesFocus = true) {
  const wasOpen = panel.classList.contains("open");
  panel.classList.add("open");
  if (wideScreen.matches) panel.scrollIntoView({ block: "nearest" });
  else if (!wasOpen) renderInspector(); // canvases of a closed sheet have no size
  if (takesFocus) panel.focus({ preventScroll: true });
}

/** Draws the selected map and highlights the window in the layer before. @param {Stage} stage @param {import("../api.js").Plane} plane @param {number} row @param {number} column */
function drawMap(stage, plane, row, column) {
  const scale = mapScale(stage, [plane]);
  const pixel = { top: row, left: column, height: 1, width: 1 };
  drawZoomed(zoomed, plane, scale, pixel);
  byId("zoomed-name", HTMLElement).textContent = byId("inspected-name", HTMLElement).textContent;
  byId("zoomed-legend", HTMLElement).replaceChildren(legendOf(scale));
  highlight(cardOf(stage).querySelector(".maps"), pixel, plane, "marked");
  const hasWindow = stage.kind === "convolution" || stage.kind === "pooling";
  const sourceFigure = byId("source-figure", HTMLElement);
  sourceFigure.hidden = !hasWindow;
  sourceFigure.classList.add("unknown"); // until `drawSource` draws it
  if (!hasWindow || !stage.before) return;
  const before = analyses[imageIndex].maps.get(stage.before.layer.name);
  const grid = cardOf(stage.before).querySelector(".maps");
  if (!before || !grid) return;
  const target = stage.kind === "pooling" ? grid.querySelector(`[data-channel="${state.channel}"]`) : grid;
  highlight(target, windowOf(stage, row, column), before[0], "lit");
}

/** Outlines a window in one map, or in all maps of a layer. @param {Element | null} element @param {Window} window @param {import("../api.js").Plane} plane @param {string} className */
function highlight(element, { top, left, height, width }, plane, className) {
  if (!(element instanceof HTMLElement)) return;
  element.classList.add(className);
  const edges = { top: top / plane.length, height: height / plane.length, left: left / plane[0].length, width: width / plane[0].length };
  for (const [name, share] of Object.entries(edges)) element.style.setProperty(`--${name}`, `${100 * share}%`);
}

/** Draws a map of the layer before, with the window. @param {Analysis} analysis @param {Stage} stage @param {number} channel @param {number} row @param {number} column */
function drawSource(analysis, stage, channel, row, column) {
  if (!analyses.includes(analysis)) return;
  const plane = stage.before && analysis.maps.get(stage.before.layer.name)?.[channel];
  if (!plane || !stage.before) return;
  byId("source-figure", HTMLElement).classList.remove("unknown");
  const scale = mapScale(stage.before, [plane]);
  drawZoomed(source, plane, scale, windowOf(stage, row, column), geometryOf(stage));
  byId("source-legend", HTMLElement).replaceChildren(legendOf(scale));
  byId("source-name", HTMLElement).textContent = `${stage.before.layer.name} · ${text("map")} ${channel}`;
}

/** @param {number} channel of the layer before */
function selectInput(channel) {
  inputChannel = channel;
  renderInspector();
}

/**
 * Selects a layer, map, unit or pixel; what the position leaves out stays.
 * @param {Position} position
 * @param {number} [newImageIndex]
 */
export function inspect(position, newImageIndex = imageIndex) {
  const { layer, channel } = { ...state, ...position };
  if (layer !== state.layer || channel !== state.channel) {
    inputChannel = undefined;
    trail = [];
  }
  const isOtherImage = newImageIndex !== imageIndex;
  imageIndex = newImageIndex;
  setState(position);
  if (isOtherImage) renderInspector();
}

wideScreen.addEventListener("change", renderInspector);
subscribe(["layer", "channel", "row", "column"], renderInspector);
