"""Results that may be served again: found by the source's pixels, or by what it looks like."""
