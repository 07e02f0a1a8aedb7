// What the model saw: the picture, each step of its preparation, and the pixels that go into the network.

import { greyUpTo, paint } from "../colours.js";
import { byId, make } from "../elements.js";
import { text } from "../language/text.js";

/** @param {import("./looks.js").Look[]} looks @param {number} scale the largest pixel */
export function showPreparation(looks, scale) {
  byId("steps", HTMLElement).replaceChildren(...looks.map((look, index) => row(look, scale, looks.length > 1 ? "AB"[index] : "")));
}

/** @param {import("./looks.js").Look} look @param {number} scale @param {string} letter */
function row(look, scale, letter) {
  const list = make("ol", "steps");
  if (letter) list.append(make("li", "letter", letter));
  const original = make("img");
  original.src = look.url;
  original.alt = text("given", { name: look.name });
  original.addEventListener("error", () => original.remove()); // a picture that the browser cannot show
  list.append(item(original, text("original"), ""));
  if (!look.prepared) return list;
  const { steps, image, preparation } = look.prepared;
  const between = preparation === "none" ? [] : steps.slice(1, -1);
  for (const { name, width, height, png } of between) {
    const step = make("img", "prepared");
    step.src = URL.createObjectURL(new Blob([Uint8Array.from(atob(png), (c) => c.charCodeAt(0))], { type: "image/png" }));
    step.addEventListener("load", () => URL.revokeObjectURL(step.src));
    const done = text(/** @type {any} */ (name));
    step.alt = text("after", { step: done });
    list.append(item(step, done, `${width} × ${height}`));
  }
  const input = make("canvas", "input");
  paint(input, image, greyUpTo(scale));
  input.role = "img";
  input.ariaLabel = text("input");
  const last = /** @type {any} */ (between.length ? steps[steps.length - 1].name : "unchanged");
  list.append(item(input, text(last), `${image[0].length} × ${image.length}`));
  return list;
}

/** @param {HTMLElement} picture @param {string} what @param {string} size */
function item(picture, what, size) {
  const figure = make("figure", "", picture, make("figcaption", "", what, make("small", "", size)));
  return make("li", "", figure);
}
