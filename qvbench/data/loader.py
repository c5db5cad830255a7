"""A loader of batches that a killed run resumes in mid-epoch, exactly.

The order is a function of seed and epoch, so where a run stands is two numbers, with any number of
workers: the epoch, and how many batches of it were handed out. It is no ``DataLoader`` itself so
that Lightning takes it as it is: it never swaps the sampler for another.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from qvbench.data.batching import DataPosition, EvaluationSampler, TrainSampler
from qvbench.errors import UserError

_VERSION = 1


class BatchLoader:
    """Hands out batches and knows how many it has.

    Args:
        dataset: gives the batch of chosen rows of a split; pickled, it opens its files anew.
        sampler: which rows make the batches of an epoch.
        num_workers: processes that cut batches out; 0 does it in this one.
        identity: what a saved state must agree on to be resumed from, by name.
    """

    batch_sampler = None  # Lightning looks for one beside ``sampler``, whose epoch it sets

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: TrainSampler | EvaluationSampler,
        num_workers: int = 0,
        identity: dict[str, Any] | None = None,
    ) -> None:
        self.sampler = sampler
        self._dataset = dataset
        self._identity = {**(identity or {}), "world_size": sampler.world_size}
        self._resumed = False
        self._skew = 0  # by how much the trainer's epoch is ahead of ours
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,  # a sampler's item is a batch's rows, a dataset's item is a batch
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # The inner loader draws a number at every start: from its own generator, so that
            # starting anew in mid-epoch leaves the run's random numbers where they were.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def end_workers(self) -> None:
        """End the processes that prepare batches. The garbage collector would wait five seconds
        for each: it may close the queues by which they are told before it tells them."""
        workers: Any = self._loader._iterator  # kept where they persist from epoch to epoch
        if workers is not None:
            workers._shutdown_workers()

    def batch_at(self, epoch: int, number: int) -> Any:
        """This process's batch of a number in an epoch, both from 0, as it was handed out."""
        return self._dataset[self.sampler.share(epoch)[number]]

    def __iter__(self) -> Iterator[Any]:
        # All of this runs at the first batch, not at iter(): Lightning calls iter() before it
        # sets the epoch.
        position = self.sampler.position = self._start()
        for batch in self._started():
            position = self.sampler.position = position._replace(batches=position.batches + 1)
            yield batch

    def _start(self) -> DataPosition:
        """Where to begin: in mid-epoch only right after :meth:`load_state_dict`."""
        trainer_epoch = self.sampler.trainer_epoch
        if not self._resumed:
            return DataPosition(trainer_epoch - self._skew, 0, trainer_epoch)
        self._resumed = False
        position = self.sampler.position
        if trainer_epoch != position.trainer_epoch or position.batches >= len(self):
            position = DataPosition(position.epoch + 1, 0, trainer_epoch)
        self._skew = trainer_epoch - position.epoch
        return position

    def _started(self) -> Iterator[Any]:
        """The inner loader's batches, from the position on.

        PyTorch installs a handler that raises wherever the main thread is when a worker dies, also
        while another exception is handled or a checkpoint written, once per loader that lost one.
        Without it the loader raises where a batch is waited for, within seconds.
        """
        handler = signal.getsignal(signal.SIGCHLD)
        batches = iter(self._loader)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, handler)
        try:
            yield from batches
        except (ConnectionError, EOFError) as error:
            # A batch was announced, but who would have handed over its memory is gone.
            raise RuntimeError("DataLoader worker exited unexpectedly") from error

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
        """Resume from a state. The number of workers may differ: the order does not depend on it.

        Raises:
            UserError: the state is of other data, another order, or another number of processes.
        """
        then = {"version": state.get("version"), **state.get("identity", {})}
        now = {"version": _VERSION, **self._identity}
        for name in {**now, **then}:
            if then.get(name) != now.get(name):
                raise UserError(
                    f"checkpoint: its data state has {name}={then.get(name)}, this run has "
                    f"{now.get(name)}; resume with the same value, or start a new run"
                )
        position = DataPosition(state["epoch"], state["position"], state["trainer_epoch"])
        self.sampler.position = position
        self.sampler.set_epoch(position.trainer_epoch)
        self._resumed = True
