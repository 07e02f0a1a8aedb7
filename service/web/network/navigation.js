// Moves the inspector: by pointer, click and keys.

import { ARROW_STEPS, byId, cellAt, clampIndex } from "../elements.js";
import { drillDown, inspect, openInspector, renderInspector, selectedStage, stageByName } from "./inspector.js";
import { cardOf } from "./network.js";
import { channelsOf, hasMaps } from "./stages.js";
import { state } from "../state.js";

const panel = byId("inspector", HTMLElement);
const layers = byId("layers", HTMLElement);
const zoomed = byId("zoomed", HTMLCanvasElement);
const pinButton = byId("pin", HTMLButtonElement);

const CHANNEL_STEPS = new Map([["PageUp", -1], ["PageDown", 1]]);

/** While it is set, hovering does not move the inspector. */
let isPinned = false;

/** @param {boolean} pinned */
export function setPinned(pinned) {
  isPinned = pinned;
  pinButton.setAttribute("aria-pressed", String(pinned));
}

if (state.layer) setPinned(true); // a link to a position keeps it

/** @param {MouseEvent} event @returns {{position: import("../state.js").Position, imageIndex: number | undefined} | undefined} the map, unit or pixel under the pointer */
function positionOf(event) {
  const target = /** @type {Element} */ (event.target);
  const tile = target.closest(".tile");
  const stage = stageByName(tile?.closest("[data-layer]")?.getAttribute("data-layer") ?? "");
  if (!tile || !stage) return undefined;
  const position = { layer: stage.layer.name, channel: Number(tile.getAttribute("data-channel")) };
  const plane = target.closest(".plane");
  const isKeyPress = event.type === "click" && event.detail === 0;
  if (!plane || !hasMaps(stage) || isKeyPress) return { position, imageIndex: undefined };
  const [height, width] = stage.layer.output_shape;
  return { position: { ...position, ...cellAt(plane, event, height, width) }, imageIndex: Number(plane.getAttribute("data-image")) };
}

layers.addEventListener("pointermove", (event) => {
  if (event.pointerType !== "mouse" || isPinned) return;
  const found = positionOf(event);
  if (found) inspect(found.position, found.imageIndex);
});

layers.addEventListener("click", async (event) => {
  const found = positionOf(event);
  if (!found) return;
  setPinned(true);
  inspect(found.position, found.imageIndex);
  openInspector();
  await renderInspector();
  const stage = selectedStage();
  (stage && hasMaps(stage) ? zoomed : panel).focus({ preventScroll: true });
});

panel.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest("[data-source]")?.getAttribute("data-source");
  if (!link) return;
  setPinned(true);
  drillDown(JSON.parse(link));
  panel.focus({ preventScroll: true }); // the clicked button is gone
});

/** Unpins the inspector and closes its sheet. */
export function closeInspector() {
  setPinned(false);
  panel.classList.remove("open");
}

function closeAndFocusTile() {
  closeInspector();
  const stage = selectedStage();
  const tile = stage && cardOf(stage).querySelector(`.tile[data-channel="${state.channel}"]`);
  if (tile instanceof HTMLElement) tile.focus();
}

/** @param {number} step */
function stepChannel(step) {
  const stage = selectedStage();
  if (!stage) return;
  const count = channelsOf(stage);
  inspect({ channel: (state.channel + step + count) % count });
}

panel.addEventListener("keydown", (event) => {
  const stage = selectedStage();
  if (!stage) return;
  const channelStep = CHANNEL_STEPS.get(event.key);
  const pixelStep = event.target === zoomed ? ARROW_STEPS.get(event.key) : undefined;
  if (channelStep) {
    stepChannel(channelStep);
  } else if (pixelStep) {
    const [height, width] = stage.layer.output_shape;
    inspect({ row: clampIndex(state.row + pixelStep[0], height), column: clampIndex(state.column + pixelStep[1], width) });
  } else if (event.key === "Escape") {
    closeAndFocusTile();
  } else {
    return;
  }
  event.preventDefault();
});

for (const type of /** @type {const} */ (["pointermove", "pointerdown"])) {
  zoomed.addEventListener(type, (event) => {
    const stage = selectedStage();
    if (!stage || (event.pointerType !== "mouse" && event.buttons === 0)) return;
    const [height, width] = stage.layer.output_shape;
    inspect(cellAt(zoomed, event, height, width));
  });
}
byId("previous", HTMLElement).addEventListener("click", () => stepChannel(-1));
byId("next", HTMLElement).addEventListener("click", () => stepChannel(1));
pinButton.addEventListener("click", () => setPinned(!isPinned));
byId("close", HTMLElement).addEventListener("click", closeAndFocusTile);
