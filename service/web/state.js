// What is being looked at. All of it that a link can carry is in the address.

/**
 * @typedef {object} State
 * @property {number | undefined} sample which of the shipped images, if it is one
 * @property {number | undefined} other the sample it is compared with, if it is one
 * @property {"auto" | "photo" | "plain"} prepare
 * @property {string} layer that is looked into; empty: none
 * @property {number} channel its map or unit
 * @property {number} row @property {number} column of the map
 * @property {"map" | "layer" | "all"} scale what one colour scale is for
 * @property {"strongest" | "number"} order of the maps
 * @property {number | undefined} why the class whose reasons are shown, if it is not the answer
 * @property {number | undefined} version of the model, if it is not the one that answers who asks for none
 * @property {number | undefined} step of the guided walk, from 1
 * @property {string} network that is built under convolution basics; empty: the lesson's
 */

const CHOICES = { prepare: ["auto", "photo", "plain"], scale: ["map", "layer", "all"], order: ["strongest", "number"] };
const NUMBERS = /** @type {const} */ (["sample", "other", "why", "version", "step"]);

/**
 * @param {string} hash of an address
 * @returns {State} what it says
 */
function read(hash) {
  const said = new URLSearchParams(hash.slice(1));
  const number = (/** @type {string} */ name) => (/^\d{1,5}$/.test(said.get(name) ?? "") ? Number(said.get(name)) : undefined);
  const [row, column] = /^\d{1,5},\d{1,5}$/.test(said.get("pixel") ?? "") ? String(said.get("pixel")).split(",").map(Number) : [0, 0];
  const choice = (/** @type {keyof typeof CHOICES} */ name) => {
    const value = said.get(name) ?? "";
    return /** @type {any} */ (CHOICES[name].includes(value) ? value : CHOICES[name][0]);
  };
  return {
    sample: number("sample"), other: number("other"), why: number("why"), version: number("version"), step: number("step"),
    network: said.get("network") ?? "", layer: said.get("layer") ?? "", channel: number("channel") ?? 0,
    row, column, prepare: choice("prepare"), scale: choice("scale"), order: choice("order"),
  };
}

/** @type {State} */
export const state = read(location.hash);

/** @type {[(keyof State)[], () => void][]} */
const listeners = [];

/**
 * Be called after any of these has changed.
 * @param {(keyof State)[]} names
 * @param {() => void} listener
 */
export const onChange = (names, listener) => listeners.push([names, listener]);

/** Safari throws at the hundred and first address within half a minute, and who points at pixels makes more. */
const ADDRESS_MS = 350;
let due = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let pending;

function writeAddress() {
  clearTimeout(pending);
  const wait = due - performance.now();
  if (wait > 0) {
    pending = setTimeout(writeAddress, wait);
    return;
  }
  due = performance.now() + ADDRESS_MS;
  history.replaceState(null, "", address());
}

/** @param {Partial<State>} changes */
export function change(changes) {
  const before = { ...state };
  Object.assign(state, changes);
  writeAddress();
  tell(before);
}

/** @param {State} before */
function tell(before) {
  for (const [names, listener] of listeners) {
    if (names.some((name) => state[name] !== before[name])) listener();
  }
}

/** @returns {string} the address of what is being looked at */
export function address() {
  const said = new URLSearchParams();
  for (const name of NUMBERS) if (state[name] !== undefined) said.set(name, String(state[name]));
  if (state.layer) {
    said.set("layer", state.layer);
    said.set("channel", String(state.channel));
    said.set("pixel", `${state.row},${state.column}`);
  }
  for (const name of /** @type {(keyof typeof CHOICES)[]} */ (Object.keys(CHOICES))) {
    if (state[name] !== CHOICES[name][0]) said.set(name, state[name]);
  }
  if (state.network) said.set("network", state.network);
  return `${location.pathname}${location.search}#${said.toString().replaceAll("%2C", ",")}`;
}

addEventListener("hashchange", (event) => {
  const before = { ...state };
  // The address may have been written over since, by an answer to what was asked for before.
  Object.assign(state, read(new URL(event.newURL).hash));
  writeAddress();
  tell(before);
});
