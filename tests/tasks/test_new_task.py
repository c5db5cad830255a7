"""A task is added at run time, with data and a network of its own: no other file is touched."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, default_collate

from qvbench.attention import AttentionFactory
from qvbench.cli.main import main
from qvbench.positions import PositionFactory
from qvbench.tasks import TASKS
from qvbench.tasks.base import Predictions, Task
from qvbench.training.schedules import Schedule

LENGTH, SYMBOLS, ROWS = 5, 12, 64


class Symbols:
    """A vocabulary of so many symbols; 0 is the padding."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def to_json(self) -> str:
        return json.dumps(self.size)

    @classmethod
    def from_json(cls, text: str) -> Symbols:
        return cls(json.loads(text))

    def fingerprint(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()


class Twice(NamedTuple):
    """Rows in which every symbol comes twice (B, 2 LENGTH), and their numbers."""

    tokens: Tensor
    index: Tensor  # type: ignore[assignment]


class CopyData(LightningDataModule):
    """Random symbols, each of them twice in a row.

    Args:
        rows: of the training set and of the validation set.
        seed: of both.
    """

    def __init__(self, rows: int = ROWS, seed: int = 0) -> None:
        super().__init__()
        self.rows, self.seed = rows, seed
        self.vocabulary = Symbols(SYMBOLS)
        self.fingerprint = f"{rows} rows"

    def _batches(self, seed: int) -> DataLoader[Any]:
        generator = torch.Generator().manual_seed(seed)
        symbols = torch.randint(1, SYMBOLS, (self.rows, LENGTH), generator=generator)
        rows = TensorDataset(symbols.repeat_interleave(2, 1), torch.arange(self.rows))
        return DataLoader(rows, 16, collate_fn=lambda each: Twice(*default_collate(each)))

    def train_dataloader(self) -> DataLoader[Any]:
        return self._batches(self.seed)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._batches(self.seed + 1)


class Decoder(nn.Module):
    """One causal layer of attention over embeddings."""

    def __init__(
        self,
        vocab_size: int,
        padding_id: int,
        attention: AttentionFactory,
        position: PositionFactory,
        *,
        d_model: int = 32,
        num_heads: int = 2,
    ) -> None:
        super().__init__()
        self.padding_id, self.d_model = padding_id, d_model
        self.position = position(num_heads=num_heads, d_model=d_model)
        self.attention = attention(
            d_model=d_model, num_heads=num_heads, position=self.position, dropout=0.0
        )
        self.tokens = nn.Embedding(vocab_size, d_model)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))

    @property
    def output_weight(self) -> Tensor:
        return self.tokens.weight

    @property
    def cache_per_token(self) -> dict[str, int]:
        return {"self": self.attention.cache_size, "cross": 0}

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids)
        y: Tensor = x + self.attention(x, causal=True)
        return y


class DecoderFactory(Protocol):
    def __call__(
        self,
        *,
        vocab_size: int,
        padding_id: int,
        attention: AttentionFactory,
        position: PositionFactory,
    ) -> Decoder: ...


class CopyTask(Task):
    """Predicts the second of every two symbols; the first cannot be known and does not count."""

    data_module = CopyData

    def __init__(
        self,
        attention: AttentionFactory,
        position: PositionFactory,
        network: DecoderFactory,
        optimizer: OptimizerCallable,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__(attention, position, network, optimizer, schedule)

    def forward(self, batch: Twice) -> Predictions:
        hidden, targets = self.network(batch.tokens[:, :-1]), batch.tokens[:, 1:]
        counted = (torch.arange(targets.shape[1]) % 2 == 0).expand(targets.shape)
        return Predictions(hidden, targets, counted)

    def token_ids(self, batch: Twice) -> tuple[Tensor, ...]:
        return (batch.tokens,)


CONFIG = {
    "task": "copy",
    "model": {
        "attention": "QV",
        "position": "AGF",
        "network": {"class_path": f"{__name__}.Decoder"},
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 1.0}},
        "schedule": {"class_path": "Constant", "init_args": {"rate": 0.02}},
    },
    "data": {"rows": ROWS},
    "trainer": {
        "accelerator": "cpu",
        "max_steps": 60,
        "log_every_n_steps": 10,
        "val_check_interval": 30,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
    },
}


@pytest.mark.slow
def test_a_task_of_ones_own_trains_and_validates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches sentence pairs, BLEU or an encoder taken for granted anywhere on the way from a
    config to a record, tokens scored that do not count, and a validation of a checkpoint that
    shows nothing or changes what the training has recorded."""
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)
    monkeypatch.setenv("QVBENCH_RUN_FOLDER", "")
    monkeypatch.setitem(TASKS, "copy", CopyTask)
    Path("copy.yaml").write_text(yaml.safe_dump(CONFIG))
    assert main(["fit", "--config", "copy.yaml"]) == 0, capsys.readouterr().err
    folder = tmp_path / "runs" / "copy" / "seed-0"
    record = json.loads((folder / "run.json").read_text())
    assert (record["mechanism"], record["position"]) == ("qv", "agf")
    assert record["primary_metric"]["name"] == "val/accuracy"
    assert record["target_tokens"] == 60 * 16 * LENGTH
    assert record["cache_per_token"]["cross"] == 0
    assert record["metrics"]["val/accuracy"] > 90
    with np.load(folder / "sentences.npz") as counts:
        assert counts["tokens"].tolist() == [LENGTH] * ROWS
    kept = {name: (folder / name).read_bytes() for name in ("run.json", "curves.csv")}
    capsys.readouterr()
    assert main(["validate", "--config", "copy.yaml", "--ckpt_path", "last"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("val/accuracy") == 1
    assert f"{record['metrics']['val/accuracy']:.4g}" in shown
    assert kept == {name: (folder / name).read_bytes() for name in kept}
