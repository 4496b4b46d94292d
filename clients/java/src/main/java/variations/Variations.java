package variations;

import com.google.protobuf.ByteString;
import io.github.imagevariations.v1.CreateImageVariationRequest;
import io.github.imagevariations.v1.CreateImageVariationResponse;
import io.github.imagevariations.v1.ImageVariation;
import io.github.imagevariations.v1.ImageVariationServiceGrpc;
import io.github.imagevariations.v1.ImageVariationServiceGrpc.ImageVariationServiceBlockingStub;
import io.github.imagevariations.v1.StreamImageVariationResponse;
import io.grpc.Deadline;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Iterator;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Makes variations of a picture and saves each as soon as it is there.
 *
 * <pre>java -jar target/variations.jar --n 3 --size 512x512 --out out photo.jpg</pre>
 */
public final class Variations {
  /** gRPC takes 4 MB by default. Four PNG files of 1024x1024 in one answer are more. */
  private static final int LARGEST_MESSAGE = 100 << 20;

  private static final Metadata.Key<String> AUTHORIZATION =
      Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

  private final ImageVariationServiceBlockingStub stub;
  private final Path directory;

  private Variations(ImageVariationServiceBlockingStub stub, Path directory) {
    this.stub = stub;
    this.directory = directory;
  }

  public static void main(String[] arguments) throws Exception {
    Map<String, String> flags = flags(arguments);
    if (!flags.containsKey("image")) {
      System.err.println("usage: variations [flags] IMAGE");
      System.exit(2);
    }
    ManagedChannel channel =
        Grpc.newChannelBuilder(
                flags.getOrDefault("target", "localhost:50051"),
                flags.containsKey("tls") ? TlsChannelCredentials.create() : InsecureChannelCredentials.create())
            .maxInboundMessageSize(LARGEST_MESSAGE)
            .build();
    // Seconds for everything, retries included.
    long timeoutMs = Math.round(Double.parseDouble(flags.getOrDefault("timeout", "300")) * 1000);
    Deadline deadline = Deadline.after(timeoutMs, TimeUnit.MILLISECONDS);
    ImageVariationServiceBlockingStub stub =
        ImageVariationServiceGrpc.newBlockingStub(channel).withDeadline(deadline);
    String key = System.getenv("IMAGE_VARIATIONS_API_KEY");
    if (key != null) {
      Metadata headers = new Metadata();
      headers.put(AUTHORIZATION, "Bearer " + key);
      stub = stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));
    }
    CreateImageVariationRequest request =
        CreateImageVariationRequest.newBuilder()
            .setImage(ByteString.copyFrom(Files.readAllBytes(Path.of(flags.get("image")))))
            .setModel(flags.getOrDefault("model", ""))
            .setN(Integer.parseInt(flags.getOrDefault("n", "1")))
            .setSize(flags.getOrDefault("size", "auto"))
            .setResponseFormat("b64_json")
            .build();
    Variations variations = new Variations(stub, Path.of(flags.getOrDefault("out", ".")));
    int status = 0;
    try {
      Failures.retrying(
          deadline, () -> { if (flags.containsKey("whole")) variations.create(request); else variations.stream(request); });
    } catch (StatusRuntimeException failure) {
      System.err.println(Failures.explained(failure));
      status = 1;
    }
    channel.shutdownNow();
    System.exit(status);
  }

  /** Saves images as they come and tells what happens meanwhile. */
  private void stream(CreateImageVariationRequest request) {
    for (Iterator<StreamImageVariationResponse> events = stub.streamImageVariation(request); events.hasNext(); ) {
      StreamImageVariationResponse event = events.next();
      switch (event.getEventCase()) {
        case ATTEMPT_STARTED ->
            System.out.printf(
                "trying %s/%s%n", event.getAttemptStarted().getProvider(), event.getAttemptStarted().getModel());
        case ATTEMPT_FAILED -> System.out.printf("failed: %s%n", event.getAttemptFailed().getReason());
        case IMAGE_COMPLETED -> save(event.getImageCompleted());
        case COMPLETED -> System.out.printf("done by %s%n", event.getCompleted().getExtraFields().getProvider());
        default -> {} // Signs of life, and events that are newer than this program.
      }
    }
  }

  /** Saves the images of one answer. */
  private void create(CreateImageVariationRequest request) {
    CreateImageVariationResponse answer = stub.createImageVariation(request);
    answer.getDataList().forEach(this::save);
    System.out.printf("done by %s%n", answer.getExtraFields().getProvider());
  }

  private void save(ImageVariation image) {
    Path path = directory.resolve(image.getIndex() + ".png");
    try {
      Files.createDirectories(directory);
      Files.write(path, image.getB64Json().toByteArray());
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    System.out.printf("saved %s%n", path);
  }

  /** {@code --name value}, {@code --switch}, and the image. */
  private static Map<String, String> flags(String[] arguments) {
    Map<String, String> flags = new HashMap<>();
    for (int i = 0; i < arguments.length; i++) {
      String name = arguments[i].startsWith("--") ? arguments[i].substring(2) : "image";
      boolean alone = name.equals("tls") || name.equals("whole") || name.equals("image");
      flags.put(name, alone ? arguments[i] : arguments[++i]);
    }
    return flags;
  }
}
