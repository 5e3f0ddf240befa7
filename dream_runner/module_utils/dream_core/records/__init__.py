"""What dream-runner records on a host, and how it compares the records with the host."""
