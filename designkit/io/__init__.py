"""Sequences in, designs out, and the record of how they were made."""
