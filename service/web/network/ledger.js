// Sums as they are written on paper: a line for each number, the result last.

import { make } from "../elements.js";
import { decimal } from "../numbers.js";
import { ACTIVATIONS } from "./sums.js";
import { text } from "../language/text.js";

/** @typedef {import("./stages.js").Stage} Stage */

const TOLERANCE = 1e-3; // of float32 against the exact sum

/** @typedef {[name: string, number: string, className?: string]} Line */

/** @param {string} name @param {string} number @param {string} [className] @returns {Line} */
export const line = (name, number, className) => [name, number, className];

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
  return make("dl", "ledger", ...lines.map(([name, number, className]) => make("div", className, make("dt", "", name), make("dd", "", number))));
}

/** @param {string} className @param {HTMLElement[][]} rows */
export function table(className, rows) {
  const body = make("table", className, make("tbody", "", ...rows.map((cells) => make("tr", "", ...cells))));
  return make("div", "scrolls", body);
}
