// Puts the page together: a picture in, the answer and the layers out.

import { Refused, featureMaps, predict, summary as askSummary } from "./api.js";
import { paint } from "./colours.js";
import { byId, make } from "./elements.js";
import { drawLayers, showLayers } from "./layers.js";
import { listen, showSamples } from "./pictures.js";
import { language, text, translate } from "./strings.js";

const original = byId("original", HTMLImageElement);
const prepare = byId("prepare", HTMLSelectElement);
const sorted = byId("sorted", HTMLInputElement);
const languages = byId("language", HTMLSelectElement);

/** @type {import("./api.js").Summary} */
let summary;
/** @type {Blob | undefined} */
let picture;
/** @type {import("./api.js").Prediction | undefined} */
let prediction;
let asking = new AbortController();

/** @param {Blob} given */
function give(given) {
  for (const pressed of document.querySelectorAll("#samples [aria-pressed]")) pressed.removeAttribute("aria-pressed");
  picture = given;
  URL.revokeObjectURL(original.src);
  original.src = URL.createObjectURL(given);
  original.hidden = false;
  return look();
}

async function look() {
  if (!picture) return;
  asking.abort(); // the last picture given is the one that is answered
  asking = new AbortController();
  const { signal } = asking;
  try {
    const maps = featureMaps(picture, prepare.value, signal);
    maps.catch(() => {}); // what it fails with, the prediction fails with as well
    prediction = await predict(picture, prepare.value, signal);
    fail("");
    showAnswer();
    const answer = await maps;
    paint(byId("input", HTMLCanvasElement), answer.image, [0, 255], true);
    showLayers(summary, answer);
  } catch (error) {
    if (!signal.aborted) fail(error instanceof Refused ? error.message : text("unreachable"));
  }
}

/** @param {string} message */
function fail(message) {
  byId("error", HTMLElement).textContent = message;
}

function showAnswer() {
  if (!prediction) return;
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(2)} %`;
  byId("label", HTMLElement).textContent = `${prediction.label} · ${percent(prediction.confidence)}`;
  // A model may come without a novelty score.
  const known = prediction.in_distribution ?? null;
  byId("known", HTMLElement).textContent = known === null ? "" : text(known ? "known" : "strange");
  byId("preparation", HTMLElement).textContent =
    `${text("prepared")} ${text(prediction.preparation)}`;
  const classes = Object.entries(prediction.probabilities);
  if (sorted.checked) classes.sort(([, a], [, b]) => b - a);
  byId("bars", HTMLElement).replaceChildren(...classes.map(([name, probability]) => {
    const item = make("li");
    const track = make("span");
    const bar = make("i");
    bar.style.display = "block";
    bar.style.width = `${100 * probability}%`;
    track.append(bar);
    item.append(make("span", name), track, make("b", percent(probability)));
    return item;
  }));
}

languages.value = language();
translate();
languages.addEventListener("change", () => {
  localStorage.setItem("language", languages.value);
  translate();
  showAnswer();
  drawLayers();
});
prepare.addEventListener("change", look);
sorted.addEventListener("change", showAnswer);
byId("scale", HTMLSelectElement).addEventListener("change", drawLayers);
try {
  summary = await askSummary();
  listen(give, fail);
  showSamples(summary.class_names, give).at(-1)?.click();
} catch {
  fail(text("unreachable"));
}
