"""Pure translators between our values and each provider's wire format: no I/O, no clock, no chance."""
