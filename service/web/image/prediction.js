// The prediction: a bar for each class, the model's precision, and how novel the image is to the model.

import { byId, make, makeButton } from "../elements.js";
import { errorBox } from "../errors.js";
import { decimal, percent } from "../numbers.js";
import { classLabel, fullClassLabel, text } from "../language/text.js";
import { letterOf } from "./analysis.js";

/** @typedef {import("./analysis.js").Analysis} Analysis */
/** @typedef {import("../api.js").Prediction} Prediction */
/** @typedef {import("../api.js").Summary} Summary */

/**
 * @param {Analysis[]} analyses
 * @param {Summary} summary
 * @param {(analysis: Analysis) => void} retry
 * @param {(classId: number) => void} explain
 */
export function showPredictions(analyses, summary, retry, explain) {
  byId("verdicts", HTMLElement).replaceChildren(...analyses.map((analysis, i) => verdict(analysis, summary, letterOf(analyses, i), retry)));
  byId("save-answer", HTMLButtonElement).disabled = !analyses[0]?.responseText;
  const predicted = analyses.filter(({ prediction }) => prediction);
  const order = [...summary.class_names];
  if (predicted.length > 0 && byId("sorted", HTMLInputElement).checked) {
    order.sort((a, b) => probabilityOf(predicted[0], b) - probabilityOf(predicted[0], a));
  }
  const explained = predicted[0]?.explanation?.label ?? predicted[0]?.prediction?.label;
  const focused = document.activeElement?.closest("#bars li")?.getAttribute("data-garment");
  byId("bars", HTMLElement).replaceChildren(...order.map((name) => {
    const button = makeButton("", () => explain(summary.class_names.indexOf(name)), ...probabilityBars(
      name, predicted.map((analysis) => probabilityOf(analysis, name)), predicted.map(({ prediction }) => prediction?.label === name)));
    button.disabled = predicted.length === 0;
    button.title = text("whyClass", { garment: classLabel(name) });
    button.setAttribute("aria-pressed", String(name === explained));
    const item = make("li", "", button);
    item.dataset.garment = name;
    return item;
  }));
  if (focused) /** @type {HTMLElement | null} */ (document.querySelector(`#bars [data-garment="${focused}"] button`))?.focus();
}

/** @param {Analysis} analysis @param {string} name */
const probabilityOf = ({ prediction }, name) => prediction?.probabilities[name] ?? 0;

/** A class, with a bar and a figure for each image. @param {string} name @param {number[]} probabilities @param {boolean[]} [isBest] */
export function probabilityBars(name, probabilities, isBest = []) {
  const tracks = make("span", "tracks", ...probabilities.map((probability, i) => {
    const bar = make("i", isBest[i] ? "best" : "");
    bar.style.width = `${100 * probability}%`;
    return bar;
  }));
  const figures = make("span", "figures", ...probabilities.map((probability) => make("b", "", percent(probability))));
  return [make("span", "class", ...fullClassLabel(name)), tracks, figures];
}

/** @param {Analysis} analysis @param {Summary} summary @param {string} letter @param {(analysis: Analysis) => void} retry */
function verdict(analysis, summary, letter, retry) {
  const { prediction, error, busy, slow, explanationError } = analysis;
  const box = make("div", "verdict");
  if (letter) box.append(make("span", "letter", letter));
  if (error) {
    box.append(make("p", "label", text("noPrediction")), errorBox(error, () => retry(analysis)));
    return box;
  }
  if (!prediction) {
    if (busy) box.append(make("p", "label waiting", text(slow ? "stillWorking" : "predicting")));
    return box;
  }
  const { label, confidence } = prediction;
  box.append(make("p", "label", ...fullClassLabel(label), " ", make("span", "confidence", percent(confidence))));
  box.append(...precisionNote(prediction, summary), ...noveltyNote(prediction, summary));
  if (explanationError) box.append(errorBox(explanationError, () => retry(analysis)));
  return box;
}

/** How often the model is right when it predicts this class. @param {Prediction} prediction @param {Summary} summary */
function precisionNote({ label, preparation }, { scores, class_names: classes }) {
  const precision = scores.classes?.[label]?.precision;
  if (precision === undefined) return [];
  const isPhoto = preparation === "photo";
  const sentences = [text("precision", { garment: classLabel(label), share: percent(precision, 0), tested: text(isPhoto ? "testedNotPhotos" : "tested") })];
  // Rows of the confusion matrix are true classes, columns are predictions.
  const column = scores.confusion_matrix?.map((/** @type {number[]} */ row) => row[classes.indexOf(label)]);
  const wrong = column?.map((/** @type {number} */ count, /** @type {number} */ i) => (classes[i] === label ? 0 : count));
  if (wrong && Math.max(...wrong) > 0) sentences.push(text("mistakenFor", { garment: classLabel(classes[wrong.indexOf(Math.max(...wrong))]) }));
  const photoAccuracy = isPhoto && scores.photographs?.macro_average;
  if (photoAccuracy) sentences.unshift(text("photoAccuracy", { share: percent(photoAccuracy, 0) }));
  return [make("p", "precision", sentences.join(" "))];
}

/** The novelty score is an entropy, at most the logarithm of the number of classes. @param {Prediction} prediction @param {Summary} summary */
function noveltyNote({ novelty: score, in_distribution: isKnown, preparation }, { novelty: settings, class_names: classes, scores }) {
  if (isKnown === null || score === null || !settings) return []; // the model has no novelty detection
  const threshold = (preparation === "photo" ? settings.photo_threshold : null) ?? settings.threshold;
  const alienThreshold = threshold + (Math.log(classes.length) - threshold) / 3;
  const grade = isKnown ? (score <= threshold / 2 ? "known" : "unusual") : score > alienThreshold ? "alien" : "strange";
  const { percentiles, of_percentiles: shares } = scores.novelty ?? {};
  const kind = preparation === "photo" && percentiles?.photographs ? "photographs" : "images";
  const below = percentiles?.[kind]?.filter((/** @type {number} */ each) => each < score).length ?? 0;
  const rank = shares?.[below - 1] ? text("noveltyRank", { share: percent(shares[below - 1] / 100, 0) }) : "";
  const figures = text("novelty", { novelty: decimal(score, 2), threshold: decimal(threshold, 2), rank });
  return [make("p", isKnown ? "known" : "strange", text(grade), " ", make("small", "", figures))];
}
