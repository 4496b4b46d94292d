package main

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	pb "github.com/imagevariations/gateway/gen/go/imagevariations/v1"
)

const (
	wholePath  = "/v1/images/variations"
	streamPath = "/v1/images/variations:stream"
)

// formHandler hands multipart/form-data to the service as it came: the library reads JSON only.
type formHandler struct {
	mux    *runtime.ServeMux
	client pb.ImageVariationFormServiceClient
}

// before serves forms and leaves everything else to the library.
func (f *formHandler) before(others http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		path := request.URL.Path
		if path != wholePath && path != streamPath {
			others.ServeHTTP(w, request)
			return
		}
		if request.Method != http.MethodPost {
			refuse(w, http.StatusMethodNotAllowed, "method_not_allowed", "This path takes POST only.")
			return
		}
		request.Body = http.MaxBytesReader(w, request.Body, largestRequest)
		switch kind, _, _ := mime.ParseMediaType(request.Header.Get("Content-Type")); {
		case kind == "application/json":
			others.ServeHTTP(w, request)
		case kind != "multipart/form-data":
			refuse(w, http.StatusUnsupportedMediaType, "unsupported_media_type",
				"The content type must be multipart/form-data or application/json.")
		default:
			f.serve(w, request)
		}
	})
}

func (f *formHandler) serve(w http.ResponseWriter, request *http.Request) {
	data, err := io.ReadAll(request.Body)
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "request_too_large", "The request body is too large.")
		return
	} else if err != nil {
		return // The caller has gone.
	}
	ctx, err := runtime.AnnotateContext(request.Context(), f.mux, request, request.URL.Path)
	if err != nil {
		writeFailure(w, nil, err)
		return
	}
	form := &httpbody.HttpBody{ContentType: request.Header.Get("Content-Type"), Data: data}
	if request.URL.Path == streamPath {
		f.stream(ctx, w, form)
	} else {
		f.create(ctx, w, form)
	}
}

func (f *formHandler) create(ctx context.Context, w http.ResponseWriter, form *httpbody.HttpBody) {
	var header, trailer metadata.MD
	answer, err := f.client.CreateImageVariationFromForm(ctx, form, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil {
		writeFailure(w, metadata.Join(header, trailer), err)
		return
	}
	copyHeaders(w, header)
	body, err := restMarshaler().Marshal(answer)
	if err != nil {
		writeFailure(w, nil, err)
		return
	}
	writeJSON(w, http.StatusOK, body)
}

func (f *formHandler) stream(ctx context.Context, w http.ResponseWriter, form *httpbody.HttpBody) {
	events, err := f.client.StreamImageVariationFromForm(ctx, form)
	if err != nil {
		writeFailure(w, nil, err)
		return
	}
	header, err := events.Header()
	if err != nil {
		writeFailure(w, nil, err)
		return
	}
	copyHeaders(w, header)
	w.Header().Set("Content-Type", "text/event-stream")
	for message, err := events.Recv(); err == nil; message, err = events.Recv() {
		text, _ := event(restMarshaler().Marshal(message))
		w.Write(text)
		http.NewResponseController(w).Flush()
	}
}

func copyHeaders(w http.ResponseWriter, header metadata.MD) {
	for name, values := range header {
		if name, ok := outgoing(name); ok {
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
}
