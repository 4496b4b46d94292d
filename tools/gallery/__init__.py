"""The engine's gallery: pictures of every kind from free packages, varied, on contact sheets."""
