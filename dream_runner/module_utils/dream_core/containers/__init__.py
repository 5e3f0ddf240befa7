"""The container engine: which one, its options, images, the compose project."""
