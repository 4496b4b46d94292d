// Command variations makes variations of a picture and saves each as soon as it is there.
//
//	go run . -n 3 -size 512x512 -out out photo.jpg
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "github.com/imagevariations/gateway/gen/go/imagevariations/v1"
)

// gRPC takes 4 MB by default. Four PNG files of 1024x1024 in one answer are more.
const largestMessage = 100 << 20

func main() {
	log.SetFlags(0)
	target := flag.String("target", "localhost:50051", "host:port of the gateway")
	secure := flag.Bool("tls", false, "use TLS")
	model := flag.String("model", "", "provider/model or alias; empty: the gateway's default")
	n := flag.Int("n", 1, "how many variations")
	size := flag.String("size", "auto", "size of the results")
	out := flag.String("out", ".", "directory for the results")
	timeout := flag.Duration("timeout", 5*time.Minute, "time for everything, retries included")
	whole := flag.Bool("whole", false, "ask for one answer instead of a stream")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: variations [flags] IMAGE")
	}

	image, err := os.ReadFile(flag.Arg(0))
	if err != nil {
		log.Fatal(err)
	}
	transport := insecure.NewCredentials()
	if *secure {
		transport = credentials.NewTLS(nil)
	}
	connection, err := grpc.NewClient(*target,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestMessage)))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()

	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	if key := os.Getenv("IMAGE_VARIATIONS_API_KEY"); key != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	job := &job{client: pb.NewImageVariationServiceClient(connection), directory: *out}
	request := &pb.CreateImageVariationRequest{
		Source:         &pb.CreateImageVariationRequest_Image{Image: image},
		Model:          *model,
		N:              int32Pointer(*n),
		Size:           *size,
		ResponseFormat: "b64_json",
	}
	call := job.stream
	if *whole {
		call = job.create
	}
	if err := retrying(ctx, func() error { return call(ctx, request) }); err != nil {
		log.Print(explained(err))
		os.Exit(1)
	}
}

type job struct {
	client    pb.ImageVariationServiceClient
	directory string
}

// stream saves images as they come and tells what happens meanwhile.
func (j *job) stream(ctx context.Context, request *pb.CreateImageVariationRequest) error {
	events, err := j.client.StreamImageVariation(ctx, request)
	if err != nil {
		return err
	}
	for {
		event, err := events.Recv()
		if err != nil {
			return err // io.EOF cannot come before `completed`.
		}
		switch event := event.Event.(type) {
		case *pb.StreamImageVariationResponse_AttemptStarted:
			fmt.Printf("trying %s/%s\n", event.AttemptStarted.Provider, event.AttemptStarted.Model)
		case *pb.StreamImageVariationResponse_AttemptFailed:
			fmt.Printf("failed: %s\n", event.AttemptFailed.Reason)
		case *pb.StreamImageVariationResponse_ImageCompleted:
			if err := j.save(event.ImageCompleted); err != nil {
				return err
			}
		case *pb.StreamImageVariationResponse_Completed:
			fmt.Printf("done by %s\n", event.Completed.ExtraFields.Provider)
			return nil
		}
	}
}

// create saves the images of one answer.
func (j *job) create(ctx context.Context, request *pb.CreateImageVariationRequest) error {
	answer, err := j.client.CreateImageVariation(ctx, request)
	if err != nil {
		return err
	}
	for _, image := range answer.Data {
		if err := j.save(image); err != nil {
			return err
		}
	}
	fmt.Printf("done by %s\n", answer.ExtraFields.Provider)
	return nil
}

func (j *job) save(image *pb.ImageVariation) error {
	path := filepath.Join(j.directory, fmt.Sprintf("%d.png", image.GetIndex()))
	if err := errors.Join(os.MkdirAll(j.directory, 0o755), os.WriteFile(path, image.B64Json, 0o644)); err != nil {
		return err
	}
	fmt.Printf("saved %s\n", path)
	return nil
}

func int32Pointer(number int) *int32 {
	short := int32(number)
	return &short
}
