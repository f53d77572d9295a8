"""What computes: denoisers, predictors, and the models that the registry stores."""
