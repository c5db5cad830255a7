"""Whether a program computed what was expected: no speed is shown of one that did not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.peers.protocol import OTHER_FUNCTION

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """Of a check.

    Attributes:
        passed: whether a speed may be shown.
        reason: in a few words, of either.
        facts: for the raw results.
    """

    passed: bool
    reason: str
    facts: dict[str, Any] = field(default_factory=dict)


def loss(answer: Answer, ready: Answer, expected: float, tolerance: float) -> Verdict:
    """The first batch's loss: that of the reference, finite at least of another function."""
    found = float(answer["loss"])
    facts = {"loss": found, "expected": expected}
    comparable = str(ready.get("comparable", ""))
    if comparable.startswith(OTHER_FUNCTION):
        words = f"loss {found:.4f}; {comparable}"
        return Verdict(math.isfinite(found), words, {**facts, "comparable": comparable})
    near = math.isfinite(found) and abs(found - expected) <= tolerance * abs(expected)
    return Verdict(near, f"loss {found:.6f}, expected {expected:.6f}", facts)


def learned(answer: Answer, check: Answer) -> Verdict:
    """The first batch's loss after the repeats, lower than before: every step was taken."""
    before, after = float(check["loss"]), float(answer["loss"])
    words = f"loss {before:.4f} before and {after:.4f} after training"
    return Verdict(after < before, words, {"loss after": after})


def values(answer: Answer, ready: Answer, expected: Sequence[Any], tolerance: float) -> Verdict:
    """Groups of numbers, or one; in each they are off by no more than a share of its largest."""
    found, wanted = _groups(answer["values"]), _groups(expected)
    if [group.shape for group in found] != [group.shape for group in wanted]:
        return Verdict(False, "other values than expected: not as many")
    error = max((_error(a, b) for a, b in zip(found, wanted, strict=True)), default=0.0)
    return Verdict(error <= tolerance, f"off by {error:.1e} at most", {"error": error})


def _groups(numbers: Sequence[Any]) -> list[np.ndarray]:
    """Groups as they are, plain numbers as one group."""
    nested = any(isinstance(each, list) for each in numbers)
    return [np.asarray(group, float) for group in (numbers if nested else [numbers])]


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    scale = float(np.abs(wanted).max(initial=0)) or 1.0
    error = float(np.abs(found - wanted).max(initial=0)) / scale
    return error if math.isfinite(error) else math.inf


def lines(
    answer: Answer,
    ready: Answer,
    expected: Sequence[Sequence[int]],
    bleu: Callable[[Sequence[Sequence[int]]], float],
    tolerance: float,
) -> Verdict:
    """Translations that score as the reference's do; how many are the same is told beside it."""
    found = answer["lines"]
    if len(found) != len(expected):
        return Verdict(False, f"{len(found)} translations, expected {len(expected)}")
    same = sum(list(a) == list(b) for a, b in zip(found, expected, strict=True)) / len(expected)
    score, wanted = bleu(found), bleu(expected)
    facts = {"bleu": score, "expected": wanted, "same": same}
    words = f"BLEU {score:.2f}, expected {wanted:.2f}; {100 * same:.1f} % the same"
    return Verdict(abs(score - wanted) <= tolerance, words, facts)
