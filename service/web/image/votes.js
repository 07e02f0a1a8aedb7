// Who spoke for a class and who against it: the units before the last layer, each with where it looked.

import { askWeights } from "../api.js";
import { byId, make, makeButton, rove } from "../elements.js";
import { goBack, inspect, lookInto, openInspector } from "../network/inspector.js";
import { decimal } from "../numbers.js";
import { channelsOf, logitsLayerOf, votersOf } from "../network/stages.js";
import { holdStill } from "../network/steering.js";
import { products } from "../network/sums.js";
import { describeFailure } from "../network/written.js";
import { paintHeat } from "./photograph.js";
import { garment, text } from "../language/text.js";

/** @typedef {import("../network/stages.js").Stage} Stage */
/** @typedef {import("./looks.js").Look} Look */

const MOST = 3; // of each side

let latest = 0;

/** @param {Look[]} looks of two, the first @param {Stage[]} stages @param {import("../api.js").Summary} summary */
export async function showUnits(looks, stages, summary) {
  latest += 1;
  const mine = latest;
  const box = byId("votes", HTMLElement);
  const [look] = looks;
  const logitsLayer = logitsLayerOf(stages);
  const voters = votersOf(logitsLayer);
  const classId = look?.why?.class_id ?? look?.prediction?.class_id;
  const values = look?.values.get(voters?.layer.name ?? "");
  if (!look || !voters || !values || classId === undefined) return box.replaceChildren();
  /** @type {HTMLElement[]} */
  let parts = [];
  try {
    const { kernel } = await askWeights(logitsLayer.layer, look.version, classId);
    const terms = products(values, /** @type {number[]} */ (kernel));
    const order = terms.map((_, unit) => unit).sort((a, b) => terms[b] - terms[a]);
    const sides = [order.slice(0, MOST).filter((unit) => terms[unit] > 0), order.slice(-MOST).reverse().filter((unit) => terms[unit] < 0)];
    const name = garment(summary.class_names[classId]);
    parts = await Promise.all(sides.map(async (units, side) => {
      const group = make("div", "voters", ...await Promise.all(units.map((unit) => voter(look, logitsLayer, classId, voters, unit, terms[unit]))));
      group.role = "group";
      group.ariaLabel = text(side === 0 ? "votesFor" : "votesAgainst", { garment: name });
      rove(group);
      return make("div", "", make("h3", "", group.ariaLabel), units.length ? group : make("p", "soft", text("nobody")));
    }));
  } catch (error) {
    parts = describeFailure(error, () => showUnits(looks, stages, summary));
  }
  if (mine === latest) box.replaceChildren(...parts);
}

/** @param {Look} look @param {Stage} logitsLayer @param {number} classId it votes on @param {Stage} stage @param {number} unit @param {number} term */
async function voter(look, logitsLayer, classId, stage, unit, term) {
  const button = makeButton("voter", async () => {
    holdStill(true);
    lookInto({ layer: logitsLayer.layer.name, channel: classId }, 0);
    goBack({ layer: stage.layer.name, channel: unit });
    await inspect(); // what is not written yet has no size to scroll to
    openInspector();
  }, make("span", "", `${text("unit")} ${unit}`), make("b", "", `${term < 0 ? "" : "+"}${decimal(term, 2)}`));
  button.dataset.unit = String(unit);
  const maps = stage.before?.kind === "flatten" ? stage.before.before : undefined;
  const values = look.values.get(stage.before?.layer.name ?? "");
  if (!maps || !values) return button;
  const { kernel } = await askWeights(stage.layer, look.version, unit);
  const terms = products(values, /** @type {number[]} */ (kernel));
  const [height, width] = maps.layer.output_shape;
  const channels = channelsOf(maps);
  const places = Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_v, x) => {
    const from = (y * width + x) * channels;
    return Math.sign(term) * terms.slice(from, from + channels).reduce((total, each) => total + each, 0);
  }));
  const canvas = make("canvas");
  paintHeat(canvas, places);
  button.prepend(canvas);
  return button;
}
