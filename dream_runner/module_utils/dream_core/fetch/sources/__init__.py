"""The kinds of sources of a file."""
