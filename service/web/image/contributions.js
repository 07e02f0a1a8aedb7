// The units of the last hidden layer that contribute most for and against a class, each with a heat map over the maps before it.

import { fetchWeights } from "../api.js";
import { byId, make, makeButton, addRovingTabindex, setRole } from "../elements.js";
import { errorBox } from "../errors.js";
import { descending, products, sum, unflatten } from "../network/arithmetic.js";
import { drillDown, inspect, openInspector, renderInspector } from "../network/inspector.js";
import { setPinned } from "../network/navigation.js";
import { lastHiddenLayerOf, logitsLayerOf } from "../network/stages.js";
import { decimal } from "../numbers.js";
import { paintHeatmap } from "./heatmap.js";
import { classLabel, text } from "../language/text.js";

/** @typedef {import("../network/stages.js").Stage} Stage */
/** @typedef {import("./analysis.js").Analysis} Analysis */

const UNITS_PER_SIDE = 3;

let latestCall = 0;

/** @param {Analysis | undefined} analysis @param {Stage[]} stages @param {import("../api.js").Summary} summary */
export async function showContributions(analysis, stages, summary) {
  latestCall += 1;
  const call = latestCall;
  const box = byId("unit-contributions", HTMLElement);
  const logitsLayer = logitsLayerOf(stages);
  const hiddenLayer = lastHiddenLayerOf(logitsLayer);
  const classId = analysis?.explanation?.class_id ?? analysis?.prediction?.class_id;
  const values = analysis?.values.get(hiddenLayer?.layer.name ?? "");
  if (!analysis || !hiddenLayer || !values || classId === undefined) return box.replaceChildren();
  /** @type {HTMLElement[]} */
  let content = [];
  try {
    const { kernel } = await fetchWeights(logitsLayer.layer, analysis.version, classId);
    const terms = products(values, /** @type {number[]} */ (kernel));
    const order = descending(terms);
    const sides = [
      order.slice(0, UNITS_PER_SIDE).filter((unit) => terms[unit] > 0),
      order.slice(-UNITS_PER_SIDE).reverse().filter((unit) => terms[unit] < 0),
    ];
    content = await Promise.all(sides.map(async (units, side) => {
      const label = text(side === 0 ? "unitsFor" : "unitsAgainst", { garment: classLabel(summary.class_names[classId]) });
      const buttons = units.map((unit) => unitButton(analysis, logitsLayer, classId, hiddenLayer, unit, terms[unit]));
      const group = setRole(make("div", "unit-group", ...await Promise.all(buttons)), "group", label);
      addRovingTabindex(group);
      return make("div", "", make("h3", "", label), units.length ? group : make("p", "soft", text("none")));
    }));
  } catch (error) {
    content = [errorBox(error, () => showContributions(analysis, stages, summary))];
  }
  if (call === latestCall) box.replaceChildren(...content);
}

/** @param {Analysis} analysis @param {Stage} logitsLayer @param {number} classId @param {Stage} stage @param {number} unit @param {number} term that it adds to the logit */
async function unitButton(analysis, logitsLayer, classId, stage, unit, term) {
  const button = makeButton("unit-button", async () => {
    setPinned(true);
    inspect({ layer: logitsLayer.layer.name, channel: classId }, 0);
    drillDown({ layer: stage.layer.name, channel: unit });
    await renderInspector(); // scrolling needs its final height
    openInspector();
  }, make("span", "", `${text("unit")} ${unit}`), make("b", "", `${term < 0 ? "" : "+"}${decimal(term, 2)}`));
  button.dataset.unit = String(unit);
  const maps = stage.before?.kind === "flatten" ? stage.before.before : undefined;
  const values = analysis.values.get(stage.before?.layer.name ?? "");
  if (!maps || !values) return button;
  const { kernel } = await fetchWeights(stage.layer, analysis.version, unit);
  const planes = unflatten(products(values, /** @type {number[]} */ (kernel)), maps.layer.output_shape);
  const heat = planes[0].map((row, y) => row.map((_, x) => Math.sign(term) * sum(planes.map((plane) => plane[y][x]))));
  const canvas = make("canvas");
  paintHeatmap(canvas, heat);
  button.prepend(canvas);
  return button;
}
