"""Text from a language model: how the next token is chosen, and one token after the other.

Shape letters: N texts, L tokens of a prompt, T tokens that are added, V entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qvbench.decoding.search import Network, evaluating


@dataclass(frozen=True)
class Sampling:
    """A choice of the next token: by chance among the likeliest, or the likeliest.

    Args:
        temperature: divides the logits; 0 takes the likeliest token.
        top_k: keep the k likeliest tokens, and others as likely as the last of them.
        top_p: keep, of these, the fewest likeliest that have the probability p together: nucleus
            sampling (Holtzman et al. 2020, arXiv:1904.09751).
        seed: of the random numbers. Every sample of a prompt has its own, which do not depend on
            what is generated beside it.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int = 0

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (N, V) to what is drawn from, (N, V): 0 for what is not kept. No temperature 0."""
        # Less than their type can hold would divide zero by zero.
        temperature = max(self.temperature, torch.finfo(logits.dtype).tiny)
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            last = logits.topk(self.top_k).values[:, -1:]
            logits = logits.masked_fill(logits < last, -torch.inf)
        if self.top_p < 1:
            ordered, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
            enough = ordered.cumsum(-1) - ordered >= self.top_p  # without the token itself
            enough[:, 0] = False  # one is left
            dropped = torch.zeros_like(enough).scatter(1, order, enough)
            logits = logits.masked_fill(dropped, -torch.inf)
        return logits.softmax(-1)

    def choose(self, logits: Tensor, numbers: Tensor) -> Tensor:
        """Next tokens (N,) from logits (N, V) and random numbers (N,), float32 in [0, 1)."""
        if self.temperature == 0:
            return logits.argmax(-1)
        # In float64 a float32 number below 1 times the sum stays below the sum.
        below = self.probabilities(logits).double().cumsum(-1)
        wanted = numbers[:, None] * below[:, -1:]
        return torch.searchsorted(below, wanted, right=True)[:, 0]

    def numbers(self, prompt: Sequence[int], sample: int, count: int) -> Tensor:
        """The first random numbers (count,) of a sample of a prompt, by its number."""
        generator = np.random.default_rng((self.seed, sample, *prompt))
        return torch.from_numpy(generator.random(count, dtype=np.float32))


def generate(
    network: Network,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    max_new_tokens: int,
    num_samples: int = 1,
    batch_size: int = 32,
    stop: int | None = None,
    context: int | None = None,
    each: Callable[[Tensor], object] = lambda tokens: None,
) -> list[list[int]]:
    """Texts that begin with a prompt and go on from the smallest exact cache.

    A network with a table of positions sees no more tokens than the table has, nor any more than a
    ``context``: from there on, the last of them are a window that slides and is computed anew for
    each token, as nanoGPT has it. Without either it sees the whole text, however long.

    Args:
        network: on its device; left in the mode it was in. Its ``start`` takes a prompt without the
            last token.
        prompts: ids, one at least in each.
        sampling: how tokens are chosen.
        max_new_tokens: T.
        num_samples: texts for each prompt.
        batch_size: most texts that are generated together; their prompts are of one length, so
            that nothing is padded.
        stop: the token before which a text ends; None for texts of T more tokens.
        context: tokens that the network sees, where it was trained on no more; None for all.
        each: is called with the next tokens (N,) of a batch as soon as they are known.

    Returns:
        Ids of each text with its prompt, the samples of the first prompt first.
    """
    wanted = [(list(prompt), sample) for prompt in prompts for sample in range(num_samples)]
    texts: list[list[int]] = [[] for _ in wanted]
    most = min((n for n in (context, network.max_length) if n is not None), default=None)
    by_length: dict[int, list[int]] = {}
    for number, (prompt, _) in enumerate(wanted):
        by_length.setdefault(len(prompt), []).append(number)
    with evaluating(network):
        for length, alike in by_length.items():
            for first in range(0, len(alike), batch_size):
                batch = alike[first : first + batch_size]
                ids = torch.tensor([wanted[number][0] for number in batch])
                drawn = [sampling.numbers(*wanted[number], max_new_tokens) for number in batch]
                found = _continue(network, ids, torch.stack(drawn), sampling, stop, most, each)
                for number, text in zip(batch, found.tolist(), strict=True):
                    end = text.index(stop, length) if stop in text[length:] else None
                    texts[number] = text[:end]
    return texts


def _continue(
    network: Network,
    ids: Tensor,
    numbers: Tensor,
    sampling: Sampling,
    stop: int | None,
    most: int | None,
    each: Callable[[Tensor], object],
) -> Tensor:
    """Ids (N, L) with T tokens more, (N, L + T), drawn by random numbers (N, T); fewer once each
    text has come to ``stop``. The network sees the last ``most``."""
    device = next(network.parameters()).device
    ids = ids.to(device)
    state: Any = None
    ended = torch.zeros(len(ids), dtype=torch.bool, device=device)
    for drawn in numbers.to(device).unbind(1):
        if state is None or state.length == most:
            state = network.start(ids[:, :-1] if most is None else ids[:, -most:-1])
        tokens = sampling.choose(network.step(ids[:, -1], state), drawn)
        if stop is not None:
            ended |= tokens == stop
            if ended.all():
                break
        ids = torch.cat((ids, tokens[:, None]), 1)
        each(tokens)
    return ids
