"""The user's settings: the table, the parsers, the saved answers."""
