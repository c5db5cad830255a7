"""``python -m qvbench``: the same as the command ``qvbench``."""

from qvbench.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
