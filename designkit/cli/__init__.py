"""What the user types: one file per command, no logic; ``app.main`` alone catches errors."""
