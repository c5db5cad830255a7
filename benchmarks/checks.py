"""Whether a program computed what was expected: without that, no speed of it is shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.protocol import OTHER_FUNCTION, Ids

Answer = Mapping[str, Any]


class Verdict(NamedTuple):
    """Of a check: whether a speed may be shown, and what was found."""

    passed: bool
    facts: dict[str, Any]


Judge = Callable[[Answer, Answer], Verdict]
"""Of a program's answer to a check, and of its first line."""


def loss(expected: float, tolerance: float) -> Judge:
    """The first batch's loss is the reference's; for another function, finite."""

    def judge(answer: Answer, ready: Answer) -> Verdict:
        found: float = answer["loss"]
        facts = {"loss": found, "expected": expected}
        if ready["comparable"].startswith(OTHER_FUNCTION):
            return Verdict(math.isfinite(found), {**facts, "comparable": ready["comparable"]})
        return Verdict(math.isclose(found, expected, rel_tol=tolerance), facts)

    return judge


def values(expected: Sequence[Sequence[float]], tolerance: float) -> Judge:
    """Groups of numbers, each right to a share of its group's largest."""
    wanted = [np.asarray(group, float) for group in expected]

    def judge(answer: Answer, ready: Answer) -> Verdict:
        found = [np.asarray(group, float) for group in answer["values"]]
        if [group.shape for group in found] != [group.shape for group in wanted]:
            return Verdict(False, {"shapes": [group.shape for group in found]})
        pairs = zip(found, wanted, strict=True)
        errors = [abs(a - b).max() / (abs(b).max() or 1.0) for a, b in pairs]
        error = float(np.max(errors))  # of several with a NaN, NaN
        return Verdict(error <= tolerance, {"error": error})

    return judge


def texts(expected: Ids) -> Judge:
    """The same ids, from the first to the last."""

    def judge(answer: Answer, ready: Answer) -> Verdict:
        same = sum(list(a) == list(b) for a, b in zip(answer["lines"], expected, strict=True))
        return Verdict(same == len(expected), {"error": 1 - same / len(expected)})

    return judge


def translations(expected: Ids, bleu: Callable[[Ids], float], tolerance: float) -> Judge:
    """Translations that score as the reference's do; the share of equal ones is recorded too."""

    def judge(answer: Answer, ready: Answer) -> Verdict:
        found = answer["lines"]
        if len(found) != len(expected):
            return Verdict(False, {"translations": len(found)})
        same = sum(list(a) == list(b) for a, b in zip(found, expected, strict=True))
        score, wanted = bleu(found), bleu(expected)
        facts = {"bleu": score, "expected": wanted, "same": same / len(expected)}
        return Verdict(abs(score - wanted) <= tolerance, facts)

    return judge
