// Derives the value of a unit of a dense layer, and of a softmax.

import { fetchWeights } from "../api.js";
import { divergingScale, paintPlane } from "../colours.js";
import { addRovingTabindex, make, setRole } from "../elements.js";
import { descending, maxAbsPosition, products, softmax, sum, unflatten } from "./arithmetic.js";
import { activationFormula, formula, line, linkTo, mismatch } from "./formula.js";
import { compact, decimal, integer, percent, signedTerm } from "../numbers.js";
import { channelsOf } from "./stages.js";
import { fullClassLabel, text } from "../language/text.js";
import { legendOf } from "./tiles.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("./derivation.js").Target} Target */

const MAX_TERMS = 8; // that have a line of their own

/** @param {Target} target */
export async function dense(target) {
  const { stage, analysis, channel, value } = target;
  const before = /** @type {Stage} */ (stage.before);
  const values = analysis.values.get(before.layer.name) ?? [];
  const { kernel, bias } = /** @type {{kernel: number[], bias: number}} */ (await fetchWeights(stage.layer, analysis.version, channel));
  const terms = products(values, kernel);
  const total = sum(terms);
  const strongest = descending(terms.map(Math.abs)).slice(0, MAX_TERMS);
  const lines = [
    ...strongest.map((i) => {
      const { name, position } = sourceOf(before, i);
      return line(`${name}: ${decimal(values[i], 3)} × ${decimal(kernel[i], 3)}`, decimal(terms[i]), "", position);
    }),
    line(text("otherTerms", { count: integer(terms.length - strongest.length) }), signedTerm(total - sum(strongest.map((i) => terms[i])))),
    line(text("sumOf", { count: integer(terms.length) }), decimal(total), "sum"),
    line(text("bias"), signedTerm(bias), "bias"),
  ];
  const heading = make("h4", "", text("strongestTerms", { count: strongest.length, of: integer(terms.length) }));
  if (stage.layer.configuration.activation !== "softmax") {
    return [heading, activationFormula(stage, lines, total + bias, value), ...mapContributions(stage, terms)];
  }
  const logits = await Promise.all(Array.from({ length: channelsOf(stage) }, async (_, unit) => {
    const weights = await fetchWeights(stage.layer, analysis.version, unit);
    return sum(products(values, /** @type {number[]} */ (weights.kernel))) + weights.bias;
  }));
  return [heading, formula([...lines, line(text("logit"), decimal(total + bias), "total")]), ...softmaxTable(logits, target)];
}

/** What each map adds to the unit, if the layer takes flattened maps. @param {Stage} stage @param {number[]} terms */
function mapContributions({ before }, terms) {
  const maps = before?.kind === "flatten" ? before.before : undefined;
  if (!maps) return [];
  const scale = divergingScale(terms);
  const planes = unflatten(terms, maps.layer.output_shape);
  const sums = planes.map((plane) => sum(plane.flat()));
  const buttons = descending(sums.map(Math.abs)).map((map) => {
    const canvas = make("canvas");
    paintPlane(canvas, planes[map], scale);
    const position = { layer: maps.layer.name, channel: map, ...maxAbsPosition(planes[map]) };
    const button = linkTo(position, "", canvas, make("span", "", compact(sums[map])));
    button.ariaLabel = button.title = text("inputContribution", { map, sum: compact(sums[map]) });
    return button;
  });
  const label = text("mapContributions", { layer: maps.layer.name });
  const group = setRole(make("div", "inputs contributions", ...buttons), "group", label);
  addRovingTabindex(group);
  return [make("h4", "", label), group, legendOf(scale)];
}

/**
 * Finds the pixel or unit that an input of a dense layer comes from, past Flatten and Dropout layers.
 * @param {Stage} before @param {number} i index of the input @param {boolean} [isFlattened] whether the index counts the flattened outputs of `before`
 * @returns {{name: string, position: import("../state.js").Position}}
 */
export function sourceOf(before, i, isFlattened = false) {
  if (before.kind === "dropout" && before.before) return sourceOf(before.before, i);
  const maps = isFlattened ? before : before.kind === "flatten" ? before.before : undefined;
  if (!maps || maps.layer.output_shape.length !== 3) return { name: `${text("unit")} ${i}`, position: { layer: before.layer.name, channel: i } };
  const [, width, channels] = maps.layer.output_shape;
  const pixel = Math.floor(i / channels);
  const [map, row, column] = [i % channels, Math.floor(pixel / width), pixel % width];
  return { name: text("mapPixel", { map, row, column }), position: { layer: maps.layer.name, channel: map, row, column } };
}

/** @param {number[]} logits @param {Target} target */
export function softmaxTable(logits, { channel, classes, value, analysis }) {
  const { largest, exponentials, total, probabilities } = softmax(logits);
  const head = make("tr", "", make("td"), ...["z", "e^(z − max)", text("share")].map((title) => make("th", "", title)));
  const rows = logits.map((logit, i) => {
    const figures = [decimal(logit), exponentials[i] < 1e-4 ? compact(exponentials[i]) : decimal(exponentials[i]), percent(probabilities[i])];
    return make("tr", i === channel ? "chosen" : "", make("th", "", ...fullClassLabel(classes[i])), ...figures.map((figure) => make("td", "", figure)));
  });
  const lines = [
    line(text("largestLogit"), decimal(largest)),
    line(text("sumOfExponentials"), decimal(total)),
    line(`${decimal(exponentials[channel])} ÷ ${decimal(total)}`, decimal(probabilities[channel]), "result"),
    ...mismatch(probabilities[channel], value),
  ];
  const predicted = analysis.prediction?.probabilities[classes[channel]] ?? value;
  const note = Math.abs(predicted - value) < 5e-5 ? [] : [make("p", "note", text("quantizedNote", { share: percent(predicted) }))];
  return [make("h4", "", text("softmax")), make("table", "softmax", make("thead", "", head), make("tbody", "", ...rows)), formula(lines), ...note];
}
