"""Suites of runs that are compared: what they consist of, and running them. Needs no torch."""
