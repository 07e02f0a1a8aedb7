// The small images a layer's card is made of, each a button that looks into it.

import { colour, paint } from "../colours.js";
import { make } from "../elements.js";
import { percent, short } from "../numbers.js";
import { fullName, text } from "../language/text.js";

/** @typedef {import("../colours.js").Scale} Scale */
/** @typedef {import("../api.js").Plane} Plane */

/** @param {number} channel @param {string} label @param {...Node} content */
function tile(channel, label, ...content) {
  const button = make("button", "tile", ...content);
  button.type = "button";
  button.dataset.channel = String(channel);
  if (label) button.ariaLabel = button.title = label;
  button.setAttribute("aria-pressed", "false");
  return button;
}

/** @param {Scale} scale */
const ends = ({ low, high }) => `${short(low)} … ${short(high)}`;

/**
 * A map; of two images, both.
 * @param {import("./stages.js").Stage} stage
 * @param {number} channel
 * @param {Plane[]} planes
 * @param {Scale} scale
 * @param {boolean} printed whether the tile has a scale of its own, which is written under it
 */
export function mapTile(stage, channel, planes, scale, printed) {
  const drawn = planes.map((plane, which) => {
    const canvas = make("canvas");
    paint(canvas, plane, scale);
    const box = make("span", "plane", canvas);
    box.dataset.which = String(which);
    return box;
  });
  const label = stage.kind === "input" ? text("inputMap", { white: scale.high }) : text("mapLabel", { channel, low: short(scale.low), high: short(scale.high) });
  const button = tile(channel, label, make("span", "planes", ...drawn));
  if (printed) button.append(make("small", "", ends(scale)));
  return button;
}

/** @param {number} unit @param {number[]} values @param {Scale} scale */
export function unitTile(unit, values, scale) {
  const button = tile(unit, text("unitLabel", { unit, value: values.map(short).join(" · ") }));
  const colours = values.map((value) => `rgb(${colour(value, scale)})`);
  button.style.background = colours.length > 1 ? `linear-gradient(90deg, ${colours[0]} 50%, ${colours[1]} 50%)` : colours[0];
  return button;
}

/** @param {string} name @param {number} unit @param {number[]} shares */
export function classBars(name, unit, shares) {
  const tracks = make("span", "tracks", ...shares.map((share) => {
    const bar = make("i");
    bar.style.width = `${100 * share}%`;
    return bar;
  }));
  const figures = make("span", "figures", ...shares.map((share) => make("b", "", percent(share))));
  return tile(unit, "", make("span", "class", ...fullName(name)), tracks, figures);
}

/**
 * @param {Scale} scale
 * @param {string} [low] @param {string} [high] what its ends are called
 */
export function legendOf(scale, low = short(scale.low), high = short(scale.high)) {
  const canvas = make("canvas");
  const ramp = Array.from({ length: 64 }, (_, i) => scale.low + (scale.high - scale.low) * i / 63);
  paint(canvas, [ramp], scale);
  const legend = make("span", "legend", low, canvas, high);
  legend.role = "img";
  legend.ariaLabel = text("legend", { low, high });
  return legend;
}

/** Of maps that each have a scale of their own, whose ends are written under them. @param {Scale} scale any of them */
export const legendOfEach = (scale) => legendOf(scale, text("itsLeast"), text("itsMost"));
