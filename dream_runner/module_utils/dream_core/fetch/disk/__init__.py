"""Storage of a file during its download."""
