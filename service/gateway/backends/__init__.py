"""Backends: the embedded engine, and providers reached over HTTP, behind one interface."""
