// The same from a web page: grpc-web through Envoy, by Connect.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { ErrorInfoSchema } from "@imagevariations/stubs/google/rpc/error_details_pb.js";
import { RequestErrorSchema } from "@imagevariations/stubs/imagevariations/v1/image_variation_pb.js";
import { ImageVariationService } from "@imagevariations/stubs/imagevariations/v1/image_variation_service_pb.js";

/** A client for `baseUrl`, where Envoy listens; browsers know no limit of 4 MB. */
export function variationsClient(baseUrl: string, key: string) {
  const transport = createGrpcWebTransport({
    baseUrl,
    interceptors: [
      (next) => (request) => {
        if (key) {
          request.header.set("authorization", `Bearer ${key}`);
        }
        return next(request);
      },
    ],
  });
  return createClient(ImageVariationService, transport);
}

/** Yields each image as a link that an <img> can show. */
export async function* variations(baseUrl: string, key: string, image: Uint8Array<ArrayBuffer>, n: number, size: string) {
  const request = { source: { case: "image" as const, value: image }, n, size, responseFormat: "b64_json" };
  for await (const { event } of variationsClient(baseUrl, key).streamImageVariation(request, { timeoutMs: 300_000 })) {
    if (event.case === "imageCompleted") {
      yield URL.createObjectURL(new Blob([event.value.b64Json! as Uint8Array<ArrayBuffer>]));
    }
  }
}

/** What the gateway tells of a failure. */
export function failure(error: unknown) {
  const failed = ConnectError.from(error);
  const [info] = failed.findDetails(ErrorInfoSchema);
  const [told] = failed.findDetails(RequestErrorSchema);
  return { code: Code[failed.code], message: failed.rawMessage, reason: info?.reason, param: told?.param };
}
