package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	pb "github.com/imagevariations/gateway/gen/go/imagevariations/v1"
)

const mostTries = 3

// retrying repeats a call only where the gateway says that it cost nothing and may succeed later. Anything else, a lost
// connection included, may have been paid for.
func retrying(ctx context.Context, call func() error) error {
	for try := 1; ; try++ {
		err := call()
		failure := requestError(err)
		if err == nil || failure == nil || !failure.GetShouldRetry() || try == mostTries {
			return err
		}
		wait := time.Duration(failure.GetRetryAfterMs()) * time.Millisecond
		if failure.RetryAfterMs == nil {
			wait = time.Duration(try) * time.Second
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// requestError is everything that the gateway tells of a failure, or nil where it is not the gateway's.
func requestError(err error) *pb.RequestError {
	for _, detail := range status.Convert(err).Details() {
		if failure, ok := detail.(*pb.RequestError); ok {
			return failure
		}
	}
	return nil
}

// explained is an error with its typed details in words.
func explained(err error) string {
	failed, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	lines := []string{fmt.Sprintf("%s: %s", failed.Code(), failed.Message())}
	for _, detail := range failed.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			lines = append(lines, "reason "+detail.Reason)
		case *errdetails.BadRequest:
			for _, violation := range detail.FieldViolations {
				lines = append(lines, fmt.Sprintf("field %s: %s", violation.Field, violation.Description))
			}
		case *pb.RequestError:
			for _, attempt := range detail.Attempts {
				lines = append(lines, fmt.Sprintf("attempt %s/%s: %s", attempt.Provider, attempt.Model, attempt.Outcome))
			}
			lines = append(lines, "request "+detail.RequestId)
		}
	}
	return strings.Join(lines, "\n")
}
