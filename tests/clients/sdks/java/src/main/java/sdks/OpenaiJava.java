package sdks;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.errors.OpenAIServiceException;
import com.openai.models.images.ImageCreateVariationParams;
import java.nio.file.Path;

/** One variation with openai-java as it comes, retries included; prints what came of it. */
public final class OpenaiJava {
  public static void main(String[] arguments) {
    OpenAIClient client =
        OpenAIOkHttpClient.builder().apiKey("unused").baseUrl(System.getenv("BASE_URL") + "/v1").build();
    ImageCreateVariationParams request =
        ImageCreateVariationParams.builder()
            .image(Path.of(System.getenv("IMAGE")))
            .model(System.getenv("MODEL"))
            .size(ImageCreateVariationParams.Size.of(System.getenv("SIZE")))
            .build();
    try {
      System.out.println("made " + client.images().createVariation(request).data().orElseThrow().size());
    } catch (OpenAIServiceException error) {
      System.out.println("failed " + error.statusCode());
    }
    System.exit(0);
  }
}
