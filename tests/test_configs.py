"""Every file in configs/ is read by the real parser and builds its model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qvbench.cli.experiment import Experiment
from qvbench.config_files import shipped_suites
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.sweep.suite import find_suite, read_suite
from qvbench.tasks.translation import TranslationTask
from tests.cli.conftest import task_on_meta

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(f for f in CONFIGS.rglob("*.yaml") if f.parent.name != "suites")
EXPERIMENTS = [f for f in FILES if {"model", "data"} <= set(yaml.safe_load(f.read_text()) or {})]


def name_of(file: Path) -> str:
    return str(file.relative_to(CONFIGS))


@cache
def parse(file: Path) -> tuple[dict[str, Any], Any, Any]:
    """The resolved config of a file, by the name that it ships with; its task and its network."""
    experiment = Experiment("fit", ["--config", name_of(file)])
    task = task_on_meta(experiment)
    return experiment.resolved(), task, task.network


@pytest.mark.slow
def test_every_experiment_parses_and_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a config that rots: a renamed key, a fragment moved or found from the repository
    alone, sizes that do not fit."""
    monkeypatch.chdir(tmp_path)
    for file in EXPERIMENTS:
        resolved, task, network = parse(file)
        schedule, steps = task.schedule, resolved["trainer"]["max_steps"]
        for step in (1, 10, 100, steps):
            rate = schedule.learning_rate(step, network.d_model)
            assert rate > 0, f"{name_of(file)}: no rate at step {step}"
        # Others are named after where AGF's exponents start, and after whose recipe they are.
        if file.parent.name not in ("agf_init", "lm"):
            mechanism = type(network.attention).__name__.lower()
            assert mechanism in file.stem.split("_"), f"{name_of(file)} runs {mechanism}"


def test_every_fragment_is_used() -> None:
    """Catches a fragment that nobody reads."""
    used = set()
    for file in EXPERIMENTS:
        content = yaml.safe_load(file.read_text())
        values = [*content["model"].values(), content["data"], content.get("trainer")]
        used |= {(file.parent / v).resolve() for v in values if str(v).endswith(".yaml")}
    for suite in map(find_suite, shipped_suites()):
        for variant in read_suite(suite).variants.values():
            used |= {Path(word) for _, word in variant.settings if word.endswith(".yaml")}
    fragments = {f.resolve() for f in FILES} - {f.resolve() for f in EXPERIMENTS}
    # For the command line.
    spare = {"position/none.yaml", "data/wmt17_raw.yaml", "data/fineweb_edu.yaml"}
    assert {name_of(f) for f in fragments - used} <= spare


PAPER = [f for f in EXPERIMENTS if f.parent.name == "paper" or f.parent == CONFIGS]


def test_the_papers_configs_hold_the_setup() -> None:
    """Catches a number of the paper's changed for the convenience of another experiment."""
    for file in PAPER:
        check_setup(*parse(file))


def check_setup(resolved: dict[str, Any], task: TranslationTask, network: EncoderDecoder) -> None:
    assert (len(network.encoder), len(network.decoder), network.d_model) == (3, 3, 1024)
    layer = network.decoder[0]
    assert (layer.attention.num_heads, layer.attention.head_dim) == (16, 64)
    assert layer.feed_forward.widen.weight.shape == (4096, 1024)
    assert layer.attention.dropout == layer.feed_forward.dropout == 0.1
    assert task.label_smoothing == 0.1
    optimizer = task.optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["betas"] == (0.9, 0.998)
    peak = task.schedule.learning_rate(4000, 1024)
    assert peak == pytest.approx(2 * 1024**-0.5 * 4000**-0.5)
    trainer, data = resolved["trainer"], resolved["data"]
    assert (trainer["precision"], trainer["max_steps"]) == ("16-mixed", 50_000)
    assert (data["max_tokens"], trainer["accumulate_grad_batches"]) == (5000, 10)
    # An epoch of batches is counted from the first one, over all epochs: 5,000 steps.
    assert trainer["val_check_interval"] == 5000 * trainer["accumulate_grad_batches"]
    assert (data["merges"], data["max_length"], data["max_vocabulary"]) == (32_000, 95, 36_000)


def test_table_4_has_its_six_rows() -> None:
    """Catches a row of the paper that no command trains."""
    assert {f.stem for f in EXPERIMENTS if f.parent.name == "paper"} == {
        "qv_sinusoidal",
        "qkv_sinusoidal",
        "qv_agf",
        "qkv_agf",
        "qvka_1x_agf",
        "qvka_2x_agf",
    }


@pytest.mark.parametrize(
    ("name", "per_layer"),
    [
        ("qkv_agf", 4 * 1024**2),
        ("qv_agf", 3 * 1024**2),
        ("qvka_1x_agf", 3 * 1024**2 + 1024 * 64 + 16 * 128 * 64),
        ("qvka_2x_agf", 3 * 1024**2 + 1024 * 128 + 16 * 192 * 64),
    ],
)
def test_parameters_at_the_papers_size(name: str, per_layer: int) -> None:
    """Catches fewer parameters that hold for a toy alone: the paper's claim, at its own size."""
    *_, network = parse(CONFIGS / "paper" / f"{name}.yaml")
    attention = network.decoder[0].cross_attention
    assert sum(p.numel() for p in attention.parameters()) == per_layer
