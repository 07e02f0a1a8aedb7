// What is known of a layer without an image: its shape, and where its parameters come from.

import { make } from "../elements.js";
import { sizes, whole } from "../numbers.js";
import { channelsOf } from "./stages.js";
import { text } from "../language/text.js";

/** @param {import("./stages.js").Stage} stage */
export function factsOf(stage) {
  const { output_shape: shape, parameters } = stage.layer;
  return make("p", "facts", make("b", "", sizes(shape)), ...settings(stage), make("span", "", text("parameterCount", { count: whole(parameters) }), arithmetic(stage)));
}

/** @param {import("./stages.js").Stage} stage */
function settings({ kind, layer: { configuration } }) {
  const words = [];
  if (kind === "convolution" || kind === "pooling") {
    const size = configuration.kernel_size ?? configuration.pool_size;
    words.push(`${text(kind === "pooling" ? "window" : "kernel")} ${size.join(" × ")}`);
    words.push(`${text("stride")} ${configuration.strides[0]}`, `${text("padding")} ${text(configuration.padding === "same" ? "samePadding" : "validPadding")}`);
  }
  if (configuration.activation) words.push(configuration.activation);
  if (kind === "dropout") words.push(`${configuration.rate}`);
  return words.map((word) => make("span", "", word));
}

/** @param {string} kernel @param {import("../api.js").Layer} layer */
const weightsOf = (kernel, { configuration }) => (configuration.use_bias === false ? kernel : `(${kernel} + 1)`);

/** How the parameters come to be so many. @param {import("./stages.js").Stage} stage */
function arithmetic(stage) {
  const { kind, layer, before } = stage;
  if (!before || layer.parameters === 0) return "";
  const inputs = kind === "convolution" ? [...layer.configuration.kernel_size, channelsOf(before)] : kind === "dense" ? [channelsOf(before)] : [];
  return inputs.length === 0 ? "" : ` = ${weightsOf(sizes(inputs), layer)} × ${whole(channelsOf(stage))}`;
}
