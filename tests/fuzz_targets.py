"""What is fuzzed: random texts and configs, and the readers that they are given to."""

from __future__ import annotations

import codecs
import contextlib
import copy
import functools
import gzip
import io
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hypothesis import strategies as st

from qvbench.cli.experiment import Experiment
from qvbench.cli.fit import Run
from qvbench.config_files import shipped_configs
from qvbench.data.corpora import Text
from qvbench.data.corpora.files import file_sha256, read_pairs, read_text
from qvbench.data.translation import TranslationDataModule
from qvbench.errors import UserError
from qvbench.training import trackers

SECONDS = 30
"""An example that takes longer counts as one that hangs."""


class Target(NamedTuple):
    """What is fuzzed: examples, and a check that raises where one is a fault.

    Attributes:
        examples: strategy.
        check: is given an example; returns whether it was accepted.
        share: of a long run's time.
        round: examples at a time.
        shrunk: whether to look for a smaller example of a fault, which is for quick checks.
    """

    examples: st.SearchStrategy[Any]
    check: Callable[[Any], bool]
    share: float
    round: int
    shrunk: bool = False


# Text


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


_PIECES = st.sampled_from(
    [
        *(b"a", b"b c", b"\n", b"\n\n", b"\r\n", b"\r", b"\x00", b"\x85", b"\xc2\x85"),
        *(b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3\xa9", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
        *(b" ", b"\t", b"\x0b", b"\x0c", b"\x1c", b"\x1f", b"\xc2\xa0", b"\xe3\x80\x80", b"\x1a"),
        *(b"\xe2\x96\x81", b"<", b"</s>", b"<unk>", b"<pad>", b"\xf0\x9f\x98\x80", b"\xcc\x81"),
        *(b"x" * 5000, "ä".encode("utf-16"), "ä".encode("latin-1"), b"&amp;", b"\\", b"\x7f"),
        b"\xe2\x80\xa8",
    ]
)
_TEXT = st.one_of(
    st.lists(_PIECES, max_size=12).map(b"".join),
    st.binary(max_size=60),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
)


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """The end of a file's name, and its bytes: plain, gzipped, or gzipped and damaged."""
    text = draw(_TEXT)
    if draw(st.booleans()):
        return "", text
    zipped = bytearray(gzip.compress(text, mtime=0))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(zipped) - 1)) if zipped else 0
        kind = draw(st.sampled_from(["cut", "change", "append", "insert"]))
        if kind == "cut":
            del zipped[place:]
        elif kind == "change" and zipped:
            zipped[place] = draw(st.integers(0, 255))
        elif kind == "append":
            zipped += draw(st.sampled_from([b"\0", b"tail", gzip.compress(b"more\n", mtime=0)]))
        else:
            zipped[place:place] = draw(st.binary(max_size=3))
    return ".gz", bytes(zipped)


def check_text(pair: tuple[tuple[str, bytes], tuple[str, bytes]]) -> bool:
    """Read a pair of files in every way; whether the strict one took it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        paths = [Path(name, f"{side}{end}") for side, (end, _) in zip("st", pair, strict=True)]
        for path, (_, content) in zip(paths, pair, strict=True):
            path.write_bytes(content)
        for read in (read_text, lambda path: file_sha256(path, decompress=True)):
            for path in paths:
                _accepted(functools.partial(read, path))
        _accepted(lambda: _consistent(list(read_pairs(*paths, allow_empty=True)), paths, pair))
        return _accepted(lambda: _consistent(list(read_pairs(*paths)), paths, pair, full=True))


def _consistent(pairs: list[tuple[str, str]], paths: Any, files: Any, full: bool = False) -> None:
    """What was read is what the files say: one line for each newline, in order, without a byte
    order mark before the first."""
    for side, (path, (end, content)) in enumerate(zip(paths, files, strict=True)):
        text = (gzip.decompress(content) if end else content).removeprefix(codecs.BOM_UTF8)
        expected = [line.decode().strip() for line in text.split(b"\n")]
        expected = expected[:-1] if text.endswith(b"\n") or not text else expected
        assert [pair[side] for pair in pairs] == expected, path
        assert not full or all(expected)


def check_store(pair: tuple[list[str], list[str], bool]) -> bool:
    """Store a small corpus, raw or tokenized, and read every batch of it back."""
    source, target, tokenized = pair
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        names = (str(Path(name, "s")), str(Path(name, "t")))
        for path, lines in zip(names, (source, target), strict=True):
            text = "".join(f"{line}\n" for line in lines)
            Path(path).write_bytes(text.encode("utf-8", "surrogatepass"))
        return _accepted(functools.partial(_store, names, tokenized, Path(name, "cache")))


def _store(names: tuple[str, str], tokenized: bool, cache: Path) -> None:
    corpus = Text(train=names, val=names, test={"test": names}, tokenized=tokenized)
    module = TranslationDataModule(corpus, merges=10, cache_dir=str(cache), max_tokens=20_000)
    module.eval_max_tokens = 20_000
    module.setup()
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for batch in loader:
            assert int(batch.source.max()) < len(module.vocabulary)
    assert len(module.lines("test", "target")) == len(module.split("test"))


# Configs

HERE = ("--trainer.accelerator", "cpu", "--trainer.precision", "32-true")


@functools.cache
def shipped(name: str) -> dict[str, Any]:
    """A shipped config with its fragments and defaults filled in."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        Experiment("fit", ["--config", name, *HERE, "--print_config"])
    config: dict[str, Any] = yaml.safe_load(out.getvalue())
    config["trainer"]["logger"] = None  # its own tests inject its faults
    return config


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, 2, 3, 7, -1, -2, 2**31, 2**63, 10**30, 0.0, 0.5, -0.5, 1e300]),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.sampled_from(["", " ", "QV", "GQA", "RoPE", "AGF", "Grammar", "Text", "Noam", "Adam"]),
    st.sampled_from(["torch.optim.SGD", "torch.nn.Linear", "a.b", "x", "1e3", "null", "cpu"]),
    st.sampled_from(["16-mixed", "64-true", "auto", "ddp", "none.yaml", "ä", "a: b", "[1", "{}"]),
    st.sampled_from([[], [1], ["a", 2], [[]], {}, {"a": 1}, {"class_path": "QV"}]),
    st.sampled_from([{"class_path": "x"}, {"class_path": 3}, {"init_args": {}}, {1: 2}]),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=6).filter(lambda text: "/" not in text and ".." not in text),
)


def places(config: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in nested mappings and lists."""
    entries = (
        config.items() if isinstance(config, dict)
        else enumerate(config) if isinstance(config, list) else ()
    )  # fmt: skip
    for key, value in entries:
        yield (*before, key)
        yield from places(value, (*before, key))


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A shipped config with one to three changes."""
    config = copy.deepcopy(shipped(draw(st.sampled_from(shipped_configs()))))
    for _ in range(draw(st.integers(1, 3))):
        known = [p for p in places(config) if p[-1] not in ("default_root_dir", "cache_dir")]
        *above, last = draw(st.sampled_from(known))
        holder = functools.reduce(lambda inner, key: inner[key], above, config)
        change = draw(st.sampled_from(["set", "set", "set", "delete", "rename", "add", "wrap"]))
        if change == "set":
            holder[last] = draw(_VALUES)
        elif change == "delete":
            del holder[last]
        elif change == "wrap":
            holder[last] = draw(st.sampled_from([[holder[last]], {"class_path": holder[last]}]))
        elif isinstance(holder, dict):
            holder[f"{last}x" if change == "rename" else "added"] = (
                holder.pop(last) if change == "rename" else draw(_VALUES)
            )
    return _as_bytes(yaml.safe_dump(config, allow_unicode=True))


_WORDS = st.sampled_from(
    [
        *("model", "data", "trainer", "seed_everything", "class_path", "init_args", "attention"),
        *(":", ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", "&a", "*a", "<<", "!!python/name:os"),
        *("'", '"', "#", "%", "@", "?", "---", "...", "1", "-", "null", "\t", "\x00", "\x85", "|"),
        *("corpus", "Grammar", "network", "optimizer", "0x1", "1:30", "2026-01-01", "~", "\ud800"),
        *(",", "QV", "\ufeff", "max_steps", "callbacks", "ModelCheckpoint", "!!float", "!x"),
    ]
)
random_yaml = st.one_of(
    st.lists(_WORDS, max_size=14).map(
        lambda words: "".join(words).encode("utf-8", "surrogatepass")
    ),
    st.binary(max_size=40),
    st.dictionaries(st.sampled_from(["model", "data", "trainer", "x"]), _VALUES, max_size=4).map(
        lambda content: _as_bytes(yaml.safe_dump(content))
    ),
)


def _build(args: list[str]) -> None:
    """Build everything and run nothing."""
    trackers.close_runs(Run(Experiment("fit", args)).trainer.loggers)


def check_overlay(content: bytes) -> bool:
    """The same of a config that changes a shipped one."""
    return check_config(content, "--config", "tiny/qvka.yaml")


def check_config(content: bytes, *words: str) -> bool:
    """Read a config and build what it says, without data."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        os.chdir(name)
        try:
            Path("fuzz.yaml").write_bytes(content)
            return _accepted(lambda: _build([*words, "--config", "fuzz.yaml"]))
        finally:
            os.chdir(before)


_LINES = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=4)
TARGETS = {
    "text reader": Target(st.tuples(files(), files()), check_text, 0.2, 200, True),
    "stored corpus": Target(st.tuples(_LINES, _LINES, st.booleans()), check_store, 0.2, 20),
    "random config": Target(random_yaml, check_overlay, 0.2, 5),
    "changed config": Target(mutated(), check_config, 0.4, 5),
}


def _accepted(work: Callable[[], object]) -> bool:
    """Whether something worked; a refusal has to be one line.

    Raises:
        Exception: whatever is no refusal.
        TimeoutError: it took too long.
    """
    try:
        with _limit(), warnings.catch_warnings(), open(os.devnull, "w") as nowhere:  # noqa: PTH123
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                work()
    except UserError as error:
        if not str(error).strip():
            raise AssertionError("a refusal without a word") from error
        return False
    return True


@contextlib.contextmanager
def _limit() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds of work, or {20 * SECONDS} in all")

    timers = {signal.ITIMER_PROF: signal.SIGPROF, signal.ITIMER_REAL: signal.SIGALRM}
    before = {number: signal.signal(number, late) for number in timers.values()}
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # a busy machine makes waiting long
    signal.setitimer(signal.ITIMER_REAL, 20 * SECONDS)
    try:
        yield
    finally:
        for timer, number in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
