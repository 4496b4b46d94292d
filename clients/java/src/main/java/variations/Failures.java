package variations;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import io.github.imagevariations.v1.RequestError;
import io.grpc.Deadline;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.Optional;
import java.util.StringJoiner;
import java.util.concurrent.TimeUnit;

/** Reads what the gateway tells of a failure, out of the details of a gRPC status. */
final class Failures {
  private static final int MOST_TRIES = 3;

  private Failures() {}

  /**
   * Repeats a call only where the gateway says that it cost nothing and may succeed later. Anything else, a lost connection
   * included, may have been paid for.
   */
  static void retrying(Deadline deadline, Runnable call) throws InterruptedException {
    for (int attempt = 1; ; attempt++) {
      try {
        call.run();
        return;
      } catch (StatusRuntimeException error) {
        RequestError failure = detail(error, RequestError.class).orElse(RequestError.getDefaultInstance());
        long waitMs = failure.hasRetryAfterMs() ? failure.getRetryAfterMs() : attempt * 1000L;
        boolean late = deadline.timeRemaining(TimeUnit.MILLISECONDS) < waitMs;
        if (!failure.getShouldRetry() || attempt == MOST_TRIES || late) {
          throw error;
        }
        Thread.sleep(waitMs);
      }
    }
  }

  /** An error with its typed details in words. */
  static String explained(StatusRuntimeException error) {
    StringJoiner lines = new StringJoiner(System.lineSeparator());
    lines.add(error.getStatus().getCode() + ": " + error.getStatus().getDescription());
    detail(error, ErrorInfo.class).ifPresent(info -> lines.add("reason " + info.getReason()));
    detail(error, BadRequest.class)
        .ifPresent(
            request ->
                request
                    .getFieldViolationsList()
                    .forEach(violation -> lines.add("field " + violation.getField() + ": " + violation.getDescription())));
    detail(error, RequestError.class)
        .ifPresent(
            failure -> {
              failure
                  .getAttemptsList()
                  .forEach(
                      each -> lines.add("attempt " + each.getProvider() + "/" + each.getModel() + ": " + each.getOutcome()));
              lines.add("request " + failure.getRequestId());
            });
    return lines.toString();
  }

  private static <T extends com.google.protobuf.Message> Optional<T> detail(StatusRuntimeException error, Class<T> type) {
    Status status = StatusProto.fromThrowable(error);
    for (Any detail : status.getDetailsList()) {
      if (detail.is(type)) {
        try {
          return Optional.of(detail.unpack(type));
        } catch (InvalidProtocolBufferException damaged) {
          return Optional.empty();
        }
      }
    }
    return Optional.empty();
  }
}
