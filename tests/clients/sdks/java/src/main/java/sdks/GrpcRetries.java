package sdks;

import com.google.protobuf.ByteString;
import io.github.imagevariations.v1.CreateImageVariationRequest;
import io.github.imagevariations.v1.ImageVariationServiceGrpc;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** One variation over gRPC with the usual retry policy; prints what came of it. */
public final class GrpcRetries {
  private static final Map<String, ?> POLICY =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name", List.of(Map.of()),
                  "retryPolicy",
                      Map.of(
                          "maxAttempts", 4.0,
                          "initialBackoff", "0.01s",
                          "maxBackoff", "0.02s",
                          "backoffMultiplier", 1.0,
                          "retryableStatusCodes", List.of("UNAVAILABLE")))));

  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel =
        Grpc.newChannelBuilder(System.getenv("TARGET"), InsecureChannelCredentials.create())
            .defaultServiceConfig(POLICY)
            .enableRetry()
            .build();
    CreateImageVariationRequest request =
        CreateImageVariationRequest.newBuilder()
            .setImage(ByteString.copyFrom(Files.readAllBytes(Path.of(System.getenv("IMAGE")))))
            .setModel(System.getenv("MODEL"))
            .setSize(System.getenv("SIZE"))
            .build();
    try {
      var answer = ImageVariationServiceGrpc.newBlockingStub(channel).createImageVariation(request);
      System.out.println("made " + answer.getDataCount());
    } catch (StatusRuntimeException error) {
      System.out.println("failed " + error.getStatus().getCode());
    }
    channel.shutdownNow();
  }
}
