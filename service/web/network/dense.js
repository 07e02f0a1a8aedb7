// Writes out a unit of a dense layer, and the softmax of the last one.

import { askWeights } from "../api.js";
import { paint, scaleAroundZero } from "../colours.js";
import { make, rove } from "../elements.js";
import { activated, disagreement, ledger, line, wayTo } from "./ledger.js";
import { added, decimal, percent, short, whole } from "../numbers.js";
import { channelsOf } from "./stages.js";
import { products, softmax, sum } from "./sums.js";
import { fullName, text } from "../language/text.js";
import { legendOf } from "./tiles.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("./written.js").Subject} Subject */

const STRONGEST = 8; // terms of a sum that are written one by one

/** @param {Subject} subject */
export async function dense(subject) {
  const { stage, look, channel, value, classes } = subject;
  const before = /** @type {Stage} */ (stage.before);
  const values = look.values.get(before.layer.name) ?? [];
  const learned = await askWeights(stage.layer, look.version, channel);
  const terms = products(values, /** @type {number[]} */ (learned.kernel));
  const strongest = terms.map((term, i) => ({ term, i })).sort((a, b) => Math.abs(b.term) - Math.abs(a.term)).slice(0, STRONGEST);
  const rest = sum(terms) - sum(strongest.map(({ term }) => term));
  /** @type {HTMLElement[]} */
  const parts = [make("h4", "", text("strongest", { count: strongest.length, of: whole(terms.length) }))];
  const total = sum(terms);
  const lines = [
    ...strongest.map(({ term, i }) => {
      const { name, place } = sourceOf(before, i);
      return line(`${name}: ${decimal(values[i], 3)} × ${decimal(/** @type {number[]} */ (learned.kernel)[i], 3)}`, decimal(term), "", place);
    }),
    line(text("others", { count: whole(terms.length - strongest.length) }), added(rest)),
    line(text("sumOf", { count: whole(terms.length) }), decimal(total), "sum"),
    line(text("bias"), added(learned.bias), "bias"),
  ];
  if (stage.layer.configuration.activation !== "softmax") {
    parts.push(activated(stage, lines, total + learned.bias, value), ...contributions(subject, terms));
    return parts;
  }
  parts.push(ledger([...lines, line(text("logit"), decimal(total + learned.bias), "total")]));
  const logits = await Promise.all(Array.from({ length: channelsOf(stage) }, async (_, unit) => {
    const { kernel, bias } = await askWeights(stage.layer, look.version, unit);
    return sum(products(values, /** @type {number[]} */ (kernel))) + bias;
  }));
  parts.push(...shares(logits, channel, classes, value, look));
  return parts;
}

/** What each map adds to a unit, as images, where the values before it were maps. @param {Subject} subject @param {number[]} terms */
function contributions({ stage }, terms) {
  const maps = stage.before?.kind === "flatten" ? stage.before.before : undefined;
  if (!maps) return [];
  const [height, width, channels] = maps.layer.output_shape;
  const scale = scaleAroundZero(terms);
  const planes = Array.from({ length: channels }, (_, c) =>
    Array.from({ length: height }, (_row, y) => Array.from({ length: width }, (_column, x) => terms[(y * width + x) * channels + c])));
  const sums = planes.map((plane) => sum(plane.flat()));
  const order = sums.map((_, c) => c).sort((a, b) => Math.abs(sums[b]) - Math.abs(sums[a]));
  const images = order.map((c) => {
    const canvas = make("canvas");
    paint(canvas, planes[c], scale);
    const sizes = planes[c].flat().map(Math.abs);
    const at = sizes.indexOf(Math.max(...sizes));
    const button = wayTo({ layer: maps.layer.name, channel: c, row: Math.floor(at / width), column: at % width }, "", canvas, make("span", "", short(sums[c])));
    button.ariaLabel = button.title = text("inputLabel", { map: c, sum: short(sums[c]) });
    return button;
  });
  const group = make("div", "inputs contributions", ...images);
  group.role = "group";
  group.ariaLabel = text("perMapAdds", { layer: maps.layer.name });
  rove(group);
  return [make("h4", "", group.ariaLabel), group, legendOf(scale)];
}

/**
 * What a number of a row is called, and where it comes from: the pixel or the unit, through layers that compute nothing.
 * @param {Stage} before @param {number} i @param {boolean} [flat] whether it is the row that maps are laid into
 * @returns {{name: string, place: import("./ledger.js").Place}}
 */
export function sourceOf(before, i, flat = false) {
  const maps = flat ? before : before.kind === "flatten" ? before.before : undefined;
  if (before.kind === "dropout" && before.before) return sourceOf(before.before, i);
  if (!maps || maps.layer.output_shape.length !== 3) return { name: `${text("unit")} ${i}`, place: { layer: before.layer.name, channel: i } };
  const [, width, channels] = maps.layer.output_shape;
  const pixel = Math.floor(i / channels);
  const [map, row, column] = [i % channels, Math.floor(pixel / width), pixel % width];
  return { name: text("flatPixel", { map, row, column }), place: { layer: maps.layer.name, channel: map, row, column } };
}

/** Softmax, written out. @param {number[]} logits @param {number} channel @param {string[]} classes @param {number} value @param {import("../image/looks.js").Look} look */
export function shares(logits, channel, classes, value, look) {
  const { largest, powers, total, shares: parts } = softmax(logits);
  const head = make("tr", "", make("td"), ...["z", "e^(z − max)", text("share")].map((title) => make("th", "", title)));
  const rows = logits.map((logit, i) => {
    const row = make("tr", i === channel ? "chosen" : "", make("th", "", ...fullName(classes[i])), ...[decimal(logit), powers[i] < 1e-4 ? short(powers[i]) : decimal(powers[i]), percent(parts[i])].map((number) => make("td", "", number)));
    return row;
  });
  const lines = [
    line(text("largestLogit"), decimal(largest)),
    line(text("sumOfPowers"), decimal(total)),
    line(`${decimal(powers[channel])} ÷ ${decimal(total)}`, decimal(parts[channel]), "result"),
    ...disagreement(parts[channel], value),
  ];
  const served = look.prediction?.probabilities[classes[channel]] ?? value;
  const note = Math.abs(served - value) < 5e-5 ? [] : [make("p", "note", text("served_note", { share: percent(served) }))];
  const heading = make("h4", "", text("softmax"));
  return [heading, make("table", "softmax", make("thead", "", head), make("tbody", "", ...rows)), ledger(lines), ...note];
}
