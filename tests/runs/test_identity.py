"""The identity of an experiment: what makes another one, and what does not."""

from __future__ import annotations

import copy
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch import Trainer

from qvbench.cli.experiment import resolve, without_new_defaults
from qvbench.config_files import shipped_folder
from qvbench.runs.identity import CODE_VERSIONS, DEFAULTS, difference, identity

CONFIG: dict[str, Any] = {
    "seed_everything": 1,
    "trainer": {
        "max_steps": 10,
        "precision": "32-true",
        "callbacks": [{"class_path": "lightning.pytorch.callbacks.Timer"}],
    },
    "model": {
        "attention": {"class_path": "qvbench.attention.QV", "init_args": {"bias": True}},
        "network": {"class_path": "mine.Net", "init_args": {"d_model": 64, "dropout": 0.1}},
        "schedule": {"class_path": "LinearDecay", "init_args": {"peak": 1.0}},
    },
    "data": {"merges": 9, "splits": [1, 2], "corpus": {"class_path": "Multi30k"}},
}
ABSENT = object()


def changed(key: str, value: Any) -> dict[str, Any]:
    """The config with a dotted key set or, if ABSENT, without it."""
    config = copy.deepcopy(CONFIG)
    *parents, last = key.split(".")
    part = config
    for name in parents:
        part = part.setdefault(name, {})
    if value is ABSENT:
        del part[last]
    else:
        part[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed_everything", 2),
        ("data.seed", 2),
        ("data.cache_dir", "/x"),
        ("data.corpus.init_args", {"root": "/x"}),
        ("data.num_workers", 4),
        ("trainer.default_root_dir", "/x"),
        ("trainer.logger", {"class_path": "WandbLogger"}),
        ("trainer.enable_progress_bar", False),
        ("trainer.devices", "auto"),
        ("trainer.inference_mode", True),
        ("trainer.check_val_every_n_epoch", 1),
        ("trainer.an_option_of_later", None),
        ("model.an_option_of_later", False),
        ("task", "translation"),
        ("model.network.init_args.d_model", 64.0),
        ("model.schedule.init_args.peak", 1),
        ("model.attention.class_path", "qvbench.attention.family.QV"),
        ("model.schedule.init_args.total_steps", 10),
        ("model.schedule.init_args.total_steps", 11),  # of before it followed max_steps
        (
            "trainer.callbacks",
            [
                {"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"},
                {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {}},
            ],
        ),
    ],
)
def test_the_same_experiment(key: str, value: Any) -> None:
    """Catches hours of training that are repeated for what changes no number."""
    other = changed(key, value)
    assert identity(other) == identity(CONFIG)
    assert difference(other, CONFIG) is None


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("trainer.max_steps", 11, "trainer.max_steps"),
        ("trainer.inference_mode", False, "trainer.inference_mode"),
        ("trainer.check_val_every_n_epoch", None, "trainer.check_val_every_n_epoch"),
        ("trainer.callbacks", [], "trainer.callbacks.0.class_path"),
        ("task", "recall", "task"),
        ("model.attention.init_args.bias", 1, "model.attention.bias"),
        ("model.attention.init_args.bias", ABSENT, "model.attention.bias"),
        ("model.network.class_path", "yours.Net", "model.network.class_path"),
        ("model.network.init_args.dropout", 0, "model.network.dropout"),
        ("model.schedule.init_args.total_steps", 12, "model.schedule.total_steps"),
        ("data.merges", "9", "data.merges"),
        ("data.splits", [2, 1], "data.splits.0"),
        ("data.corpus.init_args", {"train_pairs": 0}, "data.corpus.train_pairs"),
    ],
)
def test_another_experiment(key: str, value: Any, named: str) -> None:
    """Catches results of another training that count as this one's."""
    other = changed(key, value)
    assert identity(other) != identity(CONFIG)
    assert difference(CONFIG, other) == difference(other, CONFIG) == named


def test_keys_have_no_order_and_code_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a config that was written in another order, and code that trains a task otherwise."""
    backwards = {key: dict(reversed(v.items())) for key, v in CONFIG.items() if type(v) is dict}
    assert identity(dict(reversed(backwards.items()))) == identity(CONFIG)
    before, language = identity(CONFIG), {**CONFIG, "task": "language_modeling"}
    others = identity(language)
    monkeypatch.setitem(CODE_VERSIONS, "translation", 0)
    assert identity(CONFIG) != before
    assert identity(language) == others


def test_the_defaults_are_lightnings() -> None:
    """Catches a default that a release of Lightning has changed: it would count as unchanged."""
    parameters = inspect.signature(Trainer).parameters
    for key, value in DEFAULTS.items():
        if key.startswith("trainer."):
            assert parameters[key.removeprefix("trainer.")].default == value, key


def test_a_new_argument_of_lightning_is_no_other_experiment() -> None:
    """Catches everything trained again after an upgrade that changed nothing."""

    class LaterTrainer:
        def __init__(self, devices: str = "auto", mode: str = "usual", level: int = 3) -> None: ...

    trainer = {"devices": "auto", "mode": "usual", "level": 4}
    assert without_new_defaults(trainer, LaterTrainer) == {"devices": "auto", "level": 4}


MINE = """
from qvbench.attention import QV

class Mine(QV):
    def __init__(self, d_model: int, num_heads: int, width: int = {width}) -> None: ...
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A module of the user's own with a class that has a default."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(width: int) -> None:
        (tmp_path / "mine_of_a_test.py").write_text(MINE.format(width=width))
        sys.modules.pop("mine_of_a_test", None)
        importlib.invalidate_caches()

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return write


def of(*args: str) -> str:
    return identity(resolve(["--config", "tiny/qv.yaml", *args]))


def test_a_default_of_the_code_counts(mine: Callable[[int], None]) -> None:
    """Catches old runs that count as finished after a default was changed, and the reverse: a
    default that is written out and has everything trained again."""
    args = ["--model.attention", "mine_of_a_test.Mine"]
    mine(3)
    before = of(*args)
    assert before == of(*args, "--model.attention.width", "3") != of()
    mine(4)
    after = of(*args)
    assert after != before
    assert before == of(*args, "--model.attention.width", "3")
    assert of("--model.label_smoothing", "0.1") == of("--model.label_smoothing=1e-1") == of()


def test_a_fragment_is_its_content(tmp_path: Path) -> None:
    """Catches the same config trained twice, once by a file's name and once by its content."""
    fragment = shipped_folder() / "attention" / "gqa.yaml"
    content = yaml.safe_load(fragment.read_text())
    file = tmp_path / "whole.yaml"
    base = resolve(["--config", "tiny/qv.yaml"])
    base["model"]["attention"] = content
    file.write_text(yaml.safe_dump(base))
    inline = identity(resolve(["--config", str(file)]))
    assert inline == of("--model.attention", str(fragment)) != of()
