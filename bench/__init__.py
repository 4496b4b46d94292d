"""What ``make bench`` runs: how fast the gateway is, beside its floor and its peers."""
