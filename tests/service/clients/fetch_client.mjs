// The fetch of Node and browsers: node fetch_client.mjs URL FILE
import { readFile } from "node:fs/promises";

const [url, path] = process.argv.slice(2);
const bytes = await readFile(path);
const form = new FormData();
form.append("files", new Blob([bytes]), "신발.png");
form.append("files", new Blob([bytes], { type: "image/png" }));
form.append("top_k", "1");
const data = `data:image/png;base64,${bytes.toString("base64")}`;
for (const body of [
  bytes,
  new Blob([bytes], { type: "image/png" }),
  new Blob([bytes]).stream(),
  form,
  JSON.stringify({ instances: [{ b64: data }] }),
  new URLSearchParams({ b64: "none" }),
]) {
  const answer = await fetch(`${url}/predict`, { method: "POST", body, duplex: "half" });
  console.log(answer.status, await answer.text());
}
console.log((await fetch(`${url}/readyz`, { method: "HEAD" })).status);
