"""What ``qvbench prepare`` says: what it would do, and what a data module stored."""

from __future__ import annotations

from typing import Any

from qvbench.data.corpora import CORPORA
from qvbench.data.corpora.corpus import NotFetchedError
from qvbench.data.module import TranslationDataModule

_HEAD = (
    "split",
    "pairs",
    "dropped",
    "source subwords",
    "per pair",
    "target subwords",
    "per pair",
    "unknown",
    "longest",
)


def plan(module: TranslationDataModule) -> str:
    """What preparing would do, one line per step. Nothing is fetched, written or learned.

    Args:
        module: prepared or not.

    Raises:
        UserError: a local file that the corpus needs is not there.
    """
    lines = [f"corpus: {CORPORA.name_of(type(module.corpus))}"]
    try:
        if module.is_stored:
            return "\n".join([*lines, "nothing to do", f"stored in {module.folder}"])
        where = str(module.folder)
    except NotFetchedError:
        where = "the cache, under a name that depends on what arrives"
    config = module.preprocessing
    steps = [
        *module.corpus.plan(),
        "normalize and tokenize its lines" if not module.corpus.tokenized else "",
        "lower-case its lines" if module.lowercase else "",
        f"learn one vocabulary of {config.merges:,} merges"
        + (f", {config.max_vocabulary:,} entries at most" if config.max_vocabulary else ""),
        f"drop training pairs that are empty on a side or over {config.max_length} subwords"
        + (f", or over a length ratio of {config.max_ratio:g}" if config.max_ratio else ""),
        f"store the ids of {', '.join(module.corpus.splits())} in {where}",
    ]
    return "\n".join([*lines, *(f"would {step}" for step in steps if step)])


def describe(module: TranslationDataModule) -> str:
    """One line per split: pairs, what was dropped and why, subwords; and where all of it lies.

    Args:
        module: prepared.
    """
    splits: dict[str, Any] = module.manifest["splits"]  # type: ignore[assignment]
    words: dict[str, int] = module.manifest["words"]  # type: ignore[assignment]
    rows = [_HEAD, *(_row(name, entry) for name, entry in splits.items())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = ["  ".join(map(_aligned, row, widths)).rstrip() for row in rows]
    lines += [
        f"dropped from {name}: {count:,} pairs {reason}"
        for name, entry in splits.items()
        for reason, count in entry["dropped"].items()
    ]
    if words["learned_from_count"] > 1:
        lines.append(
            f"learned from words that occur {words['learned_from_count']} times at least, of "
            f"{words['different']:,} different ones"
        )
    lines += [
        f"vocabulary: {len(module.vocabulary):,} entries, fingerprint "
        f"{module.vocabulary.fingerprint()[:16]}",
        f"data fingerprint: {module.fingerprint}",
        f"stored in {module.folder}",
    ]
    return "\n".join(lines)


def _row(name: str, entry: dict[str, Any]) -> tuple[str, ...]:
    source, target = entry["source"], entry["target"]
    return (
        name,
        f"{entry['pairs']:,}",
        f"{sum(entry['dropped'].values()):,}",
        f"{source['subwords']:,}",
        f"{source['subwords'] / entry['pairs']:.1f}",
        f"{target['subwords']:,}",
        f"{target['subwords'] / entry['pairs']:.1f}",
        f"{source['unknown'] + target['unknown']:,}",
        f"{max(source['longest'], target['longest']):,}",
    )


def _aligned(cell: str, width: int) -> str:
    """Numbers to the right, names to the left."""
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
