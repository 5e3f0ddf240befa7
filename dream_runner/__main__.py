"""``python -m dream_runner`` is the command ``dream-runner``."""

import sys

from .cli.app import main

if __name__ == "__main__":
    sys.exit(main())
