"""A bundle for an offline install: its format and its verification."""
