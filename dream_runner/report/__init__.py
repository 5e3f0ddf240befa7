"""The HTML report of a run: record (written by the run), read, charts, page."""
