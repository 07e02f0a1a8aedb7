// The answer: a bar for each class, what it is worth, and whether the image is like anything the network knows.

import { byId, make, makeButton } from "../elements.js";
import { failureBox } from "../failures.js";
import { decimal, percent } from "../numbers.js";
import { fullName, garment, text } from "../language/text.js";

/** @typedef {import("./looks.js").Look} Look */
/** @typedef {import("../api.js").Summary} Summary */

/**
 * @param {Look[]} looks
 * @param {Summary} summary
 * @param {(look: Look) => void} again asks what failed
 * @param {(classId: number) => void} explain
 */
export function showAnswers(looks, summary, again, explain) {
  byId("verdicts", HTMLElement).replaceChildren(...looks.map((look, i) => verdict(look, summary, looks.length > 1 ? "AB"[i] : "", again)));
  byId("save-answer", HTMLButtonElement).disabled = !looks[0]?.written;
  const answered = looks.filter(({ prediction }) => prediction);
  const order = [...summary.class_names];
  if (answered.length > 0 && byId("sorted", HTMLInputElement).checked) {
    order.sort((a, b) => probability(answered[0], b) - probability(answered[0], a));
  }
  const shown = answered[0]?.why?.label ?? answered[0]?.prediction?.label;
  const focused = document.activeElement?.closest("#bars li")?.getAttribute("data-garment");
  byId("bars", HTMLElement).replaceChildren(...order.map((name) => {
    const row = bars(name, answered, () => explain(summary.class_names.indexOf(name)));
    row.firstElementChild?.setAttribute("aria-pressed", String(name === shown));
    return row;
  }));
  if (focused) /** @type {HTMLElement | null} */ (document.querySelector(`#bars [data-garment="${focused}"] button`))?.focus();
}

/** @param {Look} look @param {string} name */
const probability = ({ prediction }, name) => prediction?.probabilities[name] ?? 0;

/** @param {Look} look @param {Summary} summary @param {string} letter @param {(look: Look) => void} again */
function verdict(look, summary, letter, again) {
  const { prediction, failure, busy, slow } = look;
  const box = make("div", "verdict");
  if (letter) box.append(make("span", "letter", letter));
  if (failure) {
    box.append(make("p", "label", text("refused")), failureBox(failure, () => again(look)));
    return box;
  }
  if (!prediction) {
    if (busy) box.append(make("p", "label waiting", text(slow ? "stillWorking" : "working")));
    return box;
  }
  const { label, confidence } = prediction;
  box.append(make("p", "label", ...fullName(label), " ", make("span", "confidence", percent(confidence))));
  box.append(...worth(prediction, summary), ...novelty(prediction, summary));
  if (look.whyFailure) box.append(failureBox(look.whyFailure, () => again(look)));
  return box;
}

/** What the label was worth on the test images, which are no photographs. @param {import("../api.js").Prediction} prediction @param {Summary} summary */
function worth({ label, preparation }, { scores, class_names: classes }) {
  const precision = scores.classes?.[label]?.precision;
  if (precision === undefined) return [];
  const isPhoto = preparation === "photo";
  const said = [text("worth", { garment: garment(label), share: percent(precision, 0), tested: text(isPhoto ? "testedNoPhoto" : "tested") })];
  // Rows are what the images are, columns what they are called.
  const column = scores.confusion_matrix?.map((/** @type {number[]} */ row) => row[classes.indexOf(label)]);
  const wrong = column?.map((/** @type {number} */ count, /** @type {number} */ i) => (classes[i] === label ? 0 : count));
  if (wrong && Math.max(...wrong) > 0) said.push(text("mistakenFor", { garment: garment(classes[wrong.indexOf(Math.max(...wrong))]) }));
  const right = isPhoto && scores.photographs?.macro_average;
  if (right) said.unshift(text("worthOfPhotos", { share: percent(right, 0) }));
  return [make("p", "worth", said.join(" "))];
}

/** The score is an entropy, at most the logarithm of the number of classes. @param {import("../api.js").Prediction} prediction @param {Summary} summary */
function novelty({ novelty: score, in_distribution: known, preparation }, { novelty: measure, class_names: classes, scores }) {
  if (known === null || score === null || !measure) return []; // a model may come without
  const threshold = (preparation === "photo" ? measure.photo_threshold : null) ?? measure.threshold;
  const farther = threshold + (Math.log(classes.length) - threshold) / 3;
  const grade = known ? (score <= threshold / 2 ? "known" : "unusual") : score > farther ? "alien" : "strange";
  const { percentiles, of_percentiles: shares } = scores.novelty ?? {};
  const kind = preparation === "photo" && percentiles?.photographs ? "photographs" : "images";
  const below = percentiles?.[kind]?.filter((/** @type {number} */ each) => each < score).length ?? 0;
  const rank = shares?.[below - 1] ? text("noveltyRank", { share: percent(shares[below - 1] / 100, 0) }) : "";
  const numbers = text("novelty", { novelty: decimal(score, 2), threshold: decimal(threshold, 2), rank });
  return [make("p", known ? "known" : "strange", text(grade), " ", make("small", "", numbers))];
}

/** @param {string} name @param {Look[]} looks @param {() => void} explain */
function bars(name, looks, explain) {
  const tracks = make("span", "tracks");
  const figures = make("span", "figures");
  for (const look of looks) {
    const bar = make("i", look.prediction?.label === name ? "best" : "");
    bar.style.width = `${100 * probability(look, name)}%`;
    tracks.append(bar);
    figures.append(make("b", "", percent(probability(look, name))));
  }
  const button = makeButton("", explain, make("span", "class", ...fullName(name)), tracks, figures);
  button.disabled = looks.length === 0;
  button.title = text("whyClass", { garment: garment(name) });
  const row = make("li", "", button);
  row.dataset.garment = name;
  return row;
}
