// Puts the page together: one picture, or two to compare, and all that is shown of them.

import { askMapsPicture, askSummary, forgetWeights, Refused, useKey } from "./api.js";
import { showAnswers } from "./picture/answer.js";
import { showBasics } from "./basics/basics.js";
import { byId, save } from "./elements.js";
import { giveSample, listenForFiles, listenToCamera, markSamples, nameSamples, showSamples } from "./picture/giving.js";
import { inspectWith } from "./network/inspector.js";
import { Look } from "./picture/looks.js";
import { showNetwork } from "./network/network.js";
import { percent, whole } from "./numbers.js";
import { showOverview } from "./network/overview.js";
import { listenToPen } from "./picture/pen.js";
import { showPreparation } from "./picture/preparation.js";
import { showRequests } from "./picture/requests.js";
import { stagesOf } from "./network/stages.js";
import "./network/steering.js";
import { change, onChange, state } from "./state.js";
import { language, text, translate, useLanguage } from "./language/text.js";

/** @typedef {import("./picture/looks.js").News} News */

const compare = byId("compare", HTMLInputElement);
const prepare = byId("prepare", HTMLSelectElement);
const scale = byId("scale", HTMLSelectElement);
const show = byId("show", HTMLSelectElement);
const languages = byId("language", HTMLSelectElement);

/** Of the network; nothing before the service has answered. @type {import("./api.js").Summary} */
let summary;
/** @type {import("./network/stages.js").Stage[]} */
let stages = [];
/** The picture, and the one it is compared with. @type {Look[]} */
let looks = [];

/**
 * Take a picture.
 * @param {import("./picture/looks.js").Given} given
 * @param {number} [place] 0: the only one, or the first of two; 1: the second
 */
function give(given, place = compare.checked && looks.length > 0 ? 1 : 0) {
  looks[place]?.close();
  looks[place] = new Look(given);
  change(place === 0 ? { sample: given.sample } : { other: given.sample });
  markSamples(looks.map(({ sample }) => sample));
  return ask(looks[place]);
}

/** @param {Look} look */
async function ask(look) {
  await look.ask(summary, stages, state.prepare, (news) => SHOW[news]());
  if (!look.version || look.version === summary.version) return;
  forgetWeights(); // another version has been published
  await learnNetwork();
  write();
  await Promise.all(looks.map((each) => each.ask(summary, stages, state.prepare, (news) => SHOW[news]())));
}

/** @type {Record<News, () => void>} */
const SHOW = {
  picture: () => showPreparation(looks, summary.input.scale),
  answer: () => {
    fail("");
    showAnswers(looks, summary);
    showRequests(looks[0], chosen());
  },
  prepared: () => showPreparation(looks, summary.input.scale),
  outputs: drawNetwork,
  refused: () => {
    fail(looks.map(({ refusal }) => refusal).join(" ").trim());
    showAnswers(looks, summary);
    drawNetwork();
  },
};

const chosen = () => stages.find(({ layer }) => layer.name === state.layer);

function drawNetwork() {
  if (!summary) return;
  showOverview(stages, looks[0]);
  showNetwork(stages, looks, summary.class_names);
  inspectWith(stages, looks, summary);
  showRequests(looks[0], chosen());
}

/** @param {string} message */
function fail(message) {
  byId("error", HTMLElement).textContent = message;
}

/** Show one picture or two. @param {boolean} two */
function setCompare(two) {
  compare.checked = two;
  byId("compare-hint", HTMLElement).hidden = !two;
  if (two || looks.length < 2) return;
  looks.splice(1).forEach((look) => look.close());
  change({ other: undefined });
  markSamples(looks.map(({ sample }) => sample));
  write();
}

async function learnNetwork() {
  summary = await askSummary();
  stages = stagesOf(summary);
}

/** Write everything in the present language. */
function write() {
  translate();
  if (!summary) return;
  const { name, version, parameters, scores } = summary;
  const accuracy = scores.test ? text("accuracy", { share: percent(scores.test.accuracy) }) : "";
  byId("served", HTMLElement).textContent = text("served", { name, version, parameters: whole(parameters.total), accuracy });
  nameSamples();
  showPreparation(looks, summary.input.scale);
  showAnswers(looks, summary);
  showBasics(summary);
  drawNetwork();
}

/** Show in the controls what the address says. */
function follow() {
  [prepare.value, scale.value, show.value] = [state.prepare, state.scale, state.show];
}

async function start() {
  await learnNetwork();
  byId("locked", HTMLElement).hidden = true;
  fail("");
  listenForFiles(give);
  listenToCamera(give, fail);
  listenToPen(give, summary.input.shape);
  showSamples(summary.class_names, give);
  write();
  const last = summary.class_names.length - 1;
  const { other } = state;
  await giveSample(Math.min(state.sample ?? last, last), give);
  if (other !== undefined) {
    setCompare(true);
    await giveSample(Math.min(other, last), give);
  }
}

languages.value = language();
translate();
follow();
languages.addEventListener("change", () => {
  useLanguage(languages.value);
  write();
});
prepare.addEventListener("change", () => change({ prepare: /** @type {typeof state.prepare} */ (prepare.value) }));
scale.addEventListener("change", () => change({ scale: /** @type {typeof state.scale} */ (scale.value) }));
show.addEventListener("change", () => change({ show: /** @type {typeof state.show} */ (show.value) }));
compare.addEventListener("change", () => setCompare(compare.checked));
byId("sorted", HTMLInputElement).addEventListener("change", () => showAnswers(looks, summary));
byId("request", HTMLSelectElement).addEventListener("change", () => showRequests(looks[0], chosen()));
byId("save-answer", HTMLElement).addEventListener("click", () => {
  if (looks[0]?.written) save(new Blob([looks[0].written], { type: "application/json" }), "answer.json");
});
byId("save-picture", HTMLElement).addEventListener("click", () => looks[0] && save(looks[0].picture, looks[0].name));
byId("save-maps", HTMLElement).addEventListener("click", async () => {
  const image = looks[0]?.prepared?.image;
  if (image) save(await askMapsPicture(image, undefined), "feature-maps.png");
});
byId("skip", HTMLElement).addEventListener("click", (event) => {
  event.preventDefault(); // the address tells what is looked at, not where
  byId("network-section", HTMLElement).focus();
});
byId("locked", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key", HTMLInputElement).value.trim());
  open();
});
onChange(["prepare"], () => {
  follow();
  return Promise.all(looks.map(ask));
});
onChange(["scale", "show"], () => {
  follow();
  drawNetwork();
});
onChange(["layer", "channel"], () => showRequests(looks[0], chosen()));
onChange(["sample", "other"], async () => {
  const { sample, other } = state;
  if (sample !== undefined && sample !== looks[0]?.sample) await giveSample(sample, (given) => give(given, 0));
  if (other === looks[1]?.sample) return;
  setCompare(other !== undefined);
  if (other !== undefined) await giveSample(other, (given) => give(given, 1));
});

async function open() {
  try {
    await start();
  } catch (error) {
    const isLocked = error instanceof Refused && ["unauthenticated", "forbidden"].includes(error.code);
    byId("locked", HTMLElement).hidden = !isLocked;
    fail(error instanceof Refused ? error.message : text("unreachable"));
    if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error;
  }
}

await open();
