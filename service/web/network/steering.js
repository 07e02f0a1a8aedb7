// What moves the inspector: pointing at a map, pressing it, and the keys.

import { ARROWS, byId, cellAt, within } from "../elements.js";
import { chosen, goBack, inspect, lookInto, openInspector, stageNamed } from "./inspector.js";
import { cardOf } from "./network.js";
import { channelsOf, hasMaps } from "./stages.js";
import { state } from "../state.js";

/** @typedef {Partial<import("../state.js").State>} Place */

const panel = byId("inspector", HTMLElement);
const layers = byId("layers", HTMLElement);
const large = byId("large", HTMLCanvasElement);
const hold = byId("hold", HTMLButtonElement);

const TURNS = new Map([["PageUp", -1], ["PageDown", 1]]);

/** Whether the pointer no longer moves what is looked into. */
let held = false;

/** @param {boolean} now */
export function holdStill(now) {
  held = now;
  hold.setAttribute("aria-pressed", String(now));
}

if (state.layer) holdStill(true); // a link leads to one pixel, and stays there

/** @param {MouseEvent} event @returns {{at: Place, which: number | undefined} | undefined} the map or unit under the pointer */
function pointedAt(event) {
  const target = /** @type {Element} */ (event.target);
  const tile = target.closest(".tile");
  const name = tile?.closest("[data-layer]")?.getAttribute("data-layer");
  const stage = stageNamed(name ?? "");
  if (!tile || !stage) return undefined;
  const at = { layer: stage.layer.name, channel: Number(tile.getAttribute("data-channel")) };
  const plane = target.closest(".plane");
  // A key presses a button at no place in particular.
  const isKey = event.type === "click" && event.detail === 0;
  if (!plane || !hasMaps(stage) || isKey) return { at, which: undefined };
  const which = Number(plane.getAttribute("data-which"));
  const [height, width] = stage.layer.output_shape;
  return { at: { ...at, ...cellAt(plane, event, height, width) }, which };
}

layers.addEventListener("pointermove", (event) => {
  if (event.pointerType !== "mouse" || held) return;
  const pointed = pointedAt(event);
  if (pointed) lookInto(pointed.at, pointed.which);
});

layers.addEventListener("click", async (event) => {
  const pointed = pointedAt(event);
  if (!pointed) return;
  holdStill(true);
  lookInto(pointed.at, pointed.which);
  openInspector();
  await inspect();
  const stage = chosen();
  (stage && hasMaps(stage) ? large : panel).focus({ preventScroll: true });
});

panel.addEventListener("click", (event) => {
  const way = /** @type {Element} */ (event.target).closest("[data-go]")?.getAttribute("data-go");
  if (!way) return;
  holdStill(true);
  goBack(JSON.parse(way));
  panel.focus({ preventScroll: true }); // the button pressed is gone
});

/** Let the pointer move what is looked into again, and put the inspector away where it is a sheet. */
export function letGo() {
  holdStill(false);
  panel.classList.remove("open");
}

/** Let go, and go back to the map. */
function close() {
  letGo();
  const stage = chosen();
  const tile = stage && cardOf(stage).querySelector(`.tile[data-channel="${state.channel}"]`);
  if (tile instanceof HTMLElement) tile.focus();
}

/** Go to the next map or the one before. @param {number} by */
function turn(by) {
  const stage = chosen();
  if (!stage) return;
  const count = channelsOf(stage);
  lookInto({ channel: (state.channel + by + count) % count });
}

panel.addEventListener("keydown", (event) => {
  const stage = chosen();
  if (!stage) return;
  const by = TURNS.get(event.key);
  const step = event.target === large ? ARROWS.get(event.key) : undefined;
  if (by) {
    turn(by);
  } else if (step) {
    const [height, width] = stage.layer.output_shape;
    lookInto({ row: within(state.row + step[0], height), column: within(state.column + step[1], width) });
  } else if (event.key === "Escape") {
    close();
  } else {
    return;
  }
  event.preventDefault();
});

for (const type of /** @type {const} */ (["pointermove", "pointerdown"])) {
  large.addEventListener(type, (event) => {
    const stage = chosen();
    if (!stage || (event.pointerType !== "mouse" && event.buttons === 0)) return;
    const [height, width] = stage.layer.output_shape;
    lookInto(cellAt(large, event, height, width));
  });
}
byId("previous", HTMLElement).addEventListener("click", () => turn(-1));
byId("next", HTMLElement).addEventListener("click", () => turn(1));
hold.addEventListener("click", () => holdStill(!held));
byId("close", HTMLElement).addEventListener("click", close);
