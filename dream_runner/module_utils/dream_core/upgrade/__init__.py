"""Replace the small model with the host's own model in the background."""
