"""Replace the small model by the host's own in the background."""
