"""All cases, as data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.case import Case, Entry, Goal

PRODUCT = {"what": "product", "rows": 3400, "inner": 512, "columns": 2048}
"""The product whose rate is taken for the most that the machine can do."""

DATA = "multi30k/qkv_sinusoidal.yaml"
NETWORKS = {
    "tiny": "configs/network/transformer_tiny.yaml",
    "base3": "benchmarks/networks/base3.yaml",
    "big3": "configs/network/big3.yaml",
}
BATCHES = {"tiny": 8, "base3": 4, "big3": 8}
"""Of 4,096 tokens, in a repeat: some seconds of each."""

POSITIONS = ("sinusoidal", "agf")
MECHANISMS = ("qkv", "qv", "qvka")
LENGTHS = (32, 128, 512, 2048, 8192)
SAME = Goal(1.0, at_most=True)


def overrides(network: str, mechanism: str = "qkv", position: str = "sinusoidal") -> dict[str, Any]:
    """The words that make a config's model another one."""
    words = ["--model.network", NETWORKS[network]]
    words += ["--model.attention", f"configs/attention/{mechanism}.yaml"]
    words += ["--model.position", f"configs/position/{position}.yaml"]
    return {"overrides": words}


def trained(network: str, precision: str, **more: Any) -> dict[str, Any]:
    """The shape of a training case, but for its model."""
    return {
        "config": DATA,
        "batches": BATCHES[network],
        "precision": precision,
        "learning_rate": 1e-4,
        **more,
    }


def product(precision: str) -> Entry:
    """The machine's rate of products in a precision."""
    name = f"matrix product, {precision.partition('-')[0]} bit"
    if precision.startswith("bf16"):
        name = "matrix product, bfloat16"
    return Entry(name, shape={**PRODUCT, "precision": precision}, measures="FLOP")


def training() -> Iterable[Case]:
    """A step of training beside the peers'. OpenNMT-py computes in float32 on a CPU."""
    goals = {
        ("tiny", "32-true"): 1.5,
        ("base3", "32-true"): 1.5,
        ("tiny", "bf16-mixed"): 2.0,
        ("base3", "bf16-mixed"): 4.0,
    }
    for (network, precision), goal in goals.items():
        yield Case(
            f"training/{network}, {precision}",
            "train",
            (
                Entry("qvbench", shape=overrides(network)),
                Entry("OpenNMT-py", "opennmt", goal=Goal(goal)),
                Entry("transformers' Marian", "marian", goal=Goal(1.0)),
                Entry("torch.nn.Transformer", "torch_transformer", goal=Goal(1.0)),
                product(precision),
            ),
            trained(network, precision, **overrides(network)),
        )
    for precision in ("16-mixed", "bf16-mixed"):
        yield Case(
            f"training/big3 on a GPU, {precision}",
            "train",
            (
                Entry("qvbench", shape=overrides("big3")),
                Entry("transformers' Marian", "marian", goal=Goal(1.3)),
                Entry("torch.nn.Transformer", "torch_transformer", goal=Goal(1.0)),
                product(precision),
            ),
            trained("big3", precision, **overrides("big3")),
            device="cuda",
        )


def positions() -> Iterable[Case]:
    """What AGF + PCM-V costs over the same mechanism with sinusoidal positions."""
    for network, precision, mechanisms in (
        ("tiny", "32-true", MECHANISMS),
        ("tiny", "bf16-mixed", MECHANISMS),
        ("base3", "bf16-mixed", ("qkv",)),
    ):
        for mechanism in mechanisms:
            yield Case(
                f"positions/{mechanism}, {network}, {precision}",
                "train",
                (
                    Entry("sinusoidal", shape=overrides(network, mechanism)),
                    Entry(
                        "AGF + PCM-V",
                        shape=overrides(network, mechanism, "agf"),
                        goal=Goal(1.15, at_most=True),
                    ),
                ),
                trained(network, precision),
            )


def mechanisms() -> Iterable[Case]:
    """A step of training by mechanism: what computes less is not to take longer."""
    for network in ("tiny", "base3"):
        for precision in ("32-true", "bf16-mixed"):
            for position in POSITIONS:
                yield Case(
                    f"mechanisms/{network}, {position}, {precision}",
                    "train",
                    tuple(
                        Entry(
                            name,
                            shape=overrides(network, name, position),
                            goal=SAME if name != "qkv" else None,
                        )
                        for name in MECHANISMS
                    ),
                    trained(network, precision),
                )


PREDICTED = {
    "32-true": {"PyTorch's dropout": 1.2, "PyTorch's loss": 1.2, "torch.compile": 0.8},
    "bf16-mixed": {
        "PyTorch's dropout": 1.4,
        "no dropout": 0.85,
        "attention kernel in bfloat16": 1.4,
        "all logits at once": 1.1,
        "PyTorch's loss": 1.3,
        "Adam a tensor at a time": 1.1,
        "torch.compile": 0.8,
    },
}
"""What each trial was expected to take, over what the suite does: from profiles of single parts."""


def trials() -> Iterable[Case]:
    """What was tried instead of what the suite does."""
    for precision, predictions in PREDICTED.items():
        yield Case(
            f"trials/tiny, {precision}",
            "train",
            (
                Entry("as it is"),
                *(
                    Entry(name, shape={"trial": name}, predicted=ratio)
                    for name, ratio in predictions.items()
                ),
            ),
            trained("tiny", precision, **overrides("tiny")),
        )


def translation() -> Iterable[Case]:
    """The test set with a trained Transformer-Tiny.

    transformers' Marian is left out: with our weights it is another function, whose translations
    end elsewhere.
    """
    for name, beam_size in (("greedy", 1), ("beam 5", 5)):
        yield Case(
            f"translation/{name}",
            "translate",
            (
                Entry("qvbench"),
                Entry("OpenNMT-py", "opennmt", goal=Goal(2.0)),
                Entry("CTranslate2", "ctranslate2", goal=Goal(1.0)),
                product("32-true"),
            ),
            {"config": DATA, "beam_size": beam_size, "precision": "32-true", **overrides("tiny")},
            tolerance=0.5,
        )


def attention() -> Iterable[Case]:
    """Mechanisms alone, causal, by length: 4,096 tokens, or one sequence where that is longer."""
    for device in ("cpu", "cuda"):
        where = " on a GPU" if device == "cuda" else ""
        for backward in (False, True):
            which = "forward and backward" if backward else "forward"
            for length in LENGTHS:
                yield Case(
                    f"attention/{which}{where}, {length}",
                    "attention",
                    tuple(
                        Entry(
                            mechanism if position == "none" else f"{mechanism} + {position}",
                            shape={"mechanism": mechanism, "position": position},
                        )
                        for position in ("none", "agf")
                        for mechanism in MECHANISMS
                    ),
                    {
                        **{"d_model": 512, "num_heads": 8, "precision": "32-true"},
                        **{"length": length, "batch": max(1, 4096 // length)},
                        "backward": backward,
                    },
                    device=device,
                    tolerance=1e-4 if device == "cpu" else 1e-3,
                )


def decoding() -> Iterable[Case]:
    """One step of one self-attention layer from a cache of many tokens."""
    for device in ("cpu", "cuda"):
        where = " on a GPU" if device == "cuda" else ""
        for batch in (1, 16):
            for context in (512, 2048, 8192):
                # As much as QKV's cache, so that both lie at the same distance from the processor.
                room = batch * context * 2 * 512 * 4
                yield Case(
                    f"decoding/batch {batch}{where}, {context}",
                    "step",
                    (
                        *(
                            Entry(name, shape={"mechanism": name}, goal=SAME)
                            if name != "qkv"
                            else Entry(name, shape={"mechanism": name})
                            for name in MECHANISMS
                        ),
                        Entry("copy", shape={"what": "copy", "bytes": room}, measures="B"),
                        Entry("read", shape={"what": "read", "bytes": room}, measures="B"),
                    ),
                    {
                        **{"d_model": 512, "num_heads": 8, "precision": "32-true"},
                        **{"length": context, "batch": batch, "position": "none"},
                    },
                    device=device,
                    tolerance=1e-4 if device == "cpu" else 1e-3,
                )


def loading() -> Iterable[Case]:
    """Batches of the training set, by the number of processes that prepare them."""
    programs = (
        Entry(f"{workers} worker{'s' if workers != 1 else ''}", shape={"num_workers": workers})
        for workers in range(3)
    )
    yield Case("loader/multi30k", "loader", tuple(programs), {"config": DATA}, tolerance=0)


def starting() -> Iterable[Case]:
    """From a command to what its user waits for."""
    yield Case("start/qvbench --help", "start", (Entry("--help", within=1.0),), {"what": "help"})
    first = {"what": "fit", "config": DATA}
    yield Case("start/fit to its first step", "start", (Entry("fit", within=10.0),), first)


def machine() -> Iterable[Case]:
    """What the machine can do."""
    for device in ("cpu", "cuda"):
        where = "GPU" if device == "cuda" else "processor"
        large = 1 << 30
        yield Case(
            f"machine/{where}",
            "rates",
            (
                product("32-true"),
                product("bf16-mixed"),
                *(
                    Entry(
                        f"{what}, {large >> 20} MiB",
                        shape={"what": what, "bytes": large},
                        measures="B",
                    )
                    for what in ("copy", "triad", "read")
                ),
            ),
            device=device,
            tolerance=0.01,
        )


CASES: tuple[Case, ...] = tuple(
    case
    for group in (
        machine,
        starting,
        loading,
        translation,
        training,
        positions,
        mechanisms,
        trials,
        attention,
        decoding,
    )
    for case in group()
)


def find(names: Iterable[str]) -> list[Case]:
    """The cases of these names, groups or beginnings of names; all where none is given.

    Raises:
        KeyError: one that no case has.
    """
    wanted = list(names)
    for name in wanted:
        if not any(case.name.startswith(name) for case in CASES):
            raise KeyError(name)
    return [c for c in CASES if not wanted or any(c.name.startswith(n) for n in wanted)]
