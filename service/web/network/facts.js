// The facts about a layer that need no image: its shape, its settings and its number of parameters.

import { make } from "../elements.js";
import { dimensions, integer } from "../numbers.js";
import { channelsOf } from "./stages.js";
import { text } from "../language/text.js";

/** @typedef {import("./stages.js").Stage} Stage */

/** @param {Stage} stage */
export function layerFacts(stage) {
  const { output_shape: shape, parameters } = stage.layer;
  return make("p", "facts", make("b", "", dimensions(shape)), ...settingsOf(stage).map((setting) => make("span", "", setting)),
    make("span", "", text("parameterCount", { count: integer(parameters) }), parameterFormula(stage)));
}

/** @param {Stage} stage */
function settingsOf({ kind, layer: { configuration } }) {
  const settings = [];
  if (kind === "convolution" || kind === "pooling") {
    const size = configuration.kernel_size ?? configuration.pool_size;
    settings.push(`${text(kind === "pooling" ? "window" : "kernel")} ${size.join(" × ")}`, `${text("stride")} ${configuration.strides[0]}`,
      `${text("padding")} ${text(configuration.padding === "same" ? "samePadding" : "validPadding")}`);
  }
  if (configuration.activation) settings.push(configuration.activation);
  if (kind === "dropout") settings.push(`${configuration.rate}`);
  return settings;
}

/** @param {Stage} stage */
function parameterFormula(stage) {
  const { kind, layer: { configuration, parameters }, before } = stage;
  if (!before || parameters === 0 || (kind !== "convolution" && kind !== "dense")) return "";
  const weights = dimensions([...(configuration.kernel_size ?? []), channelsOf(before)]);
  return ` = ${configuration.use_bias === false ? weights : `(${weights} + 1)`} × ${integer(channelsOf(stage))}`;
}
