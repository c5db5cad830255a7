"""The suite's own programs do what the suite does, from the folder that all programs get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks import __main__ as command
from benchmarks import layers, protocol, translation
from benchmarks.protocol import Work, real_tokens
from qvbench.cli.profile import build
from qvbench.data.batching import Batch
from qvbench.decoding.translator import Translator
from qvbench.models.loss import training_totals
from qvbench.tasks.translation import TranslationTask
from qvbench.training.machine import cache_few_kernels

pytestmark = pytest.mark.slow  # every test starts programs; `make test` runs them

VOCABULARY = 40
READY = {"comparable": "same function"}
SIZES = ["--model.network.init_args.d_model", "16", "--model.network.init_args.ffn_dim", "24"]


@pytest.fixture(autouse=True)
def short_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "REPEAT_SECONDS", 1e-3)


def random_batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of ids, of different lengths."""
    random = np.random.default_rng(seed)

    def padded(before: list[int]) -> torch.Tensor:
        rows = [
            torch.tensor([*before, *random.integers(4, VOCABULARY, n).tolist(), 3])
            for n in random.integers(1, 9, 6)
        ]
        return torch.nn.utils.rnn.pad_sequence(rows, True, 0)

    return padded([]), padded([2])


def training_work(folder: Path, config: str) -> tuple[Work, float]:
    """A folder with a small network of a config, and the loss that is expected."""
    task = build(config, SIZES, VOCABULARY).task
    shape = SimpleNamespace(config=config, overrides=SIZES, learning_rate=1e-3)
    work, batches = Work(folder), [random_batch(0), random_batch(1)]
    return work, translation.write_task(work, task, batches, shape)


@pytest.mark.parametrize("config", ["tiny/qkv.yaml", "tiny/qvka.yaml"])
def test_a_training_program_starts_at_the_tasks_loss_and_steps_per_batch(
    tmp_path: Path, config: str
) -> None:
    """Catches weights that were not passed on, padding in the loss, another reference, a pass that
    ends before its last step, and one that learns nothing."""
    folder, expected = training_work(tmp_path, config)
    task = build(config, SIZES, VOCABULARY).task
    assert task.network is not None
    task.network.load_state_dict(folder.weights())
    task.eval()
    source, target = folder.batches()[0]
    totals = task.score(task(Batch(source, target, torch.arange(len(source)))), training_totals)
    assert float(totals.smoothed.detach() / totals.tokens) == pytest.approx(expected, rel=1e-5)
    program = translation.train(folder)
    before = program.check()["loss"]
    assert before == pytest.approx(expected, rel=1e-5)
    steps = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    for passes in (1, 2):
        program.run(range(1))
        assert program.items == real_tokens(folder.batches(), 0)
        assert len(steps) == 2 * passes
    hook.remove()
    assert program.check()["loss"] < before
    assert program.settings["flops_per_item"] > 1e4


def test_an_error_in_training_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a benchmark that waits for a thread which has died."""
    folder, _ = training_work(tmp_path, "tiny/qv.yaml")

    def fail(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(TranslationTask, "training_step", fail)
    program = translation.train(folder)
    with pytest.raises(RuntimeError, match="out of memory"):
        program.run(range(1))


def test_sizes_are_those_of_the_network(tmp_path: Path) -> None:
    """Catches a peer that is built with other sizes or dropouts than ours."""
    folder, _ = training_work(tmp_path, "tiny/qkv.yaml")
    shape = folder.shape
    assert (shape.d_model, shape.d_ff, shape.vocabulary) == (16, 24, VOCABULARY)
    assert (shape.encoder_layers, shape.decoder_layers, shape.num_heads) == (2, 2, 4)
    assert (shape.pad, shape.unk, shape.bos, shape.eos) == (0, 1, 2, 3)
    network = build("multi30k/qkv_sinusoidal.yaml", [], VOCABULARY).task.network
    found = translation.sizes_of(network)
    assert (found["dropout"], found["attention_dropout"], found["ffn_dropout"]) == (0.3, 0, 0)


def test_translations_keep_their_order(tmp_path: Path) -> None:
    """Catches lines in the order of their lengths, and an end token too many."""
    config = "tiny/qkv.yaml"
    network = build(config, SIZES, VOCABULARY).task.network
    sources = [[5, 6, 3], [7, 8, 9, 10, 11, 3], [12, 3]]
    sizes = translation.sizes_of(network)
    shape = SimpleNamespace(config=config, overrides=SIZES, beam_size=2, **sizes)
    Work(tmp_path).write(shape, network.state_dict(), sources=sources)
    program = translation.translate(Work(tmp_path))
    translator = Translator(network, translation.IdLines(), beam_size=2)
    wanted = [translator.translate_ids(torch.tensor([ids]))[0] for ids in sources]
    assert program.check() == {"lines": wanted}
    program.run(range(1))
    assert program.items == 3


def layer_shape(mechanism: str, position: str, **more: Any) -> SimpleNamespace:
    """A small layer."""
    sizes = {"d_model": 32, "num_heads": 4, "length": 13, "batch": 2}
    return SimpleNamespace(mechanism=mechanism, position=position, **sizes, **more)


@pytest.mark.parametrize(
    ("mechanism", "position", "backward"),
    [("qkv", "none", True), ("qv", "agf", False), ("qvka", "agf", True)],
)
def test_a_layer_is_what_its_definition_says(
    tmp_path: Path, mechanism: str, position: str, backward: bool
) -> None:
    """Catches a fast path that is fast because it computes something else."""
    work, shape = Work(tmp_path / "work"), layer_shape(mechanism, position, backward=backward)
    judge = layers.write_attention(work, shape, 1e-5)
    program = layers.attention(work)
    answer = program.check()
    assert judge(answer, READY).passed, judge(answer, READY).facts
    answer["values"][-1][0] *= 1.001
    assert not judge(answer, READY).passed
    program.run(range(1))
    assert program.items % 26 == 0
    kernel = "reference" if position == "agf" else "sdpa"  # on a CPU
    assert program.settings["attention_backend"]["name"] == kernel


@pytest.mark.parametrize("mechanism", ["qv", "mla"])
def test_a_prefill_is_what_the_layers_definition_says(tmp_path: Path, mechanism: str) -> None:
    """Catches a prompt after what is cached already, one without the causal mask, and FLOPs of
    another number of tokens."""
    work, shape = Work(tmp_path / "work"), layer_shape(mechanism, "none", backward=False)
    judge = layers.WORK["prefill"](work, shape, 1e-5)
    program = layers.prefill(work)
    program.run(range(1))
    assert judge(program.check(), READY).passed
    assert program.items % 26 == 0
    if mechanism == "qv":  # three projections, and two products over all pairs
        assert program.settings["flops_per_item"] == 2 * (3 * 32 * 32 + 2 * 32 * 13)


@pytest.mark.parametrize("mechanism", ["qkv", "qv", "qvka"])
def test_a_step_is_the_last_row_and_leaves_the_cache_as_it_was(
    tmp_path: Path, mechanism: str
) -> None:
    """Catches a step from a cache of another length, and bytes that are not in it."""
    work, shape = Work(tmp_path / "work"), layer_shape(mechanism, "none")
    judge = layers.write_step(work, shape, 1e-5)
    program = layers.step(work)
    first = program.check()
    assert judge(first, READY).passed
    program.run(range(1))
    assert program.items % 2 == 0
    assert program.check() == first
    cached = 2 * 13 * layers.layer_of(shape).cache_size * 4
    assert program.settings["cache_bytes"] == cached


def test_memory_is_set_up_as_fit_sets_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches settings that differ from those of training, and a layer's program that loads
    Lightning for them: 250 MiB in its peak."""
    (variable,) = command.KERNELS
    monkeypatch.delenv(variable, raising=False)
    cache_few_kernels()
    assert os.environ[variable] == command.KERNELS[variable]
    code = "import sys, benchmarks.layers; sys.exit('lightning' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=protocol.ROOT, check=True)


@pytest.mark.parametrize("what", ["product", "copy", "triad", "read"])
def test_rates(tmp_path: Path, what: str) -> None:
    """Catches a rate of something that was not computed."""
    sizes = {"rows": 8, "inner": 16, "columns": 4, "bytes": 3 << 10}
    work = Work(tmp_path / "work")
    judge = layers.write_rates(work, SimpleNamespace(what=what, **sizes), 0.0)
    program = layers.rates(work)
    assert judge(program.check(), READY).passed
    program.run(range(1))
    assert program.items % (2 * 8 * 16 * 4 if what == "product" else 3 << 10) == 0
