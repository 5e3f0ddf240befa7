"""Choose the services of the full profile and write their compose file."""
