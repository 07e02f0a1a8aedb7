// What test_generated_clients.py has a client do whose types openapi-typescript made: node generated.js URL FILE
import { readFile } from "node:fs/promises";
import createClient from "openapi-fetch";
import type { components, paths } from "./service.js";

const [url, file] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: url });
const image = await readFile(file);
const body: components["schemas"]["Instances"] = { instances: [{ b64: image.toString("base64") }] };

const told = await client.POST("/predict", { body, params: { query: { top_k: 2 } } });
console.log(told.data?.predictions[0]?.label, told.data?.predictions[0]?.top_k?.length);

const maps = await client.POST("/feature-maps", { body, params: { query: { layer: ["conv2d_1"] } } });
console.log(typeof maps.data === "object" && maps.data.layers[0]?.maps.length);

const drawn = await client.POST("/feature-maps", {
  body,
  params: { query: { format: "png" } },
  parseAs: "arrayBuffer",
});
console.log(drawn.data !== undefined && Buffer.from(drawn.data).subarray(1, 4).toString());

const summary = await client.GET("/model/summary");
console.log(typeof summary.data === "object" && summary.data.layers[0]?.name);

const path = { name: "fashion_mnist" };
const data = [image.toString("base64")];
const inputs = [{ name: "image", shape: [1], datatype: "BYTES" as const, data }];
const inferred = await client.POST("/v2/models/{name}/infer", {
  params: { path },
  body: { inputs, outputs: [{ name: "label" }] },
});
console.log(inferred.data?.outputs[0]?.data);

const instances = [{ b64: image.toString("base64") }];
const predicted = await client.POST("/v1/models/{name}:predict", {
  params: { path },
  body: { instances },
});
console.log(JSON.stringify(predicted.data).startsWith('{"predictions":[['));

const refused = await client.POST("/predict", { body, params: { query: { top_k: 0 } } });
console.log(refused.error && "error" in refused.error && refused.error.error.code);
