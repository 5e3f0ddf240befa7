"""The report of a run as one HTML page: record (left by a run), read, charts, page."""
