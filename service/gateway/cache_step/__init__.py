"""The cache around the work on a request: terms of use, fingerprints, and one flight for identical requests."""
