// One variation with openai-go as it comes, retries included; prints what came of it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func main() {
	image, err := os.Open(os.Getenv("IMAGE"))
	if err != nil {
		log.Fatal(err)
	}
	client := openai.NewClient(option.WithBaseURL(os.Getenv("BASE_URL")+"/v1"), option.WithAPIKey("unused"))
	answer, err := client.Images.NewVariation(context.Background(), openai.ImageNewVariationParams{
		Image: image,
		Model: os.Getenv("MODEL"),
		Size:  openai.ImageNewVariationParamsSize(os.Getenv("SIZE")),
	})
	var failure *openai.Error
	switch {
	case err == nil:
		fmt.Println("made", len(answer.Data))
	case errors.As(err, &failure):
		fmt.Println("failed", failure.StatusCode)
	default:
		log.Fatal(err)
	}
}
