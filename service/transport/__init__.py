"""The network: the only code that knows httpx and the clock."""
