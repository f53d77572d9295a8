"""Methods that improve sequences in rounds, one file each."""
