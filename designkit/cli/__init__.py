"""What the user types: one file per command. No torch, no logic; ``app.main`` alone catches errors."""
