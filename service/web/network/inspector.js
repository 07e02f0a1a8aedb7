// Looks into one map or unit: enlarged, stepped through pixel by pixel, its number written out.

import { greyUpTo, scaleOf } from "../colours.js";
import { byId, make, makeButton } from "../elements.js";
import { enlarge } from "./enlarged.js";
import { cardOf, markChosen } from "./network.js";
import { decimal } from "../numbers.js";
import { busiest, channelsOf } from "./stages.js";
import { change, onChange, state } from "../state.js";
import { garment, text } from "../language/text.js";
import { legendOf } from "./tiles.js";
import { frameOf, windowOf } from "./windows.js";
import { write } from "./written.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../image/looks.js").Look} Look */
/** @typedef {import("./windows.js").Window} Window */
/** @typedef {{layer: string, channel: number, row: number, column: number}} Place */

const panel = byId("inspector", HTMLElement);
const large = byId("large", HTMLCanvasElement);
const source = byId("source", HTMLCanvasElement);
/** Whether there is room for the inspector beside the layers; where there is none, it is a sheet at the bottom. */
export const beside = matchMedia("(min-width: 64rem)");

/** @type {Stage[]} */
let stages = [];
/** @type {Look[]} */
let looks = [];
/** Which of two images is looked into. */
let which = 0;
/** Which map of the layer before is shown; undefined: the one that adds most. @type {number | undefined} */
let input;
/** @type {import("../api.js").Summary} */
let summary;
/** The way back from a number to what it was made of. @type {Place[]} */
let trail = [];

/** @param {Stage[]} ofNetwork @param {Look[]} ofImages @param {import("../api.js").Summary} served */
export function inspectWith(ofNetwork, ofImages, served) {
  [stages, looks, summary] = [ofNetwork, ofImages.some(({ busy }) => busy) ? [] : ofImages.filter(({ maps }) => maps.size > 0), served];
  which = Math.min(which, Math.max(looks.length - 1, 0));
  if (!chosen() && looks.length > 0) {
    const first = stages.find(({ kind }) => kind === "convolution") ?? stages[0];
    const planes = looks[0].maps.get(first.layer.name) ?? [];
    const channel = busiest(planes);
    change({ layer: first.layer.name, channel, ...brightest(planes[channel]) });
  }
  inspect();
}

/** @param {import("../api.js").Plane} plane */
export function brightest(plane) {
  const values = plane.flat();
  const at = values.indexOf(Math.max(...values));
  return { row: Math.floor(at / plane[0].length), column: at % plane[0].length };
}

/** @param {string} name */
export const stageNamed = (name) => stages.find(({ layer }) => layer.name === name);

/** What is looked into. */
export const chosen = () => stageNamed(state.layer);

/** Show what is chosen. */
export async function inspect() {
  const stage = chosen();
  const look = looks[which];
  panel.hidden = !stage || !look;
  for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
  if (!stage || !look) return;
  markChosen(stage);
  const channel = Math.min(state.channel, channelsOf(stage) - 1);
  const planes = look.maps.get(stage.layer.name);
  const values = look.values.get(stage.layer.name);
  if (channel !== state.channel) return change({ channel });
  const plane = planes?.[channel];
  const row = Math.min(state.row, (plane?.length ?? 1) - 1);
  const column = Math.min(state.column, (plane?.[0].length ?? 1) - 1);
  const value = plane ? plane[row][column] : values?.[channel] ?? NaN;
  byId("which", HTMLElement).textContent = looks.length > 1 ? "AB"[which] : "";
  byId("what", HTMLElement).textContent = nameOf(state);
  byId("where", HTMLElement).textContent = plane
    ? text("atPixel", { row, column, value: decimal(value) }) : text("ofUnit", { value: decimal(value) });
  const other = looks[1 - which];
  const same = other?.maps.get(stage.layer.name)?.[channel]?.[row]?.[column] ?? other?.values.get(stage.layer.name)?.[channel];
  byId("elsewhere", HTMLElement).textContent = same === undefined ? "" : text("otherPixel", { letter: "AB"[1 - which], value: decimal(same) });
  byId("stage", HTMLElement).hidden = !plane;
  if (plane) drawLarge(stage, plane, row, column);
  showTrail();
  await write({
    stage, look, channel, row, column, input, value, choose, again: inspect, drawSource: (...at) => drawSource(look, ...at),
    classes: summary.class_names, scale: summary.input.scale,
  });
}

/** @param {{layer: string, channel: number}} place */
function nameOf({ layer, channel }) {
  const stage = stageNamed(layer);
  const isLast = stage === stages[stages.length - 1];
  const number = stage && stage.layer.output_shape.length === 3 ? `${text("map")} ${channel}` : `${text("unit")} ${channel}`;
  return `${layer} · ${number}${isLast && summary.class_names[channel] ? `: ${garment(summary.class_names[channel])}` : ""}`;
}

/** The way that was come, each part of it a way back. */
function showTrail() {
  byId("trail", HTMLElement).hidden = trail.length === 0;
  byId("trail-list", HTMLElement).replaceChildren(...trail.map((place, i) => make("li", "", makeButton("quiet", () => {
    const rest = trail.slice(0, i);
    lookInto(place);
    trail = rest;
    showTrail();
  }, nameOf(place)))));
}

/** Look into what a number was made of, and remember the way. @param {Partial<import("../state.js").State>} place */
export function goBack(place) {
  const way = [...trail, { layer: state.layer, channel: state.channel, row: state.row, column: state.column }];
  lookInto(place);
  trail = way;
  showTrail();
  panel.scrollTo(0, 0);
}

/** Bring the inspector before the eyes. @param {boolean} [takesFocus] */
export function openInspector(takesFocus = true) {
  const wasOpen = panel.classList.contains("open");
  panel.classList.add("open");
  if (beside.matches) panel.scrollIntoView({ block: "nearest" });
  else if (!wasOpen) inspect(); // what was not seen had no size to be drawn in
  if (takesFocus) panel.focus({ preventScroll: true });
}

/** @param {Stage} stage @param {import("../api.js").Plane} plane @param {number} row @param {number} column */
function drawLarge(stage, plane, row, column) {
  const scale = stage.kind === "input" ? greyUpTo(stage.layer.configuration.white) : scaleOf([plane]);
  enlarge(large, plane, scale, { top: row, left: column, height: 1, width: 1 });
  byId("large-name", HTMLElement).textContent = byId("what", HTMLElement).textContent;
  byId("large-legend", HTMLElement).replaceChildren(legendOf(scale));
  light(cardOf(stage).querySelector(".maps"), { top: row, left: column, height: 1, width: 1 }, plane, "marked");
  const moved = stage.kind === "convolution" || stage.kind === "pooling";
  const from = byId("from", HTMLElement);
  from.hidden = !moved;
  from.classList.add("unknown"); // until its map is drawn
  if (!moved || !stage.before) return;
  const before = looks[which].maps.get(stage.before.layer.name);
  const grid = cardOf(stage.before).querySelector(".maps");
  if (!before || !grid) return;
  const window = windowOf(stage, row, column);
  const lit = stage.kind === "pooling" ? grid.querySelector(`[data-channel="${state.channel}"]`) : grid;
  light(lit, window, before[0], "lit");
}

/** Frame a window in one map or in all of a layer. @param {Element | null} element @param {Window} window @param {import("../api.js").Plane} plane @param {string} name */
function light(element, { top, left, height, width }, plane, name) {
  if (!(element instanceof HTMLElement)) return;
  element.classList.add(name);
  const share = (/** @type {number} */ part, /** @type {number} */ of) => `${100 * part / of}%`;
  element.style.setProperty("--top", share(top, plane.length));
  element.style.setProperty("--height", share(height, plane.length));
  element.style.setProperty("--left", share(left, plane[0].length));
  element.style.setProperty("--width", share(width, plane[0].length));
}

/** Draw the map that the window lies on. @param {Look} look @param {Stage} stage @param {number} channel @param {number} row @param {number} column */
function drawSource(look, stage, channel, row, column) {
  if (!looks.includes(look)) return;
  const plane = stage.before && look.maps.get(stage.before.layer.name)?.[channel];
  if (!plane || !stage.before) return;
  byId("from", HTMLElement).classList.remove("unknown");
  const scale = stage.before.kind === "input" ? greyUpTo(stage.before.layer.configuration.white) : scaleOf([plane]);
  enlarge(source, plane, scale, windowOf(stage, row, column), frameOf(stage));
  byId("source-legend", HTMLElement).replaceChildren(legendOf(scale));
  byId("source-name", HTMLElement).textContent = `${stage.before.layer.name} · ${text("map")} ${channel}`;
}

/** Show another map of the layer before. @param {number} channel */
function choose(channel) {
  input = channel;
  inspect();
}

/**
 * Look into another map, pixel or unit.
 * @param {Partial<import("../state.js").State>} at
 * @param {number} [ofImage] which of two
 */
export function lookInto(at, ofImage = which) {
  const moved = { ...state, ...at };
  if (moved.layer !== state.layer || moved.channel !== state.channel) {
    input = undefined;
    trail = [];
  }
  const turned = ofImage !== which;
  which = ofImage;
  change(at);
  if (turned) inspect();
}

beside.addEventListener("change", inspect);
onChange(["layer", "channel", "row", "column"], inspect);
