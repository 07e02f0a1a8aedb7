// The overview: a row of thumbnails, one for the output of each layer.

import { paintPlane, scaleOf } from "../colours.js";
import { byId, make, makeButton } from "../elements.js";
import { cardOf, mapScale } from "./network.js";
import { mostVaried } from "./stages.js";
import { percent } from "../numbers.js";
import { products, sum } from "./arithmetic.js";
import { text } from "../language/text.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../image/analysis.js").Analysis} Analysis */

const MAX_VALUES = 1024; // more cannot be told apart in a thumbnail

/** @param {Stage[]} stages @param {Analysis[]} analyses */
export function showOverview(stages, analyses) {
  const similarities = analyses.length > 1 ? stages.map((stage) => similarityOf(stage, analyses)) : [];
  const drops = similarities.map((similarity, i) => (i === 0 || similarity === undefined ? 0 : (similarities[i - 1] ?? similarity) - similarity));
  const divergence = Math.max(...drops) > 0 ? drops.indexOf(Math.max(...drops)) : -1;
  byId("overview", HTMLElement).replaceChildren(...stages.map((stage, i) => {
    const { name, output_shape: shape } = stage.layer;
    const thumbnails = (analyses.length > 0 ? analyses : [undefined]).map((analysis) => thumbnail(stage, analysis));
    const button = makeButton("", () => {
      cardOf(stage).scrollIntoView();
      byId(`name-${name}`, HTMLElement).focus({ preventScroll: true });
    }, make("span", "thumbnails", ...thumbnails), make("span", "", name), make("small", "", shape.join("×")));
    button.dataset.layer = name;
    const similarity = similarities[i];
    if (similarity !== undefined) button.append(make("small", "similarity", text("similarity", { share: percent(similarity, 0) })));
    if (i === divergence) button.append(make("b", "divergence", text("divergence")));
    return make("li", "", button);
  }));
}

/** The cosine similarity of a layer's outputs for two images. @param {Stage} stage @param {Analysis[]} analyses */
function similarityOf({ layer: { name } }, analyses) {
  const [a, b] = analyses.map(({ maps, values }) => maps.get(name)?.flat(2) ?? values.get(name) ?? []);
  const norms = Math.sqrt(sum(products(a, a)) * sum(products(b, b)));
  return a.length === 0 || a.length !== b.length || norms === 0 ? undefined : sum(products(a, b)) / norms;
}

/** @param {Stage} stage @param {Analysis | undefined} analysis */
function thumbnail(stage, analysis) {
  const canvas = make("canvas");
  const planes = analysis?.maps.get(stage.layer.name);
  const values = analysis?.values.get(stage.layer.name);
  if (planes) {
    const plane = planes[mostVaried(planes)];
    paintPlane(canvas, plane, mapScale(stage, [plane]));
    canvas.style.width = `${Math.round(20 + 1.5 * plane[0].length)}px`;
    // Shadows suggest a stack of maps.
    const sheets = Math.min(5, Math.ceil(Math.log2(planes.length)));
    canvas.style.boxShadow = Array.from({ length: sheets }, (_, i) => `${3 * i + 3}px ${-3 * i - 3}px 0 -1px var(--sheet${i % 2})`).join();
    return make("span", "thumbnail", canvas);
  }
  if (!values || values.length > MAX_VALUES) return make("span", "thumbnail", make("i", "column"));
  paintPlane(canvas, values.map((value) => [value]), scaleOf([[values]]));
  canvas.className = "column";
  return make("span", "thumbnail", canvas);
}
