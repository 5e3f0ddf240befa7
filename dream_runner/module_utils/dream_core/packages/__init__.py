"""System packages: repositories, keys, what is installed, removal."""
