"""Signals that stop a training, and checkpoints of other models."""

from __future__ import annotations

import os
import signal

import pytest

from qvbench.errors import UserError
from qvbench.tasks.checkpoint import check_same_model
from qvbench.training.stop_signals import StoppedBySignal, StopSignals


def test_signals_are_kept_and_given_back() -> None:
    """Catches a handler that stays when training is over."""
    before = signal.getsignal(signal.SIGUSR1)
    signals = StopSignals()
    signals.install()
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.received == signal.SIGUSR1
    finally:
        signals.restore()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_second_ctrl_c_does_not_wait() -> None:
    signals = StopSignals()
    signals.install()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signals.restore()


def test_the_status_is_the_signals() -> None:
    assert StoppedBySignal(signal.SIGTERM, 3).code == 143


# The model


def config(attention: str, **more: str) -> str:
    return "\n".join([f"attention: {{class_path: x.{attention}}}", *map(": ".join, more.items())])


def test_another_mechanism_is_named_with_both() -> None:
    with pytest.raises(UserError, match=r"model\.attention is QVKa there, QKV here"):
        check_same_model(config("QVKa"), config("QKV"), "--ckpt_path a.ckpt", fit=False)


def test_what_may_change() -> None:
    """Catches a test refused for another smoothing, a fit that goes on with it silently."""
    one, other = config("QV", label_smoothing="0.1"), config("QV", label_smoothing="0.2")
    check_same_model(one, other, "x", fit=False)
    with pytest.raises(UserError, match=r"label_smoothing is 0\.1 there, 0\.2 here"):
        check_same_model(one, other, "x", fit=True)
    check_same_model(config("QV", beam_size="5"), config("QV", beam_size="1"), "x", fit=True)
    check_same_model("", config("QV"), "x", fit=True)
    check_same_model(config("QV", added="1"), config("QV"), "x", fit=True)
