"""Parallel text as batches of token ids: corpora, vocabulary, storage, batching, data module."""
