"""qvbench: does attention need its keys? Mechanisms of attention compared on translation."""

__version__ = "0.1.0"
