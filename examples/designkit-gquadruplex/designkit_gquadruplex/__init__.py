"""Rewards about G-quadruplexes; the entry point in pyproject.toml tells designkit of them."""
