"""The processes of a run: lock, mark, start and stop."""
