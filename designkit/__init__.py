"""designkit: design DNA, RNA and protein sequences with diffusion models steered by rewards."""

__version__ = "0.1.0"
