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
    """The keys in which two configs differ, each with the baseline's value and the other."""
    keys = sorted(settings.keys() | baseline.keys())
    return {
        key: (baseline.get(key, "absent"), settings.get(key, "absent"))
        for key in keys
        if settings.get(key, "absent") != baseline.get(key, "absent")
    }


def settings_section(comparison: Comparison) -> list[str]:
    """Markdown: a variant's differences to the baseline's config; empty without configs."""
    base = comparison.baseline
    if base is None or not settings_of(base):
        return []
    lines = []
    for variant in comparison.variants:
        if variant is base or not settings_of(variant):
            continue
        changed = differences(settings_of(variant), settings_of(base))
        words = [f"`{key}` {_short(old)} → {_short(new)}" for key, (old, new) in changed.items()]
        lines.append(f"- {variant.name}: {'; '.join(words) or 'the same config'}")
    if not lines:
        return []
    return [
        "## What each variant was",
        f"The resolved config of each beside the baseline's, {base.name}; everything else is "
        "the same, the learning rate and its schedule included unless they stand here. The whole "
        "configs lie in `runs/`.",
        "\n".join(lines),
    ]


def _short(value: Any) -> str:
    """A value as the page shows it: a class by its name."""
    text = str(value)
    known = text.startswith(("qvbench.", "torch."))
    return f"`{text.rpartition('.')[2] if known else text}`"
