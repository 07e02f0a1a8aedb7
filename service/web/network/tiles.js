// The maps and units of a layer as small buttons that select them, and legends of colour scales.

import { colour, paintPlane } from "../colours.js";
import { make, makeButton, setRole } from "../elements.js";
import { probabilityBars } from "../image/prediction.js";
import { compact } from "../numbers.js";
import { text } from "../language/text.js";

/** @typedef {import("../colours.js").Scale} Scale */
/** @typedef {import("../api.js").Plane} Plane */

/** The container of the layers handles its click. @param {number} channel @param {string} label @param {...Node} content */
function tile(channel, label, ...content) {
  const button = makeButton("tile", undefined, ...content);
  button.dataset.channel = String(channel);
  if (label) button.ariaLabel = button.title = label;
  button.setAttribute("aria-pressed", "false");
  return button;
}

/**
 * A map of each image.
 * @param {import("./stages.js").Stage} stage
 * @param {number} channel
 * @param {Plane[]} planes
 * @param {Scale} scale
 * @param {boolean} showsRange whether to print the range of the scale
 */
export function mapTile(stage, channel, planes, scale, showsRange) {
  const maps = planes.map((plane, image) => {
    const canvas = make("canvas");
    paintPlane(canvas, plane, scale);
    const box = make("span", "plane", canvas);
    box.dataset.image = String(image);
    return box;
  });
  const [low, high] = [compact(scale.low), compact(scale.high)];
  const label = stage.kind === "input" ? text("inputMap", { white: scale.high }) : text("mapLabel", { channel, low, high });
  const button = tile(channel, label, make("span", "planes", ...maps));
  if (showsRange) button.append(make("small", "", `${low} … ${high}`));
  return button;
}

/** @param {number} unit @param {number[]} values of each image @param {Scale} scale */
export function unitTile(unit, values, scale) {
  const button = tile(unit, text("unitLabel", { unit, value: values.map(compact).join(" · ") }));
  const [left, right] = values.map((value) => `rgb(${colour(value, scale)})`);
  button.style.background = right ? `linear-gradient(90deg, ${left} 50%, ${right} 50%)` : left;
  return button;
}

/** @param {string} name @param {number} unit @param {number[]} probabilities of each image */
export const classTile = (name, unit, probabilities) => tile(unit, "", ...probabilityBars(name, probabilities));

/** @param {Scale} scale @param {string} [low] @param {string} [high] labels of its ends */
export function legendOf(scale, low = compact(scale.low), high = compact(scale.high)) {
  const canvas = make("canvas");
  const ramp = Array.from({ length: 64 }, (_, i) => scale.low + (scale.high - scale.low) * i / 63);
  paintPlane(canvas, [ramp], scale);
  return setRole(make("span", "legend", low, canvas, high), "img", text("legend", { low, high }));
}
