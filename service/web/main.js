// Puts the page together: one image, or two to compare, and all that is shown of them.

import { Failed, askMapsImage, askSummary, askVersions, useKey } from "./api.js";
import { asksForKey, doOrTell, failureBox } from "./failures.js";
import { showAnswers } from "./image/answer.js";
import { showBasics } from "./basics/basics.js";
import { experimentWith } from "./basics/laboratory.js";
import { WHITE, paint, greyUpTo } from "./colours.js";
import { byId, make, save } from "./elements.js";
import { giveSample, listenForFiles, listenToCamera, markSamples, nameSamples, showSamples } from "./image/giving.js";
import { inspectWith } from "./network/inspector.js";
import { Look } from "./image/looks.js";
import { showNetwork } from "./network/network.js";
import { percent, whole } from "./numbers.js";
import { showOverview } from "./network/overview.js";
import { listenToPen, openPen } from "./image/pen.js";
import { showImages } from "./image/photograph.js";
import { showPreparation } from "./image/preparation.js";
import { showRequests } from "./image/requests.js";
import { stagesOf } from "./network/stages.js";
import { change, onChange, state } from "./state.js";
import { showUnits } from "./image/votes.js";
import { walkWith } from "./walk/walk.js";
import { areGarments, language, text, translate, useLanguage } from "./language/text.js";

/** @typedef {import("./image/looks.js").News} News */
/** @typedef {{summary: import("./api.js").Summary, stages: import("./network/stages.js").Stage[]}} Network */

const compare = byId("compare", HTMLInputElement);
const prepare = byId("prepare", HTMLSelectElement);
const scale = byId("scale", HTMLSelectElement);
const order = byId("order", HTMLSelectElement);
const versions = byId("version", HTMLSelectElement);
const languages = byId("language", HTMLSelectElement);
const section = byId("network-section", HTMLElement);

/** Nothing before the service has answered. @type {Network | undefined} */
let network;
/** The image, and the one it is compared with. @type {Look[]} */
let looks = [];

/**
 * Take an image.
 * @param {import("./image/looks.js").Given} given
 * @param {number} [place] 0: the only one, or the first of two; 1: the second
 */
function give(given, place = compare.checked && looks.length > 0 ? 1 : 0) {
  looks[place]?.close();
  const look = new Look(given);
  looks[place] = look;
  change(place === 0 ? { sample: given.sample, why: undefined } : { other: given.sample });
  markSamples(looks.map(({ sample }) => sample));
  return ask(look);
}

/** @param {Look} look */
async function ask(look) {
  const news = (/** @type {News} */ what) => looks.includes(look) && SHOW[what]();
  await look.ask({ prepare: state.prepare, version: state.version, why: state.why }, networkOf, news);
}

/** The network of the version that answered; another may have been published. @param {number} version @returns {Promise<Network>} */
async function networkOf(version) {
  if (network?.summary.version === version) return network;
  const summary = await askSummary(version);
  network = { summary, stages: stagesOf(summary) };
  await offerVersions(summary);
  const others = looks.filter((look) => look.version !== 0 && look.version !== version);
  for (const look of others) look.forget();
  write();
  others.forEach(ask);
  return network;
}

/** @type {Record<News, () => void>} */
const SHOW = {
  asked: () => {
    fail();
    showImage();
    section.setAttribute("aria-busy", "true"); // what is there is of the image before, and not shown
    inspectNetwork();
    experiment();
  },
  slow: showImage,
  answered: () => {
    showImage();
    showRequests(looks[0], chosen());
  },
  explained: showImage,
  prepared: () => {
    showImage();
    experiment();
  },
  complete: () => {
    showImage();
    drawNetwork();
    if (network) walkWith(network.stages, looks[0]);
  },
  failed: () => {
    showImage();
    drawNetwork();
  },
};

const chosen = () => network?.stages.find(({ layer }) => layer.name === state.layer);

/** The image, what was made of it, and the answer. */
function showImage() {
  if (!network) return;
  const { summary, stages } = network;
  byId("answer-section", HTMLElement).setAttribute("aria-busy", String(looks.some(({ busy }) => busy)));
  showImages(looks);
  showPreparation(looks);
  showAnswers(looks, summary, ask, explain);
  showUnits(looks, stages, summary);
}

/** Ask why it is not another class. @param {number} classId */
function explain(classId) {
  const answer = looks[0]?.prediction?.class_id;
  change({ why: classId === answer ? undefined : classId });
}

function experiment() {
  if (network) experimentWith(looks[0]?.prepared?.image);
}

function drawNetwork() {
  if (!network) return;
  const { summary, stages } = network;
  section.setAttribute("aria-busy", String(looks.some(({ busy }) => busy)));
  showOverview(stages, looks);
  showNetwork(stages, looks, summary);
  inspectNetwork();
}

function inspectNetwork() {
  if (!network) return;
  inspectWith(network.stages, looks, network.summary);
  showRequests(looks[0], chosen());
}

/** Say what went wrong before there was an image, or nothing. @param {Node[]} told */
function fail(...told) {
  byId("error", HTMLElement).replaceChildren(...told);
}

/** Show one image or two. @param {boolean} two */
function setCompare(two) {
  compare.checked = two;
  byId("compare-hint", HTMLElement).hidden = !two;
  if (two || looks.length < 2) return;
  looks.splice(1).forEach((look) => look.close());
  change({ other: undefined });
  markSamples(looks.map(({ sample }) => sample));
  write();
}

/** @param {import("./api.js").Summary} summary */
async function offerVersions({ name, version }) {
  const served = await askVersions(name).catch(() => [version]);
  versions.replaceChildren(...served.map((number) => make("option", "", String(number))));
  versions.value = String(version);
  byId("versions", HTMLElement).hidden = served.length < 2;
}

/** Write everything in the present language. */
function write() {
  translate();
  if (!network) return;
  const { name, version, class_names: classes, parameters, scores } = network.summary;
  const accuracy = scores.test ? ` · ${text("accuracy", { share: percent(scores.test.accuracy) })}` : "";
  document.title = `${areGarments(classes) ? "Fashion-MNIST" : name}: ${text("title")}`;
  byId("lead", HTMLElement).textContent = areGarments(classes) ? text("lead") : text("leadOfOther", { classes: classes.join(", ") });
  byId("served", HTMLElement).textContent = text("served", { name, version, parameters: whole(parameters.total) }) + accuracy;
  nameSamples();
  showImage();
  showBasics(network.summary);
  experiment();
  drawNetwork();
  walkWith(network.stages, looks[0]);
}

/** Show in the controls what the address says. */
function follow() {
  [prepare.value, scale.value, order.value] = [state.prepare, state.scale, state.order];
}

/** @param {unknown} error @param {() => void} retry */
const tell = (error, retry) => fail(failureBox(error, retry));

let listens = false;

async function start() {
  const summary = await askSummary(state.version);
  byId("locked", HTMLElement).hidden = true;
  fail();
  network = { summary, stages: stagesOf(summary) };
  await offerVersions(summary);
  if (!listens) {
    listens = true; // and goes on, should the start be tried again
    listenForFiles(give);
    listenToCamera(give, (error) => tell(error, () => {}));
    listenToPen(give, summary.input.shape);
    showSamples(summary.class_names, give);
  }
  write();
  if (!areGarments(summary.class_names)) return openPen();
  const last = summary.class_names.length - 1;
  const { other } = state;
  const asked = [giveSample(Math.min(state.sample ?? last, last), (given) => give(given, 0))];
  setCompare(other !== undefined); // whatever the browser kept over a reload
  if (other !== undefined) asked.push(giveSample(Math.min(other, last), (given) => give(given, 1)));
  await Promise.all(asked);
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
order.addEventListener("change", () => change({ order: /** @type {typeof state.order} */ (order.value) }));
versions.addEventListener("change", () => change({ version: Number(versions.value) }));
compare.addEventListener("change", () => setCompare(compare.checked));
byId("sorted", HTMLInputElement).addEventListener("change", showImage);
byId("heat", HTMLElement).addEventListener("click", ({ currentTarget }) => {
  const button = /** @type {HTMLElement} */ (currentTarget);
  button.setAttribute("aria-pressed", String(button.ariaPressed !== "true"));
  showImage();
});
byId("request", HTMLSelectElement).addEventListener("change", () => showRequests(looks[0], chosen()));
byId("save-answer", HTMLElement).addEventListener("click", () => {
  if (looks[0]?.written) save(new Blob([looks[0].written], { type: "application/json" }), "answer.json");
});
byId("save-image", HTMLElement).addEventListener("click", () => {
  const image = looks[0]?.prepared?.image;
  if (!image || !network) return;
  const canvas = make("canvas");
  paint(canvas, image, greyUpTo(WHITE));
  const name = `${looks[0].name.replace(/\.\w+$/, "")}-${canvas.width}x${canvas.height}.png`;
  canvas.toBlob((file) => file && save(file, name), "image/png");
});
const saveMaps = byId("save-maps", HTMLElement);
saveMaps.addEventListener("click", () => doOrTell(saveMaps, async () => {
  const { prepared, version } = looks[0] ?? {};
  if (prepared) save(await askMapsImage(prepared.image, version, undefined), "feature-maps.png");
}));
byId("skip", HTMLElement).addEventListener("click", (event) => {
  event.preventDefault(); // the address tells what is looked at, not where
  section.focus();
});
byId("locked", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key", HTMLInputElement).value.trim());
  open();
});
onChange(["prepare", "version"], () => {
  follow();
  return Promise.all(looks.map(ask));
});
onChange(["why"], () => {
  looks.forEach((look) => look.explain(state, SHOW.explained));
  showRequests(looks[0], chosen());
});
onChange(["scale", "order"], () => {
  follow();
  drawNetwork();
});
onChange(["layer", "channel"], () => showRequests(looks[0], chosen()));
onChange(["sample", "other"], () => {
  const { sample, other } = state;
  if (!network || !areGarments(network.summary.class_names)) return;
  if (sample !== undefined && sample !== looks[0]?.sample) giveSample(sample, (given) => give(given, 0));
  if (other === looks[1]?.sample) return;
  setCompare(other !== undefined);
  if (other !== undefined) giveSample(other, (given) => give(given, 1));
});

/** @returns {Promise<void>} */
async function open() {
  try {
    await start();
  } catch (error) {
    if (error instanceof Failed && error.code === "unknown_version" && state.version !== undefined) {
      change({ version: undefined }); // a link to a version that is no longer served
      return open();
    }
    byId("locked", HTMLElement).hidden = !asksForKey(error);
    tell(error, open);
  }
}

await open();
