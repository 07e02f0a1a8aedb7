// The view state. The address hash holds all of it, so that a link restores the view.

/**
 * @typedef {object} State
 * @property {number | undefined} sample index of the test sample; undefined for an uploaded image
 * @property {number | undefined} other index of the sample that it is compared with
 * @property {"auto" | "photo" | "plain"} prepare
 * @property {string} layer that the inspector shows; empty for none
 * @property {number} channel map or unit of the layer
 * @property {number} row @property {number} column of the map
 * @property {"map" | "layer" | "all"} scale what shares one colour scale
 * @property {"strongest" | "number"} order of the maps
 * @property {number | undefined} why the class to explain; undefined for the predicted one
 * @property {number | undefined} version of the model; undefined for the service's default
 * @property {number | undefined} step of the guided tour, from 1
 * @property {string} network that the network builder shows, encoded; empty for the default
 */
/** @typedef {Partial<Pick<State, "layer" | "channel" | "row" | "column">>} Position of a value in the network */

/** The first value of each is the default. */
const CHOICES = { prepare: ["auto", "photo", "plain"], scale: ["map", "layer", "all"], order: ["strongest", "number"] };
const NUMBERS = /** @type {const} */ (["sample", "other", "why", "version", "step"]);

/** @param {string} hash @returns {State} */
function parse(hash) {
  const parameters = new URLSearchParams(hash.slice(1));
  const number = (/** @type {string} */ name) => (/^\d{1,5}$/.test(parameters.get(name) ?? "") ? Number(parameters.get(name)) : undefined);
  const [row, column] = /^\d{1,5},\d{1,5}$/.test(parameters.get("pixel") ?? "") ? String(parameters.get("pixel")).split(",").map(Number) : [0, 0];
  const choice = (/** @type {keyof typeof CHOICES} */ name) => {
    const value = parameters.get(name) ?? "";
    return /** @type {any} */ (CHOICES[name].includes(value) ? value : CHOICES[name][0]);
  };
  return {
    sample: number("sample"), other: number("other"), why: number("why"), version: number("version"), step: number("step"),
    network: parameters.get("network") ?? "", layer: parameters.get("layer") ?? "", channel: number("channel") ?? 0,
    row, column, prepare: choice("prepare"), scale: choice("scale"), order: choice("order"),
  };
}

/** @type {State} */
export const state = parse(location.hash);

/** @type {[(keyof State)[], () => void][]} */
const listeners = [];

/**
 * Calls the listener after any of these properties has changed.
 * @param {(keyof State)[]} names
 * @param {() => void} listener
 */
export const subscribe = (names, listener) => listeners.push([names, listener]);

/** Safari throws after 100 history updates in 30 seconds, and a moving pointer makes more. */
const HASH_INTERVAL_MS = 350;
let nextWrite = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let pending;

function writeHash() {
  clearTimeout(pending);
  const wait = nextWrite - performance.now();
  if (wait > 0) {
    pending = setTimeout(writeHash, wait);
    return;
  }
  nextWrite = performance.now() + HASH_INTERVAL_MS;
  history.replaceState(null, "", `${location.pathname}${location.search}#${hashOf(state)}`);
}

/** @param {Partial<State>} changes */
export function setState(changes) {
  const before = { ...state };
  Object.assign(state, changes);
  writeHash();
  for (const [names, listener] of listeners) {
    if (names.some((name) => state[name] !== before[name])) listener();
  }
}

/** Leaves out whatever has its default value. @param {State} current */
function hashOf(current) {
  const parameters = new URLSearchParams();
  for (const name of NUMBERS) if (current[name] !== undefined) parameters.set(name, String(current[name]));
  if (current.layer) {
    parameters.set("layer", current.layer);
    parameters.set("channel", String(current.channel));
    parameters.set("pixel", `${current.row},${current.column}`);
  }
  for (const name of /** @type {(keyof typeof CHOICES)[]} */ (Object.keys(CHOICES))) {
    if (current[name] !== CHOICES[name][0]) parameters.set(name, current[name]);
  }
  if (current.network) parameters.set("network", current.network);
  return parameters.toString().replaceAll("%2C", ",");
}

// Read the event's URL: a response to an earlier request may have overwritten the address since.
addEventListener("hashchange", (event) => setState(parse(new URL(event.newURL).hash)));
