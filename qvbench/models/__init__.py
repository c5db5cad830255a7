"""Networks around the mechanisms."""
