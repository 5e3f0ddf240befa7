"""Run the command ``dream-runner`` as ``python -m dream_runner``."""

import sys

from .cli.app import main

if __name__ == "__main__":
    sys.exit(main())
