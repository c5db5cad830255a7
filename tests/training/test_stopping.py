"""Signals that stop a training, and checkpoints of other models."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import pytest

from qvbench.errors import UserError
from qvbench.tasks.checkpoint import check_same_model
from qvbench.training import stop_signals
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


def test_a_second_signal_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a process that cannot be stopped in a step that takes long, and one that is stopped
    without a checkpoint by a signal that comes to it and to its group."""
    for number, expected in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):
        signals = StopSignals()
        signals.install()
        try:
            os.kill(os.getpid(), number)
            if number == signal.SIGTERM:
                os.kill(os.getpid(), number)
                monkeypatch.setattr(stop_signals, "REPEAT_SECONDS", 0.0)
            with pytest.raises(expected):
                os.kill(os.getpid(), number)
        finally:
            signals.restore()


def test_a_second_signal_ends_a_process_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a training that nothing but SIGKILL ends when no Python is run any more: one of
    several devices that waits for the others."""
    monkeypatch.setattr(stop_signals, "REPEAT_SECONDS", 0.2)
    monkeypatch.setattr(stop_signals, "HANG_SECONDS", 0.2)
    source, ready = os.pipe()
    child = os.fork()
    if child == 0:
        signals = StopSignals()
        signals.install()
        lock, mutex = ctypes.CDLL(None).pthread_mutex_lock, ctypes.create_string_buffer(128)
        lock(mutex)
        os.write(ready, b"x")
        lock(mutex)  # for ever: a second time by the same thread
    os.read(source, 1)
    time.sleep(0.1)
    for _ in range(2):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        os.kill(child, signal.SIGTERM)
        time.sleep(0.5)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGTERM


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
