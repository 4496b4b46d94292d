// Calls the gateway as any Node program would and prints what came back, for the test beside it to judge.
// Usage: node images.mjs BASE_URL PHOTO
import fs from "node:fs";
import OpenAI, { BadRequestError, NotFoundError, toFile } from "openai";

const [baseURL, photo] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });
const results = {};

const one = await client.images.createVariation({ image: fs.createReadStream(photo) });
results.one = { created: one.created, url: one.data[0].url, index: one.data[0].index };

for (const size of ["256x256", "512x512", "1024x1024"]) {
  const answer = await client.images.createVariation({
    image: fs.createReadStream(photo), size, response_format: "b64_json",
  });
  results[size] = answer.data.map((each) => each.b64_json);
}

const ten = await client.images.createVariation({
  image: await toFile(fs.readFileSync(photo), "photo.png"), model: "dall-e-2", n: 10, size: "256x256", response_format: "url",
});
results.ten = ten.data.map((each) => each.url);

const fallbacks = await client.images.createVariation({
  image: fs.createReadStream(photo), size: "256x256",
  fallbacks: [{ provider: "local", model: "relight" }, { provider: "local", model: "recompose" }],
});
results.fallbacks = fallbacks.extra_fields;

results.errors = [];
for (const request of [{ n: 11 }, { size: "3x3" }, { model: "nobody/nothing" }]) {
  try {
    await client.images.createVariation({ image: fs.createReadStream(photo), ...request });
  } catch (error) {
    results.errors.push({
      kind: error instanceof BadRequestError ? "bad request" : error instanceof NotFoundError ? "not found" : String(error),
      status: error.status, code: error.code, param: error.param,
    });
  }
}
console.log(JSON.stringify(results));
