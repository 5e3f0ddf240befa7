"""The native engine: its Python environment and its supervisor."""
