// Connects the parts of the page. It shows one image, or two side by side.

import { fetchFeatureMapsPng, fetchSummary, fetchVersions, setApiKey } from "./api.js";
import { AppError, errorBox, needsApiKey, runAction } from "./errors.js";
import { showBuilder } from "./basics/builder.js";
import { setPlaygroundImage } from "./basics/playground.js";
import { WHITE, greyScale, paintPlane } from "./colours.js";
import { byId, download, make } from "./elements.js";
import { Analysis } from "./image/analysis.js";
import { showContributions } from "./image/contributions.js";
import { initDrawing, setDrawingOpen } from "./image/drawing.js";
import { showImages } from "./image/heatmap.js";
import { showPredictions } from "./image/prediction.js";
import { showPreparation } from "./image/preparation.js";
import { showSnippets } from "./image/snippets.js";
import { initCamera, initFileInputs, labelSamples, markSamples, selectSample, showSamples } from "./image/sources.js";
import { isFashionMnist, language, setLanguage, text, translate } from "./language/text.js";
import { selectedStage, updateInspector } from "./network/inspector.js";
import { showNetwork } from "./network/network.js";
import { showOverview } from "./network/overview.js";
import { buildStages } from "./network/stages.js";
import { integer, percent } from "./numbers.js";
import { setState, state, subscribe } from "./state.js";
import { updateTour } from "./tour/tour.js";

/** @typedef {import("./image/analysis.js").ImageSource} ImageSource */
/** @typedef {import("./image/analysis.js").Progress} Progress */
/** @typedef {{summary: import("./api.js").Summary, stages: import("./network/stages.js").Stage[]}} Network */

const compare = byId("compare", HTMLInputElement);
const prepare = byId("prepare", HTMLSelectElement);
const scale = byId("scale", HTMLSelectElement);
const order = byId("order", HTMLSelectElement);
const versions = byId("version", HTMLSelectElement);
const languages = byId("language", HTMLSelectElement);
const section = byId("network-section", HTMLElement);

/** Undefined until the service answers. @type {Network | undefined} */
let network;
/** The image and the one that it is compared with. @type {Analysis[]} */
let analyses = [];

/** @param {ImageSource} source @param {0 | 1} [index] of the image that it replaces */
function addImage(source, index = compare.checked && analyses.length > 0 ? 1 : 0) {
  analyses[index]?.close();
  const analysis = new Analysis(source);
  analyses[index] = analysis;
  setState(index === 0 ? { sample: source.sample, why: undefined } : { other: source.sample });
  markSamples(analyses.map(({ sample }) => sample));
  return analyze(analysis);
}

/** @param {Analysis} analysis */
function analyze(analysis) {
  return analysis.run(state, loadNetwork, (progress) => analyses.includes(analysis) && RENDERERS[progress]());
}

/** Loads the network of the version that answered, since another may have been published meanwhile. @param {number} version @returns {Promise<Network>} */
async function loadNetwork(version) {
  if (network?.summary.version === version) return network;
  const summary = await fetchSummary(version);
  network = { summary, stages: buildStages(summary) };
  await showVersions(summary);
  const outdated = analyses.filter((analysis) => analysis.version !== 0 && analysis.version !== version);
  for (const analysis of outdated) analysis.reset();
  render();
  outdated.forEach(analyze);
  return network;
}

/** @type {Record<Progress, () => void>} */
const RENDERERS = {
  started: () => {
    showError();
    renderImages();
    section.setAttribute("aria-busy", "true"); // hides the results of the previous image
    renderInspector();
    renderPlayground();
  },
  slow: renderImages,
  predicted: () => {
    renderImages();
    renderSnippets();
  },
  explained: renderImages,
  prepared: () => {
    renderImages();
    renderPlayground();
  },
  complete: () => {
    renderImages();
    renderNetwork();
    if (network) updateTour(network.stages, analyses[0]);
  },
  failed: () => {
    renderImages();
    renderNetwork();
  },
};

const isBusy = () => String(analyses.some(({ busy }) => busy));

function renderImages() {
  if (!network) return;
  const { summary, stages } = network;
  byId("answer-section", HTMLElement).setAttribute("aria-busy", isBusy());
  showImages(analyses);
  showPreparation(analyses);
  showPredictions(analyses, summary, analyze, explain);
  showContributions(analyses[0], stages, summary);
}

/** @param {number} classId */
function explain(classId) {
  setState({ why: classId === analyses[0]?.prediction?.class_id ? undefined : classId });
}

function renderPlayground() {
  if (network) setPlaygroundImage(analyses[0]?.prepared?.image);
}

function renderNetwork() {
  if (!network) return;
  section.setAttribute("aria-busy", isBusy());
  showOverview(network.stages, analyses);
  showNetwork(network.stages, analyses, network.summary);
  renderInspector();
}

function renderInspector() {
  if (!network) return;
  updateInspector(network.stages, analyses, network.summary);
  renderSnippets();
}

function renderSnippets() {
  showSnippets(analyses[0], selectedStage());
}

/** Shows an error that belongs to no image, or clears it. @param {Node[]} content */
function showError(...content) {
  byId("error", HTMLElement).replaceChildren(...content);
}

/** @param {boolean} isComparing */
function setCompare(isComparing) {
  compare.checked = isComparing;
  byId("compare-hint", HTMLElement).hidden = !isComparing;
  if (isComparing || analyses.length < 2) return;
  analyses.splice(1).forEach((analysis) => analysis.close());
  setState({ other: undefined });
  markSamples(analyses.map(({ sample }) => sample));
  render();
}

/** Offers the versions that are served, if there are several. @param {import("./api.js").Summary} summary */
async function showVersions({ name, version }) {
  const served = await fetchVersions(name).catch(() => [version]);
  versions.replaceChildren(...served.map((number) => make("option", "", String(number))));
  versions.value = String(version);
  byId("versions", HTMLElement).hidden = served.length < 2;
}

/** Renders the whole page, in the current language. */
function render() {
  translate();
  if (!network) return;
  const { name, version, class_names: classes, parameters, scores } = network.summary;
  const accuracy = scores.test ? ` · ${text("accuracy", { share: percent(scores.test.accuracy) })}` : "";
  document.title = `${isFashionMnist(classes) ? "Fashion-MNIST" : name}: ${text("title")}`;
  byId("lead", HTMLElement).textContent = isFashionMnist(classes) ? text("lead") : text("leadOfOther", { classes: classes.join(", ") });
  byId("served", HTMLElement).textContent = text("served", { name, version, parameters: integer(parameters.total) }) + accuracy;
  labelSamples();
  renderImages();
  showBuilder(network.summary);
  renderPlayground();
  renderNetwork();
  updateTour(network.stages, analyses[0]);
}

function syncControls() {
  [prepare.value, scale.value, order.value] = [state.prepare, state.scale, state.order];
}

let isInitialized = false;

async function load() {
  const summary = await fetchSummary(state.version);
  byId("locked", HTMLElement).hidden = true;
  showError();
  network = { summary, stages: buildStages(summary) };
  await showVersions(summary);
  if (!isInitialized) {
    isInitialized = true; // `load` runs again after a failure
    initFileInputs(addImage);
    initCamera(addImage, (error) => showError(errorBox(error, () => {})));
    initDrawing(addImage, summary.input.shape);
    showSamples(summary.class_names, addImage);
  }
  render();
  if (!isFashionMnist(summary.class_names)) return setDrawingOpen(true);
  const last = summary.class_names.length - 1;
  const { other } = state;
  const added = [selectSample(Math.min(state.sample ?? last, last), (source) => addImage(source, 0))];
  setCompare(other !== undefined); // the browser may have restored the checkbox after a reload
  if (other !== undefined) added.push(selectSample(Math.min(other, last), (source) => addImage(source, 1)));
  await Promise.all(added);
}

languages.value = language();
translate();
syncControls();
languages.addEventListener("change", () => {
  setLanguage(languages.value);
  render();
});
prepare.addEventListener("change", () => setState({ prepare: /** @type {typeof state.prepare} */ (prepare.value) }));
scale.addEventListener("change", () => setState({ scale: /** @type {typeof state.scale} */ (scale.value) }));
order.addEventListener("change", () => setState({ order: /** @type {typeof state.order} */ (order.value) }));
versions.addEventListener("change", () => setState({ version: Number(versions.value) }));
compare.addEventListener("change", () => setCompare(compare.checked));
byId("sorted", HTMLInputElement).addEventListener("change", renderImages);
const heat = byId("heat", HTMLElement);
heat.addEventListener("click", () => {
  heat.ariaPressed = String(heat.ariaPressed !== "true");
  renderImages();
});
byId("request", HTMLSelectElement).addEventListener("change", renderSnippets);
byId("save-answer", HTMLElement).addEventListener("click", () => {
  if (analyses[0]?.responseText) download(new Blob([analyses[0].responseText], { type: "application/json" }), "answer.json");
});
byId("save-image", HTMLElement).addEventListener("click", () => {
  const image = analyses[0]?.prepared?.image;
  if (!image) return;
  const canvas = make("canvas");
  paintPlane(canvas, image, greyScale(WHITE));
  const name = `${analyses[0].name.replace(/\.\w+$/, "")}-${canvas.width}x${canvas.height}.png`;
  canvas.toBlob((file) => file && download(file, name), "image/png");
});
const saveMaps = byId("save-maps", HTMLElement);
saveMaps.addEventListener("click", () => runAction(saveMaps, async () => {
  const { prepared, version } = analyses[0] ?? {};
  if (prepared) download(await fetchFeatureMapsPng(prepared.image, version), "feature-maps.png");
}));
byId("skip", HTMLElement).addEventListener("click", (event) => {
  event.preventDefault(); // the hash holds the state, not an anchor
  section.focus();
});
byId("locked", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  setApiKey(byId("key", HTMLInputElement).value.trim());
  start();
});
subscribe(["prepare", "version"], () => {
  syncControls();
  analyses.forEach(analyze);
});
subscribe(["why"], () => {
  analyses.forEach((analysis) => analysis.explain(state, RENDERERS.explained));
  renderSnippets();
});
subscribe(["scale", "order"], () => {
  syncControls();
  renderNetwork();
});
subscribe(["layer", "channel"], renderSnippets);
subscribe(["sample", "other"], () => {
  const { sample, other } = state;
  if (!network || !isFashionMnist(network.summary.class_names)) return;
  if (sample !== undefined && sample !== analyses[0]?.sample) selectSample(sample, (source) => addImage(source, 0));
  if (other === analyses[1]?.sample) return;
  setCompare(other !== undefined);
  if (other !== undefined) selectSample(other, (source) => addImage(source, 1));
});

/** @returns {Promise<void>} */
async function start() {
  try {
    await load();
  } catch (error) {
    if (error instanceof AppError && error.code === "unknown_version" && state.version !== undefined) {
      setState({ version: undefined }); // the link names a version that is no longer served
      return start();
    }
    byId("locked", HTMLElement).hidden = !needsApiKey(error);
    showError(errorBox(error, start));
  }
}

await start();
