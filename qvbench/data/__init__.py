"""Text as batches of token ids: corpora, vocabularies, storage, batching, data modules."""
