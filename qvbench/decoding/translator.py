"""Lines of text to lines of text: encode, batch by length, search, decode, restore the order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qvbench.data.text import Vocabulary
from qvbench.decoding.beam import beam_search
from qvbench.decoding.search import Network, evaluating, greedy


@dataclass(eq=False)
class Translator:
    """Translates by beam search, or by greedy search if the beam is one wide.

    It works on the device and in the precision of the network, which it leaves as it found it. What
    is translated together changes nothing but rounding.

    Args:
        beam_size: live hypotheses a sentence; 1 is greedy search, which has no length penalty.
        length_penalty: exponent of the length by which log-probabilities are divided, up to 10; 0
            for none.
        patience: a sentence is done once ``patience * beam_size`` of its hypotheses have ended;
            infinite for all that the beam could find, which takes more steps.
        max_length_ratio: a translation may get ``ratio * source tokens + offset`` tokens,
            ``</s>`` counted on both sides, and no more than the network has positions.
        max_length_offset: see ``max_length_ratio``.
        max_tokens: source tokens of a batch, padding included and copies for the beam not; a
            longer sentence gets a batch of its own.

    Raises:
        ValueError: a setting out of its range.
    """

    network: Network
    vocabulary: Vocabulary
    beam_size: int = 5
    length_penalty: float = 1.0
    patience: float = 1.0
    max_length_ratio: float = 2.0
    max_length_offset: int = 10
    max_tokens: int = 4096

    def __post_init__(self) -> None:
        if min(self.beam_size, self.max_tokens, self.max_length_offset) < 1:
            raise ValueError("beam_size, max_tokens and max_length_offset must be at least 1")
        if not 0 <= self.length_penalty <= 10:
            raise ValueError(f"length_penalty must be from 0 to 10, got {self.length_penalty}")
        if self.max_length_ratio < 0 or not self.patience > 0:
            raise ValueError("max_length_ratio must be at least 0, patience above")

    def translate_lines(self, lines: Iterable[str]) -> list[str]:
        """A preprocessed translation for each preprocessed line; of an empty line an empty one."""
        ids = self.vocabulary.encode_batch([line.strip() for line in lines])
        translations = [""] * len(ids)
        wanted = [line for line, tokens in enumerate(ids) if tokens]
        for batch in length_batches([len(ids[line]) + 1 for line in wanted], self.max_tokens):
            chosen = [wanted[i] for i in batch]
            rows = [torch.tensor([*ids[line], self.vocabulary.eos]) for line in chosen]
            source = nn.utils.rnn.pad_sequence(rows, True, self.vocabulary.pad)
            for line, tokens in zip(chosen, self.translate_ids(source), strict=True):
                translations[line] = self.vocabulary.decode(tokens)
        return translations

    def translate_ids(self, source: Tensor) -> list[list[int]]:
        """Ids (B, S), each row tokens and ``</s>`` padded on the right, to B lists of ids without
        ``<s>`` and ``</s>``."""
        source = source.to(next(self.network.parameters()).device)
        lengths = (source != self.vocabulary.pad).sum(1)
        limits = (lengths * self.max_length_ratio).long() + self.max_length_offset
        if self.network.max_length is not None:
            limits = limits.clamp(max=self.network.max_length)
        special = (self.vocabulary.bos, self.vocabulary.eos, self.vocabulary.pad)
        with evaluating(self.network):
            state = self.network.start(source)
            start = self.network.step, state, len(source)
            if self.beam_size == 1:
                return [each.tokens for each in greedy(*start, limits, *special)]
            size, penalty, patience = self.beam_size, self.length_penalty, self.patience
            ranked = beam_search(*start, size, limits, penalty, *special, 1, patience)
        return [hypotheses[0].tokens for hypotheses in ranked]


def length_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Batches of indices with at most ``max_tokens`` tokens with padding, or one index; longest
    first, so that one that does not fit memory fails at once."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and lengths[batch[0]] * (len(batch) + 1) > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
