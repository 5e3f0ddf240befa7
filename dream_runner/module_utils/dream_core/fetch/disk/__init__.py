"""How a file is stored while it is downloaded."""
