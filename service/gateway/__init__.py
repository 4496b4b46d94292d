"""The use case: resolve the route, try its targets, split n, finish the images, say truthfully what was done."""
