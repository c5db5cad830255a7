"""What a mechanism costs: multiply-adds in closed form, which a flop counter has to confirm."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of one attention layer's matrix products, by what they are done for.

    Scores and weighted sums count every pair of query and key, masked or not: dense kernels
    compute them all. What is no matrix product (softmax, position schemes) is not counted.

    Args:
        query: for each query: its projection, and the output projection.
        memory: for each token that is remembered: what is made of it once.
        key: for each key, whenever keys and values are made from what is remembered.
        pair: for each query and key: the score, and the weighted sum of values.
        frozen: of ``memory``, the part whose matrix is not trained: it needs no gradient.
    """

    query: int
    memory: int
    key: int
    pair: int
    frozen: int = 0

    def forward(self, queries: int, keys: int) -> int:
        """A whole sequence of queries over a whole sequence of keys, as in training."""
        return self.query * queries + (self.memory + self.key) * keys + self.pair * queries * keys

    def backward(self, queries: int, keys: int) -> int:
        """The gradient of :meth:`forward`: by both factors of every product that is trained."""
        return 2 * self.forward(queries, keys) - self.frozen * keys

    def attend_cached(self, queries: int, keys: int) -> int:
        """Queries over keys that were remembered before."""
        return self.query * queries + self.key * keys + self.pair * queries * keys
