// The person's own image, large, with what speaks for a class and against it on its pixels.

import { context } from "../colours.js";
import { byId, make } from "../elements.js";
import { garment, text } from "../language/text.js";

/** @typedef {import("./looks.js").Look} Look */

// Orange speaks for the class, blue against it: told apart by everybody, on grey and on colours.
const FOR = [255, 138, 0], AGAINST = [0, 120, 255];
const OPACITY = 0.85;

/** The figure of each image: an image that is made anew would flicker. @type {WeakMap<Look, HTMLElement>} */
const figures = new WeakMap();

/** @param {Look[]} looks */
export function showImages(looks) {
  byId("images", HTMLElement).replaceChildren(...looks.map((look, i) => {
    const figure = figures.get(look) ?? draw(look);
    figures.set(look, figure);
    const letter = figure.querySelector(".letter");
    if (letter) letter.textContent = looks.length > 1 ? "AB"[i] : "";
    lay(figure, look);
    return figure;
  }));
  const labels = [...new Set(looks.flatMap(({ why }) => (why ? [garment(why.label)] : [])))];
  byId("heat-legend", HTMLElement).hidden = labels.length === 0;
  byId("heat", HTMLElement).textContent = text("heat", { garment: labels.join(" / ") });
}

/** @param {Look} look */
function draw(look) {
  const image = make("img");
  image.src = look.url;
  image.hidden = true; // in WebKit a drawing without a size says the room that it has as its own
  const frame = make("div", "photograph", image, make("canvas", "heat"), make("span", "letter"));
  image.addEventListener("load", () => {
    // A drawing may have no size of its own.
    const [width, height] = [image.naturalWidth || 1, image.naturalHeight || 1];
    image.hidden = false;
    frame.style.setProperty("--ratio", String(width / height));
    frame.classList.toggle("small", Math.max(width, height) < 100);
  });
  image.addEventListener("error", () => frame.classList.add("unseen")); // the service reads it, the browser does not
  return make("figure", "", frame);
}

/** Lay the heat over the image, where the network's input lies on it. @param {HTMLElement} figure @param {Look} look */
function lay(figure, { name, why }) {
  const image = /** @type {HTMLImageElement} */ (figure.querySelector("img"));
  image.alt = text("given", { name });
  const canvas = /** @type {HTMLCanvasElement} */ (figure.querySelector(".heat"));
  canvas.hidden = !why || byId("heat", HTMLElement).ariaPressed !== "true";
  if (!why) return;
  const { heat, frame: [left, top, right, bottom] } = why;
  paintHeat(canvas, heat);
  const share = (/** @type {number} */ part) => `${100 * part}%`;
  Object.assign(canvas.style, {
    left: share(left), top: share(top), width: share(right - left), height: share(bottom - top),
  });
  canvas.role = "img";
  canvas.ariaLabel = text("heatLabel", { garment: garment(why.label), place: placeOf(heat) });
}

/** One canvas pixel a number: the stronger, the less is seen of the image. @param {HTMLCanvasElement} canvas @param {import("../api.js").Plane} heat */
export function paintHeat(canvas, heat) {
  [canvas.width, canvas.height] = [heat[0].length, heat.length];
  const values = heat.flat();
  const most = Math.max(...values.map(Math.abs)) || 1;
  const pixels = new ImageData(canvas.width, canvas.height);
  values.forEach((value, i) => {
    const strength = Math.abs(value) / most;
    pixels.data.set([...(value > 0 ? FOR : AGAINST), Math.round(255 * OPACITY * strength)], 4 * i);
  });
  context(canvas).putImageData(pixels, 0, 0);
}

/** In words, where what speaks for the class is strongest. @param {import("../api.js").Plane} heat */
function placeOf(heat) {
  const thirds = [0, 1, 2].flatMap((y) => [0, 1, 2].map((x) => {
    let total = 0;
    heat.forEach((row, i) => row.forEach((value, j) => {
      if (Math.floor(3 * i / heat.length) === y && Math.floor(3 * j / row.length) === x) total += Math.max(0, value);
    }));
    return total;
  }));
  const best = thirds.indexOf(Math.max(...thirds));
  return text(/** @type {const} */ (["placeTop", "placeMiddle", "placeBottom"])[Math.floor(best / 3)])
    + text(/** @type {const} */ (["placeLeft", "placeCentre", "placeRight"])[best % 3]);
}
