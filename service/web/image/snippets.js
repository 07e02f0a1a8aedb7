// The page's requests as commands for a shell and as Python code.

import { hasApiKey } from "../api.js";
import { byId, download, make, makeButton } from "../elements.js";
import { hasMaps } from "../network/stages.js";
import { state } from "../state.js";
import { text } from "../language/text.js";

/** @typedef {import("./analysis.js").Analysis} Analysis */

/** @param {Analysis | undefined} analysis @param {import("../network/stages.js").Stage | undefined} stage in the inspector */
export function showSnippets(analysis, stage) {
  const box = byId("snippet-list", HTMLElement);
  if (!analysis) return box.replaceChildren();
  const channel = stage && hasMaps(stage) && stage.kind !== "input" ? `&layer=${stage.layer.name}&channels=${state.channel}` : "";
  const version = state.version === undefined ? "" : `&version=${state.version}`;
  const paths = {
    predict: `predict?prepare=${state.prepare}${version}`,
    why: `explain?format=png&prepare=${state.prepare}${state.why === undefined ? "" : `&class_id=${state.why}`}${version}`,
    maps: `feature-maps?prepare=${state.prepare}${channel}${version}`,
    image: `feature-maps?format=png&prepare=${state.prepare}${version}`,
  };
  const kind = /** @type {keyof typeof paths} */ (byId("request", HTMLSelectElement).value);
  const output = { predict: "", why: "why.png", maps: "", image: "feature-maps.png" }[kind];
  box.replaceChildren(codeBlock("curl", curl(analysis, paths[kind], output)), codeBlock("Python", python(analysis, paths[kind], output)));
  const { upload } = analysis;
  if (upload && upload !== analysis.file) {
    box.prepend(make("p", "", text("resizedNote"), " ", makeButton("quiet", () => download(upload, fileNameOf(analysis)), text("saveUpload"))));
  }
}

/** @param {Analysis} analysis */
const fileNameOf = ({ name, upload, file }) =>
  (!upload || upload === file ? name : `${name.replace(/\.\w+$/, "")}-small.png`).replace(/[^\w.-]+/g, "-");

/** @param {string} path */
const urlOf = (path) => new URL(path, document.baseURI.split("#")[0]).href;

/** @param {Analysis} analysis @param {string} path @param {string} output */
function curl(analysis, path, output) {
  const file = fileNameOf(analysis);
  const fetchSample = analysis.sample === undefined ? "" : `curl -sS ${urlOf(`web/samples/${analysis.sample}.png`)} -o ${file}\n`;
  const key = hasApiKey() ? "-H \"Authorization: Bearer $KEY\" " : "";
  return `${fetchSample}curl -sS ${key}-T ${file} '${urlOf(path)}'${output && ` -o ${output}`}`;
}

/** @param {Analysis} analysis @param {string} path @param {string} output */
function python(analysis, path, output) {
  const isSample = analysis.sample !== undefined;
  const image = isSample ? `urlopen("${urlOf(`web/samples/${analysis.sample}.png`)}").read()` : `Path("${fileNameOf(analysis)}").read_bytes()`;
  const key = hasApiKey() ? ", \"Authorization\": f\"Bearer {os.environ['KEY']}\"" : "";
  const imports = [
    ...(output ? [] : ["import json"]), ...(hasApiKey() ? ["import os"] : []),
    ...(output || !isSample ? ["from pathlib import Path"] : []), "from urllib.request import Request, urlopen",
  ];
  const last = output ? `Path("${output}").write_bytes(urlopen(request).read())` : "print(json.load(urlopen(request)))";
  return [
    ...imports, "", `image = ${image}`, `headers = {"Content-Type": "application/octet-stream"${key}}`,
    `request = Request("${urlOf(path)}", image, headers)`, last,
  ].join("\n");
}

/** @param {string} language @param {string} source */
export function codeBlock(language, source) {
  const pre = make("pre", "", source);
  const copy = makeButton("quiet", async () => {
    try {
      await navigator.clipboard.writeText(source);
      copy.textContent = text("copied");
    } catch {
      getSelection()?.selectAllChildren(pre); // the clipboard needs TLS
    }
  }, text("copy"));
  return make("div", "code", make("header", "", make("b", "", language), copy), pre);
}
