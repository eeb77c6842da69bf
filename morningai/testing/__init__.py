"""Fakes that are shipped: they pass the same tests as the real parts, so that others can test against them."""
