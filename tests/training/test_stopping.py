"""Signals that stop a training, and checkpoints of other models."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import pytest

from qvbench.errors import UserError
from qvbench.training import resume
from qvbench.training.checkpoints import check_same_model
from qvbench.training.resume import StopSignals


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


def test_a_second_signal_ends_a_process_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a training that nothing but SIGKILL ends when no Python is run any more, such as one
    of several devices that waits for the others; and one that ends without a checkpoint by a signal
    that comes to it and to its group."""
    monkeypatch.setattr(resume, "REPEAT_SECONDS", 0.5)
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
    for seconds in (0.05, 0.7):
        os.kill(child, signal.SIGTERM)
        time.sleep(seconds)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    deadline = time.monotonic() + 60
    ended = 0
    while not ended and time.monotonic() < deadline:  # late signals are taken for the first's echo
        os.kill(child, signal.SIGTERM)
        time.sleep(0.7)
        ended, status = os.waitpid(child, os.WNOHANG)
    assert ended == child
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM


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
