"""Samplers: methods that draw designs from a model at inference time."""
