"""How the benchmarks talk to a program: a folder of work, and lines of JSON.

The program is started as ``PYTHON benchmarks/peers/NAME.py train|translate FOLDER`` with the Python
of its own environment, so nothing here needs more than NumPy. It prints one line once it has loaded
everything, and then answers one request per line:

=====================  =========================================================================
request                answer
=====================  =========================================================================
(at the start)         ``{"ready": true, "versions": {}, "comparable": "...", "settings": {}}``
``{"do": "check"}``    ``{"loss": x}`` (train) or ``{"lines": [[id, ...], ...]}`` (translate)
``{"do": "repeat"}``   ``{"seconds": s, "items": n, "peak_bytes": b}``
``{"do": "end"}``      none; the program ends
=====================  =========================================================================

``comparable`` is ``same function``, or ``same shape, other function: REASON``. The loss is the mean
over the first batch's target tokens, label-smoothed as ``shape.json`` says, without dropout and in
float32 whatever the precision; with the given weights before the first repeat, with the trained
ones after it. A repeat of training is one optimizer step per batch, and its items are real
target tokens; a repeat of translation is the whole list, and its items are sentences. Everything
else that the program prints goes to standard error.

Files in the folder: ``shape.json`` (:class:`Shape`), ``weights.npz`` (our state dict),
``batches.npz`` (``source_0``, ``target_0``, ...: (B, S) and (B, T) int64, padded on the right;
sources end with ``eos``, targets start with ``bos`` and end with ``eos``) and ``sources.json``
(lists of ids, each ending with ``eos``).
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

SAME_FUNCTION = "same function"
OTHER_FUNCTION = "same shape, other function"


@dataclass(frozen=True)
class Shape:
    """``shape.json``; what is not in the file keeps its default, other keys are left alone.

    Attributes:
        encoder_layers, decoder_layers, d_model, num_heads, d_ff, vocabulary: sizes.
        dropout: on embeddings and on what each sublayer adds.
        attention_dropout: on attention weights.
        ffn_dropout: on feed-forward activations.
        label_smoothing: mass spread over the vocabulary, in training and in the check.
        precision: ``32-true``, ``bf16-mixed`` or ``16-mixed``.
        learning_rate, betas: Adam's; the rate is constant.
        pad, bos, eos, unk: special ids.
        beam_size: 1 is greedy search.
        length_penalty: exponent of the length that divides log-probabilities.
        max_length: most tokens of a translation, ``eos`` counted; fewer for short sources, see
            :meth:`limit`.
        max_tokens: source tokens of a batch to translate, padding counted; 0 for what suits the
            peer best.
        device: ``cpu`` or ``cuda``.
        threads: threads in all; 0 for what ``OMP_NUM_THREADS`` says.
    """

    encoder_layers: int
    decoder_layers: int
    d_model: int
    num_heads: int
    d_ff: int
    vocabulary: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    ffn_dropout: float = 0.0
    label_smoothing: float = 0.0
    precision: str = "32-true"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.998)
    pad: int = 0
    bos: int = 1
    eos: int = 2
    unk: int = 3
    beam_size: int = 1
    length_penalty: float = 1.0
    max_length: int = 256
    max_tokens: int = 0
    device: str = "cpu"
    threads: int = 0

    @staticmethod
    def of(values: dict[str, Any]) -> Shape:
        """A shape from what ``shape.json`` holds."""
        known = {field.name for field in fields(Shape)}
        shape = {name: value for name, value in values.items() if name in known}
        if "betas" in shape:
            shape["betas"] = tuple(shape["betas"])
        return Shape(**shape)

    def thread_count(self) -> int:
        """Threads that the program may use."""
        return self.threads or int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)

    def limit(self, longest: int) -> int:
        """Most tokens of a translation in a batch whose longest source has ``longest`` tokens.

        Ours has this limit for each sentence. Without one, the few sentences that never end would
        decide how fast a batch is.
        """
        return min(self.max_length, 2 * longest + 10)

    def token_names(self) -> list[str]:
        """A name for each id, for toolkits that take words; specials as OpenNMT calls them."""
        names = [f"t{i}" for i in range(self.vocabulary)]
        specials = {self.pad: "<blank>", self.bos: "<s>", self.eos: "</s>", self.unk: "<unk>"}
        for place, name in specials.items():
            names[place] = name
        return names


Weights = dict[str, np.ndarray]
Batch = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Work:
    """What the benchmarks hand over: see the module's text."""

    folder: Path

    @property
    def shape(self) -> Shape:
        return Shape.of(json.loads((self.folder / "shape.json").read_text(encoding="utf-8")))

    def weights(self) -> Weights:
        """Our state dict."""
        with np.load(self.folder / "weights.npz") as file:
            return {name: file[name] for name in file.files}

    def batches(self) -> list[Batch]:
        """Source (B, S) and target (B, T) of every batch, in order."""
        with np.load(self.folder / "batches.npz") as file:
            return [(file[f"source_{i}"], file[f"target_{i}"]) for i in range(len(file.files) // 2)]

    def sources(self) -> list[list[int]]:
        """Sentences to translate, each with its ``eos``."""
        sources: list[list[int]] = json.loads((self.folder / "sources.json").read_text())
        return sources


class Task(Protocol):
    """Training or translating, loaded and ready to be timed."""

    comparable: str
    settings: dict[str, Any]

    def check(self) -> dict[str, Any]:
        """``{"loss": ...}`` or ``{"lines": ...}``."""

    def repeat(self) -> int:
        """All batches or sentences once; how many items that was."""


def real_tokens(batches: Sequence[Batch], pad: int) -> int:
    """Target tokens that are predicted: no padding, no ``bos``."""
    return sum(int((target[:, 1:] != pad).sum()) for _, target in batches)


def length_batches(sources: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """Indices of ``sources``, longest first, in batches of ``max_tokens`` tokens with padding."""
    order = sorted(range(len(sources)), key=lambda i: -len(sources[i]))
    batches: list[list[int]] = []
    for index in order:
        if not batches or len(sources[batches[-1][0]]) * (len(batches[-1]) + 1) > max_tokens:
            batches.append([])
        batches[-1].append(index)
    return batches


def within_limits(
    lines: Sequence[Sequence[int]], sources: Sequence[Sequence[int]], shape: Shape
) -> list[list[int]]:
    """Translations cut where ours stop: a peer has one limit a batch, ours one a sentence."""
    pairs = zip(lines, sources, strict=True)
    return [list(line[: shape.limit(len(source))]) for line, source in pairs]


def sinusoids(length: int, width: int) -> np.ndarray:
    """(length, width) float32 with sine and cosine of an angle side by side, as ours has them."""
    frequencies = np.exp(np.arange(0, width, 2) * (-np.log(10000.0) / width))
    angles = np.arange(length)[:, None] * frequencies
    table = np.stack((np.sin(angles), np.cos(angles)), -1).reshape(length, width)
    return table.astype(np.float32)


def serve(
    tasks: dict[str, Callable[[Work], Task]],
    packages: Sequence[str],
    set_threads: Callable[[int], None] | None = None,
) -> None:
    """Be a peer: take up the task of the command line and answer requests until the end.

    Args:
        tasks: what this peer can do, by its name on the command line.
        packages: those whose versions the first line gives.
        set_threads: how the toolkit is told its number of threads, if not by its task.
    """
    name, arguments = Path(sys.argv[0]).name, sys.argv[1:]
    if len(arguments) != 2 or arguments[0] not in tasks:
        print(f"{name}: takes {' or '.join(tasks)} and a folder, not {arguments}", file=sys.stderr)
        sys.exit(2)
    answer = _private_output()
    work = Work(Path(arguments[1]))
    shape = work.shape
    if set_threads:
        set_threads(shape.thread_count())
    task = tasks[arguments[0]](work)
    versions = {"python": platform.python_version(), **{p: version(p) for p in packages}}
    answer(
        {
            "ready": True,
            "versions": versions,
            "comparable": task.comparable,
            "settings": task.settings,
        }
    )
    for line in sys.stdin:
        request = json.loads(line)["do"]
        if request == "end":
            return
        answer(task.check() if request == "check" else timed(task, shape.device))


def timed(task: Task, device: str) -> dict[str, Any]:
    """One repeat, with its wall time and the most memory that was in use during it."""
    reset_peak_memory(device)
    start = time.perf_counter()
    items = task.repeat()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "items": items, "peak_bytes": peak_memory(device)}


def reset_peak_memory(device: str) -> None:
    """Let the peak start from what is in use now, where the system can do that."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, or not allowed: the peak is that since the start
        return


def peak_memory(device: str) -> int:
    """Bytes: of the process where it computes on the CPU, else of the GPU's allocator."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _private_output() -> Callable[[dict[str, Any]], None]:
    """Standard output for the answers alone; what a toolkit prints goes to standard error."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    return answer
