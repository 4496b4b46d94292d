// Makes variations of a picture and saves each as soon as it is there.
//
//   node dist/variations.js --n 3 --size 512x512 --out out photo.jpg

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import * as grpc from "@grpc/grpc-js";
import type { ImageVariation } from "@imagevariations/stubs/imagevariations/v1/image_variation_pb.js";
import { ImageVariationService } from "@imagevariations/stubs/imagevariations/v1/image_variation_service_pb.js";
import { explained, retrying } from "./failures.js";
import { GrpcClient } from "./grpc.js";

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    target: { type: "string", default: "localhost:50051" },
    tls: { type: "boolean", default: false },
    model: { type: "string", default: "" },
    n: { type: "string", default: "1" },
    size: { type: "string", default: "auto" },
    out: { type: "string", default: "." },
    timeout: { type: "string", default: "300" }, // seconds for everything, retries included
    whole: { type: "boolean", default: false }, // one answer instead of a stream
  },
});
const [file] = positionals;
if (!file) {
  console.error("usage: variations [flags] IMAGE");
  process.exit(2);
}

const credentials = flags.tls ? grpc.credentials.createSsl() : grpc.credentials.createInsecure();
const client = new GrpcClient(flags.target, credentials);
const metadata = new grpc.Metadata();
const key = process.env["IMAGE_VARIATIONS_API_KEY"];
if (key) {
  metadata.set("authorization", `Bearer ${key}`);
}
const deadline = new Date(Date.now() + Number(flags.timeout) * 1000);
const request = {
  source: { case: "image" as const, value: await readFile(file) },
  model: flags.model,
  n: Number(flags.n),
  size: flags.size,
  responseFormat: "b64_json",
};

try {
  await retrying(deadline, flags.whole ? create : stream);
} catch (error) {
  console.error(explained(error));
  process.exitCode = 1;
} finally {
  client.close();
}

/** Saves images as they come and tells what happens meanwhile. */
async function stream(): Promise<void> {
  const method = ImageVariationService.method.streamImageVariation;
  for await (const { event } of client.stream(method, request, metadata, { deadline })) {
    switch (event.case) {
      case "attemptStarted":
        console.log(`trying ${event.value.provider}/${event.value.model}`);
        break;
      case "attemptFailed":
        console.log(`failed: ${event.value.reason}`);
        break;
      case "imageCompleted":
        await save(event.value);
        break;
      case "completed":
        console.log(`done by ${event.value.extraFields?.provider}`);
    }
  }
}

/** Saves the images of one answer. */
async function create(): Promise<void> {
  const method = ImageVariationService.method.createImageVariation;
  const answer = await client.unary(method, request, metadata, { deadline });
  for (const image of answer.data) {
    await save(image);
  }
  console.log(`done by ${answer.extraFields?.provider}`);
}

async function save(image: ImageVariation): Promise<void> {
  const path = join(flags.out, `${image.index}.png`);
  await mkdir(flags.out, { recursive: true });
  await writeFile(path, image.b64Json!);
  console.log(`saved ${path}`);
}
