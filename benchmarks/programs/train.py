"""Training as ``qvbench fit`` does it: Lightning's loop around the suite's task."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer

from benchmarks import checks, work
from benchmarks.checks import Expectation
from benchmarks.peers.protocol import SAME_FUNCTION, Work, real_tokens, serve
from benchmarks.programs import PACKAGES, as_fit_does, load_weights, synchronize, values_of
from qvbench.cli.profile import build
from qvbench.data.batching import Batch
from qvbench.models.encoder_decoder import EncoderDecoder
from qvbench.models.facts import Size, count
from qvbench.models.loss import validation_scores
from qvbench.tasks.translation import TranslationTask
from qvbench.training.schedules import Constant
from qvbench.training.step_guard import StepGuard


def export(folder: Path, values: work.Values, tolerance: float) -> Expectation:
    """Initial weights and the first batches of training."""
    config = values["config"]
    task = build(config, values["overrides"], len(work.data_of(config).vocabulary)).task
    batches = work.first_batches(config, values["batches"])
    return checks.loss(write(folder, task, batches, values), tolerance)


def write(
    folder: Path, task: TranslationTask, batches: Sequence[work.Pair], values: work.Values
) -> float:
    """Write a task's network and batches; returns the loss that its check should give."""
    assert task.network is not None
    betas = task.optimizer(task.network.parameters()).defaults["betas"]
    training = {"label_smoothing": task.label_smoothing, "betas": betas}
    shape = {**values, **work.shape_of(task.network), **training}
    work.write(folder, shape, task.network, batches)
    return reference_loss(task.network, batches[0], task.label_smoothing)


@torch.no_grad()
def reference_loss(network: EncoderDecoder, batch: work.Pair, smoothing: float) -> float:
    """Label-smoothed loss of a batch without dropout, mean over its target tokens, in float64.

    From its definition, with all logits at once, unlike in training.
    """
    exact = copy.deepcopy(network).double().eval()
    source, target = (torch.from_numpy(side) for side in batch)
    logits = exact.project(exact(source, target[:, :-1]))
    loss = F.cross_entropy(
        logits.flatten(0, 1),
        target[:, 1:].flatten(),
        ignore_index=exact.padding_id,
        label_smoothing=smoothing,
    )
    return float(loss)


class Feed:
    """A loader that hands its batches out once per request, in an epoch without end.

    The Trainer asks for a batch once it is done with the one before, so a pass is over when it asks
    for more than there are.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches
        self._requested, self._done = threading.Semaphore(0), threading.Semaphore(0)

    def __len__(self) -> int:
        return 1 << 60

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self._requested.acquire()
            yield from self._batches
            self._done.release()

    def one_pass(self) -> None:
        """Hand all batches out, and wait until the last one is done."""
        self._requested.release()
        self._done.acquire()

    def give_up(self) -> None:
        """Let nobody wait for a pass that will not end."""
        self._done.release()


class Training:
    """A Trainer in a thread of its own, which steps when it is asked to."""

    comparable = SAME_FUNCTION

    def __init__(self, folder: Work) -> None:
        values, shape = values_of(folder), folder.shape
        self.settings: dict[str, Any] = {**as_fit_does(), "precision": shape.precision}
        self._device = shape.device
        self._task = build(values["config"], values["overrides"], shape.vocabulary).task
        self._task.schedule = Constant(shape.learning_rate)
        assert self._task.network is not None
        self._network: EncoderDecoder = self._task.network
        load_weights(self._network, folder)
        batches = folder.batches()
        self._tokens = real_tokens(batches, shape.pad)
        self.settings["flops_per_item"] = flops(self._network, batches) / self._tokens
        self._batches = [
            Batch(torch.from_numpy(s), torch.from_numpy(t), torch.arange(len(s)))
            for s, t in batches
        ]
        self._feed = Feed(self._batches)
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._error: BaseException | None = None
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
        """One step per batch."""
        if not self._thread.is_alive():
            self._thread.start()
        self._feed.one_pass()
        if self._error is not None:
            raise self._error
        synchronize(self._device)
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
        except BaseException as error:  # for the thread that waits
            self._error = error
        finally:
            self._feed.give_up()


def flops(network: EncoderDecoder, batches: Sequence[work.Pair]) -> int:
    """Of a step per batch, padding counted: the network computes it."""
    sizes = [Size(len(s), s.shape[1], t.shape[1] - 1) for s, t in batches]
    return sum(count(network, size)["train"].total for size in sizes)


if __name__ == "__main__":
    serve({"train": Training}, PACKAGES)
