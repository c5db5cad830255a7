"""``python -m qvbench``: the same as the command ``qvbench``."""

import sys

from qvbench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
