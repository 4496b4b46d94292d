"""Decisions about where a request goes next. Pure: time and chance are arguments."""
