package main

import "strings"

// incoming are the request headers that mean something to the service; `authorization` is passed on by itself.
func incoming(name string) (string, bool) {
	name = strings.ToLower(name)
	switch name {
	case "x-api-key", "x-request-id", "x-request-timeout-ms", "x-raw", "idempotency-key", "origin":
		return name, true
	}
	return name, strings.HasPrefix(name, "x-bf-")
}

// outgoing are the response headers that are the caller's business.
func outgoing(name string) (string, bool) {
	switch name {
	case "cache-control", "retry-after", "www-authenticate", "x-cache", "x-content-type-options", "x-fallback-index",
		"x-model", "x-provider", "x-request-id", "x-should-retry", "idempotency-replayed":
		return name, true
	}
	return name, strings.HasPrefix(name, "x-ratelimit-")
}
