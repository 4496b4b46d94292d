"""One way to open SQLite and one way to reach Redis."""
