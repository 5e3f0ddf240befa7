"""Where the bytes of a file can come from."""
