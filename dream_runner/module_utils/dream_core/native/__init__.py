"""The native engine: its Python environment and the programs that keep it running."""
