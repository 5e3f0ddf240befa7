"""dream-runner: a private AI server with one command."""

from .version import __version__

__all__ = ["__version__"]
