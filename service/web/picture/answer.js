// The answer: a bar for each class, and whether the picture is like anything the network knows.

import { byId, make } from "../elements.js";
import { decimal, percent } from "../numbers.js";
import { garment, text } from "../language/text.js";

/** @typedef {import("./looks.js").Look} Look */

/** @param {Look[]} looks @param {import("../api.js").Summary} summary */
export function showAnswers(looks, summary) {
  byId("verdicts", HTMLElement).replaceChildren(...looks.map((look, i) => verdict(look, summary, looks.length > 1 ? "AB"[i] : "")));
  const answered = looks.filter(({ prediction }) => prediction);
  if (answered.length === 0) return;
  const order = [...summary.class_names];
  if (byId("sorted", HTMLInputElement).checked) {
    const most = (/** @type {string} */ name) => probability(answered[0], name);
    order.sort((a, b) => most(b) - most(a));
  }
  byId("bars", HTMLElement).replaceChildren(...order.map((name) => bars(name, answered)));
}

/** @param {Look} look @param {string} name */
const probability = ({ prediction }, name) => prediction?.probabilities[name] ?? 0;

/** @param {Look} look @param {import("../api.js").Summary} summary @param {string} letter */
function verdict({ prediction, refusal }, summary, letter) {
  const box = make("div", "verdict");
  if (letter) box.append(make("span", "letter", letter));
  if (refusal || !prediction) {
    box.append(make("p", "label", refusal ? text("refused") : "…"));
    return box;
  }
  const { label, confidence, novelty, in_distribution: known } = prediction;
  box.append(make("p", "label", garment(label), make("span", "confidence", percent(confidence))));
  // A model may come without a novelty score.
  if (known !== null && novelty !== null && summary.novelty) {
    const numbers = text("novelty", { novelty: decimal(novelty, 1), threshold: decimal(summary.novelty.threshold, 1) });
    box.append(make("p", known ? "known" : "strange", text(known ? "known" : "strange"), make("small", "", numbers)));
  }
  return box;
}

/** @param {string} name @param {Look[]} looks */
function bars(name, looks) {
  const row = make("li", "", make("span", "class", garment(name)));
  const tracks = make("span", "tracks");
  const figures = make("span", "figures");
  for (const look of looks) {
    const bar = make("i", look.prediction?.label === name ? "best" : "");
    bar.style.width = `${100 * probability(look, name)}%`;
    tracks.append(bar);
    figures.append(make("b", "", percent(probability(look, name))));
  }
  row.append(tracks, figures);
  return row;
}
