"""What noising is: processes that corrupt sequences and the laws of their reversal."""
