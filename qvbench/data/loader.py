"""A loader of batches that a killed run resumes in mid-epoch, exactly.

The order is a function of seed and epoch, so where a run stands is two numbers: the epoch, and how
many batches of it were handed out. ``torchdata``'s ``StatefulDataLoader`` would keep the state of
every worker and replay it; here there is nothing else to keep, and this works alike for any
number of workers. It is no ``DataLoader`` itself so that Lightning takes it as it is: it never
swaps the sampler for another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from qvbench.data.batching import Batch, EvaluationSampler, Int64, PairDataset, TrainSampler
from qvbench.errors import UserError

_VERSION = 1


class _From:
    """The sampler's batches from a position on, as the inner loader asks for them."""

    def __init__(self, sampler: TrainSampler | EvaluationSampler) -> None:
        self.sampler = sampler
        self.position = 0

    def __iter__(self) -> Iterator[Int64]:
        return iter(self.sampler.from_batch(self.position))

    def __len__(self) -> int:
        return len(self.sampler)


def _as_it_is(batch: Any) -> Any:
    return batch


class BatchLoader:
    """Hands out batches and knows how many it has.

    Args:
        dataset: pairs.
        sampler: which pairs make the batches of an epoch; ``sampler.set_epoch`` chooses it.
        num_workers: processes that cut batches out; 0 does it in this one.
        identity: what a saved state must agree on to be resumed from, such as the fingerprint
            of the data: by name, for the message.
    """

    batch_sampler = None  # Lightning looks for one beside ``sampler``

    def __init__(
        self,
        dataset: PairDataset,
        sampler: TrainSampler | EvaluationSampler,
        num_workers: int = 0,
        identity: dict[str, Any] | None = None,
    ) -> None:
        self.sampler = sampler
        self._identity = {**(identity or {}), "world_size": sampler.world_size}
        self._from = _From(sampler)
        self._given = (sampler.epoch, 0)  # the epoch begun last, and its batches handed out
        self._going_on = False
        self._loader: DataLoader[Batch] = DataLoader(
            dataset,  # type: ignore[arg-type]
            sampler=self._from,
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

    def __iter__(self) -> Iterator[Batch]:
        # All of this runs at the first batch, not at iter(): Lightning calls iter() before it
        # says which epoch it is.
        position = self.position if self._going_on else 0
        self._going_on = False
        self._given = (self.sampler.epoch, position)
        self._from.position = position
        for batch in self._loader:
            position += 1
            self._given = (self.sampler.epoch, position)
            yield batch

    @property
    def position(self) -> int:
        """Batches of the sampler's epoch that were handed out."""
        epoch, position = self._given
        return position if epoch == self.sampler.epoch else 0

    def state_dict(self) -> dict[str, Any]:
        """Where this loader stands; batches handed out count as done."""
        return {
            "version": _VERSION,
            "epoch": self.sampler.epoch,
            "position": self.position,
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
        self._given = (state["epoch"], state["position"])
        self._going_on = True
        self.sampler.set_epoch(state["epoch"])
