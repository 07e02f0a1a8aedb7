// The way through the network: what each layer makes of the image, small, in a row.

import { greyUpTo, paint, scaleOf } from "../colours.js";
import { byId, make, makeButton } from "../elements.js";
import { cardOf } from "./network.js";
import { busiest } from "./stages.js";
import { percent } from "../numbers.js";
import { products, sum } from "./sums.js";
import { text } from "../language/text.js";

/** @typedef {import("./stages.js").Stage} Stage */
/** @typedef {import("../image/looks.js").Look} Look */

const MOST_VALUES = 1024; // that can be told apart in a column

/** @param {Stage[]} stages @param {Look[]} looks */
export function showOverview(stages, looks) {
  const shares = looks.length > 1 ? stages.map((stage) => alike(stage, looks)) : [];
  const drops = shares.map((share, i) => (i === 0 || share === undefined ? 0 : (shares[i - 1] ?? share) - share));
  const parting = Math.max(...drops) > 0 ? drops.indexOf(Math.max(...drops)) : -1;
  byId("overview", HTMLElement).replaceChildren(...stages.map((stage, i) => {
    const { name, output_shape: shape } = stage.layer;
    const go = makeButton("", () => {
      cardOf(stage).scrollIntoView();
      byId(`name-${name}`, HTMLElement).focus({ preventScroll: true });
    }, make("span", "thumbnails", ...(looks.length > 0 ? looks : [undefined]).map((look) => thumbnail(stage, look))), make("span", "", name), make("small", "", shape.join("×")));
    go.dataset.layer = name;
    const share = shares[i];
    if (share !== undefined) go.append(make("small", "alike", text("alike", { share: percent(share, 0) })));
    if (i === parting) go.append(make("b", "parting", text("part")));
    return make("li", "", go);
  }));
}

/** How alike two images are to a layer: the cosine of what it answers. @param {Stage} stage @param {Look[]} looks */
function alike({ layer: { name } }, looks) {
  const [a, b] = looks.map(({ maps, values }) => maps.get(name)?.flat(2) ?? values.get(name) ?? []);
  const lengths = Math.sqrt(sum(products(a, a)) * sum(products(b, b)));
  return a.length === 0 || a.length !== b.length || lengths === 0 ? undefined : sum(products(a, b)) / lengths;
}

/** @param {Stage} stage @param {Look | undefined} look */
function thumbnail({ layer, kind }, look) {
  const image = make("span", "thumbnail");
  const canvas = make("canvas");
  const planes = look?.maps.get(layer.name);
  const values = look?.values.get(layer.name);
  if (planes) {
    const plane = planes[busiest(planes)];
    paint(canvas, plane, kind === "input" ? greyUpTo(layer.configuration.white) : scaleOf([plane]));
    canvas.style.width = `${Math.round(20 + 1.5 * plane[0].length)}px`;
    const sheets = Math.min(5, Math.ceil(Math.log2(planes.length)));
    canvas.style.boxShadow = Array.from({ length: sheets }, (_, i) => `${3 * i + 3}px ${-3 * i - 3}px 0 -1px var(--sheet${i % 2})`).join();
    image.append(canvas);
  } else if (values && values.length <= MOST_VALUES) {
    paint(canvas, values.map((value) => [value]), scaleOf([[values]]));
    canvas.className = "column";
    image.append(canvas);
  } else {
    image.append(make("i", "column"));
  }
  return image;
}
