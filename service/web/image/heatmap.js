// The uploaded image, overlaid with the heat map of its explanation.

import { paintPixels } from "../colours.js";
import { byId, make, setRole } from "../elements.js";
import { classLabel, text } from "../language/text.js";
import { letterOf } from "./analysis.js";

/** @typedef {import("./analysis.js").Analysis} Analysis */

// Orange is evidence for the class, blue against it. Colour-blind readers can tell the two apart.
const FOR = [255, 138, 0], AGAINST = [0, 120, 255];
const OPACITY = 0.85;

/** Figures are reused: a new image element would flicker. @type {WeakMap<Analysis, HTMLElement>} */
const figures = new WeakMap();

/** @param {Analysis[]} analyses */
export function showImages(analyses) {
  byId("images", HTMLElement).replaceChildren(...analyses.map((analysis, i) => {
    const figure = figures.get(analysis) ?? makeFigure(analysis);
    figures.set(analysis, figure);
    const letter = figure.querySelector(".letter");
    if (letter) letter.textContent = letterOf(analyses, i);
    showOverlay(figure, analysis);
    return figure;
  }));
  const labels = [...new Set(analyses.flatMap(({ explanation }) => (explanation ? [classLabel(explanation.label)] : [])))];
  byId("heat-legend", HTMLElement).hidden = labels.length === 0;
  byId("heat", HTMLElement).textContent = text("whyHeading", { garment: labels.join(" / ") });
}

/** @param {Analysis} analysis */
function makeFigure(analysis) {
  const image = make("img");
  image.src = analysis.url;
  image.hidden = true; // a visible SVG without a size reports its layout size as its natural size in WebKit
  const frame = make("div", "photograph", image, make("canvas", "heat"), make("span", "letter"));
  image.addEventListener("load", () => {
    const [width, height] = [image.naturalWidth || 1, image.naturalHeight || 1];
    image.hidden = false;
    frame.style.setProperty("--ratio", String(width / height));
    frame.classList.toggle("small", Math.max(width, height) < 100);
  });
  image.addEventListener("error", () => frame.classList.add("unseen")); // the service may read what the browser cannot
  return make("figure", "", frame);
}

/** Lays the heat map over the area that the network sees. @param {HTMLElement} figure @param {Analysis} analysis */
function showOverlay(figure, { name, explanation }) {
  const image = /** @type {HTMLImageElement} */ (figure.querySelector("img"));
  image.alt = text("originalImage", { name });
  const canvas = /** @type {HTMLCanvasElement} */ (figure.querySelector(".heat"));
  canvas.hidden = !explanation || byId("heat", HTMLElement).ariaPressed !== "true";
  if (!explanation) return;
  const { heat, frame: [left, top, right, bottom], label } = explanation;
  paintHeatmap(canvas, heat);
  const percentage = (/** @type {number} */ share) => `${100 * share}%`;
  Object.assign(canvas.style, {
    left: percentage(left), top: percentage(top), width: percentage(right - left), height: percentage(bottom - top),
  });
  setRole(canvas, "img", text("heatLabel", { garment: classLabel(label), place: describePeak(heat) }));
}

/** The stronger the evidence, the more opaque its pixel. @param {HTMLCanvasElement} canvas @param {import("../api.js").Plane} heat */
export function paintHeatmap(canvas, heat) {
  const max = Math.max(...heat.flat().map(Math.abs)) || 1;
  paintPixels(canvas, heat, (value) => [...(value > 0 ? FOR : AGAINST), Math.round(255 * OPACITY * Math.abs(value) / max)]);
}

/** Names the ninth of the image with the most evidence for the class. @param {import("../api.js").Plane} heat */
function describePeak(heat) {
  const totals = Array(9).fill(0);
  heat.forEach((row, y) => row.forEach((value, x) => {
    totals[3 * Math.floor(3 * y / heat.length) + Math.floor(3 * x / row.length)] += Math.max(0, value);
  }));
  const peak = totals.indexOf(Math.max(...totals));
  return text(/** @type {const} */ (["placeTop", "placeMiddle", "placeBottom"])[Math.floor(peak / 3)])
    + text(/** @type {const} */ (["placeLeft", "placeCentre", "placeRight"])[peak % 3]);
}
