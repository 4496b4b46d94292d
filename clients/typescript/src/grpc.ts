// The services of gen/ts over @grpc/grpc-js: its generic client, typed by the methods' descriptions.

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import * as grpc from "@grpc/grpc-js";

// gRPC takes 4 MB by default. Four PNG files of 1024x1024 in one answer are more.
const LARGEST_MESSAGE = 100 * 1024 * 1024;

/** Calls the methods of any service, over one connection. */
export class GrpcClient {
  readonly #client: grpc.Client;

  constructor(target: string, credentials: grpc.ChannelCredentials) {
    this.#client = new grpc.Client(target, credentials, { "grpc.max_receive_message_length": LARGEST_MESSAGE });
  }

  /** Sends one message and resolves to one; rejects with a grpc.ServiceError. */
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { methodKind: "unary"; input: I; output: O },
    request: MessageInitShape<I>,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) =>
      this.#client.makeUnaryRequest(
        path(method), encoder(method.input), decoder(method.output), create(method.input, request), metadata, options,
        (error, answer) => (error ? reject(error) : resolve(answer!)),
      ),
    );
  }

  /** Sends one message and yields many; throws a grpc.ServiceError. Leaving the loop cancels the call. */
  async *stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { methodKind: "server_streaming"; input: I; output: O },
    request: MessageInitShape<I>,
    metadata: grpc.Metadata,
    options: grpc.CallOptions,
  ): AsyncGenerator<MessageShape<O>> {
    const call = this.#client.makeServerStreamRequest(
      path(method), encoder(method.input), decoder(method.output), create(method.input, request), metadata, options,
    );
    try {
      yield* call as AsyncIterable<MessageShape<O>>;
    } finally {
      call.cancel();
    }
  }

  close(): void {
    this.#client.close();
  }
}

function path(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function encoder<T extends DescMessage>(type: T) {
  return (message: MessageShape<T>) => Buffer.from(toBinary(type, message));
}

function decoder<T extends DescMessage>(type: T) {
  return (bytes: Buffer) => fromBinary(type, bytes);
}
