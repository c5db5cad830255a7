"""`qvbench profile`: its three forms, what it refuses, what it measures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qvbench.attention import ATTENTION
from qvbench.cli.profile import DEFAULT_VOCABULARY, build
from qvbench.config_files import shipped_configs
from qvbench.models.facts import count_parameters
from qvbench.positions import POSITIONS
from qvbench.profile.measure import peak_memory, precision_of
from qvbench.profile.render import as_latex, as_table, escape
from tests.cli.conftest import Answer

pytestmark = pytest.mark.slow  # every one builds networks, and all run in `make test`

Command = Callable[..., Answer]

QUICK = ("--vocab_size", "64", "--repeats", "0", "--source_length", "5", "--target_length", "3")
ONE_LAYER = (
    "--model.network.init_args.encoder_layers=1",
    "--model.network.init_args.decoder_layers=1",
    "--model.network.init_args.ffn_dim=8",
)


def documents(qvbench: Command, *words: str) -> Any:
    """The one JSON document; anything beside it does not parse."""
    status, out, err = qvbench("profile", *words, "--format", "json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_json_is_one_document_with_the_promised_keys(qvbench: Command, config: str) -> None:
    """Catches a word on standard output beside the document; a key renamed; a config lost; an
    override that only the last config sees, or none."""
    words = ("-c", config, "-c", "tiny/qkv.yaml", *QUICK, "--model.attention", "GQA")
    both = documents(qvbench, *words)
    assert [record["config"] for record in both] == [config, "tiny/qkv.yaml"]
    assert [(r["mechanism"], r["position"]) for r in both] == [("gqa", "agf"), ("gqa", "agf")]
    for record in both:
        assert set(record["parameters"]) == {"total", "attention"}
        assert set(record["flops_per_target_token"]) == {"train", "prefill", "decode"}
        assert {"self", "cross", "bytes"} <= set(record["cache_per_token"])
        assert all(value > 0 for value in record["flops_per_target_token"].values())
        assert record["measured"] is None


PAPER = {
    "qkv_sinusoidal": 2048,
    "qkv_agf": 2048,
    "qv_sinusoidal": 1024,
    "qv_agf": 1024,
    "qvka_1x_agf": 1024 + 64,
    "qvka_2x_agf": 1024 + 128,
}


def test_cache_at_the_papers_size(qvbench: Command) -> None:
    """Catches another cache than the paper claims, at its own width: 16-mixed, 2 bytes."""
    words = [word for name in PAPER for word in ("--config", f"paper/{name}.yaml")]
    records = documents(qvbench, *words, *QUICK, *ONE_LAYER)
    for record, numbers in zip(records, PAPER.values(), strict=True):
        kept = record["cache_per_token"]
        assert (kept["self"], kept["cross"]) == (numbers, numbers), record["config"]
        assert (kept["self_bytes"], kept["cross_bytes"]) == (2 * numbers, 2 * numbers)
        assert kept["bytes"] == 4 * numbers


def test_counts_are_of_a_target_token_over_all_layers(qvbench: Command, config: str) -> None:
    """Catches FLOPs of a batch printed as those of a token: more sentences would cost more; bytes
    of one layer, or of another precision than the config's."""
    (few,) = documents(qvbench, "-c", config, *QUICK, "--batch_size", "1")
    wide = ("--batch_size", "4", "--trainer.precision", "64-true")
    (many,) = documents(qvbench, "-c", config, *QUICK, *wide)
    assert few["flops_per_target_token"] == many["flops_per_target_token"]
    attention, flops = few["attention_flops_per_target_token"], few["flops_per_target_token"]
    rest = flops["decode"] - attention["decode"]
    assert rest == 2 * (16 * 64 + 2 * 2 * 16 * 24)
    for record, precision, size in ((few, "bf16-mixed", 2), (many, "64-true", 8)):
        assert record["cache_per_token"]["bytes"] == 2 * (16 + 16) * size
        assert record["precision"] == precision


def test_vocabulary_is_the_prepared_corpus_else_the_default(
    qvbench: Command, config: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a model of another size than the one that is trained, and nobody told."""
    monkeypatch.setenv("QVBENCH_CACHE", str(here / "cache"))
    words = ("-c", config, *QUICK[2:])
    (before,) = documents(qvbench, *words)
    assert before["vocabulary"] == {"size": DEFAULT_VOCABULARY, "source": "default"}
    assert DEFAULT_VOCABULARY % 8 == 0
    assert qvbench("prepare", "--config", config).status == 0
    (after,) = documents(qvbench, *words)
    assert after["vocabulary"]["source"] == "corpus"
    saved = DEFAULT_VOCABULARY - after["vocabulary"]["size"]
    assert saved > 0
    fewer = before["parameters"]["total"] - after["parameters"]["total"]
    assert fewer == saved * (16 + 1)  # embeddings and the output's bias


def test_a_missing_corpus_is_no_fault(qvbench: Command) -> None:
    """Catches a profile that asks for data."""
    words = ("-c", "paper/qv_agf.yaml", "--source_length", "2", "--target_length", "2")
    words += (*ONE_LAYER, "--repeats", "0", "--vocab_size", "16")
    (record,) = documents(qvbench, *words)
    assert record["vocabulary"] == {"size": 16, "source": "--vocab_size"}
    assert qvbench("profile", *words).out == as_table([record]) + "\n"


def test_what_is_measured(qvbench: Command, config: str) -> None:
    """Catches zero where nothing was timed; memory without weights, gradients or Adam's moments."""
    words = ("-c", config, "--vocab_size", "4096", "--repeats", "1")
    (record,) = documents(qvbench, *words)
    measured = record["measured"]
    assert measured["train_step_seconds"] > 0
    assert measured["decode_step_seconds"] > 0
    if not torch.cuda.is_available():
        weights = 4 * record["parameters"]["total"]
        assert measured["device"] == "cpu"
        assert measured["precision"] == "bf16-mixed"
        assert 4 * weights < measured["peak_memory_bytes"] < 12 * weights


def test_peak_memory_is_the_worst_moment() -> None:
    """Catches the memory at the end, or the sum of all allocations, taken for the peak."""
    held = torch.nn.Linear(250, 1000, bias=False)

    def step() -> None:
        for _ in range(3):
            torch.empty(1_000_000)
        torch.empty(1_000)

    peak = peak_memory(step, held.parameters(), torch.device("cpu"))
    assert peak == 4 * 1_000_000 + 4 * 250_000


@pytest.mark.parametrize(
    ("mechanism", "total", "attention"),
    [
        ("QKV", 305_534_976, 83_968_000),
        ("QV", 284_542_976, 62_976_000),
        ("Single", 263_550_976, 41_984_000),
    ],
)
def test_parameters_are_the_published_ones(mechanism: str, total: int, attention: int) -> None:
    """Catches a bias too many and an output layer counted twice: the three models of 300 million
    parameters of arXiv:2606.04032 (its QKV, Q-K=V and Q=K=V), of 50,304 entries."""
    with torch.device("meta"):
        part = f'{{"class_path": "{mechanism}", "init_args": {{"bias": true}}}}'
        model = build("lm/300m.yaml", ["--model.attention", part], 50_304)
    assert count_parameters(model.task.network) == {"total": total, "attention": attention}


def test_a_language_model_and_what_its_training_needs(qvbench: Command) -> None:
    """Catches what is sharded counted whole, or activations that are none of the batch's; and
    sums that no training step comes near."""
    size = ("--batch_size", "16", "--vocab_size", "65")
    words = ("-c", "lm/nanogpt_cpu.yaml", *size)
    (alone,) = documents(qvbench, *words, "--repeats", "1")
    sharded = ("--trainer.strategy", "fsdp", "--trainer.devices", "4", "--repeats", "0")
    (shared,) = documents(qvbench, *words, *sharded)
    own, part = alone["memory_per_device"], shared["memory_per_device"]
    assert own["weights"] == 4 * alone["parameters"]["total"]
    assert (own["devices"], own["gradients"], own["optimizer"]) == (
        *(1, own["weights"]),
        2 * own["weights"],
    )
    for name, bytes_ in own.items():
        expected = {"devices": 4, "activations": bytes_}.get(name, bytes_ // 4)
        assert part[name] == expected, name
    if not torch.cuda.is_available():
        needed = sum(own.values()) - own["devices"]
        assert 0.7 < alone["measured"]["peak_memory_bytes"] / needed < 1.4


PRECISIONS = {
    "32-true": (torch.float32, torch.float32),
    "32": (torch.float32, torch.float32),
    "64-true": (torch.float64, torch.float64),
    "16-mixed": (torch.float32, torch.float16),
    "16": (torch.float32, torch.float16),
    "bf16-mixed": (torch.float32, torch.bfloat16),
    "bf16-true": (torch.bfloat16, torch.bfloat16),
}


def test_precisions() -> None:
    """Catches a name of Lightning's that is read as another precision."""
    for name, (weights, compute) in PRECISIONS.items():
        assert precision_of(name) == (weights, compute), name


def wide_record() -> dict[str, Any]:
    """A profile as wide as names and numbers get."""
    return {
        "config": max(shipped_configs(), key=len),
        "mechanism": max(ATTENTION, key=len),
        "position": max(POSITIONS, key=len),
        "parameters": {"total": 312_000_000, "attention": 120_000_000},
        "flops_per_target_token": {
            "train": 2_828_620_000,
            "prefill": 277_460_000,
            "decode": 250_180_000,
        },
        "cache_per_token": {
            "self": 2048,
            "cross": 1024,
            "self_bytes": 24_576,
            "cross_bytes": 12_288,
            "bytes": 36_864,
        },
        "memory_per_device": {
            "devices": 8,
            "weights": 10 << 30,
            "gradients": 10 << 30,
            "optimizer": 20 << 30,
            "activations": 40 << 30,
        },
        "precision": "32-true",
        "size": {"batch": 2, "source": 32, "target": 32},
        "vocabulary": {"size": 36_000, "source": "--vocab_size"},
        "measured": {
            "device": "cpu",
            "precision": "32-true",
            "train_step_seconds": 2.7402,
            "decode_step_seconds": 0.10741,
            "peak_memory_bytes": 3 * 2**30,
        },
    }


def test_table_fits_and_shows_the_numbers() -> None:
    """Catches a table that wraps in a terminal; a number in another's column."""
    table = as_table([wide_record(), wide_record() | {"measured": None}])
    assert max(map(len, table.splitlines())) <= 100
    first, _, second, unmeasured, needed = re.findall(r"^ablations.*", table, re.MULTILINE)[:5]
    assert needed.split()[1:] == ["10,240", "10,240", "20,480", "40,960", "8"]
    assert first.split()[3:] == ["120.00", "312.00", "2,828.62", "277.46", "250.18"]
    assert second.split()[1:] == [
        *("2,048", "1,024", "24,576", "12,288", "36,864"),
        *("2,740.2", "107.41", "3,072"),
    ]
    assert unmeasured.split()[6:] == ["-", "-", "-"]
    assert "vocabulary 36,000 (--vocab_size)" in table


def test_latex_can_be_compiled() -> None:
    """Catches a bare underscore, or a row of more cells than the table has columns."""
    text = as_latex([wide_record(), wide_record() | {"measured": None}])
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert not re.search(r"(?<!\\)[_%#]", "\n".join(body))
    for environment in re.findall(r"\\begin{tabular}(.*?)\\end{tabular}", text, re.DOTALL):
        columns = re.match(r"{([lr]+)}", environment)
        assert columns is not None
        rows = [line for line in environment.splitlines() if line.endswith(r"\\")]
        assert len(rows) == 4
        for row in rows:
            assert len(re.findall(r"(?<!\\)&", row)) + 1 == len(columns[1]), row
        assert environment.count("{") == environment.count("}")
    assert escape(r"a_b & 5 % \x") == r"a\_b \& 5 \% \textbackslash{}x"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "tiny/qkw.yaml"], "did you mean tiny/qkv.yaml"),
        ([], "required: -c/--config"),
        (["-c", "tiny/qkv.yaml", "--format", "html"], "invalid choice: 'html'"),
        (["-c", "tiny/qkv.yaml", "--source_length", "0"], "invalid PositiveInt value: '0'"),
        (["-c", "tiny/qkv.yaml", "--repeats", "x"], "invalid NonNegativeInt value: 'x'"),
        (["-c", "tiny/qkv.yaml", "--formt", "json"], "formt: no such option"),
        (["-c", "tiny/qkv.yaml", "--model.attention", "QVW"], "no class of that name"),
    ],
)
def test_faults_are_one_line_and_status_2(qvbench: Command, words: list[str], message: str) -> None:
    """Catches a traceback, or a page of usage, for a slip of the user's."""
    status, out, err = qvbench("profile", *words)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("qvbench: error: ")
    assert message in err
