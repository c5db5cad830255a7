"""``python -m qvbench``: the same as the command ``qvbench``."""

import sys

from qvbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
