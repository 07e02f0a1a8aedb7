// An image and everything that the service returned for it. One object holds both, so that the page never mixes the results of two images.

import { fetchExplanation, fetchFeatureMaps, fetchOutputs, fetchPrediction, fetchPreparation, fetchSample } from "../api.js";
import { AppError } from "../errors.js";
import { flatten } from "../network/arithmetic.js";
import { hasMaps } from "../network/stages.js";
import { isSupported, resizeToPng } from "./resize.js";

/** @typedef {import("../api.js").Plane} Plane */
/** @typedef {import("../network/stages.js").Stage} Stage */
/** @typedef {{file?: Blob, name: string, sample?: number}} ImageSource a file, or the index of a test sample */
/** @typedef {{prepare: string, version: number | undefined, why: number | undefined}} Options `why`: the class to explain; undefined for the predicted one */
/** @typedef {"started" | "slow" | "predicted" | "prepared" | "explained" | "complete" | "failed"} Progress */

const SLOW_MS = 3000;

/** Uploading more bytes than this takes longer than resizing the image first. */
const LARGE_FILE_BYTES = 1_000_000;

/** A service may be configured with limits below LARGE_FILE_BYTES. */
const TOO_LARGE = ["image_too_large", "body_too_large"];

/** Two images are called A and B; a single one has no letter. @param {Analysis[]} analyses @param {number} index */
export const letterOf = (analyses, index) => (analyses.length > 1 ? "AB"[index] : "");

export class Analysis {
  /** What was uploaded: the file itself or a resized copy. @type {Blob | undefined} */
  upload;
  /** The class that `explain` was last called for. @type {number | undefined} */
  requestedClass;
  /** The version of the model that answered; 0 if none has. */
  version = 0;
  controller = new AbortController();

  /** @param {ImageSource} source */
  constructor({ file, name, sample }) {
    this.file = file;
    this.name = name;
    this.sample = sample;
    this.url = file ? URL.createObjectURL(file) : `web/samples/${sample}.png`;
    this.reset();
  }

  /** Drops all results. */
  reset() {
    this.busy = false;
    this.slow = false;
    /** @type {unknown} */
    this.error = undefined;
    /** @type {import("../api.js").Prediction | undefined} */
    this.prediction = undefined;
    this.responseText = "";
    this.version = 0;
    /** @type {import("../api.js").PreparedImage | undefined} */
    this.prepared = undefined;
    /** @type {import("../api.js").Explanation | undefined} */
    this.explanation = undefined;
    /** @type {unknown} */
    this.explanationError = undefined;
    /** Feature maps by layer. @type {Map<string, Plane[]>} */
    this.maps = new Map();
    /** Outputs of the layers without maps, by layer. @type {Map<string, number[]>} */
    this.values = new Map();
  }

  /**
   * Fetches the prediction, then the preparation, the explanation and the output of each layer. Cancels a run in progress.
   * @param {Options} options
   * @param {(version: number) => Promise<{summary: import("../api.js").Summary, stages: Stage[]}>} loadNetwork
   * @param {(progress: Progress) => void} onProgress
   */
  async run(options, loadNetwork, onProgress) {
    this.controller.abort();
    this.controller = new AbortController();
    const { signal } = this.controller;
    this.reset();
    this.busy = true;
    onProgress("started");
    const slowTimer = setTimeout(() => {
      this.slow = true;
      onProgress("slow");
    }, SLOW_MS);
    try {
      const result = await this.predict(options, signal);
      const { summary, stages } = await loadNetwork(result.version);
      if (signal.aborted) return;
      Object.assign(this, result);
      onProgress("predicted");
      const explained = this.explain(options, onProgress);
      const prepared = await fetchPreparation(/** @type {Blob} */ (this.upload), options.prepare, result.version, signal);
      this.prepared = prepared;
      onProgress("prepared");
      await this.fetchLayerOutputs(summary, stages, prepared.image, signal);
      this.busy = false;
      onProgress("complete");
      await explained;
    } catch (error) {
      if (signal.aborted) return;
      this.reset();
      this.error = error;
      onProgress("failed");
      if (!(error instanceof AppError)) throw error;
    } finally {
      clearTimeout(slowTimer);
    }
  }

  /** @param {Options} options @param {AbortSignal} signal */
  async predict({ prepare, version }, signal) {
    this.file ??= await fetchSample(/** @type {number} */ (this.sample), signal);
    this.upload = this.file;
    if (this.file.size > LARGE_FILE_BYTES || !await isSupported(this.file)) this.upload = await this.resize() ?? this.file;
    try {
      return await fetchPrediction(this.upload, prepare, version, signal);
    } catch (error) {
      const resized = error instanceof AppError && TOO_LARGE.includes(error.code) ? await this.resize() : undefined;
      if (!resized || signal.aborted) throw error;
      this.upload = resized;
      return await fetchPrediction(resized, prepare, version, signal);
    }
  }

  resize() {
    return resizeToPng(this.url, this.file?.type.includes("svg") ?? false);
  }

  /**
   * Fetches the explanation of the requested or the predicted class. No other result depends on it.
   * @param {Options} options @param {(progress: Progress) => void} onProgress
   */
  async explain({ prepare, why }, onProgress) {
    const { signal } = this.controller;
    this.explanation = this.explanationError = undefined;
    if (!this.upload || !this.prediction) return; // `run` calls again
    const classId = why ?? this.prediction.class_id;
    this.requestedClass = classId;
    try {
      const explanation = await fetchExplanation(this.upload, prepare, this.version, classId, signal);
      if (this.requestedClass !== classId) return; // a later call asks for another class
      this.explanation = explanation;
    } catch (error) {
      if (signal.aborted || this.requestedClass !== classId) return;
      this.explanationError = error;
      if (!(error instanceof AppError)) throw error;
    }
    onProgress("explained");
  }

  /**
   * @param {import("../api.js").Summary} summary
   * @param {Stage[]} stages
   * @param {Plane} image
   * @param {AbortSignal} signal
   */
  async fetchLayerOutputs(summary, stages, image, signal) {
    const vectors = stages.filter(({ layer }) => layer.output_shape.length === 1);
    // The output of a Flatten layer is the maps before it, reordered.
    const names = vectors.filter(({ kind, before }) => kind !== "flatten" || (before && !hasMaps(before))).map(({ layer }) => layer.name);
    const [maps, values] = await Promise.all([
      fetchFeatureMaps(image, summary.version, signal), fetchOutputs(summary, image, names, signal),
    ]);
    maps.set(stages[0].layer.name, [image.map((row) => row.map((pixel) => pixel / summary.input.scale))]);
    for (const { kind, layer, before } of vectors) {
      const planes = before && maps.get(before.layer.name);
      if (kind === "flatten" && planes) values.set(layer.name, flatten(planes));
    }
    Object.assign(this, { maps, values });
  }

  /** Cancels its requests and releases the image. */
  close() {
    this.controller.abort();
    if (this.url.startsWith("blob:")) URL.revokeObjectURL(this.url);
  }
}
