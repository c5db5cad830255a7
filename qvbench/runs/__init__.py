"""The folder of a run; needs no torch."""
