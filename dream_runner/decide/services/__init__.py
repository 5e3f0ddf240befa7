"""The services of the full profile: which run, and the compose file that says so."""
