// Sums as they are written on paper: a line for each number, the result last.

import { make, rove } from "../elements.js";
import { decimal } from "../numbers.js";
import { ACTIVATIONS } from "./sums.js";
import { text } from "../language/text.js";

/** @typedef {import("./stages.js").Stage} Stage */

const TOLERANCE = 1e-3; // of float32 against the exact sum

/** @typedef {Partial<import("../state.js").State>} Place that can be looked into */
/** @typedef {[name: string, number: string, className?: string, place?: Place]} Line */

/** @param {string} name @param {string} number @param {string} [className] @param {Place} [place] where the number comes from @returns {Line} */
export const line = (name, number, className, place) => [name, number, className, place];

/**
 * A button that leads to where a number comes from.
 * @param {Place} place @param {string} className @param {...(string | Node)} content
 */
export function wayTo(place, className, ...content) {
  const button = make("button", className, ...content);
  button.type = "button";
  button.dataset.go = JSON.stringify(place);
  return button;
}

/** The end of a sum: its activation, and what the service says it is. @param {Stage} stage @param {Line[]} lines @param {number} total @param {number} value */
export function activated({ layer }, lines, total, value) {
  const activation = ACTIVATIONS[layer.configuration.activation ?? "linear"];
  const before = line(text("total"), decimal(total), "total");
  if (!activation) return ledger([...lines, before, line(layer.configuration.activation, decimal(value), "result")]);
  const result = activation.of(total);
  const after = line(`${layer.configuration.activation ?? "linear"}: ${activation.written}`, decimal(result), "result");
  return ledger([...lines, before, after, ...disagreement(result, value)]);
}

/** @param {number} computed @param {number} answered @returns {Line[]} what must be said if the two are not the same */
export function disagreement(computed, answered) {
  const same = Math.abs(computed - answered) <= TOLERANCE * Math.max(1, Math.abs(answered));
  return same ? [] : [line(text("disagrees"), decimal(answered), "disagrees")];
}

/** @param {Line[]} lines */
export function ledger(lines) {
  return make("dl", "ledger", ...lines.map(([name, number, className, place]) =>
    make("div", className, make("dt", "", place ? wayTo(place, "way", name) : name), make("dd", "", number))));
}

/**
 * Numbers as they lie on a map, each a way to its pixel.
 * @param {string} className @param {string} label @param {HTMLButtonElement[][]} rows
 */
export function cells(className, label, rows) {
  const grid = make("div", `cells ${className}`, ...rows.flat());
  grid.style.setProperty("--columns", String(rows[0].length));
  grid.role = "group";
  grid.ariaLabel = label;
  rove(grid);
  return make("div", "scrolls", grid);
}
