"""How the benchmarks talk to a program: a folder of work, and lines of JSON.

A program is started as ``PYTHON -m benchmarks.serve MODULE TASK FOLDER`` at the root of a checkout,
a peer by the Python of its own environment. It prints one line once it has loaded everything, and
then answers one request per line:

=============  =================================================================================
request        answer
=============  =================================================================================
(at first)     ``{"versions": {}, "comparable": "...", "settings": {}}``
``check``      ``{"loss": x}``, ``{"lines": [[id, ...], ...]}`` or ``{"values": [...]}``
``repeat``     ``{"seconds": s, "cpu_seconds": s, "items": n, "peak_bytes": b}``
``end``        none; the program ends
=============  =================================================================================

The loss is the mean over the first batch's target tokens, label-smoothed, without dropout and in
float32 whatever the precision. A repeat of training is one optimizer step per batch, and its items
are real target tokens; a repeat of translation is the whole list, and its items are sentences.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:  # not every peer needs PyTorch, and it would be in that one's memory
    from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
SAME_FUNCTION = "same function"
OTHER_FUNCTION = "same shape, other function"
DEFAULTS: dict[str, Any] = {
    "dropout": 0.0,  # on embeddings and on what each sublayer adds
    "attention_dropout": 0.0,  # on attention weights
    "ffn_dropout": 0.0,  # on feed-forward activations
    "label_smoothing": 0.0,  # in training and in the check
    "precision": "32-true",  # or "bf16-mixed"
    "learning_rate": 1e-4,  # Adam's, constant
    "betas": (0.9, 0.998),
    "beam_size": 1,  # 1 is greedy search
    "max_length": 256,  # tokens of a translation, `eos` counted; see `limit`
    "max_tokens": 0,  # source tokens of a batch, padding counted; 0 for what suits the peer best
    "threads": 1,  # in all
}
"""What ``shape.json`` may leave out; it has a network's ``encoder_layers``, ``decoder_layers``,
``d_model``, ``num_heads``, ``d_ff``, ``vocabulary`` and special ids too."""

LENGTH_PENALTY = 1.0
"""Exponent of the length that divides log-probabilities, in every program."""

Weights: TypeAlias = "Mapping[str, Tensor]"
Batch: TypeAlias = "tuple[Tensor, Tensor]"
"""Source (B, S) and target (B, T), int64, padded on the right."""
Ids = Sequence[Sequence[int]]
Shape = Any  # what `shape.json` holds, by attribute


class Work(NamedTuple):
    """A folder with what a program starts from.

    ``shape.json``, ``weights.pt`` (our state dict), ``batches.pt`` (sources end with ``eos``,
    targets start with ``bos`` and end with ``eos``) and ``sources.json`` (sentences to translate,
    each ending with ``eos``).
    """

    folder: Path

    def write(
        self,
        shape: Shape,
        weights: Weights | None = None,
        batches: Sequence[Batch] = (),
        sources: Ids = (),
    ) -> None:
        import torch

        self.folder.mkdir(parents=True, exist_ok=True)
        for name, value in (("shape", vars(shape)), ("sources", sources)):
            (self.folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
        torch.save(dict(weights or {}), self.folder / "weights.pt")
        torch.save(list(batches), self.folder / "batches.pt")

    @property
    def shape(self) -> Shape:
        text = (self.folder / "shape.json").read_text(encoding="utf-8")
        return SimpleNamespace(**{**DEFAULTS, **json.loads(text)})

    def weights(self) -> dict[str, Tensor]:
        return dict(self._tensors("weights"))

    def batches(self) -> list[Batch]:
        return list(self._tensors("batches"))

    def _tensors(self, name: str) -> Any:
        import torch

        return torch.load(self.folder / f"{name}.pt")

    def sources(self) -> list[list[int]]:
        sources: list[list[int]] = json.loads((self.folder / "sources.json").read_text())
        return sources


def each_time(once: Callable[[], object]) -> Callable[[Iterable[Any]], None]:
    """Do what ``once`` does for each element, when it comes."""

    def run(repeats: Iterable[Any]) -> None:
        for _ in repeats:
            once()

    return run


class Task(NamedTuple):
    """Work of one kind, loaded and ready to be timed."""

    check: Callable[[], dict[str, Any]]  # gives the answer to a check
    run: Callable[[Iterable[Any]], object]  # does the work once for each element, when it comes
    items: int  # of each time
    settings: Mapping[str, Any]  # `flops_per_item` or `bytes_per_item` gives a share of peak
    comparable: str = SAME_FUNCTION  # or OTHER_FUNCTION, a colon and the reason


# What peers share


def limit(shape: Shape, longest: int) -> int:
    """Most tokens of a translation in a batch whose longest source has ``longest``, as ours has it
    per sentence: without one, the few that never end would decide how fast a batch is."""
    return int(min(shape.max_length, 2 * longest + 10))


def within_limits(lines: Ids, sources: Ids, shape: Shape) -> list[list[int]]:
    """Translations cut where ours stop: a peer has one limit per batch, ours one per sentence."""
    pairs = zip(lines, sources, strict=True)
    return [list(line[: limit(shape, len(source))]) for line, source in pairs]


def token_names(shape: Shape) -> list[str]:
    """A name for each id, for toolkits that take words; specials as OpenNMT calls them."""
    specials = {shape.pad: "<blank>", shape.bos: "<s>", shape.eos: "</s>", shape.unk: "<unk>"}
    return [specials.get(i, f"t{i}") for i in range(shape.vocabulary)]


def renamed(weights: Weights, patterns: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Weights under the names of another program: each pattern is replaced where it is found."""
    theirs = {}
    for name, tensor in weights.items():
        for pattern, replacement in patterns:
            name = re.sub(pattern, replacement, name)
        theirs[name] = tensor
    return theirs


def real_tokens(batches: Sequence[Batch], pad: int) -> int:
    """Target tokens that are predicted: no padding, no ``bos``."""
    return sum(int((target[:, 1:] != pad).sum()) for _, target in batches)


def length_batches(sources: Ids, max_tokens: int) -> list[list[int]]:
    """Indices of ``sources``, longest first, in batches of ``max_tokens`` tokens with padding."""
    batches: list[list[int]] = []
    for index in sorted(range(len(sources)), key=lambda i: -len(sources[i])):
        if not batches or len(sources[batches[-1][0]]) * (len(batches[-1]) + 1) > max_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches
