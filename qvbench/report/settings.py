"""What a run was: its resolved config, key by key, and how it differs from another's."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from qvbench.report.variants import Comparison, Variant

PARTS = ("model", "data", "trainer")
PLACES = ("trainer.default_root_dir", "trainer.logger", "data.cache_dir", "data.seed")
"""Settings that say where a run lies, or its seed, and not what it is."""
Settings = dict[str, Any]


@lru_cache(maxsize=512)
def flattened(text: str) -> Settings:
    """A config's values by dotted key, ``init_args`` left out of the keys.

    Args:
        text: of a resolved config; empty for none.
    """
    import yaml

    content = yaml.safe_load(text) or {}
    flat: Settings = {}
    for part in PARTS:
        _flatten(part, content.get(part, {}), flat)
    return {key: value for key, value in flat.items() if not key.startswith(PLACES)}


def _flatten(key: str, value: Any, flat: Settings) -> None:
    if not isinstance(value, dict):
        flat[key] = value
        return
    for name, inner in value.items():
        _flatten(key if name == "init_args" else f"{key}.{name}", inner, flat)


def settings_of(variant: Variant) -> Settings:
    """Those of a variant's first run; empty if none were kept."""
    return flattened(variant.runs[0].settings)


def differences(settings: Settings, baseline: Settings) -> dict[str, tuple[Any, Any]]:
    """The keys in which two configs differ, each with the baseline's value and the other.

    A key that one of them lacks differs from none that is unset: it has no effect either way.
    """
    keys = sorted(settings.keys() | baseline.keys())
    pairs = {key: (baseline.get(key), settings.get(key)) for key in keys}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def settings_section(comparison: Comparison) -> list[str]:
    """Markdown: what all were, and a variant's differences to the baseline's config.

    Empty without configs.
    """
    base = comparison.baseline
    if base is None or not settings_of(base):
        return []
    own = settings_of(base)
    lines = [
        f"- {variant.name}: {_changes(differences(settings_of(variant), own))}"
        for variant in comparison.variants
        if variant is not base and settings_of(variant)
    ]
    if not lines:
        return []
    return [
        "## What each variant was",
        *_in_common(comparison, own),
        f"The resolved config of each beside the baseline's, {base.name}; everything else is "
        "the same, the learning rate and its schedule included unless they stand here. The whole "
        "configs lie in `runs/`.",
        "\n".join(lines),
    ]


def _changes(changed: dict[str, tuple[Any, Any]]) -> str:
    """What was changed, and what a changed class was given; what is unset goes without saying."""
    words = []
    for key, (old, new) in changed.items():
        if old is None:
            words.append(f"`{key}` = {_short(new)}")
        elif new is not None or not _other_class(key, changed):
            words.append(f"`{key}` {_short(old)} → {_short(new)}")
    return "; ".join(words) or "the same config"


def _other_class(key: str, changed: dict[str, tuple[Any, Any]]) -> bool:
    """Whether the part that a key belongs to is of another class than the baseline's."""
    return f"{key.rpartition('.')[0]}.class_path" in changed


def _in_common(comparison: Comparison, own: Settings) -> list[str]:
    """The main settings that no variant changes, as the baseline has them."""
    others = [settings_of(v) for v in comparison.variants if settings_of(v)]
    same = [
        key
        for key in COMMON
        if own.get(key) is not None and all(settings.get(key) == own[key] for settings in others)
    ]
    words = [f"`{key}` {_short(own[key])}" for key in same]
    return ["All variants have: " + "; ".join(words) + "."] if words else []


def _short(value: Any) -> str:
    """A value as the page shows it: a class by its name."""
    text = str(value)
    known = text.startswith(("qvbench.", "torch."))
    return f"`{text.rpartition('.')[2] if known else text}`"


COMMON = (
    "data.corpus.class_path",
    "data.max_tokens",
    "data.merges",
    "trainer.max_steps",
    "trainer.accumulate_grad_batches",
    "trainer.precision",
    "model.network.d_model",
    "model.network.num_heads",
    "model.network.ffn_dim",
    "model.network.encoder_layers",
    "model.network.decoder_layers",
    "model.network.dropout",
    "model.label_smoothing",
    "model.optimizer.class_path",
    "model.optimizer.lr",
    "model.schedule.class_path",
    "model.schedule.peak",
    "model.schedule.factor",
    "model.schedule.warmup_steps",
)
"""What a reader asks of a training first."""
