"""A mechanism, a position scheme and a corpus are added at run time: no other file is touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from qvbench.attention import ATTENTION, Attention
from qvbench.attention.cache import KV
from qvbench.cli.experiment import load_translator_parts
from qvbench.cli.main import main
from qvbench.data.corpora import CORPORA, Corpus
from qvbench.positions import POSITIONS, Position


class OneValue(Attention):
    """Every head has a query of its own; all share one key and one value."""

    def __init__(self, d_model: int, num_heads: int, **settings: Any) -> None:
        super().__init__(d_model, num_heads, **settings)
        self.query = self.linear(d_model, num_heads * self.head_dim)
        self.pair = self.linear(d_model, 2 * self.head_dim)

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.query(x), self.num_heads)

    def project_kv(self, m: Tensor) -> KV:
        return self.split(self.pair(m), 2).split(1, 1)

    def keys_values(self, memory: KV) -> tuple[Tensor, Tensor]:
        k, v = memory
        return k, v


class Slope(Position):
    """A learned number per head, times the distance, added to the logits."""

    def __init__(self, num_heads: int, d_model: int | None = None) -> None:
        super().__init__(num_heads, d_model)
        self.slope = nn.Parameter(torch.linspace(-0.5, -0.1, num_heads))

    def bias(self, q_len: int, k_len: int, first: int | None = None) -> Tensor:
        start = k_len - q_len if first is None else first
        queries = torch.arange(start, start + q_len)
        distance = (queries[:, None] - torch.arange(k_len)).abs()
        return self.slope[:, None, None] * distance


class Echo(Corpus):
    """Sentences of one word, said as often in the other language."""

    def prepare(self) -> None:
        pass

    def splits(self) -> tuple[str, ...]:
        return "train", "val", "test"

    def pairs(self, split: str) -> Iterator[tuple[str, str]]:
        return ((" ".join(["yes"] * n), " ".join(["ja"] * n)) for n in range(1, 12))

    def fingerprint(self) -> dict[str, object]:
        return {"corpus": "echo"}


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry, name, cls in (
        (ATTENTION, "one_value", OneValue),
        (POSITIONS, "slope", Slope),
        (CORPORA, "echo", Echo),
    ):
        monkeypatch.setitem(registry, name, cls)


def write_config(folder: Path) -> Path:
    sizes = {"d_model": 16, "num_heads": 2, "ffn_dim": 16}
    config = {
        "model": {
            "attention": "OneValue",
            "position": "Slope",
            "network": {
                "class_path": "EncoderDecoder",
                "init_args": {**sizes, "encoder_layers": 1, "decoder_layers": 1},
            },
            "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1.0}},
        },
        "data": {"corpus": "Echo", "merges": 4, "max_tokens": 64, "cache_dir": str(folder)},
        "trainer": {"accelerator": "cpu", "max_steps": 2, "check_val_every_n_epoch": 1},
    }
    file = folder / "added.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


def test_what_is_added_trains_translates_and_is_listed(
    added: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches a list of names somewhere that a new part has to be written into."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QVBENCH_RUN_FOLDER", "")
    assert main(["fit", "--config", str(write_config(tmp_path))]) == 0
    (record,) = tmp_path.glob("runs/added/*/run.json")
    found = yaml.safe_load(record.read_text(encoding="utf-8"))
    assert (found["mechanism"], found["position"], found["corpus"]) == (
        "one_value",
        "slope",
        "echo",
    )
    (checkpoint,) = tmp_path.glob("runs/added/*/checkpoints/last.ckpt")
    assert main(["test", "--ckpt_path", str(checkpoint)]) == 0
    network, vocabulary, _ = load_translator_parts(checkpoint)
    assert_cached_is_uncached(network.double(), len(vocabulary))
    capsys.readouterr()
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    for words in ("one_value", "Every head has a query", "slope", "echo", "Sentences of one word"):
        assert words in listed


@torch.no_grad()
def assert_cached_is_uncached(network: Any, vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randint(4, vocabulary, (3, 5), generator=generator)
    source[1, 3:] = 0
    target = torch.randint(4, vocabulary, (3, 8), generator=generator)
    whole = network.project(network(source, target))
    state = network.start(source)
    for t in range(8):
        logits = network.step(target[:, t], state)
        torch.testing.assert_close(logits, whole[:, t], rtol=0, atol=1e-10)


def test_a_name_is_taken_once(added: None) -> None:
    """Catches two parts under one name: the order of imports would decide which is measured."""
    with pytest.raises(ValueError, match="registered already"):
        ATTENTION.register("one_value", OneValue)
