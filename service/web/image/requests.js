// The page's own requests, to be sent from a shell or from Python.

import { hasKey } from "../api.js";
import { byId, make, makeButton, save } from "../elements.js";
import { hasMaps } from "../network/stages.js";
import { state } from "../state.js";
import { text } from "../language/text.js";

/** @typedef {import("./looks.js").Look} Look */

/** @param {Look | undefined} look @param {import("../network/stages.js").Stage | undefined} stage that is looked into */
export function showRequests(look, stage) {
  const box = byId("requests", HTMLElement);
  if (!look) return box.replaceChildren();
  const oneMap = stage && hasMaps(stage) && stage.kind !== "input";
  const maps = oneMap ? `&layer=${stage.layer.name}&channels=${state.channel}` : "";
  const version = state.version === undefined ? "" : `&version=${state.version}`;
  const asked = {
    predict: `predict?prepare=${state.prepare}${version}`,
    why: `explain?format=png&prepare=${state.prepare}${state.why === undefined ? "" : `&class_id=${state.why}`}${version}`,
    maps: `feature-maps?prepare=${state.prepare}${maps}${version}`,
    image: `feature-maps?format=png&prepare=${state.prepare}${version}`,
  };
  const kind = /** @type {keyof typeof asked} */ (byId("request", HTMLSelectElement).value);
  const path = asked[kind];
  const output = { image: "feature-maps.png", why: "why.png" }[/** @type {string} */ (kind)] ?? "";
  box.replaceChildren(code("curl", curl(look, path, output)), code("Python", python(look, path, output)));
  const { sent } = look;
  if (sent && sent !== look.given) {
    box.prepend(make("p", "", text("sentSmall"), " ", makeButton("quiet", () => save(sent, fileOf(look)), text("saveSent"))));
  }
}

/** @param {Look} look */
const fileOf = ({ name, sent, given }) => (!sent || sent === given ? name : `${name.replace(/\.\w+$/, "")}-small.png`).replace(/[^\w.-]+/g, "-");

/** @param {string} path */
const addressOf = (path) => new URL(path, document.baseURI.split("#")[0]).href;

/** @param {Look} look @param {string} path @param {string} output */
function curl(look, path, output) {
  const file = fileOf(look);
  const get = look.sample === undefined ? "" : `curl -sS ${addressOf(`web/samples/${look.sample}.png`)} -o ${file}\n`;
  const key = hasKey() ? "-H \"Authorization: Bearer $KEY\" " : "";
  return `${get}curl -sS ${key}-T ${file} '${addressOf(path)}'${output && ` -o ${output}`}`;
}

/** @param {Look} look @param {string} path @param {string} output */
function python(look, path, output) {
  const sampled = look.sample !== undefined;
  const image = sampled ? `urlopen("${addressOf(`web/samples/${look.sample}.png`)}").read()` : `Path("${fileOf(look)}").read_bytes()`;
  const key = hasKey() ? ", \"Authorization\": f\"Bearer {os.environ['KEY']}\"" : "";
  const imports = [
    ...(output ? [] : ["import json"]), ...(hasKey() ? ["import os"] : []),
    ...(output || !sampled ? ["from pathlib import Path"] : []), "from urllib.request import Request, urlopen",
  ];
  const last = output ? `Path("${output}").write_bytes(urlopen(request).read())` : "print(json.load(urlopen(request)))";
  return [
    ...imports, "", `image = ${image}`, `headers = {"Content-Type": "application/octet-stream"${key}}`,
    `request = Request("${addressOf(path)}", image, headers)`, last,
  ].join("\n");
}

/** @param {string} language @param {string} written */
export function code(language, written) {
  const pre = make("pre", "", written);
  const copy = makeButton("quiet", async () => {
    try {
      await navigator.clipboard.writeText(written);
      copy.textContent = text("copied");
    } catch {
      getSelection()?.selectAllChildren(pre); // pages that are not served over TLS may not copy
    }
  }, text("copy"));
  return make("div", "code", make("header", "", make("b", "", language), copy), pre);
}
