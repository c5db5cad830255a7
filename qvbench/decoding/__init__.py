"""Decoding: search over a step function, and translating lines of text."""
