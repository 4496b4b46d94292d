"""Images: read defensively, fitted to what a model accepts, encoded, stored and served."""
