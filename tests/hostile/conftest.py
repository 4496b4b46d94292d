"""Gateways to attack."""

from attacked_gateway import client, gateway, guarded, provider, small_image, upload  # noqa: F401  # fixtures
