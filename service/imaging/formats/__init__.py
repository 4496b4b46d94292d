"""One module per file format: what its header says, and which of its bytes are the picture."""
