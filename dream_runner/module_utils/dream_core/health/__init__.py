"""Questions to the model and to the services, and the proof that they work."""
