"""The processes of a run: one at a time, marked, started and ended."""
