// One variation with sashabaranov/go-openai as it comes; prints what came of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	openai "github.com/sashabaranov/go-openai"
)

func main() {
	image, err := os.Open(os.Getenv("IMAGE"))
	if err != nil {
		log.Fatal(err)
	}
	config := openai.DefaultConfig("unused")
	config.BaseURL = os.Getenv("BASE_URL") + "/v1"
	answer, err := openai.NewClientWithConfig(config).CreateVariImage(context.Background(), openai.ImageVariRequest{
		Image: image,
		Model: os.Getenv("MODEL"),
		Size:  os.Getenv("SIZE"),
		N:     1,
	})
	var failure *openai.APIError
	switch {
	case err == nil:
		fmt.Println("made", len(answer.Data))
	case errors.As(err, &failure):
		fmt.Println("failed", failure.HTTPStatusCode)
	default:
		log.Fatal(err)
	}
}
