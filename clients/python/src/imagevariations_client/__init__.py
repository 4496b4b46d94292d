"""Client of the image variations gateway, sync and async."""

from imagevariations_client.clients import AsyncClient, Client
from imagevariations_client.failures import VariationError
from imagevariations_client.requests import Fields

__all__ = ["AsyncClient", "Client", "Fields", "VariationError"]
