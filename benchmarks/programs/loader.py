"""Batches of the training set, as ``fit`` gets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import checks, work
from benchmarks.checks import Expectation
from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs import PACKAGES, values_of


def export(folder: Path, values: work.Values, tolerance: float) -> Expectation:
    """The config's name alone; pairs, target tokens and batches are counted in the store."""
    work.write(folder, values)
    data = work.data_of(values["config"])
    split = data.split("train")
    tokens = int(split.target.lengths.sum()) + len(split)
    return checks.values([len(split), tokens, len(data.train_dataloader())], tolerance)


class Loading:
    """All batches of an epoch."""

    comparable = SAME_FUNCTION

    def __init__(self, folder: Work) -> None:
        values = values_of(folder)
        self.settings: dict[str, Any] = {"num_workers": values["num_workers"]}
        workers = ("--data.num_workers", str(values["num_workers"]))
        self._loader = work.data_of(values["config"], *workers).train_dataloader()
        self._tokens = 0

    def check(self) -> dict[str, Any]:
        """Pairs, real target tokens with their end tokens, and batches of an epoch."""
        batches = list(self._loader)
        self._tokens = sum(int((batch.target[:, 1:] != 0).sum()) for batch in batches)
        return {"values": [sum(len(b.target) for b in batches), self._tokens, len(batches)]}

    def repeat(self) -> int:
        """An epoch; items are real target tokens."""
        for _ in self._loader:
            pass
        return self._tokens


if __name__ == "__main__":
    serve({"loader": Loading}, PACKAGES)
