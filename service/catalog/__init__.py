"""Facts of models, kept as data apart from wire formats: profiles, prices, and fitting a request to them."""
