"""Metrics: listens to the events of requests and calls. Nothing else knows Prometheus."""
