"""A loader of batches that a killed run resumes in mid-epoch, exactly.

The order is a function of seed and epoch, so where a run stands is two numbers: the epoch, and how
many batches of it were handed out. ``torchdata``'s ``StatefulDataLoader`` would keep the state of
every worker and replay it; here there is nothing else to keep, and this works alike for any
number of workers. It is no ``DataLoader`` itself so that Lightning takes it as it is: it never
swaps the sampler for another.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader

from qvbench.data.batching import (
    Batch,
    EvaluationSampler,
    Int64,
    PairDataset,
    Shape,
    TrainSampler,
)
from qvbench.errors import UserError

_VERSION = 1


class DataPosition(NamedTuple):
    """How far a run has consumed its data.

    Attributes:
        epoch: whose order is used.
        batches: how many of it were handed out.
        trainer_epoch: what the trainer called that epoch. The two may differ: resumed from a
            checkpoint that was written as an epoch ended, Lightning 2.6 skips a number.
    """

    epoch: int
    batches: int
    trainer_epoch: int


class _Order:
    """The batches that the inner loader is to cut out now: the sampler's, from a position on."""

    def __init__(self, sampler: TrainSampler | EvaluationSampler) -> None:
        self._sampler = sampler
        self.trainer_epoch = 0
        self.position = DataPosition(0, 0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Take notice of the trainer's epoch; Lightning calls this before every epoch."""
        self.trainer_epoch = epoch

    def __iter__(self) -> Iterator[Int64]:
        return iter(self._sampler.share(self.position.epoch)[self.position.batches :])

    def __len__(self) -> int:
        return len(self._sampler)


def _as_it_is(batch: Any) -> Any:
    return batch


class BatchLoader:
    """Hands out batches and knows how many it has.

    Args:
        dataset: pairs.
        sampler: which pairs make the batches of an epoch.
        num_workers: processes that cut batches out; 0 does it in this one.
        identity: what a saved state must agree on to be resumed from, such as the fingerprint
            of the data: by name, for the message.

    Attributes:
        sampler: has ``set_epoch``, by which the trainer chooses the epoch.
    """

    batch_sampler = None  # Lightning looks for one beside ``sampler``

    def __init__(
        self,
        dataset: PairDataset,
        sampler: TrainSampler | EvaluationSampler,
        num_workers: int = 0,
        identity: dict[str, Any] | None = None,
    ) -> None:
        self.sampler = _Order(sampler)
        self._dataset = dataset
        self._batches = sampler
        self._identity = {**(identity or {}), "world_size": sampler.world_size}
        self._resumed = False
        self._skew = 0  # by how much the trainer's epoch is ahead of ours
        self._loader: DataLoader[Batch] = DataLoader(
            dataset,  # type: ignore[arg-type]
            sampler=self.sampler,
            batch_size=None,  # a sampler's item is a batch's pairs, a dataset's item is a batch
            collate_fn=_as_it_is,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # The inner loader draws a number at every start: from its own generator, so that
            # starting anew in mid-epoch leaves the run's random numbers where they were.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def batch_at(self, epoch: int, number: int) -> Batch:
        """This process's batch of a number in an epoch, both from 0, as it was handed out."""
        return self._dataset[self._batches.share(epoch)[number]]

    def largest_shapes(self) -> list[Shape]:
        """See :meth:`TrainSampler.largest_shapes`."""
        return self._batches.largest_shapes()

    def __iter__(self) -> Iterator[Batch]:
        # All of this runs at the first batch, not at iter(): Lightning calls iter() before it
        # says which epoch it is.
        position = self._start()
        self.sampler.position = position
        batches = iter(self._loader)
        _raise_once_for_dead_workers()
        for batch in batches:
            position = position._replace(batches=position.batches + 1)
            self.sampler.position = position
            yield batch

    def _start(self) -> DataPosition:
        """Where to begin: in the middle of an epoch only right after :meth:`load_state_dict`."""
        trainer_epoch = self.sampler.trainer_epoch
        if not self._resumed:
            return DataPosition(trainer_epoch - self._skew, 0, trainer_epoch)
        self._resumed = False
        position = self.sampler.position
        if trainer_epoch != position.trainer_epoch or position.batches >= len(self):
            position = DataPosition(position.epoch + 1, 0, trainer_epoch)
        self._skew = trainer_epoch - position.epoch
        return position

    def state_dict(self) -> dict[str, Any]:
        """Where this loader stands; batches handed out count as done."""
        epoch, batches, trainer_epoch = self.sampler.position
        return {
            "version": _VERSION,
            "epoch": epoch,
            "position": batches,
            "trainer_epoch": trainer_epoch,
            "num_workers": self._loader.num_workers,
            "identity": self._identity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state. The number of workers may differ: the order does not depend on it.

        Raises:
            UserError: the state is of other data, another order, or another number of processes.
        """
        if state.get("version") != _VERSION:
            raise UserError(
                f"checkpoint: its data state has version {state.get('version')}, this program "
                f"reads {_VERSION}; resume with the version of qvbench that wrote it"
            )
        for name in {**self._identity, **state["identity"]}:
            then, now = state["identity"].get(name), self._identity.get(name)
            if then != now:
                raise UserError(
                    f"checkpoint: was written with {name}={then}, this run has {now}; resume with "
                    "the same value, or start a new run"
                )
        position = DataPosition(state["epoch"], state["position"], state["trainer_epoch"])
        self.sampler.position = position
        self.sampler.set_epoch(position.trainer_epoch)
        self._resumed = True


class _RaisesOnce:
    """PyTorch's handler of SIGCHLD until it has raised.

    It raises wherever the main thread is, once for every loader that lost a process. A second
    exception would cut short the handling of the first: how the run ended would not be recorded.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.raised = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.raised:
            self.raised = True
            self.handler(number, frame)
            self.raised = False


def _raise_once_for_dead_workers() -> None:
    """Wrap PyTorch's handler, which the first loader with processes of its own has installed."""
    handler = signal.getsignal(signal.SIGCHLD)
    if isinstance(handler, _RaisesOnce):
        handler.raised = False
    elif callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, _RaisesOnce(handler))
