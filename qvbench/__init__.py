"""qvbench: does attention need its keys? A benchmark suite of attention mechanisms for translation."""

__version__ = "0.1.0"
