// The guided walk: from the pixels to the answer in a few steps, with a window that slides by itself.

import { byId, make, makeButton } from "../elements.js";
import { garment, text } from "../language/text.js";
import { beside, brightest, lookInto, openInspector } from "../network/inspector.js";
import { cardOf } from "../network/network.js";
import { busiest, channelsOf, hasMaps, logitsLayerOf, votersOf } from "../network/stages.js";
import { holdStill, letGo } from "../network/steering.js";
import { products } from "../network/sums.js";
import { describeFailure } from "../network/written.js";
import { askWeights } from "../api.js";
import { percent, whole } from "../numbers.js";
import { change, onChange, state } from "../state.js";

/** @typedef {import("../network/stages.js").Stage} Stage */
/** @typedef {import("../image/looks.js").Look} Look */
/** @typedef {{name: "pixels" | "edges" | "parts" | "votes" | "answer", stage: Stage}} Step */

const SLIDE_MS = 450;

const guide = byId("guide", HTMLElement);
const pause = byId("walk-pause", HTMLButtonElement);
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** @type {Step[]} */
let steps = [];
/** The layer that computes the logits. @type {Stage | undefined} */
let logitsLayer;
/** @type {Look | undefined} */
let look;
/** @type {ReturnType<typeof setInterval> | undefined} */
let sliding;
/** Which step is shown; an image that comes meanwhile shows it anew. */
let shown = "";

/** @param {Stage[]} stages @param {Look | undefined} first image */
export function walkWith(stages, first) {
  look = first;
  const convolutions = stages.filter(({ kind }) => kind === "convolution");
  const last = stages[stages.length - 1];
  logitsLayer = logitsLayerOf(stages);
  steps = [
    { name: "pixels", stage: stages[0] }, { name: "edges", stage: convolutions[0] },
    { name: "parts", stage: convolutions.length > 1 ? convolutions[convolutions.length - 1] : undefined },
    { name: "votes", stage: votersOf(logitsLayer) }, { name: "answer", stage: last },
  ].filter(({ stage }) => stage !== undefined).map((step) => /** @type {Step} */ (step));
  shown = "";
  show();
}

/** Show the step that the address tells, or none. */
async function show() {
  const isOn = state.step !== undefined && steps.length > 0;
  guide.hidden = !isOn;
  byId("walk-start", HTMLElement).hidden = isOn;
  if (!isOn) return slide(false);
  const at = Math.min(Math.max(Number(state.step), 1), steps.length) - 1;
  const { name, stage } = steps[at];
  byId("walk-steps", HTMLElement).replaceChildren(...steps.map((step, i) => {
    const go = makeButton("quiet", () => change({ step: i + 1 }), `${i + 1} ${text(`walk_${step.name}`)}`);
    if (i === at) go.setAttribute("aria-current", "step");
    return make("li", "", go);
  }));
  byId("walk-next", HTMLElement).textContent = text(at === steps.length - 1 ? "end" : "nextStep");
  byId("walk-back", HTMLButtonElement).disabled = at === 0;
  const values = look?.values.size ? look : undefined;
  if (!values || !look?.prediction || shown === name) return;
  shown = name;
  slide(false);
  const sentence = byId("walk-sentence", HTMLElement);
  /** @type {number} */
  let channel;
  try {
    channel = await strongest(stage, look);
  } catch (error) {
    if (shown !== name) return;
    shown = "";
    return sentence.replaceChildren(...describeFailure(error, show));
  }
  if (shown !== name) return; // another step was chosen while kernels were fetched
  const plane = look.maps.get(stage.layer.name)?.[channel];
  sentence.textContent = text(`walked_${name}`, {
    count: whole(plane ? plane.length * plane[0].length : channelsOf(stage)),
    white: stage.layer.configuration.white, size: (stage.layer.configuration.kernel_size ?? []).join(" × "), unit: channel,
    garment: garment(look.prediction.label), share: percent(look.prediction.confidence),
  });
  holdStill(true);
  lookInto({ layer: stage.layer.name, channel, ...(plane ? brightest(plane) : {}) }, 0);
  openInspector(false);
  // The last card is lower than the inspector, which ends where the cards end.
  cardOf(stage).scrollIntoView({ block: beside.matches && at === steps.length - 1 ? "end" : "start" });
  pause.hidden = !plane;
  if (plane && !calm.matches) slide(true);
}

/** The map or unit that has most to do with the answer. @param {Stage} stage @param {Look} of @returns {Promise<number>} */
async function strongest(stage, of) {
  if (hasMaps(stage)) return busiest(of.maps.get(stage.layer.name) ?? []);
  const answer = of.prediction?.class_id ?? 0;
  if (stage === steps[steps.length - 1].stage || !logitsLayer) return answer;
  const { kernel } = await askWeights(logitsLayer.layer, of.version, answer);
  const terms = products(of.values.get(stage.layer.name) ?? [], /** @type {number[]} */ (kernel));
  return terms.indexOf(Math.max(...terms));
}

/** Let the window slide by itself, or hold it. @param {boolean} now */
function slide(now) {
  clearInterval(sliding);
  sliding = now ? setInterval(() => {
    const plane = look?.maps.get(state.layer)?.[state.channel];
    if (!plane) return slide(false);
    const next = state.row * plane[0].length + state.column + 1;
    const at = next % (plane.length * plane[0].length);
    lookInto({ row: Math.floor(at / plane[0].length), column: at % plane[0].length });
  }, SLIDE_MS) : undefined;
  pause.textContent = text(now ? "pause" : "play");
  pause.setAttribute("aria-pressed", String(!now));
}

const end = () => {
  change({ step: undefined });
  letGo();
  byId("walk-start", HTMLElement).focus();
};
byId("walk-start", HTMLElement).addEventListener("click", () => change({ step: 1 }));
byId("walk-back", HTMLElement).addEventListener("click", () => change({ step: Number(state.step) - 1 }));
byId("walk-next", HTMLElement).addEventListener("click", () => (Number(state.step) >= steps.length ? end() : change({ step: Number(state.step) + 1 })));
byId("walk-end", HTMLElement).addEventListener("click", end);
pause.addEventListener("click", () => slide(sliding === undefined));
// Who looks into something else goes on alone.
for (const id of ["layers", "inspector"]) byId(id, HTMLElement).addEventListener("pointerdown", () => slide(false));
onChange(["step"], show);

new ResizeObserver(([entry]) => {
  document.documentElement.style.setProperty("--compass", `${entry.contentRect.height}px`);
}).observe(byId("compass", HTMLElement));
