"""The records of dream-runner on a host, and their comparison with the host."""
