"""The table of a results folder, in Markdown: one row per run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qvbench.report.load import Run

NOTHING = "-"


def table(runs: list[Run]) -> str:
    """Markdown: what each run was, what came of it, what it cost."""
    lines = [
        row(name for name, _ in COLUMNS),
        row("---" if name in LEFT else "---:" for name, _ in COLUMNS),
    ]
    lines += [row(cell(run) for _, cell in COLUMNS) for run in runs]
    return "\n".join(lines) + "\n"


def signatures(runs: list[Run]) -> list[str]:
    """Every BLEU and chrF signature under the metric that it belongs to, once."""
    found = {
        f"`{metric}`: `{signature}`"
        for run in runs
        for metric, signature in run.record.get("bleu_signatures", {}).items()
    }
    return sorted(found)


def row(cells: Iterable[str]) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def _metric(name: str, digits: int = 2) -> Callable[[Run], str]:
    def cell(run: Run) -> str:
        value = run.record["metrics"].get(name)
        return NOTHING if value is None else f"{value:.{digits}f}"

    return cell


def _best_accuracy(run: Run) -> str:
    points = run.curves.get("val/accuracy", [])
    return f"{max(p.value for p in points):.2f}" if points else NOTHING


def count(value: float | None) -> str:
    """A number of things, with separators."""
    return NOTHING if value is None else f"{value:,.0f}"


def _throughput(run: Run) -> str:
    """Target tokens a second over the whole training, validation included."""
    seconds = run.record.get("wall_seconds")
    return count(run.record["target_tokens"] / seconds) if seconds else NOTHING


COLUMNS: list[tuple[str, Callable[[Run], str]]] = [
    ("run", lambda run: run.id),
    ("mechanism", lambda run: run.record["mechanism"]),
    ("positions", lambda run: run.record["position"]),
    ("val accuracy, last", _metric("val/accuracy")),
    ("best", _best_accuracy),
    ("val perplexity", _metric("val/perplexity", 3)),
    ("BLEU, tokenised", _metric("test/bleu_tokenised")),
    ("BLEU", _metric("test/bleu")),
    ("chrF", _metric("test/chrf")),
    ("tested checkpoint", lambda run: run.record.get("tested_checkpoint") or NOTHING),
    ("steps", lambda run: count(run.record.get("steps"))),
    ("target tokens", lambda run: count(run.record.get("target_tokens"))),
    ("parameters", lambda run: count(run.record.get("parameters", {}).get("total"))),
    ("in attention", lambda run: count(run.record.get("parameters", {}).get("attention"))),
    ("minutes", lambda run: count(run.record.get("wall_seconds", 0) / 60)),
    ("tokens/s", _throughput),
]
LEFT = ("run", "mechanism", "positions", "tested checkpoint")
