"""Settings that no run can have: one line with the place, the key and the fault; status 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from qvbench.attention import ATTENTION
from qvbench.cli.checks import BOUNDS, check_settings
from qvbench.cli.experiment import Experiment
from qvbench.errors import UserError
from tests.cli.conftest import Answer

Command = Callable[..., Answer]

# What a command adds to a config that works, and what its last line says after "command line: ".
CASES = {
    # ranges of what Lightning takes and fails at later, or silently does otherwise
    "--seed_everything -1": "seed_everything: must be at least 0, got -1",
    "--seed_everything 5000000000": "seed_everything: must be at most 4294967295, got 5000000000",
    "--trainer.max_steps -7": "trainer.max_steps: must be at least -1, got -7",
    "--trainer.max_epochs -2": "trainer.max_epochs: must be at least -1, got -2",
    "--trainer.log_every_n_steps 0": "trainer.log_every_n_steps: must be at least 1, got 0",
    "--trainer.accumulate_grad_batches 0": "trainer.accumulate_grad_batches: must be at least 1",
    "--trainer.accumulate_grad_batches -3": "trainer.accumulate_grad_batches: must be at least 1",
    "--trainer.val_check_interval 0": "trainer.val_check_interval: must be more than 0, got 0",
    "--trainer.gradient_clip_val -1": "trainer.gradient_clip_val: must be at least 0, got -1",
    "--trainer.num_sanity_val_steps -3": "trainer.num_sanity_val_steps: must be at least -1",
    # what Lightning refuses itself
    "--trainer.strategy nope": "trainer: You selected an invalid strategy name",
    "--trainer.accelerator nope": "trainer: You selected an invalid accelerator name",
    "--trainer.max_time soon": "trainer: `Timer(duration='soon')` is not a valid duration",
    "--trainer.enable_checkpointing false": "trainer: Trainer was configured with `enable_checkp",
    # types
    "--trainer.precision 17": "trainer.precision: 17 is not allowed here; expected: 64, 32, 16",
    "--trainer.max_steps 1.5": "trainer.max_steps: 1.5 is not allowed here; expected: int",
    "--trainer.callbacks Nope": "trainer.callbacks: Nope: no class of that name",
    "--model.network.dropout nan": "model.network.dropout: nan is not allowed here",
    "--model.optimizer.betas 3": "model.optimizer.betas: 3 is not allowed here; expected: tuple",
    # this machine
    "--trainer.devices 99": "trainer.devices: 99 asked for, but no GPU is used",
    "--trainer.precision 16-mixed": "trainer.precision: 16-mixed does not run on a CPU",
    # pairs that do not go together, and parts that object: before any data is prepared
    "--model.network.d_model 15": "QVKa: d_model 15 is not divisible by num_heads 2",
    "--model.network.num_heads 3": "QVKa: d_model 16 is not divisible by num_heads 3",
    "--model.network.num_heads 0": "network: num_heads must be at least 1, got 0",
    "--model.network.dropout 1.5": "network: dropout probabilities must be in [0, 1)",
    "--model.attention.num_value_heads 3": "QVKa: num_value_heads must divide num_heads 2, got 3",
    "--model.attention.context_dim -4": "QVKa: context_dim must be at least 1, got -4",
    "--model.attention.head_dim 0": "QVKa: head_dim must be at least 1, got 0",
    "--model.attention GQA --model.attention.num_kv_heads 3": "GQA: num_kv_heads must divide",
    "--model.attention QKV --model.attention.head_dim_qk 0": "QKV: head_dim_qk must be at least 1",
    "--model.attention MLA --model.attention.value_rank -1": "MLA: value_rank must be at least 1",
    "--model.position RoPE --model.network.d_model 6": "QVKa with RoPE: it rotates pairs of",
    "--model.optimizer.lr -1": "model.optimizer: Invalid learning rate: -1.0",
    "--model.schedule Noam --model.schedule.warmup_steps 0": "Noam: warmup_steps must be positive",
    "--model.label_smoothing 1": "model.label_smoothing must be in [0, 1), got 1.0",
    "--model.beam_size 0": "model.beam_size must be at least 1, got 0",
    "--data.max_tokens 0": "max_tokens must be at least 1, got 0",
    "--data.merges -1": "merges must not be negative, got -1",
    "--data.max_ratio 0.5": "max_ratio must be at least 1, got 0.5",
    "--data.num_workers -1": "num_workers must be at least 0, got -1",
    "--data.max_vocabulary 3": "max_vocabulary=3 leaves no room for characters beside 200 merges",
    "--data.test_split nope": "test_split=nope is no test set; known are test",
    "--data.corpus.train_pairs 0": "grammar corpus: train_pairs is 0; give a whole number from 1",
    "--data.seed 4": 'Linked "data.seed" must be given via "seed_everything".',
}

# Whose messages, mostly of others, name no key of a config: their place cannot be told.
NAME_NO_KEY = {
    "--data.seed 4",
    "--trainer.max_time soon",
    "--model.position RoPE --model.network.d_model 6",
    "--model.optimizer.lr -1",
}


def read(*words: str) -> str:
    """What is wrong with a command, by its parser and the parts that it builds; nothing runs."""
    with pytest.raises(UserError) as caught:
        Experiment("fit", ["--config", "tiny.yaml", *words]).run()
    return str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_a_setting_is_refused_with_its_place(
    case: str, tiny: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a traceback, a fault found only after the corpus is prepared, a place unsaid."""
    monkeypatch.setattr("qvbench.data.module.TranslationDataModule.prepare_data", None)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    message = read(*case.split())
    place = "" if case in NAME_NO_KEY else "command line: "
    assert message.startswith(f"{place}{CASES[case]}"), message
    assert not list(here.glob("runs/*/*"))


IN_A_FILE = {
    "[]": "more.yaml: not a config: empty, or no keys with values",
    "trainer: {log_every_n_steps: 0}": "more.yaml:1: trainer.log_every_n_steps: must be at least 1",
    "\ndata: {merges: -3}": "more.yaml:2: merges must not be negative",
    "trainer: -5": "more.yaml:1: trainer: a mapping expected, got -5",
    "data: {max_length: null}": "more.yaml:1: data.max_length: null is not allowed here",
    "seed_everything: -4": "more.yaml:1: seed_everything: must be at least 0",
}


@pytest.mark.parametrize("text", IN_A_FILE)
def test_the_file_is_named(text: str, tiny: Path, here: Path) -> None:
    """Catches a line that leaves open which of two configs is wrong."""
    (here / "more.yaml").write_text(text)
    assert read("--config", "more.yaml").startswith(IN_A_FILE[text])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(15, "QVKa: d_model 15 is not divis"), (None, "model.network.d_model: null is not allowed")],
)
def test_inside_a_class(tiny: Path, value: int | None, expected: str) -> None:
    """A traceback of the class: the parser lets null pass where a file gives a class's settings."""
    content = yaml.safe_load(tiny.read_text())
    content["model"]["network"]["init_args"]["d_model"] = value
    tiny.write_text(yaml.safe_dump(content))
    line = tiny.read_text()[: tiny.read_text().index("d_model")].count("\n") + 1
    assert read().startswith(f"tiny.yaml:{line}: {expected}")


@pytest.mark.parametrize("side", ["max_tokens", "eval_max_tokens"])
def test_a_budget_below_the_longest_pair(tiny: Path, qvbench: Command, side: str) -> None:
    """Catches a pair that is dropped, or a batch without any, where a budget is too small."""
    answer = qvbench("fit", "--config", "tiny.yaml", f"--data.{side}", "3")
    assert answer.status == 2
    assert f"{side}=3 is smaller than a sentence of" in answer.err.splitlines()[-1]
    assert "raise it to" in answer.err


def test_every_bound_is_one() -> None:
    """Catches a bound that no value can break, and one that refuses the value on it."""
    for key, (lowest, highest) in BOUNDS.items():
        for value in (lowest, highest):
            check_settings({key: value}, {})
        for value in (lowest - 1, 2 * highest + 1, float("nan")):
            if value != highest:
                with pytest.raises(UserError, match=key):
                    check_settings({key: value}, {})
    check_settings({"trainer.val_check_interval": "00:01:00:00", "trainer.max_steps": None}, {})


def test_every_mechanism_is_tried_before_its_data(tiny: Path) -> None:
    """Catches a mechanism that cannot be built without memory, whose faults would show late."""
    for cls in ATTENTION.values():
        words = ["--model.attention", cls.__name__, "--model.network.d_model", "15"]
        assert "15 is not divisible by num_heads 2" in read(*words), cls
