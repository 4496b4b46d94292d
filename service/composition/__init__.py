"""The composition root: makes every part out of the configuration, wires the parts, starts and drains them."""
