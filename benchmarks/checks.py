"""Whether a program computed what was expected: without that, no speed of it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.protocol import OTHER_FUNCTION

Answer = Mapping[str, Any]


class Verdict(NamedTuple):
    """Of a check: whether a speed may be shown, why, and what was found."""

    passed: bool
    reason: str
    facts: dict[str, Any]


Judge = Callable[[Answer, Answer], Verdict]


class Expectation(NamedTuple):
    """What the checks of a work folder's programs should give.

    Attributes:
        judge: of the answer to a check before the repeats, and the program's first line.
        judge_last: of the answer after them, and the facts of the first check; ``None`` where the
            repeats change nothing.
    """

    judge: Judge
    judge_last: Judge | None = None


def loss(expected: float, tolerance: float) -> Expectation:
    """The first batch's loss: the reference's (finite, for another function), lower afterwards."""

    def judge(answer: Answer, ready: Answer) -> Verdict:
        found = float(answer["loss"])
        facts: dict[str, Any] = {"loss": found, "expected": expected}
        comparable = str(ready.get("comparable", ""))
        if comparable.startswith(OTHER_FUNCTION):
            facts |= {"comparable": comparable}
            return Verdict(math.isfinite(found), f"loss {found:.4f}; {comparable}", facts)
        near = math.isfinite(found) and abs(found - expected) <= tolerance * abs(expected)
        return Verdict(near, f"loss {found:.6f}, expected {expected:.6f}", facts)

    def judge_last(answer: Answer, check: Answer) -> Verdict:
        before, after = float(check["loss"]), float(answer["loss"])
        reason = f"loss {before:.4f} before and {after:.4f} after training"
        return Verdict(after < before, reason, {"loss after": after})

    return Expectation(judge, judge_last)


def values(expected: Sequence[float | Sequence[float]], tolerance: float) -> Expectation:
    """Numbers or groups of them, each right to a share of its largest."""
    wanted = [np.atleast_1d(np.asarray(group, float)) for group in expected]

    def judge(answer: Answer, ready: Answer) -> Verdict:
        found = [np.atleast_1d(np.asarray(group, float)) for group in answer["values"]]
        if [group.shape for group in found] != [group.shape for group in wanted]:
            return Verdict(False, "the numbers of values differ from those expected", {})
        error = max((_error(a, b) for a, b in zip(found, wanted, strict=True)), default=0.0)
        return Verdict(error <= tolerance, f"off by {error:.1e} at most", {"error": error})

    return Expectation(judge)


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    scale = float(np.abs(wanted).max(initial=0)) or 1.0
    error = float(np.abs(found - wanted).max(initial=0)) / scale
    return error if math.isfinite(error) else math.inf


def translations(
    expected: Sequence[Sequence[int]],
    bleu: Callable[[Sequence[Sequence[int]]], float],
    tolerance: float,
) -> Expectation:
    """Translations that score as the reference's do; the share of equal ones is recorded too."""

    def judge(answer: Answer, ready: Answer) -> Verdict:
        found = answer["lines"]
        if len(found) != len(expected):
            return Verdict(False, f"{len(found)} translations, expected {len(expected)}", {})
        same = sum(list(a) == list(b) for a, b in zip(found, expected, strict=True))
        score, wanted = bleu(found), bleu(expected)
        facts = {"bleu": score, "expected": wanted, "same": same / len(expected)}
        reason = f"BLEU {score:.2f}, expected {wanted:.2f}; {100 * facts['same']:.1f} % equal"
        return Verdict(abs(score - wanted) <= tolerance, reason, facts)

    return Expectation(judge)
