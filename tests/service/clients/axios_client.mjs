// axios with its default settings: node axios_client.mjs URL FILE
import { readFile } from "node:fs/promises";
import axios from "axios";

const [url, path] = process.argv.slice(2);
const bytes = await readFile(path);
const form = new FormData();
form.append("files", new Blob([bytes]), "신발.png");
form.append("top_k", "1");
for (const body of [bytes, form, { instances: [{ b64: bytes.toString("base64") }] }]) {
  const answer = await axios.post(`${url}/predict`, body);
  console.log(answer.status, answer.config.headers["Content-Type"], JSON.stringify(answer.data));
}
