"""Image variations over gRPC, made by whichever provider can still make them."""
