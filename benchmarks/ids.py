"""Sentences of ids as lines of text, for a translator that takes lines."""

from __future__ import annotations

from collections.abc import Sequence

from qvbench.data.vocabulary import Vocabulary


class IdLines:
    """A vocabulary whose words are the ids themselves."""

    pad, bos, eos = Vocabulary.pad, Vocabulary.bos, Vocabulary.eos

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of every line."""
        return [ids_of(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """A line of ids."""
        return line_of(ids)


def line_of(ids: Sequence[int]) -> str:
    """``[5, 7]`` to ``5 7``."""
    return " ".join(map(str, ids))


def ids_of(line: str) -> list[int]:
    """``5 7`` to ``[5, 7]``."""
    return [int(word) for word in line.split()]
