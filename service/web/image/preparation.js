// The steps of the image's preparation, ending with the network's input.

import { WHITE, greyScale, paintPlane } from "../colours.js";
import { byId, make, setRole } from "../elements.js";
import { language, text } from "../language/text.js";
import { letterOf } from "./analysis.js";

/** @typedef {import("./analysis.js").Analysis} Analysis */

/** What is shown now: drawing it again would flicker. @type {unknown[]} */
let rendered = [];

/** @param {Analysis[]} analyses */
export function showPreparation(analyses) {
  const content = [language(), ...analyses.map(({ prepared }) => prepared)];
  if (content.length === rendered.length && content.every((each, i) => each === rendered[i])) return;
  rendered = content;
  byId("steps", HTMLElement).replaceChildren(...analyses.map((analysis, i) => stepList(analysis, letterOf(analyses, i))));
  if (analyses.every(({ prepared }) => prepared)) {
    const isUnchanged = !document.querySelector(".steps li:not(.letter) + li");
    byId("preparation-section", HTMLElement).classList.toggle("unchanged", isUnchanged);
  }
  byId("save-image", HTMLButtonElement).disabled = !analyses[0]?.prepared;
}

/** @param {Analysis} analysis @param {string} letter */
function stepList({ prepared }, letter) {
  const list = make("ol", "steps");
  if (letter) list.append(make("li", "letter", letter));
  if (!prepared) return list;
  const { steps, image, preparation } = prepared;
  const intermediate = preparation === "none" ? [] : steps.slice(1, -1);
  for (const { name, width, height, png } of intermediate) {
    const preview = make("img", "prepared");
    preview.src = URL.createObjectURL(new Blob([Uint8Array.from(atob(png), (c) => c.charCodeAt(0))], { type: "image/png" }));
    preview.addEventListener("load", () => URL.revokeObjectURL(preview.src));
    const caption = text(/** @type {any} */ (name));
    preview.alt = text("imageAfter", { step: caption });
    list.append(stepItem(preview, caption, width, height));
  }
  const input = make("canvas", "input");
  paintPlane(input, image, greyScale(WHITE));
  setRole(input, "img", text("input"));
  const last = /** @type {any} */ (intermediate.length ? steps[steps.length - 1].name : "unchanged");
  list.append(stepItem(input, text(last), image[0].length, image.length));
  return list;
}

/** @param {HTMLElement} preview @param {string} caption @param {number} width @param {number} height */
const stepItem = (preview, caption, width, height) =>
  make("li", "", make("figure", "", preview, make("figcaption", "", caption, make("small", "", `${width} × ${height}`))));
