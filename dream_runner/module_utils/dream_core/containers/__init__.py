"""The container engine: detection, options, images, and the compose project."""
