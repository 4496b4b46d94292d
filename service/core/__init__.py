"""Plain frozen values and the one error taxonomy. Standard library only."""
