// Command grpc-gateway serves the REST surface of the image variations gateway without Envoy: the same paths, the same JSON.
//
//	go run . -listen :8081 -service localhost:50051
package main

import (
	"context"
	"flag"
	"log"
	"net/http"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	// Details of errors are these messages; without them their JSON is "unknown type".
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	gateway "github.com/imagevariations/gateway/examples/grpc-gateway/gateway/imagevariations/v1"
	pb "github.com/imagevariations/gateway/gen/go/imagevariations/v1"
)

const (
	largestRequest  = 50 << 20
	largestResponse = 100 << 20 // gRPC takes 4 MB by default; images in an answer are more.
)

func main() {
	listen := flag.String("listen", "localhost:8081", "where to serve HTTP")
	service := flag.String("service", "localhost:50051", "host:port of the gateway's gRPC side")
	flag.Parse()
	connection, err := grpc.NewClient(*service,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStreamInterceptor(failingEarly),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(largestResponse), grpc.MaxCallSendMsgSize(largestRequest+1<<20)))
	if err != nil {
		log.Fatal(err)
	}
	handler, err := newHandler(context.Background(), connection)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(*listen, handler))
}

func newHandler(ctx context.Context, connection *grpc.ClientConn) (http.Handler, error) {
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, restMarshaler()),
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithOutgoingHeaderMatcher(outgoing),
		runtime.WithOutgoingTrailerMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithMetadata(asTranscoded),
		runtime.WithErrorHandler(writeError),
		runtime.WithStreamErrorHandler(streamError),
		runtime.WithRoutingErrorHandler(routingError),
	)
	for _, register := range []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
		gateway.RegisterImageVariationServiceHandler,
		gateway.RegisterModelServiceHandler,
		gateway.RegisterImageFileServiceHandler,
		gateway.RegisterCacheServiceHandler,
	} {
		if err := register(ctx, mux, connection); err != nil {
			return nil, err
		}
	}
	forms := &formHandler{mux: mux, client: pb.NewImageVariationFormServiceClient(connection)}
	return forms.before(mux), nil
}

// asTranscoded tells the service what Envoy tells it: that this call was REST, so that errors come as finished JSON, and
// by which address the caller reached us, for links.
func asTranscoded(_ context.Context, request *http.Request) metadata.MD {
	scheme := "http"
	if request.TLS != nil {
		scheme = "https"
	}
	return metadata.Pairs(
		"x-envoy-original-path", request.URL.Path, "x-forwarded-host", request.Host, "x-forwarded-proto", scheme)
}
