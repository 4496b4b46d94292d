// Reads the binary form of every conformance vector and compares it with what it means.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { createRegistry, fromBinary, toJson } from "@bufbuild/protobuf";
import { file_google_rpc_error_details } from "@imagevariations/stubs/google/rpc/error_details_pb.js";
import { file_google_rpc_status } from "@imagevariations/stubs/google/rpc/status_pb.js";
import { file_imagevariations_v1_image_variation } from "@imagevariations/stubs/imagevariations/v1/image_variation_pb.js";
import { file_imagevariations_v1_model_service } from "@imagevariations/stubs/imagevariations/v1/model_service_pb.js";

const VECTORS = new URL("../../../protos/testdata/", import.meta.url);
const registry = createRegistry(
  file_google_rpc_error_details,
  file_google_rpc_status,
  file_imagevariations_v1_image_variation,
  file_imagevariations_v1_model_service,
);

for (const name of readdirSync(VECTORS).filter((each) => each.endsWith(".json"))) {
  test(name, () => {
    const vector = JSON.parse(readFileSync(new URL(name, VECTORS), "utf8"));
    const schema = registry.getMessage(vector.message);
    assert(schema, vector.message);
    const message = fromBinary(schema, readFileSync(new URL(name.replace(".json", ".binpb"), VECTORS)));
    assert.deepEqual(toJson(schema, message, { registry, useProtoFieldName: true }), vector.json);
  });
}
