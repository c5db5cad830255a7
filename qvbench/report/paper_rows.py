"""Which of our variants is which row of the paper, told by mechanism, positions and config."""

from __future__ import annotations

from typing import Any

from qvbench.report.paper import paper
from qvbench.report.settings import Settings, settings_of
from qvbench.report.variants import Comparison, Variant

ATTENTION = "model.attention."


def rows_of_ours(comparison: Comparison) -> dict[str, Variant]:
    """Our variants by the key of the paper's row, as far as there is one and one only.

    A row that several variants would fit (other exponents, say) goes to none of them: which is
    the paper's is not for the report to choose. The baseline is the exception.
    """
    rows = paper()["rows"] | paper()["others"]
    found: dict[str, Variant] = {}
    for key, row in rows.items():
        fits = [v for v in comparison.variants if _fits(v, row)]
        if len(fits) == 1:
            found[key] = fits[0]
        elif comparison.baseline is not None and comparison.baseline in fits:
            found[key] = comparison.baseline
    return found


def _fits(variant: Variant, row: dict[str, Any]) -> bool:
    record, settings = variant.record, settings_of(variant)
    if (record["mechanism"], record["position"]) != (row["mechanism"], row["position"]):
        return False
    if row["position"] == "agf" and not settings.get("model.position.value_scaling", True):
        return False
    if "context" in row and _context_in_heads(settings) != row["context"]:
        return False
    if "one_head" in row and (_value_heads(settings) == 1) != row["one_head"]:
        return False
    return "milder" not in row or _milder_key(settings) == row["milder"]


def _context_in_heads(settings: Settings) -> float | None:
    """Width of QV-Ka's one shared context in widths of a head; nothing for other contexts."""
    if settings.get(f"{ATTENTION}context") != "shared":
        return None
    head = settings["model.network.d_model"] / settings["model.network.num_heads"]
    width = settings.get(f"{ATTENTION}context_dim")
    return 1.0 if width is None else float(width / head)


def _milder_key(settings: Settings) -> bool | None:
    """Whether MLA's key has a wider latent of its own; nothing where the config is not known."""
    return settings[key] is not None if (key := f"{ATTENTION}key_rank") in settings else None


def same_value_heads(a: Variant, b: Variant) -> bool:
    """Whether two variants that share values among heads have as many of them."""
    return _value_heads(settings_of(a)) == _value_heads(settings_of(b))


def _value_heads(settings: Settings) -> int | None:
    names = ("num_value_heads", "num_kv_heads")
    found = [settings[ATTENTION + name] for name in names if ATTENTION + name in settings]
    return found[0] if found else None
