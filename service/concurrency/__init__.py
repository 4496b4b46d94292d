"""Thread pools and task helpers."""
