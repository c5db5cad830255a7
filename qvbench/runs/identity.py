"""The identity of an experiment: a hash of its resolved config.

Runs with one identity are the same experiment but for their seed, whatever file, suite or command
line asked for them; runs with different identities are never averaged. The resolved config is what
the parser makes of all of these with every default of the code filled in, and what a run keeps as
``config.yaml``. The identity counts it by these rules:

1. :data:`EXCLUDED` keys do not count: which of the seeds it is, where it lies, who watches.
2. A class of this package counts by its name alone (``qvbench.attention.QV`` as ``QV``), so that
   moving a module makes no other experiment.
3. A key without a value, or that is off (None, False, empty), counts as absent, so that an option
   that is added later and is off by default keeps the identities of earlier runs.
4. For the keys of :data:`DEFAULTS` it is the value there that counts as absent. They are those of
   Lightning's own that are not off; what a later Lightning adds to them is left out where a config
   is resolved (``qvbench.cli.experiment``).
5. Numbers count by value: ``1`` as ``1.0``, ``1e-3`` as ``0.001``. Keys have no order, lists have.
6. The end of a schedule that decays (``total_steps``) counts as absent where it follows
   ``trainer.max_steps``. Before it did so by itself, configs had it one higher: the same rates.

The code that trains is no part of the config. Whoever changes what an unchanged config trains adds
one to :data:`CODE_VERSION`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

CODE_VERSION = 1
"""Add one when a change of the code changes what an unchanged config trains."""

EXCLUDED = frozenset(
    {
        "config",
        "ckpt_path",
        "name",
        "dry_pass",
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
"""Keys that do not say what is trained, with all that is below them."""

WATCHING = frozenset(
    {
        "DeviceStatsMonitor",
        "LearningRateMonitor",
        "ModelSummary",
        "RichModelSummary",
        "RichProgressBar",
        "TQDMProgressBar",
    }
)
"""Callbacks that only look on, which do not count either."""

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
"""Values that count as absent: Lightning's defaults that are not off, the first task, and what a
corpus was before it could be anything else."""

_OWN_CLASS = re.compile(r"qvbench(\.\w+)*\.(?P<name>\w+)")


def identity(resolved: Mapping[str, Any], code_version: int = CODE_VERSION) -> str:
    """Sixteen hexadecimal digits that name an experiment.

    Args:
        resolved: config with all defaults filled in, as plain data.
        code_version: of the code that trained it, for runs of the past.
    """
    content = {"code": code_version, "config": _counted(resolved)}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """The first key, in alphabetical order, in which two resolved configs are not one experiment.

    Dotted, without ``init_args``; None if their identities are the same.
    """
    one, other = _counted(first), _counted(second)
    for key in sorted(one.keys() | other.keys()):
        values = [json.dumps(flat.get(key, DEFAULTS.get(key))) for flat in (one, other)]
        if values[0] != values[1]:  # as JSON, where 1 is not true
            return key
    return None


def _counted(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """What counts of a config, by dotted key; see the rules above."""
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
        counted = [part for part in value if not _only_watches(part)]
        for number, part in enumerate(counted):
            yield from _flat(f"{key}.{number}", part)
    else:
        yield key, _plain(value)


def _only_watches(part: Any) -> bool:
    path = str(part.get("class_path")) if isinstance(part, Mapping) else ""
    return path.startswith("lightning.") and path.rpartition(".")[2] in WATCHING


def _plain(value: Any) -> Any:
    """A value without its spelling."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    own = _OWN_CLASS.fullmatch(value) if isinstance(value, str) else None
    return own["name"] if own else value
