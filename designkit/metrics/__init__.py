"""How good sequences and models are: naturalness, accuracy, diversity, and the honest baselines."""
