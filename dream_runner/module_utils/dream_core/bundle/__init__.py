"""A bundle for an offline install: its format, and the proof that it is whole."""
