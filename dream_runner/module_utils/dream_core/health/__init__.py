"""Health checks: query the model and the services, and test that they work."""
