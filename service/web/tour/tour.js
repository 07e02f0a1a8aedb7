// The guided tour: from the pixels to the prediction in a few steps, with a window that moves by itself.

import { fetchWeights } from "../api.js";
import { byId, make, makeButton } from "../elements.js";
import { errorBox } from "../errors.js";
import { classLabel, text } from "../language/text.js";
import { descending, maxPosition, nextPosition, products } from "../network/arithmetic.js";
import { inspect, openInspector, wideScreen } from "../network/inspector.js";
import { closeInspector, setPinned } from "../network/navigation.js";
import { cardOf } from "../network/network.js";
import { channelsOf, hasMaps, lastHiddenLayerOf, logitsLayerOf, mostVaried } from "../network/stages.js";
import { integer, percent } from "../numbers.js";
import { setState, state, subscribe } from "../state.js";

/** @typedef {import("../network/stages.js").Stage} Stage */
/** @typedef {import("../image/analysis.js").Analysis} Analysis */
/** @typedef {{name: "pixels" | "edges" | "parts" | "votes" | "answer", stage: Stage}} Step */

const STEP_MS = 450;

const panel = byId("tour", HTMLElement);
const pause = byId("tour-pause", HTMLButtonElement);
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** @type {Step[]} */
let steps = [];
/** @type {Stage | undefined} */
let logitsLayer;
/** @type {Analysis | undefined} */
let analysis;
/** @type {ReturnType<typeof setInterval> | undefined} */
let timer;
/** The name of the step whose text is shown; empty until it is shown for the current image. */
let shown = "";

/** @param {Stage[]} stages @param {Analysis | undefined} newAnalysis */
export function updateTour(stages, newAnalysis) {
  analysis = newAnalysis;
  logitsLayer = logitsLayerOf(stages);
  const convolutions = stages.filter(({ kind }) => kind === "convolution");
  steps = [
    { name: "pixels", stage: stages[0] }, { name: "edges", stage: convolutions[0] },
    { name: "parts", stage: convolutions.length > 1 ? convolutions[convolutions.length - 1] : undefined },
    { name: "votes", stage: lastHiddenLayerOf(logitsLayer) }, { name: "answer", stage: stages[stages.length - 1] },
  ].filter(({ stage }) => stage !== undefined).map((step) => /** @type {Step} */ (step));
  shown = "";
  showStep();
}

async function showStep() {
  const isActive = state.step !== undefined && steps.length > 0;
  panel.hidden = !isActive;
  byId("tour-start", HTMLElement).hidden = isActive;
  if (!isActive) return setPlaying(false);
  const index = Math.min(Math.max(Number(state.step), 1), steps.length) - 1;
  const isLast = index === steps.length - 1;
  const { name, stage } = steps[index];
  byId("tour-steps", HTMLElement).replaceChildren(...steps.map((step, i) => {
    const button = makeButton("quiet", () => setState({ step: i + 1 }), `${i + 1} ${text(`tour_${step.name}`)}`);
    if (i === index) button.setAttribute("aria-current", "step");
    return make("li", "", button);
  }));
  byId("tour-next", HTMLElement).textContent = text(isLast ? "end" : "nextStep");
  byId("tour-back", HTMLButtonElement).disabled = index === 0;
  if (!analysis?.values.size || !analysis.prediction || shown === name) return;
  shown = name;
  setPlaying(false);
  const description = byId("tour-text", HTMLElement);
  /** @type {number} */
  let channel;
  try {
    channel = await channelFor(stage, analysis);
  } catch (error) {
    if (shown !== name) return;
    shown = "";
    return description.replaceChildren(errorBox(error, showStep));
  }
  if (shown !== name) return; // another step was selected while weights loaded
  const plane = analysis.maps.get(stage.layer.name)?.[channel];
  description.textContent = text(`tourText_${name}`, {
    count: integer(plane ? plane.length * plane[0].length : channelsOf(stage)),
    white: stage.layer.configuration.white, size: (stage.layer.configuration.kernel_size ?? []).join(" × "), unit: channel,
    garment: classLabel(analysis.prediction.label), share: percent(analysis.prediction.confidence),
  });
  setPinned(true);
  inspect({ layer: stage.layer.name, channel, ...(plane ? maxPosition(plane) : {}) }, 0);
  openInspector(false);
  // The last card is shorter than the sticky inspector, which cannot extend below it: align their ends.
  cardOf(stage).scrollIntoView({ block: wideScreen.matches && isLast ? "end" : "start" });
  pause.hidden = !plane;
  if (plane && !reducedMotion.matches) setPlaying(true);
}

/** The map with the highest variance, or the unit that contributes most to the predicted class. @param {Stage} stage @param {Analysis} current @returns {Promise<number>} */
async function channelFor(stage, { maps, values, prediction, version }) {
  if (hasMaps(stage)) return mostVaried(maps.get(stage.layer.name) ?? []);
  const classId = prediction?.class_id ?? 0;
  if (stage === steps[steps.length - 1].stage || !logitsLayer) return classId;
  const { kernel } = await fetchWeights(logitsLayer.layer, version, classId);
  return descending(products(values.get(stage.layer.name) ?? [], /** @type {number[]} */ (kernel)))[0];
}

/** @param {boolean} isPlaying whether the window moves by itself */
function setPlaying(isPlaying) {
  clearInterval(timer);
  timer = isPlaying ? setInterval(() => {
    const plane = analysis?.maps.get(state.layer)?.[state.channel];
    if (!plane) return setPlaying(false);
    inspect(nextPosition(plane, state.row, state.column));
  }, STEP_MS) : undefined;
  pause.textContent = text(isPlaying ? "pause" : "play");
  pause.setAttribute("aria-pressed", String(!isPlaying));
}

function endTour() {
  setState({ step: undefined });
  closeInspector();
  byId("tour-start", HTMLElement).focus();
}

byId("tour-start", HTMLElement).addEventListener("click", () => setState({ step: 1 }));
byId("tour-back", HTMLElement).addEventListener("click", () => setState({ step: Number(state.step) - 1 }));
byId("tour-next", HTMLElement).addEventListener("click", () => (Number(state.step) >= steps.length ? endTour() : setState({ step: Number(state.step) + 1 })));
byId("tour-end", HTMLElement).addEventListener("click", endTour);
pause.addEventListener("click", () => setPlaying(timer === undefined));
for (const id of ["layers", "inspector"]) byId(id, HTMLElement).addEventListener("pointerdown", () => setPlaying(false));
subscribe(["step"], showStep);

// Scrolling stops below the sticky header, whose height the tour changes.
new ResizeObserver(([entry]) => {
  document.documentElement.style.setProperty("--sticky-height", `${entry.contentRect.height}px`);
}).observe(byId("sticky", HTMLElement));
