"""How the benchmarks talk to a program: a folder of work, and lines of JSON.

A program is started as ``PYTHON -m benchmarks.MODULE TASK FOLDER`` at the root of a checkout, a
peer by the Python of its own environment, so nothing here needs more than NumPy. It prints one line
once it has loaded everything, and then answers one request per line:

=============  =================================================================================
request        answer
=============  =================================================================================
(at first)     ``{"versions": {}, "comparable": "...", "settings": {}}``
``check``      ``{"loss": x}``, ``{"lines": [[id, ...], ...]}`` or ``{"values": [...]}``
``repeat``     ``{"seconds": s, "items": n, "peak_bytes": b}``
``end``        none; the program ends
=============  =================================================================================

The loss is the mean over the first batch's target tokens, label-smoothed, without dropout and in
float32 whatever the precision. A repeat of training is one optimizer step per batch, and its items
are real target tokens; a repeat of translation is the whole list, and its items are sentences.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

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
    "length_penalty": 1.0,  # exponent of the length that divides log-probabilities
    "max_length": 256,  # tokens of a translation, `eos` counted; see `limit`
    "max_tokens": 0,  # source tokens of a batch, padding counted; 0 for what suits the peer best
    "threads": 1,  # in all
}
"""What ``shape.json`` may leave out; it has a network's ``encoder_layers``, ``decoder_layers``,
``d_model``, ``num_heads``, ``d_ff``, ``vocabulary`` and special ids too."""

Weights = Mapping[str, np.ndarray]
Batch = tuple[np.ndarray, np.ndarray]  # source (B, S) and target (B, T), int64, padded on the right
Ids = Sequence[Sequence[int]]
Shape = Any  # what `shape.json` holds, by attribute


class Work(NamedTuple):
    """A folder with what a program starts from.

    ``shape.json``, ``weights.npz`` (our state dict), ``batches.npz`` (sources end with ``eos``,
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
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, value in (("shape", vars(shape)), ("sources", sources)):
            (self.folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
        sides = {f"{i}_{j}": side for i, pair in enumerate(batches) for j, side in enumerate(pair)}
        arrays: Any
        for name, arrays in (("weights", weights or {}), ("batches", sides)):
            np.savez(self.folder / f"{name}.npz", **arrays)

    @property
    def shape(self) -> Shape:
        text = (self.folder / "shape.json").read_text(encoding="utf-8")
        return SimpleNamespace(**{**DEFAULTS, **json.loads(text)})

    def weights(self) -> Weights:
        with np.load(self.folder / "weights.npz") as file:
            return dict(file)

    def batches(self) -> list[Batch]:
        with np.load(self.folder / "batches.npz") as file:
            return [(file[f"{i}_0"], file[f"{i}_1"]) for i in range(len(file.files) // 2)]

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


def serve(
    tasks: Mapping[str, Callable[[Work], Task]],
    packages: Sequence[str],
    set_threads: Callable[[int], None] | None = None,
) -> None:
    """Load the task of the command line and answer requests until the end.

    Nothing here starts a thread: beside a second one that computes, GNU's OpenMP lets those of both
    sleep between any two operations, which ``qvbench fit`` never does.
    """
    name, folder = sys.argv[1:]
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a toolkit prints goes to standard error

    def answer(message: Mapping[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    work = Work(Path(folder))
    shape = work.shape
    if set_threads:
        set_threads(shape.threads)
    task = tasks[name](work)
    versions = {"python": platform.python_version(), **{p: version(p) for p in packages}}
    answer({"versions": versions, "comparable": task.comparable, "settings": task.settings})

    def repeats() -> Iterator[None]:
        """One for each that is asked for; it is over when the next is."""
        for line in sys.stdin:
            request = line.strip()
            if request == "end":
                return
            if request == "check":
                answer(task.check())
                continue
            reset_peak_memory()
            start = time.perf_counter()
            yield
            seconds = time.perf_counter() - start
            answer({"seconds": seconds, "items": task.items, "peak_bytes": peak_memory()})

    task.run(repeats())


def reset_peak_memory() -> None:
    """Let the peak start from what is in use now, where the system can do that."""
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int:
    """Of the process, in bytes."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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


def renamed(name: str, patterns: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


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


def sinusoids(length: int, width: int) -> np.ndarray:
    """(length, width) float32 with sine and cosine of an angle side by side, as ours has them."""
    frequencies = np.exp(np.arange(0, width, 2) * (-np.log(10000.0) / width))
    angles = np.arange(length)[:, None] * frequencies
    table = np.stack((np.sin(angles), np.cos(angles)), -1).reshape(length, width)
    return table.astype(np.float32)
