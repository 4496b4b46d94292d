package variations;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.google.protobuf.DynamicMessage;
import com.google.protobuf.TypeRegistry;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.ErrorDetailsProto;
import com.google.rpc.StatusProto;
import io.github.imagevariations.v1.CreateImageVariationRequest;
import io.github.imagevariations.v1.ListModelsResponse;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Reads the binary form of every conformance vector and compares it with what it means. */
class ConformanceTest {
  private static final TypeRegistry TYPES =
      TypeRegistry.newBuilder()
          .add(CreateImageVariationRequest.getDescriptor().getFile().getMessageTypes())
          .add(ListModelsResponse.getDescriptor().getFile().getMessageTypes())
          .add(ErrorDetailsProto.getDescriptor().getMessageTypes())
          .add(StatusProto.getDescriptor().getMessageTypes())
          .build();

  static Stream<Path> vectors() throws IOException {
    return Files.list(Path.of("../../protos/testdata")).filter(file -> file.toString().endsWith(".json"));
  }

  @ParameterizedTest
  @MethodSource("vectors")
  void bothFormsMeanTheSame(Path file) throws IOException {
    JsonObject vector = JsonParser.parseString(Files.readString(file)).getAsJsonObject();
    byte[] binary = Files.readAllBytes(Path.of(file.toString().replace(".json", ".binpb")));
    DynamicMessage message = DynamicMessage.parseFrom(TYPES.find(vector.get("message").getAsString()), binary);
    String read = JsonFormat.printer().preservingProtoFieldNames().usingTypeRegistry(TYPES).print(message);
    assertEquals(vector.get("json"), JsonParser.parseString(read));
  }
}
