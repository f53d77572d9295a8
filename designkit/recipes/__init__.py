"""What a command does: resolve settings, build the parts, run them, write results."""
