// An image, and all that the service says of it: one object, so that no image is shown with what belongs to another.

import { Failed, askMaps, askPrediction, askPreparation, askSample, askValues, askWhy } from "../api.js";
import { flatten, hasMaps } from "../network/stages.js";
import { shrunk, isRead } from "./shrinking.js";

/** @typedef {import("../api.js").Plane} Plane */
/** @typedef {import("../network/stages.js").Stage} Stage */
/** @typedef {{image?: Blob, name: string, sample?: number}} Given an image, or which of the samples it is */
/** @typedef {{prepare: string, version: number | undefined, why: number | undefined}} Question `why`: the class to explain, if not the answer */

/** @typedef {"asked" | "slow" | "answered" | "prepared" | "explained" | "complete" | "failed"} News */

const SLOW_MS = 3000;

/** A file of more bytes takes longer to send than to draw small. */
const MANY_BYTES = 1_000_000;

/** The service may take fewer pixels or bytes than even that. */
const TOO_LARGE = ["image_too_large", "body_too_large"];

export class Look {
  /** Which version answered; 0: none has. */
  version = 0;
  /** Which class was asked about last. @type {number | undefined} */
  wanted;
  /** What was sent: the image as it was given, or drawn small. @type {Blob | undefined} */
  sent;

  /** @param {Given} given */
  constructor({ image, name, sample }) {
    this.given = image;
    this.name = name;
    this.sample = sample;
    this.url = image ? URL.createObjectURL(image) : `web/samples/${sample}.png`;
    this.asking = new AbortController();
    this.forget();
  }

  /** Nothing has been said of it yet. */
  forget() {
    this.busy = false;
    this.slow = false;
    /** @type {unknown} */
    this.failure = undefined;
    /** @type {import("../api.js").Prediction | undefined} */
    this.prediction = undefined;
    /** The answer as it was sent. */
    this.written = "";
    this.version = 0;
    /** @type {import("../api.js").Prepared | undefined} */
    this.prepared = undefined;
    /** @type {import("../api.js").Explanation | undefined} */
    this.why = undefined;
    /** @type {unknown} */
    this.whyFailure = undefined;
    /** @type {Map<string, Plane[]>} */
    this.maps = new Map();
    /** @type {Map<string, number[]>} */
    this.values = new Map();
  }

  /**
   * Ask for the answer, then for the preparation, why it is that class, and what each layer makes of it.
   * @param {Question} question
   * @param {(version: number) => Promise<{summary: import("../api.js").Summary, stages: Stage[]}>} networkOf
   * @param {(news: News) => void} tell is called with what has come
   */
  async ask(question, networkOf, tell) {
    this.asking.abort(); // the last question is the one that is answered
    this.asking = new AbortController();
    const { signal } = this.asking;
    this.forget();
    this.busy = true;
    tell("asked");
    const slow = setTimeout(() => {
      this.slow = true;
      tell("slow");
    }, SLOW_MS);
    try {
      const { prediction, version, written } = await this.predict(question, signal);
      const { summary, stages } = await networkOf(version);
      if (signal.aborted) return;
      Object.assign(this, { prediction, version, written });
      tell("answered");
      const explained = this.explain(question, tell);
      const prepared = await askPreparation(/** @type {Blob} */ (this.sent), question.prepare, version, signal);
      this.prepared = prepared;
      tell("prepared");
      await this.askOutputs(summary, stages, prepared.image, signal);
      this.busy = false;
      tell("complete");
      await explained;
    } catch (error) {
      if (signal.aborted) return;
      this.forget();
      this.failure = error;
      tell("failed");
      if (!(error instanceof Failed)) throw error;
    } finally {
      clearTimeout(slow);
    }
  }

  /** @param {Question} question @param {AbortSignal} signal */
  async predict({ prepare, version }, signal) {
    this.given ??= await askSample(/** @type {number} */ (this.sample), signal);
    this.sent = this.given;
    if (this.given.size > MANY_BYTES || !await isRead(this.given)) this.sent = await this.shrunk() ?? this.given;
    try {
      return await askPrediction(this.sent, prepare, version, signal);
    } catch (error) {
      const smaller = error instanceof Failed && TOO_LARGE.includes(error.code) ? await this.shrunk() : undefined;
      if (!smaller || signal.aborted) throw error;
      this.sent = smaller;
      return await askPrediction(smaller, prepare, version, signal);
    }
  }

  shrunk() {
    return shrunk(this.url, this.given?.type.includes("svg") ?? false);
  }

  /**
   * Ask what speaks for a class: the one asked for, or else the answer. The rest does not depend on it.
   * @param {Question} question @param {(news: News) => void} tell
   */
  async explain({ prepare, why }, tell) {
    const { signal } = this.asking;
    const classId = why ?? this.prediction?.class_id;
    this.why = this.whyFailure = undefined;
    this.wanted = classId;
    if (!this.sent || classId === undefined) return;
    try {
      const explanation = await askWhy(this.sent, prepare, this.version, classId, signal);
      if (this.wanted !== classId) return; // another class has been asked for since
      this.why = explanation;
    } catch (error) {
      if (signal.aborted) return;
      this.whyFailure = error;
      if (!(error instanceof Failed)) throw error;
    }
    tell("explained");
  }

  /**
   * @param {import("../api.js").Summary} summary
   * @param {Stage[]} stages
   * @param {Plane} image
   * @param {AbortSignal} signal
   */
  async askOutputs(summary, stages, image, signal) {
    const flat = stages.filter(({ layer }) => layer.output_shape.length === 1);
    const asked = flat.filter(({ kind, before }) => kind !== "flatten" || (before && !hasMaps(before))).map(({ layer }) => layer.name);
    const [maps, values] = await Promise.all([
      askMaps(image, summary.version, signal), askValues(summary, image, asked, signal),
    ]);
    maps.set(stages[0].layer.name, [image.map((row) => row.map((pixel) => pixel / summary.input.scale))]);
    for (const { kind, layer, before } of flat) {
      const planes = before && maps.get(before.layer.name);
      if (kind === "flatten" && planes) values.set(layer.name, flatten(planes));
    }
    Object.assign(this, { maps, values });
  }

  /** Stop asking, and let the image go. */
  close() {
    this.asking.abort();
    if (this.url.startsWith("blob:")) URL.revokeObjectURL(this.url);
  }
}
