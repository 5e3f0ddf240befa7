"""Inspect a host and collect everything that a run needs for its decisions."""
