"""The identity of an experiment: a hash of its resolved config, all defaults filled in.

Runs with one identity are the same experiment but for their seed; others are never averaged.

* :data:`EXCLUDED` keys and callbacks that only look on do not count.
* A class of this package counts by its name alone, so that a module can be moved.
* What is off (None, False, empty) counts as absent, so that an option that is added later and is
  off by default keeps the identities of earlier runs. For the keys of :data:`DEFAULTS` it is the
  value there; a later Lightning's new ones are left out by ``qvbench.cli.experiment``.
* Numbers count by value: ``1`` as ``1.0``. Keys have no order, lists have.
* The end of a schedule that decays (``total_steps``) counts as absent where it follows
  ``trainer.max_steps``; before it did so by itself, configs had it one higher: the same rates.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

CODE_VERSIONS = {"translation": 1, "language_modeling": 2, "recall": 2}
"""By task; 1 for others. Add one when a change of the code, which is no part of the config, changes
what one trains."""

EXCLUDED = frozenset(
    {
        "seed_everything",
        "data.seed",  # follows seed_everything
        "data.cache_dir",
        "data.corpus.root",
        "data.num_workers",
        "trainer.default_root_dir",
        "trainer.logger",
        "trainer.profiler",
        "trainer.enable_autolog_hparams",
        "trainer.enable_model_summary",
        "trainer.enable_progress_bar",
        "trainer.model_registry",
    }
)
"""Which of the seeds it is, where it lies, who watches; with all that is below these keys."""

DEFAULTS: Mapping[str, Any] = {
    "task": "translation",
    "trainer.accelerator": "auto",
    "trainer.strategy": "auto",
    "trainer.devices": "auto",
    "trainer.num_nodes": 1,
    "trainer.max_steps": -1,
    "trainer.overfit_batches": 0,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.accumulate_grad_batches": 1,
    "trainer.inference_mode": True,
    "trainer.use_distributed_sampler": True,
    "trainer.reload_dataloaders_every_n_epochs": 0,
    "data.corpus.source": "en",
    "data.corpus.target": "de",
}
"""Lightning's defaults that are not off, the first task, the languages before there were others."""

_WATCHING = re.compile(r"lightning\..*\.\w+(Monitor|Summary|ProgressBar)")
_OWN_CLASS = re.compile(r"qvbench(\.\w+)*\.(?P<name>\w+)")


def identity(resolved: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that name the experiment of a resolved config."""
    code = CODE_VERSIONS.get(resolved.get("task", DEFAULTS["task"]), 1)
    content = {"code": code, "config": counted(resolved)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """The first key, in alphabetical order, that makes two experiments of two resolved configs."""
    one, other = counted(first), counted(second)
    for key in sorted(one.keys() | other.keys()):
        values = [json.dumps(flat.get(key, DEFAULTS.get(key))) for flat in (one, other)]
        if values[0] != values[1]:  # as JSON, where 1 is not true
            return key
    return None


def counted(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of a resolved config, by dotted key without ``init_args``."""
    flat = dict(_flat("", resolved))
    steps = flat.get("trainer.max_steps")
    if isinstance(steps, int) and flat.get("model.schedule.total_steps") in (steps, steps + 1):
        del flat["model.schedule.total_steps"]
    return {key: value for key, value in flat.items() if DEFAULTS.get(key) != value}


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values below a key that count, each with its own dotted key."""
    off = value is None or value is False
    if key in EXCLUDED or (off and key not in DEFAULTS):
        return
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(key if name == "init_args" else f"{key}.{name}".lstrip("."), part)
    elif isinstance(value, list):
        for number, part in enumerate(part for part in value if not _only_watches(part)):
            yield from _flat(f"{key}.{number}", part)
    else:
        yield key, _plain(value)


def _only_watches(part: Any) -> bool:
    path = part.get("class_path") if isinstance(part, Mapping) else None
    return isinstance(path, str) and _WATCHING.fullmatch(path) is not None


def _plain(value: Any) -> Any:
    """A value without its spelling."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    own = _OWN_CLASS.fullmatch(value) if isinstance(value, str) else None
    return own["name"] if own else value
