// One variation over gRPC with the usual retry policy; prints what came of it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "github.com/imagevariations/gateway/gen/go/imagevariations/v1"
)

const policy = `{"methodConfig": [{"name": [{}], "retryPolicy": {
	"maxAttempts": 4, "initialBackoff": "0.01s", "maxBackoff": "0.02s", "backoffMultiplier": 1,
	"retryableStatusCodes": ["UNAVAILABLE"]}}]}`

func main() {
	image, err := os.ReadFile(os.Getenv("IMAGE"))
	if err != nil {
		log.Fatal(err)
	}
	channel, err := grpc.NewClient(os.Getenv("TARGET"),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultServiceConfig(policy))
	if err != nil {
		log.Fatal(err)
	}
	answer, err := pb.NewImageVariationServiceClient(channel).CreateImageVariation(context.Background(),
		&pb.CreateImageVariationRequest{
			Source: &pb.CreateImageVariationRequest_Image{Image: image}, Model: os.Getenv("MODEL"), Size: os.Getenv("SIZE"),
		})
	if err != nil {
		fmt.Println("failed", status.Code(err))
		return
	}
	fmt.Println("made", len(answer.GetData()))
}
