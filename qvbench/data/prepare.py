"""What a data module stored, as a table for ``qvbench prepare``."""

from __future__ import annotations

from typing import Any

from qvbench.data.module import TranslationDataModule

_HEAD = ("split", "pairs", "dropped", "source subwords", "target subwords", "unknown", "longest")


def describe(module: TranslationDataModule) -> str:
    """A line a split: pairs, what was dropped and why, subwords; and where all of it lies.

    Args:
        module: prepared.
    """
    splits: dict[str, Any] = module.manifest["splits"]  # type: ignore[assignment]
    rows = [_HEAD, *(_row(name, entry) for name, entry in splits.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(map(_aligned, row, widths)).rstrip() for row in rows]
    lines += [
        f"dropped from {name}: {count:,} pairs {reason}"
        for name, entry in splits.items()
        for reason, count in entry["dropped"].items()
    ]
    lines += [
        f"vocabulary: {len(module.vocabulary):,} entries, fingerprint "
        f"{module.vocabulary.fingerprint()[:16]}",
        f"stored in {module.folder}",
    ]
    return "\n".join(lines)


def _row(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    source, target = entry["source"], entry["target"]
    numbers = (
        entry["pairs"],
        sum(entry["dropped"].values()),
        source["subwords"],
        target["subwords"],
        source["unknown"] + target["unknown"],
        max(source["longest"], target["longest"]),
    )
    return (name, *(f"{number:,}" for number in numbers))


def _aligned(cell: str, width: int) -> str:
    """Numbers to the right, names to the left."""
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
