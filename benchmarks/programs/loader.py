"""Batches of the training set, as ``fit`` gets them."""

from __future__ import annotations

from typing import Any

from benchmarks.peers.protocol import SAME_FUNCTION, Work, serve
from benchmarks.programs.common import PACKAGES, values_of
from qvbench.cli.experiment import ExperimentCLI


class Loading:
    """All batches of an epoch."""

    comparable = SAME_FUNCTION

    def __init__(self, work: Work) -> None:
        values = values_of(work)
        words = ["--config", values["config"], "--data.num_workers", str(values["num_workers"])]
        module = ExperimentCLI(words, run=False).datamodule
        module.setup()
        self._loader = module.train_dataloader()
        self._tokens = 0
        self.settings: dict[str, Any] = {"num_workers": values["num_workers"]}

    def check(self) -> dict[str, Any]:
        """Pairs, real target tokens with their end tokens, and batches of an epoch."""
        batches = list(self._loader)
        self._tokens = sum(int((batch.target[:, 1:] != 0).sum()) for batch in batches)
        pairs = sum(len(batch.target) for batch in batches)
        return {"values": [[pairs], [self._tokens], [len(batches)]]}

    def repeat(self) -> int:
        """An epoch; items are real target tokens."""
        for _ in self._loader:
            pass
        return self._tokens


if __name__ == "__main__":
    serve({"loader": Loading}, PACKAGES)
