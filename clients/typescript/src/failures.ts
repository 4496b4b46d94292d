// What the gateway tells of a failure, out of the details of a gRPC status.

import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { BadRequestSchema, ErrorInfoSchema } from "@imagevariations/stubs/google/rpc/error_details_pb.js";
import { StatusSchema } from "@imagevariations/stubs/google/rpc/status_pb.js";
import { type RequestError, RequestErrorSchema } from "@imagevariations/stubs/imagevariations/v1/image_variation_pb.js";

const MOST_TRIES = 3;

/**
 * Repeats a call only where the gateway says that it cost nothing and may succeed later. Anything else, a lost connection
 * included, may have been paid for.
 */
export async function retrying<T>(deadline: Date, call: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      const failure = requestError(error);
      const wait = failure?.retryAfterMs ?? attempt * 1000;
      if (!failure?.shouldRetry || attempt === MOST_TRIES || Date.now() + wait > deadline.getTime()) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

/** Everything that the gateway tells of a failure; undefined where it is not the gateway's. */
export function requestError(error: unknown): RequestError | undefined {
  return details(error).find((detail): detail is RequestError => detail.$typeName === "imagevariations.v1.RequestError");
}

/** An error with its typed details in words. */
export function explained(error: unknown): string {
  if (!isServiceError(error)) {
    return String(error);
  }
  const lines = [`${grpc.status[error.code]}: ${error.details}`];
  for (const detail of details(error)) {
    switch (detail.$typeName) {
      case "google.rpc.ErrorInfo":
        lines.push(`reason ${detail.reason}`);
        break;
      case "google.rpc.BadRequest":
        lines.push(...detail.fieldViolations.map((violation) => `field ${violation.field}: ${violation.description}`));
        break;
      case "imagevariations.v1.RequestError":
        lines.push(...detail.attempts.map((each) => `attempt ${each.provider}/${each.model}: ${each.outcome}`));
        lines.push(`request ${detail.requestId}`);
    }
  }
  return lines.join("\n");
}

function details(error: unknown) {
  const [status] = isServiceError(error) ? error.metadata.get("grpc-status-details-bin") : [];
  if (!(status instanceof Buffer)) {
    return [];
  }
  return fromBinary(StatusSchema, status).details.flatMap((detail) => {
    for (const schema of [ErrorInfoSchema, BadRequestSchema, RequestErrorSchema] as const) {
      const message = anyUnpack(detail, schema);
      if (message) {
        return [message];
      }
    }
    return [];
  });
}

function isServiceError(error: unknown): error is grpc.ServiceError {
  return error instanceof Error && "code" in error && "metadata" in error;
}
