// A picture, and all that the service says of it.

import { Refused, askMaps, askPrediction, askPreparation, askValues } from "../api.js";
import { flatten } from "../network/stages.js";
import { text } from "../language/text.js";

/** @typedef {import("../api.js").Plane} Plane */
/** @typedef {import("../network/stages.js").Stage} Stage */
/** @typedef {{picture: Blob, name: string, sample: number | undefined}} Given `sample`: which one it is, if it is one */

/** @typedef {"picture" | "answer" | "prepared" | "outputs" | "refused"} News */

export class Look {
  /** @param {Given} given */
  constructor({ picture, name, sample }) {
    this.picture = picture;
    this.name = name;
    this.sample = sample;
    this.url = URL.createObjectURL(picture);
    this.refusal = "";
    /** @type {import("../api.js").Prediction | undefined} */
    this.prediction = undefined;
    /** The answer as it was sent. */
    this.written = "";
    this.version = 0;
    /** @type {import("../api.js").Prepared | undefined} */
    this.prepared = undefined;
    /** @type {Map<string, Plane[]>} */
    this.maps = new Map();
    /** @type {Map<string, number[]>} */
    this.values = new Map();
    this.asking = new AbortController();
  }

  /**
   * Ask for the answer, then for the preparation, then for what each layer makes of it.
   * @param {import("../api.js").Summary} summary
   * @param {Stage[]} stages
   * @param {string} prepare
   * @param {(news: News) => void} tell is called with what has come
   */
  async ask(summary, stages, prepare, tell) {
    this.asking.abort(); // the last question is the one that is answered
    this.asking = new AbortController();
    const { signal } = this.asking;
    tell("picture");
    try {
      const { prediction, version, written } = await askPrediction(this.picture, prepare, signal);
      Object.assign(this, { prediction, version, written, refusal: "" });
      tell("answer");
      const prepared = await askPreparation(this.picture, prepare, signal);
      this.prepared = prepared;
      tell("prepared");
      await this.askOutputs(summary, stages, prepared.image, signal);
      tell("outputs");
    } catch (error) {
      if (signal.aborted) return;
      this.refusal = error instanceof Refused ? error.message : text("unreachable");
      tell("refused");
      if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error;
    }
  }

  /**
   * @param {import("../api.js").Summary} summary
   * @param {Stage[]} stages
   * @param {Plane} image
   * @param {AbortSignal} signal
   */
  async askOutputs(summary, stages, image, signal) {
    const flat = stages.filter(({ layer }) => layer.output_shape.length === 1);
    const asked = flat.filter(({ kind }) => kind !== "flatten").map(({ layer }) => layer.name);
    const [maps, values] = await Promise.all([
      askMaps(image, signal), askValues(summary, image, asked, signal),
    ]);
    maps.set(stages[0].layer.name, [image.map((row) => row.map((pixel) => pixel / summary.input.scale))]);
    for (const { kind, layer, before } of flat) {
      const planes = before && maps.get(before.layer.name);
      if (kind === "flatten" && planes) values.set(layer.name, flatten(planes));
    }
    Object.assign(this, { maps, values });
  }

  /** Stop asking, and let the picture go. */
  close() {
    this.asking.abort();
    URL.revokeObjectURL(this.url);
  }
}
