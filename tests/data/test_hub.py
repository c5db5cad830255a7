"""Text from the Hugging Face hub, whose client is stood for: no test needs the network."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qvbench.data.corpora import Hub
from qvbench.data.language import LanguageDataModule
from qvbench.errors import UserError
from tests.data.conftest import stand_for_datasets

ROWS: list[Any] = [f"document {n}\nof two lines" for n in range(40)]


class Client:
    """Stands for the package ``datasets``: one column of rows, read in batches of three."""

    def __init__(self) -> None:
        self.rows = list(ROWS)
        self.asked: list[dict[str, Any]] = []
        self.read = 0
        self.fault: Exception | None = None

    def load_dataset(self, path: str, **options: Any) -> Client:
        self.asked.append({"path": path, **options})
        self.arrived()
        if self.fault:
            raise self.fault
        return self

    def arrived(self) -> None:
        """What happens before the first row comes."""

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        for start in range(0, len(self.rows), 3):
            self.read += 3
            yield {"text": self.rows[start : start + 3], "url": ["-"] * 3}


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setenv("QVBENCH_CACHE", str(tmp_path))
    client = Client()
    stand_for_datasets(client.load_dataset, monkeypatch)
    return client


def test_rows_are_documents_and_read_once(client: Client) -> None:
    """Catches a stream that is read to its end, a row cut or run into the next one, a second
    reading, options that never reach the hub, and two settings that share a file."""
    settings: dict[str, Any] = {"name": "some/texts", "config": "sample", "revision": "abc"}
    for _ in range(2):
        corpus = Hub(**settings, characters=250, val_fraction=0.2, selection_fraction=0.2)
        corpus.prepare()
        documents = list(corpus.documents())
        assert documents == [f"{row}\n" for row in ROWS[: len(documents)]]
        assert 250 <= len("".join(documents)) < 250 + len(documents[-1])
    asked = {"path": "some/texts", "name": "sample", "revision": "abc"}
    assert client.asked == [{**asked, "split": "train", "streaming": True}]
    assert client.read < len(ROWS)
    assert corpus.splits() == ("train", "val", "selection")
    parts = ["".join(corpus.text(split)) for split in ("train", "selection", "val")]
    assert "".join(parts) == "".join(documents)
    assert [round(len(part) / len("".join(documents)), 1) for part in parts] == [0.6, 0.2, 0.2]
    other = Hub(**settings, characters=251, val_fraction=0.2)
    assert other.file != corpus.file
    alike: list[dict[str, Any]] = [
        {"name": "a/b-c"},
        {"name": "a-b/c"},
        {"name": "a/b-c", "config": "v1"},
        {"name": "a/b-c", "config": "at-v1"},
        {"name": "a/b-c", "revision": "v1"},
        {"name": "a/b-c", "split": "train_text"},
        {"name": "a/b-c", "column": "text_text"},
        {"name": "a/b-c", "config": "v1_train", "split": "text"},
        {"name": "a/b-c", "config": "v1", "split": "train_text"},
        {"name": "a/b-c", "config": "v1,train", "split": "text"},
    ]
    assert len({Hub(**each).file for each in alike}) == len(alike)
    other.prepare()
    assert other.fingerprint() != corpus.fingerprint()


def test_two_at_once_fetch_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches two processes with caches of their own that write one download at the same time: the
    second comes while the first reads, and waits."""
    waiting = threading.Event()
    monkeypatch.setattr("qvbench.data.cache.logger.info", lambda *_: waiting.set())
    monkeypatch.setattr(client, "arrived", lambda: waiting.wait(10))
    threads = [threading.Thread(target=Hub("some/texts").prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waiting.is_set()
    assert len(client.asked) == 1
    assert list(Hub("some/texts").documents()) == [f"{row}\n" for row in ROWS]


def test_it_is_trained_on_like_any_text(client: Client) -> None:
    """Catches a store that is looked for before the text has arrived."""
    made = LanguageDataModule(Hub("some/texts"), context=8, document_mask=True)
    assert "would fetch hub into" in made.plan()
    made.setup()
    text = "".join(f"{row}\n" for row in ROWS)
    assert made.vocabulary.decode(made.split("train").ids) == text[: int(len(text) * 0.99)]
    begins = made.split("train").begins
    assert begins is not None
    assert begins[:3].tolist() == [0, len(ROWS[0]) + 1, 2 * len(ROWS[0]) + 2]


def test_what_is_wrong_is_one_line(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches tracebacks of the hub's client and of the package that is not there."""

    def refuses(message: str, **settings: Any) -> None:
        with pytest.raises(UserError, match=message):
            Hub("some/texts", **settings).prepare()

    refuses("some/texts: no column code; it has text, url", column="code")
    client.rows = ["text", None]
    refuses("some/texts: text holds NoneType, not text")
    left = [file.suffix for file in Hub("some/texts").file.parent.iterdir()]
    assert set(left) <= {".lock"}
    client.fault = ConnectionError("no route")
    refuses(
        r"some/texts \(small, test\): could not be read .*no route", config="small", split="test"
    )
    monkeypatch.setitem(sys.modules, "datasets", None)
    refuses(r"some/texts needs the package datasets.*qvbench\[hub\]")
    with pytest.raises(UserError, match="characters must be at least 1, got 0"):
        Hub("some/texts", characters=0)
    with pytest.raises(UserError, match="Hub: val_fraction must be between 0 and 1"):
        Hub("some/texts", val_fraction=1.0)
