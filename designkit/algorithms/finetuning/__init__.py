"""Objectives that move the weights of a prior towards p(x) exp(r(x) / alpha)."""
