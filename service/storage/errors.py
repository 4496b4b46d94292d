"""The one failure of a store, whichever database it is."""


class StorageError(Exception):
    """The store cannot be reached, or did not answer in time. Says nothing about the request at hand."""
