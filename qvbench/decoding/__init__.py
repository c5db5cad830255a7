"""Decoding: search over a step function, the cache it steps on, and translating lines of text."""
