"""Value estimators: what a half-decoded sequence is expected to be worth."""
