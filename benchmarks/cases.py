"""All cases, as data: which programs do the same work, and what is expected of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

OURS, BEFORE = "ours", "before"
"""The runners of the suite's own programs: from this checkout, and from that of ``--against``."""

UNITS = {
    "train": "target tokens",
    "translate": "sentences",
    "attention": "tokens",
    "prefill": "tokens",
    "step": "tokens",
    "start": "starts",
    "text": "tokens",
    "generate": "tokens",
    "rates": "",
}
"""Kinds of work, and the items that they count."""

MULTI30K = {"config": "multi30k/qkv_sinusoidal.yaml"}
NETWORKS = {
    "tiny": "configs/network/transformer_tiny.yaml",
    "base3": "benchmarks/networks/base3.yaml",
}
BATCHES = {"tiny": 8, "base3": 4}
"""Batches of 4,096 tokens per repeat, so that a repeat takes some seconds."""
MECHANISMS = ("qkv", "qv", "qvka")
LAYER = {"d_model": 512, "num_heads": 8, "position": "none"}

Shape = dict[str, Any]

CACHED: dict[str, Shape] = {
    **{name: {"mechanism": name} for name in (*MECHANISMS, "mla")},
    "mqa": {"mechanism": "gqa"},
}
"""Layers that are compared in filling and reading a cache."""


@dataclass(frozen=True)
class Goal:
    """A bound on a relative time (or, for a start, on seconds): from below, or from above."""

    bound: float
    at_most: bool = False

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"

    def verdict(self, low: float, median: float, high: float) -> str:
        """``yes`` or ``no`` by the median; ``open`` where the quantiles enclose the bound."""
        if low < self.bound < high:
            return "open"
        return "yes" if (median <= self.bound) == self.at_most or median == self.bound else "no"


@dataclass(frozen=True)
class Entry:
    """A program of a case, a row of its table."""

    name: str
    runner: str = OURS  # or BEFORE, or the name of a peer
    shape: Mapping[str, Any] = field(default_factory=dict)  # where it differs from the case's
    goal: Goal | None = None  # for its time relative to the first program's
    within: float | None = None  # bound on the seconds per item
    measures: str = ""  # of the machine's own rates, "FLOP" or "B": it is not compared


@dataclass(frozen=True)
class Case:
    """Programs that take turns at the same work; the others are compared with the first."""

    name: str  # "group/title"; a group is a table
    kind: str  # a key of UNITS
    programs: tuple[Entry, ...]
    shape: Mapping[str, Any] = field(default_factory=dict)  # for every program's `shape.json`
    tolerance: float = 1e-4  # of the check, relative; for translation in points of BLEU

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "unit": UNITS[self.kind]}


def model(network: str, mechanism: str = "qkv", position: str = "sinusoidal") -> Shape:
    """The arguments that give a config's model another network, mechanism or position scheme."""
    args = ["--model.network", NETWORKS[network]]
    args += ["--model.attention", f"configs/attention/{mechanism}.yaml"]
    args += ["--model.position", f"configs/position/{position}.yaml"]
    return {"overrides": args}


def training_shape(network: str, precision: str) -> Shape:
    return {**MULTI30K, "precision": precision, "batches": BATCHES[network], "learning_rate": 1e-4}


def matmul_rate(precision: str) -> Entry:
    """The machine's rate of matrix products, which counts as its peak."""
    kind = "bfloat16" if precision.startswith("bf16") else f"{precision.partition('-')[0]} bit"
    sizes = {"rows": 3400, "inner": 512, "columns": 2048}
    shape = {"what": "product", "precision": precision, **sizes}
    return Entry(f"matrix product, {kind}", shape=shape, measures="FLOP")


def memory_rate(what: str, size: int, name: str = "") -> Entry:
    """The machine's rate of moving memory: ``copy``, ``triad`` or ``read``."""
    return Entry(name or what, shape={"what": what, "bytes": size}, measures="B")


def by_mechanism(shapes: Mapping[str, Shape]) -> tuple[Entry, ...]:
    """An entry per mechanism: one that computes less than QKV should not take longer."""
    return tuple(
        Entry(name, shape=shape, goal=None if name == "qkv" else Goal(1.0, at_most=True))
        for name, shape in shapes.items()
    )


def machine() -> Iterable[Case]:
    moves = [memory_rate(what, 1 << 30, f"{what}, 1024 MiB") for what in ("copy", "triad", "read")]
    products = matmul_rate("32-true"), matmul_rate("bf16-mixed")
    yield Case("machine/processor", "rates", (*products, *moves))


def start() -> Iterable[Case]:
    yield Case("start/qvbench --help", "start", (Entry("--help", within=1.0),))
    yield Case("start/fit to its first step", "start", (Entry("fit", within=10.0),), MULTI30K)


def translation() -> Iterable[Case]:
    """Without transformers' Marian, which is another function with our weights, so that its
    translations end elsewhere."""
    programs = (
        Entry("qvbench"),
        Entry("OpenNMT-py", "opennmt", goal=Goal(2.0)),
        Entry("CTranslate2", "ctranslate2", goal=Goal(1.0)),
        matmul_rate("32-true"),
    )
    for name, beam_size in (("greedy", 1), ("beam 5", 5)):
        shape = {**MULTI30K, "beam_size": beam_size, **model("tiny")}
        yield Case(f"translation/{name}", "translate", programs, shape, tolerance=0.5)


def training() -> Iterable[Case]:
    """OpenNMT-py computes in float32 on a CPU whatever the precision."""
    for network, precision, opennmt in (
        ("tiny", "32-true", 1.5),
        ("base3", "32-true", 1.5),
        ("tiny", "bf16-mixed", 2.0),
        ("base3", "bf16-mixed", 4.0),
    ):
        programs = (
            Entry("qvbench"),
            Entry("OpenNMT-py", "opennmt", goal=Goal(opennmt)),
            Entry("transformers' Marian", "marian", goal=Goal(1.0)),
            Entry("torch.nn.Transformer", "torch_transformer", goal=Goal(1.0)),
            matmul_rate(precision),
        )
        shape = {**training_shape(network, precision), **model(network)}
        yield Case(f"training/{network}, {precision}", "train", programs, shape)


def positions() -> Iterable[Case]:
    for network, precision, mechanisms in (
        ("tiny", "32-true", MECHANISMS),
        ("tiny", "bf16-mixed", MECHANISMS),
        ("base3", "bf16-mixed", ("qkv",)),
    ):
        for mechanism in mechanisms:
            agf = model(network, mechanism, "agf")
            programs = (
                Entry("sinusoidal", shape=model(network, mechanism)),
                Entry("AGF + PCM-V", shape=agf, goal=Goal(1.15, at_most=True)),
            )
            name = f"positions/{mechanism}, {network}, {precision}"
            yield Case(name, "train", programs, training_shape(network, precision))


def mechanisms() -> Iterable[Case]:
    for network in NETWORKS:
        for precision in ("32-true", "bf16-mixed"):
            for position in ("sinusoidal", "agf"):
                shapes = {name: model(network, name, position) for name in MECHANISMS}
                name = f"mechanisms/{network}, {position}, {precision}"
                shape = training_shape(network, precision)
                yield Case(name, "train", by_mechanism(shapes), shape)


def language() -> Iterable[Case]:
    """Windows of random ids. On a CPU nanoGPT computes in float32 whatever the precision, with an
    optimizer that is not fused; transformers has both."""
    nano = {"config": "lm/nanogpt_cpu.yaml", "vocabulary": 65, "rows": 12, "length": 64}
    gpt2 = {"config": "lm/124m.yaml", "vocabulary": 50304, "rows": 2, "length": 256}
    for name, sizes, batches, precision, goal in (
        ("nano", nano, 40, "32-true", 1.3),
        ("nano", nano, 40, "bf16-mixed", 1.8),
        ("124m", gpt2, 1, "32-true", 1.0),
        ("124m", gpt2, 1, "bf16-mixed", 2.0),
    ):
        programs = (
            Entry("qvbench"),
            Entry("nanoGPT's loop", "nanogpt", goal=Goal(goal)),
            Entry("transformers' GPT-2", "gpt2", goal=Goal(goal)),
            matmul_rate(precision),
        )
        shape = {**sizes, "batches": batches, "precision": precision, "overrides": []}
        yield Case(f"language/training, {name}, {precision}", "text", programs, shape)
    long = ["--model.position.init_args.max_length", "320"]
    for rows in (1, 16):
        programs = Entry("qvbench"), Entry("transformers", "gpt2", goal=Goal(1.5))
        shape = {**nano, "overrides": long, "rows": rows, "length": 16, "new_tokens": 256}
        yield Case(f"language/generation, nano, batch {rows}", "generate", programs, shape)


def attention() -> Iterable[Case]:
    """Causal, 4,096 tokens, or one sequence where that is longer."""
    programs = tuple(
        Entry(f"{mechanism}{label}", shape={"mechanism": mechanism, "position": position})
        for position, label in (("none", ""), ("agf", " + agf"))
        for mechanism in MECHANISMS
    )
    lengths = (32, 128, 512, 2048, 8192)
    for backward, which in ((False, "forward"), (True, "forward and backward")):
        for length in lengths if backward else (*lengths, 16384):
            sizes = {"length": length, "batch": max(1, 4096 // length), "backward": backward}
            yield Case(f"attention/{which}, {length}", "attention", programs, {**LAYER, **sizes})


def prefill() -> Iterable[Case]:
    """Without positions in the layer; 16 prompts as far as they take seconds."""
    sizes = *((1, length) for length in (512, 2048, 8192, 16384)), (16, 512), (16, 2048)
    for batch, length in sizes:
        programs = *by_mechanism(CACHED), matmul_rate("32-true")
        shape = {**LAYER, "length": length, "batch": batch, "backward": False}
        yield Case(f"prefill/batch {batch}, {length}", "prefill", programs, shape)


def decoding() -> Iterable[Case]:
    """Without positions in the layer, as AGF's and others' cost comes on top; and with RoPE, under
    which a value that is its own key is rotated anew at every step."""
    sizes = [("none", batch, length) for batch in (1, 16) for length in (512, 2048, 8192, 16384)]
    for position, batch, length in (*sizes, ("rope", 1, 8192), ("rope", 16, 8192)):
        programs = by_mechanism(CACHED)
        if length >= 8192 and position == "none":  # QV reads half of what QKV reads
            half = Entry("qv", shape={"mechanism": "qv"}, goal=Goal(0.75, at_most=True))
            programs = (programs[0], half, *programs[2:])
        # As much as QKV's cache, so that both are at the same distance from the processor.
        room = batch * length * 2 * 512 * 4
        rates = matmul_rate("32-true"), memory_rate("copy", room), memory_rate("read", room)
        shape = {**LAYER, "position": position, "length": length, "batch": batch}
        name = f"decoding/{'RoPE, ' if position == 'rope' else ''}batch {batch}, {length}"
        yield Case(name, "step", (*programs, *rates), shape)


def changes() -> Iterable[Case]:
    """For ``--against``: what a change of the suite must not slow down, one program each; with the
    built-in corpus, so that all can run it."""
    for title, config in (("QKV", "tiny/qkv.yaml"), ("QV-Ka + AGF", "tiny/qvka.yaml")):
        shape = {"config": config, "overrides": [], "batches": 20, "learning_rate": 1e-4}
        yield Case(f"changes/training step, {title}", "train", (Entry("fit"),), shape)
    for mechanism in ("qkv", "qvka"):
        shape = {**LAYER, "length": 512, "batch": 16, "mechanism": mechanism}
        yield Case(f"changes/cached decoding, {mechanism}", "step", (Entry("step"),), shape)
    grammar = {"config": "tiny/qkv.yaml", "overrides": []}
    programs, shape = (Entry("translate"),), {**grammar, "beam_size": 5}
    yield Case("changes/translation, beam 5", "translate", programs, shape, tolerance=0.5)
    yield Case("changes/--help", "start", (Entry("--help"),))
    yield Case("changes/fit to its first step", "start", (Entry("fit"),), grammar)


GROUPS = {
    "machine": ("The machine's own rates", machine),
    "start": ("From a command to what its user waits for", start),
    "translation": ("Translation of Multi30k's test set", translation),
    "training": ("A step of training", training),
    "positions": ("A step of training: AGF + PCM-V relative to sinusoidal positions", positions),
    "mechanisms": ("A step of training by mechanism", mechanisms),
    "language": ("Language models: a step of training, and 256 tokens more of a text", language),
    "attention": ("One attention layer alone, by length", attention),
    "prefill": ("Filling the cache of one self-attention layer with a prompt, by batch", prefill),
    "decoding": ("One decoding step of one self-attention layer, by batch and context", decoding),
}
"""Title and cases of each table, in the page's order."""

CASES = tuple(case for _, cases in GROUPS.values() for case in cases())
CHANGES = tuple(changes())


def find(prefixes: Iterable[str], cases: Iterable[Case]) -> list[Case]:
    """The cases whose names start with a prefix, or all; KeyError for a prefix of no case."""
    wanted, among = tuple(prefixes), list(cases)
    for prefix in wanted:
        if not any(case.name.startswith(prefix) for case in among):
            raise KeyError(prefix)
    return [case for case in among if not wanted or case.name.startswith(wanted)]


def before_and_after(case: Case) -> Case:
    """For ``--against``: the program of a case from the other checkout, then from this one."""
    entry = case.programs[0]
    before = replace(entry, name="before", runner=BEFORE)
    return replace(case, programs=(before, replace(entry, name="after")))
