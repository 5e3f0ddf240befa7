"""System packages: repositories, keys, installed packages, and removal."""
