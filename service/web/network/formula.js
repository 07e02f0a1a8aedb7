// The parts of a derivation: formulas with one line for each term and the result last, and grids of values.

import { addRovingTabindex, make, makeButton, setRole } from "../elements.js";
import { decimal } from "../numbers.js";
import { ACTIVATIONS } from "./arithmetic.js";
import { text } from "../language/text.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../state.js").Position} Position */

const TOLERANCE = 1e-3; // float32 in the service, float64 here

/** @typedef {[name: string, number: string, className?: string, source?: Position]} Line */

/** @param {string} name @param {string} number @param {string} [className] @param {Position} [source] of the number @returns {Line} */
export const line = (name, number, className, source) => [name, number, className, source];

/**
 * A button that leads to the source of a value; the inspector handles the click.
 * @param {Position} source @param {string} className @param {...(string | Node)} content
 */
export function linkTo(source, className, ...content) {
  const button = makeButton(className, undefined, ...content);
  button.dataset.source = JSON.stringify(source);
  return button;
}

/** @param {Line[]} lines */
export const formula = (lines) => make("dl", "formula", ...lines.map(([name, number, className, source]) =>
  make("div", className, make("dt", "", source ? linkTo(source, "link", name) : name), make("dd", "", number))));

/** Ends the formula with the layer's activation function. @param {Stage} stage @param {Line[]} lines @param {number} total @param {number} value that the service returned */
export function activationFormula({ layer: { configuration } }, lines, total, value) {
  const name = configuration.activation ?? "linear";
  const activation = ACTIVATIONS[name];
  const all = [...lines, line(text("total"), decimal(total), "total")];
  if (!activation) return formula([...all, line(name, decimal(value), "result")]);
  const result = activation.apply(total);
  return formula([...all, line(`${name}: ${activation.formula}`, decimal(result), "result"), ...mismatch(result, value)]);
}

/** @param {number} computed @param {number} value that the service returned @returns {Line[]} empty if the two agree */
export function mismatch(computed, value) {
  const isSame = Math.abs(computed - value) <= TOLERANCE * Math.max(1, Math.abs(value));
  return isSame ? [] : [line(text("mismatch"), decimal(value), "disagrees")];
}

/**
 * Values at their positions on a map, each a link to its pixel.
 * @param {string} className @param {string} label @param {HTMLButtonElement[][]} rows
 */
export function cellGrid(className, label, rows) {
  const grid = setRole(make("div", `cells ${className}`, ...rows.flat()), "group", label);
  grid.style.setProperty("--columns", String(rows[0].length));
  addRovingTabindex(grid);
  return make("div", "scrolls", grid);
}
