package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type envelope struct {
	Error envelopeError `json:"error"`
}

type envelopeError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Code    string  `json:"code"`
	Param   *string `json:"param"`
}

// writeError answers with the envelope that the service sends beside the status, or makes one for failures of others.
func writeError(
	ctx context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error,
) {
	sent, _ := runtime.ServerMetadataFromContext(ctx)
	writeFailure(w, metadata.Join(sent.HeaderMD, sent.TrailerMD), err)
}

// streamRefused is the failure of a stream that never began, with the trailers that the library would lose.
type streamRefused struct {
	error
	trailer metadata.MD
}

func (s *streamRefused) Unwrap() error { return s.error }

// failingEarly makes a stream that failed before it began do so when its headers are asked for: while there is no response
// yet, and so still a choice of its status.
func failingEarly(
	ctx context.Context, description *grpc.StreamDesc, connection *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, connection, method, options...)
	return &earlyStream{stream}, err
}

type earlyStream struct{ grpc.ClientStream }

func (s *earlyStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	if header == nil && err == nil { // It ended without headers: the status says why.
		err = &streamRefused{s.RecvMsg(&emptypb.Empty{}), s.Trailer()}
	}
	return header, err
}

func writeFailure(w http.ResponseWriter, told metadata.MD, err error) {
	if refused := new(streamRefused); errors.As(err, &refused) {
		told = metadata.Join(told, refused.trailer)
	}
	for name, values := range told {
		if name, ok := outgoing(name); ok {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	if body := told.Get("x-error-envelope"); len(body) > 0 {
		code, _ := strconv.Atoi(append(told.Get("x-http-status"), "500")[0])
		writeJSON(w, code, []byte(body[0]))
		return
	}
	switch status.Code(err) {
	case codes.InvalidArgument: // The library's own words for JSON that does not fit.
		refuse(w, http.StatusBadRequest, "malformed_request", status.Convert(err).Message())
	case codes.Unavailable:
		refuse(w, http.StatusServiceUnavailable, "service_unavailable", "The service cannot be reached at the moment.")
	case codes.DeadlineExceeded:
		refuse(w, http.StatusGatewayTimeout, "timeout", "The time allowed for this request is over.")
	default:
		refuse(w, http.StatusInternalServerError, "internal_error", "Something went wrong on our side.")
	}
}

// streamError is only reached by failures of others: the service's own come as `failed` events.
func streamError(_ context.Context, err error) *status.Status {
	return status.New(status.Code(err), "The stream broke off.")
}

func routingError(
	_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, _ int,
) {
	refuse(w, http.StatusNotFound, "not_found",
		"There is nothing at this path. Try POST /v1/images/variations or GET /v1/models.")
}

func refuse(w http.ResponseWriter, httpStatus int, code, message string) {
	kind := "invalid_request_error"
	switch {
	case httpStatus == http.StatusGatewayTimeout:
		kind = "timeout_error"
	case httpStatus >= http.StatusInternalServerError:
		kind = "api_error"
	}
	body, _ := json.Marshal(envelope{envelopeError{Message: message, Type: kind, Code: code}})
	writeJSON(w, httpStatus, body)
}

func writeJSON(w http.ResponseWriter, httpStatus int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(httpStatus)
	w.Write(body)
}
