"""All cases, as data: which programs do the same work, and what is expected of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

OURS = "ours"
"""The runner of the programs in :mod:`benchmarks.programs`."""
BEFORE = "before"
"""The runner of the same programs in the other checkout of ``--against``."""

UNITS = {
    "train": "target tokens",
    "translate": "sentences",
    "attention": "tokens",
    "step": "tokens",
    "loader": "target tokens",
    "start": "starts",
    "rates": "",
}
"""Kinds of work, a module of :mod:`benchmarks.programs` each, and the items that they count."""

MULTI30K = "multi30k/qkv_sinusoidal.yaml"
NETWORKS = {
    "tiny": "configs/network/transformer_tiny.yaml",
    "base3": "benchmarks/networks/base3.yaml",
    "big3": "configs/network/big3.yaml",
}
BATCHES = {"tiny": 8, "base3": 4, "big3": 8}
"""Batches of 4,096 tokens per repeat, so that a repeat takes some seconds."""
MECHANISMS = ("qkv", "qv", "qvka")
LENGTHS = (32, 128, 512, 2048, 8192)
LAYER = {"d_model": 512, "num_heads": 8, "precision": "32-true"}
PRODUCT = {"what": "product", "rows": 3400, "inner": 512, "columns": 2048}
"""The matrix product whose rate counts as the machine's peak."""


class Goal(NamedTuple):
    """A bound on a relative time (or, for a start, on seconds): from below, or from above."""

    bound: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"

    def verdict(self, low: float, middle: float, high: float) -> str:
        """``yes`` or ``no`` by the median; ``open`` where the quantiles enclose the bound."""
        if low < self.bound < high:
            return "open"
        return "yes" if (middle <= self.bound) == self.at_most or middle == self.bound else "no"


@dataclass(frozen=True)
class Entry:
    """A program of a case, a row of its table.

    Attributes:
        name: label of its row.
        runner: :data:`OURS`, :data:`BEFORE`, or the name of a peer.
        shape: where it differs from the case's shape.
        goal: bound on its time relative to the first program's.
        within: bound on the seconds per item.
        measures: ``FLOP`` or ``B`` for a program that measures the machine's own rate, against
            which the other speeds are set; empty for one that is compared.
    """

    name: str
    runner: str = OURS
    shape: Mapping[str, Any] = field(default_factory=dict)
    goal: Goal | None = None
    within: float | None = None
    measures: str = ""


@dataclass(frozen=True)
class Case:
    """Programs that take turns at the same work.

    Attributes:
        name: ``group/title``; a group is a table.
        kind: a key of :data:`UNITS`.
        programs: the first is the one that the others are compared with.
        shape: goes into every program's ``shape.json``.
        device: ``cpu`` or ``cuda``.
        tolerance: of the check, relative; for translation in points of BLEU.
    """

    name: str
    kind: str
    programs: tuple[Entry, ...]
    shape: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    tolerance: float = 1e-4

    def kind_of(self, entry: Entry) -> str:
        """What a program is asked to do."""
        return "rates" if entry.measures else self.kind

    def to_json(self) -> dict[str, Any]:
        """As raw results hold it."""
        programs = [
            {**asdict(entry), "goal": entry.goal._asdict() if entry.goal else None}
            for entry in self.programs
        ]
        return {**asdict(self), "programs": programs, "unit": UNITS[self.kind]}


def overrides(network: str, mechanism: str = "qkv", position: str = "sinusoidal") -> dict[str, Any]:
    """The arguments that give a config's model another network, mechanism or position scheme."""
    args = ["--model.network", NETWORKS[network]]
    args += ["--model.attention", f"configs/attention/{mechanism}.yaml"]
    args += ["--model.position", f"configs/position/{position}.yaml"]
    return {"overrides": args}


def train_shape(network: str, precision: str, **more: Any) -> dict[str, Any]:
    """The shape of a training case on Multi30k, but for its model."""
    batches = BATCHES[network]
    return {
        **{"config": MULTI30K, "batches": batches, "precision": precision, "learning_rate": 1e-4},
        **more,
    }


def product(precision: str) -> Entry:
    """The machine's rate of matrix products."""
    kind = "bfloat16" if precision.startswith("bf16") else f"{precision.partition('-')[0]} bit"
    shape = {**PRODUCT, "precision": precision}
    return Entry(f"matrix product, {kind}", shape=shape, measures="FLOP")


def moving(what: str, size: int, name: str = "") -> Entry:
    """The machine's rate of moving memory: ``copy``, ``triad`` or ``read``."""
    return Entry(name or what, shape={"what": what, "bytes": size}, measures="B")


def machine() -> Iterable[Case]:
    """The machine's own rates."""
    large = 1 << 30
    moves = [moving(what, large, f"{what}, 1024 MiB") for what in ("copy", "triad", "read")]
    programs = (product("32-true"), product("bf16-mixed"), *moves)
    for device, title in (("cpu", "processor"), ("cuda", "GPU")):
        yield Case(f"machine/{title}", "rates", programs, device=device, tolerance=0.02)


def start() -> Iterable[Case]:
    """From a command to what its user waits for."""
    yield Case("start/qvbench --help", "start", (Entry("--help", within=1.0),), {"what": "help"})
    first_step = {"what": "fit", "config": MULTI30K}
    yield Case("start/fit to its first step", "start", (Entry("fit", within=10.0),), first_step)


def loader() -> Iterable[Case]:
    """An epoch of training batches, by the number of loader processes."""
    programs = tuple(
        Entry(f"{count} worker{'s' * (count != 1)}", shape={"num_workers": count})
        for count in range(3)
    )
    yield Case("loader/multi30k", "loader", programs, {"config": MULTI30K}, tolerance=0)


def translation() -> Iterable[Case]:
    """The test set with a trained Transformer-Tiny.

    Without transformers' Marian: with our weights it is another function, whose translations end
    elsewhere.
    """
    for name, beam_size in (("greedy", 1), ("beam 5", 5)):
        programs = (
            Entry("qvbench"),
            Entry("OpenNMT-py", "opennmt", goal=Goal(2.0)),
            Entry("CTranslate2", "ctranslate2", goal=Goal(1.0)),
            product("32-true"),
        )
        shape = {"config": MULTI30K, "beam_size": beam_size, **overrides("tiny")}
        yield Case(f"translation/{name}", "translate", programs, shape, tolerance=0.5)


def training() -> Iterable[Case]:
    """A step of training beside the peers'. OpenNMT-py computes in float32 on a CPU."""
    for network, precision, opennmt, marian, device in (
        ("tiny", "32-true", 1.5, 1.0, "cpu"),
        ("base3", "32-true", 1.5, 1.0, "cpu"),
        ("tiny", "bf16-mixed", 2.0, 1.0, "cpu"),
        ("base3", "bf16-mixed", 4.0, 1.0, "cpu"),
        ("big3", "16-mixed", None, 1.3, "cuda"),
        ("big3", "bf16-mixed", None, 1.3, "cuda"),
    ):
        programs = (
            Entry("qvbench"),
            *([Entry("OpenNMT-py", "opennmt", goal=Goal(opennmt))] if opennmt else []),
            Entry("transformers' Marian", "marian", goal=Goal(marian)),
            Entry("torch.nn.Transformer", "torch_transformer", goal=Goal(1.0)),
            product(precision),
        )
        name = f"training/{network}{' on a GPU' * (device == 'cuda')}, {precision}"
        shape = train_shape(network, precision, **overrides(network))
        yield Case(name, "train", programs, shape, device)


def positions() -> Iterable[Case]:
    """A step of training with AGF + PCM-V relative to sinusoidal positions."""
    for network, precision, mechanisms in (
        ("tiny", "32-true", MECHANISMS),
        ("tiny", "bf16-mixed", MECHANISMS),
        ("base3", "bf16-mixed", ("qkv",)),
    ):
        for mechanism in mechanisms:
            agf = overrides(network, mechanism, "agf")
            programs = (
                Entry("sinusoidal", shape=overrides(network, mechanism)),
                Entry("AGF + PCM-V", shape=agf, goal=Goal(1.15, at_most=True)),
            )
            name = f"positions/{mechanism}, {network}, {precision}"
            yield Case(name, "train", programs, train_shape(network, precision))


def by_mechanism(shape: Any) -> tuple[Entry, ...]:
    """An entry per mechanism: one that computes less should not take longer.

    Args:
        shape: gives an entry's shape from the mechanism's name.
    """
    entries = tuple(
        Entry(name, shape=shape(name), goal=Goal(1.0, at_most=True)) for name in MECHANISMS
    )
    return (replace(entries[0], goal=None), *entries[1:])


def mechanisms() -> Iterable[Case]:
    """A step of training by mechanism."""
    for network in ("tiny", "base3"):
        for precision in ("32-true", "bf16-mixed"):
            for position in ("sinusoidal", "agf"):

                def shape(name: str, net: str = network, where: str = position) -> dict[str, Any]:
                    return overrides(net, name, where)

                yield Case(
                    f"mechanisms/{network}, {position}, {precision}",
                    "train",
                    by_mechanism(shape),
                    train_shape(network, precision),
                )


def attention() -> Iterable[Case]:
    """One causal layer by length: 4,096 tokens, or one sequence where that is longer."""
    programs = tuple(
        Entry(
            mechanism if position == "none" else f"{mechanism} + {position}",
            shape={"mechanism": mechanism, "position": position},
        )
        for position in ("none", "agf")
        for mechanism in MECHANISMS
    )
    for device, where, tolerance in (("cpu", "", 1e-4), ("cuda", " on a GPU", 1e-3)):
        for backward, which in ((False, "forward"), (True, "forward and backward")):
            for length in LENGTHS:
                sizes = {"length": length, "batch": max(1, 4096 // length), "backward": backward}
                name = f"attention/{which}{where}, {length}"
                yield Case(name, "attention", programs, {**LAYER, **sizes}, device, tolerance)


def decoding() -> Iterable[Case]:
    """One step of one self-attention layer from a cache of many tokens."""
    for device, where, tolerance in (("cpu", "", 1e-4), ("cuda", " on a GPU", 1e-3)):
        for batch in (1, 16):
            for context in (512, 2048, 8192):
                # As much as QKV's cache, so that both are at the same distance from the processor.
                room = batch * context * 2 * LAYER["d_model"] * 4  # type: ignore[operator]
                programs = (
                    *by_mechanism(lambda name: {"mechanism": name}),
                    moving("copy", room),
                    moving("read", room),
                )
                shape = {**LAYER, "length": context, "batch": batch, "position": "none"}
                name = f"decoding/batch {batch}{where}, {context}"
                yield Case(name, "step", programs, shape, device, tolerance)


def changes() -> Iterable[Case]:
    """What a change of the suite must not slow down; the built-in corpus, so that all can run it.

    For ``--against`` alone: each program also runs from the other checkout.
    """
    batches = {"batches": 20, "precision": "32-true", "learning_rate": 1e-4, "overrides": []}
    for title, config in (("QKV", "tiny/qkv.yaml"), ("QV-Ka + AGF", "tiny/qvka.yaml")):
        shape = {**batches, "config": config}
        yield Case(f"changes/training step, {title}", "train", (Entry("fit"),), shape)
    for mechanism in ("qkv", "qvka"):
        shape = {**LAYER, "length": 512, "batch": 16, "position": "none", "mechanism": mechanism}
        yield Case(f"changes/cached decoding, {mechanism}", "step", (Entry("step"),), shape)
    shape = {"config": "tiny/qkv.yaml", "beam_size": 5, "overrides": []}
    programs = (Entry("translate"),)
    yield Case("changes/translation, beam 5", "translate", programs, shape, tolerance=0.5)
    yield Case("changes/--help", "start", (Entry("--help"),), {"what": "help"})
    shape = {"what": "fit", "config": "tiny/qkv.yaml"}
    yield Case("changes/fit to its first step", "start", (Entry("fit"),), shape)


GROUPS = {
    "machine": ("The machine's own rates", machine),
    "start": ("From a command to what its user waits for", start),
    "loader": ("Batches of Multi30k", loader),
    "translation": ("Translation of Multi30k's test set", translation),
    "training": ("A step of training", training),
    "positions": ("A step of training: AGF + PCM-V relative to sinusoidal positions", positions),
    "mechanisms": ("A step of training by mechanism", mechanisms),
    "attention": ("One attention layer alone, by length", attention),
    "decoding": ("One decoding step of one self-attention layer, by batch and context", decoding),
}
"""Title and cases of each table, in the page's order."""

CASES = tuple(case for _, cases in GROUPS.values() for case in cases())
CHANGES = tuple(changes())


def find(prefixes: Iterable[str], cases: Iterable[Case] = CASES) -> list[Case]:
    """The cases whose names start with one of the prefixes; all if there are none.

    Raises:
        KeyError: a prefix that no case has.
    """
    wanted, among = tuple(prefixes), list(cases)
    for prefix in wanted:
        if not any(case.name.startswith(prefix) for case in among):
            raise KeyError(prefix)
    return [case for case in among if not wanted or case.name.startswith(wanted)]


def before_and_after(cases: Iterable[Case]) -> list[Case]:
    """For ``--against``: every program of ours from the other checkout, then from this one."""
    return [
        replace(
            case,
            name=f"{case.name}, {entry.name}" if len(case.programs) > 1 else case.name,
            programs=(
                replace(entry, name="before", runner=BEFORE, goal=None, within=None),
                replace(entry, name="after", goal=None, within=None),
            ),
        )
        for case in cases
        for entry in case.programs
        if entry.runner == OURS and not entry.measures
    ]
