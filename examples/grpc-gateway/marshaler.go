package main

import (
	"bytes"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/protobuf/encoding/protojson"
)

// marshaler writes the protos' own field names, streams as Server-Sent Events, and files as they are.
type marshaler struct{ runtime.HTTPBodyMarshaler }

func restMarshaler() *marshaler {
	return &marshaler{runtime.HTTPBodyMarshaler{Marshaler: &runtime.JSONPb{
		MarshalOptions:   protojson.MarshalOptions{UseProtoNames: true},
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: true},
	}}}
}

// Marshal also takes what the library wraps the messages of a stream in.
func (m *marshaler) Marshal(value any) ([]byte, error) {
	wrapped, ok := value.(map[string]any)
	if !ok {
		return m.HTTPBodyMarshaler.Marshal(value)
	}
	for _, message := range wrapped { // under `result` or `error`, the only key
		return event(m.HTTPBodyMarshaler.Marshal(message))
	}
	return nil, nil
}

// Delimiter is nothing: the default, a line break after every piece, would damage files of more than one piece.
func (m *marshaler) Delimiter() []byte { return nil }

func (m *marshaler) StreamContentType(value any) string {
	if body, ok := value.(*httpbody.HttpBody); ok {
		return body.ContentType
	}
	return "text/event-stream"
}

func event(json []byte, err error) ([]byte, error) {
	return bytes.Join([][]byte{[]byte("data: "), json, []byte("\n\n")}, nil), err
}
