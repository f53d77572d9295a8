"""What a set of designs amounts to: summaries that a person reads."""
