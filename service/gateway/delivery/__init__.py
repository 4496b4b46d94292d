"""The last step: exact size and format, then inline bytes or a link."""
