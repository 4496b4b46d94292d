"""The one failure of a store, whichever database it is."""

from __future__ import annotations


class StorageError(Exception):
    """The store cannot be reached, or did not answer in time. Says nothing about the request at hand."""


class DamagedError(StorageError):
    """The file is there, but its content is not that of a database: damaged, cut off, or something else."""
