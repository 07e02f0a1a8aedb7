// What the model saw: each step of the image's preparation, and the pixels that go into the network.

import { WHITE, greyUpTo, paint } from "../colours.js";
import { byId, make } from "../elements.js";
import { language, text } from "../language/text.js";

/** @typedef {import("./looks.js").Look} Look */

/** What is drawn: images that are made anew would flicker. @type {unknown[]} */
let drawn = [];

/** @param {Look[]} looks */
export function showPreparation(looks) {
  const now = [language(), ...looks.map(({ prepared }) => prepared)];
  if (now.length === drawn.length && now.every((each, i) => each === drawn[i])) return;
  drawn = now;
  byId("steps", HTMLElement).replaceChildren(...looks.map((look, index) => row(look, looks.length > 1 ? "AB"[index] : "")));
  if (looks.every(({ prepared }) => prepared)) {
    const isUnchanged = !document.querySelector(".steps li:not(.letter) + li");
    byId("seen-section", HTMLElement).classList.toggle("unchanged", isUnchanged);
  }
  byId("save-image", HTMLButtonElement).disabled = !looks[0]?.prepared;
}

/** @param {Look} look @param {string} letter */
function row(look, letter) {
  const list = make("ol", "steps");
  if (letter) list.append(make("li", "letter", letter));
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
  paint(input, image, greyUpTo(WHITE));
  input.role = "img";
  input.ariaLabel = text("input");
  const last = /** @type {any} */ (between.length ? steps[steps.length - 1].name : "unchanged");
  list.append(item(input, text(last), `${image[0].length} × ${image.length}`));
  return list;
}

/** @param {HTMLElement} image @param {string} what @param {string} size */
function item(image, what, size) {
  return make("li", "", make("figure", "", image, make("figcaption", "", what, make("small", "", size))));
}
