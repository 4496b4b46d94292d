package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	_ "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TestConformance reads the binary form of every vector and compares it with what it means.
func TestConformance(t *testing.T) {
	files, err := filepath.Glob("../../protos/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("there are no vectors", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			var vector struct {
				Message protoreflect.FullName
				JSON    any
			}
			text, err := os.ReadFile(file)
			must(t, err)
			must(t, json.Unmarshal(text, &vector))
			kind, err := protoregistry.GlobalTypes.FindMessageByName(vector.Message)
			must(t, err)
			binary, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".binpb")
			must(t, err)
			message := kind.New().Interface()
			must(t, proto.Unmarshal(binary, message))
			text, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
			must(t, err)
			var read any
			must(t, json.Unmarshal(text, &read))
			if !reflect.DeepEqual(read, vector.JSON) {
				t.Errorf("read %v\nwanted %v", read, vector.JSON)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
