"""Training as ``qvbench fit`` does it: Lightning's loop around the suite's task."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer

from benchmarks.peers.protocol import SAME_FUNCTION, Work, real_tokens, serve
from benchmarks.programs.common import PACKAGES, as_fit_does, load_weights, values_of, wait
from benchmarks.trials import TRIALS
from qvbench.cli.profile_model import build
from qvbench.data.batching import Batch
from qvbench.models import formula
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.formula import Size
from qvbench.models.loss import validation_scores
from qvbench.training.schedules import Constant
from qvbench.training.step_guard import StepGuard


class Feed:
    """A loader that hands its batches out once whenever it is told to, in an epoch without end.

    The Trainer asks for a batch once all is done of the one before, so that a pass is over when
    it asks for more than there are.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._told, self._passed = threading.Semaphore(0), threading.Semaphore(0)

    def __len__(self) -> int:
        return 1 << 60

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._told.acquire()
            yield from self._batches
            self._passed.release()

    def one_pass(self) -> None:
        """Hand all batches out, and wait until the last one is done."""
        self._told.release()
        self._passed.acquire()

    def give_up(self) -> None:
        """Let nobody wait for a pass that will not end."""
        self._passed.release()


class Training:
    """A Trainer that steps whenever it is asked to, in a thread of its own."""

    comparable = SAME_FUNCTION

    def __init__(self, work: Work) -> None:
        values, shape = values_of(work), work.shape
        self.settings: dict[str, Any] = {**as_fit_does(), "precision": shape.precision}
        self._device = shape.device
        self._task = build(values["config"], values["overrides"], shape.vocabulary).task
        self._task.schedule = Constant(shape.learning_rate)
        assert self._task.network is not None
        self._network: EncoderDecoder = self._task.network
        load_weights(self._network, work)
        if "trial" in values:
            TRIALS[values["trial"]](self._task)
        batches = work.batches()
        self._tokens = real_tokens(batches, shape.pad)
        self.settings["flops_per_item"] = flops(self._network, batches) / self._tokens
        self._batches = [
            Batch(torch.from_numpy(s), torch.from_numpy(t), torch.arange(len(s)))
            for s, t in batches
        ]
        self._feed = Feed(self._batches)
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._fault: BaseException | None = None
        torch.manual_seed(1)

    def check(self) -> dict[str, Any]:
        """The task's own validation loss of the first batch."""
        device = self._network.output_bias.device
        batch = Batch(*(side.to(device) for side in self._batches[0]))
        self._task.eval()
        with torch.no_grad():
            scores = self._task.score(self._task(batch), validation_scores)
        self._task.train()
        return {"loss": float(scores.smoothed.mean())}

    def repeat(self) -> int:
        """One step for each batch."""
        if not self._thread.is_alive():
            self._thread.start()
        self._feed.one_pass()
        if self._fault is not None:
            raise self._fault
        wait(self._device)
        return self._tokens

    def _fit(self) -> None:
        try:
            trainer = Trainer(
                accelerator="gpu" if self._device == "cuda" else "cpu",
                devices=1,
                precision=self.settings["precision"],
                max_epochs=-1,
                callbacks=[StepGuard()],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            )
            trainer.fit(self._task, train_dataloaders=self._feed)
        except BaseException as fault:  # the other thread has to hear of anything
            self._fault = fault
        finally:
            self._feed.give_up()


def flops(network: EncoderDecoder, batches: Sequence[tuple[Any, Any]]) -> int:
    """Of a step for each batch, padding counted: the network computes it."""
    sizes = [Size(len(s), s.shape[1], t.shape[1] - 1) for s, t in batches]
    return sum(formula.training(network, size).total for size in sizes)


if __name__ == "__main__":
    serve({"train": Training}, PACKAGES)
