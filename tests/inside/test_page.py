"""The page and the figures: they hold what was read, whole and without a network."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qvbench.errors import UserError
from qvbench.inside import page
from qvbench.inside.reading import Reading
from qvbench.inside.words import Sentence
from tests.inside.test_reading import language_model, translator

GOLD = Sentence(("the", "girl"), ("DET", "NOUN"), (2, 0), ("det", "root"))


@pytest.fixture(scope="module")
def readings() -> list[Reading]:
    text = language_model()
    return [
        translator().read(GOLD, Sentence(("das", "mädchen"))),
        text.read(text.sentence("the girl walks")),
    ]


def data_of(text: str) -> list[dict]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_the_page_holds_the_probabilities(readings):
    """Catches heads, queries and keys in another order than the script reads."""
    for reading, shown in zip(readings, data_of(page.html_page("QV", "a", readings)), strict=True):
        for found, kept in zip(reading.maps, shown["maps"], strict=True):
            sizes = [len(shown["words"][kept[side]]) for side in ("from", "to")]
            weights = np.frombuffer(base64.b64decode(kept["weights"]), "<u2").reshape(-1, *sizes)
            np.testing.assert_allclose(weights / 65535, reading.words(found), atol=1 / 65535)
            assert len(kept["table"]) == len(weights)
        assert shown["words"]["source"][:2] == ["the", "girl"]
    gold, plain = data_of(page.html_page("QV", "a", readings))
    assert gold["tree"] == {"tags": ["DET", "NOUN"], "heads": [2, 0], "relations": ["det", "root"]}
    assert plain["tree"] is None


def test_the_page_needs_no_network_and_runs_no_text(readings):
    """Catches an address to fetch from, and a sentence that closes the script."""
    odd = replace(readings[1], sentence=Sentence(("</script><b>",)))
    text = page.html_page("<QV> & more", "runs/<a>", [odd])
    assert "<h1>Attention of &lt;QV&gt; &amp; more</h1>" in text
    assert "runs/&lt;a&gt;" in text
    assert data_of(text)[0]["text"] == "</script><b>"
    assert set(re.findall(r"https?://[\w.]+", text)) == {"http://www.w3.org"}  # SVG's name
    assert not re.search(r"<link|@import|\bsrc=|fetch\(", text)


def test_a_page_too_large_for_a_phone(readings, monkeypatch):
    """Catches a page of a whole treebank, which no browser shows."""
    monkeypatch.setattr(page, "MAX_BYTES", 10_000)
    with pytest.raises(
        UserError, match=r"of 2 sentences would have 0\.0 MB.*give fewer or shorter"
    ):
        page.html_page("QV", "a", readings)


def test_norms_and_similarities_of_vectors_made_by_hand(readings):
    """Catches a mean over the wrong pairs: a token with itself, or a key that is out of sight."""
    found = readings[1].maps[0]
    vectors = torch.tensor([[3.0, 0], [0, 4], [-5, 0]])
    one, other = vectors.expand(1, 2, -1, -1), vectors[[2, 1, 0]].expand(1, 1, -1, -1)
    causal = torch.ones(3, 3).tril().expand(1, 2, -1, -1)
    made = replace(found, queries=one, keys=one, values=other, probabilities=causal)
    row = [4.0, 4.0, 4.0, -0.3333, -0.3333, -0.3333, 0.3333, -0.3333]
    assert page.norms_and_similarities(made) == [row, row]  # the two heads share the value
    wider = replace(made, values=torch.ones(1, 2, 3, 5))
    assert page.norms_and_similarities(wider)[0][-1] is None
    first = {name: getattr(made, name)[:, :, :1] for name in ("queries", "keys", "values")}
    alone = replace(made, **first, probabilities=torch.ones(1, 2, 1, 1))
    assert page.norms_and_similarities(alone)[0][3:] == [None, None, None, 1.0, -1.0]


def test_queries_and_values_of_qv_are_told_apart(readings):
    """Catches values for keys in the table: in QV alone they are one."""
    assert {row[-1] for row in page.norms_and_similarities(readings[1].maps[0])} == {1.0}


def test_a_word_without_an_end_is_cut_off():
    """Catches a label that leaves its figure no room, of a translation that repeats itself."""
    reading = translator().read(GOLD, Sentence(("das" * 40, "mädchen")))
    labels = page.labels(reading.sides["decoder"][0])
    assert labels == ("<s>", "das" * 7 + "da\N{HORIZONTAL ELLIPSIS}", "mädchen")
    assert len(labels[1]) == page.LONGEST_WORD
    assert "das" * 8 not in page.html_page("a model", "a run", [reading])


def test_words_with_dollars_are_no_mathematics(readings, tmp_path: Path, monkeypatch):
    """Catches labels that are set as formulas, or stop the figure."""
    monkeypatch.setattr(page, "save", lambda *_: None)
    sides = tuple(replace(of, words=(r"$\x$", *of.words[1:])) for of in readings[1].sides["causal"])
    page.draw(replace(readings[1], sides={"causal": sides}), tmp_path, "1-")


@pytest.mark.slow
def test_a_figure_of_each_attention(readings, tmp_path: Path):
    """Catches figures that overwrite one another, and words that are left out."""
    page.draw(readings[0], tmp_path, "1-")
    names = ["encoder.0.attention", "decoder.0.attention", "decoder.0.cross_attention"]
    for name in names:
        assert (tmp_path / f"1-{name}.png").stat().st_size > 1000
    assert len(list(tmp_path.iterdir())) == 3 * len(names)
    drawn = (tmp_path / "1-decoder.0.cross_attention.svg").read_text(encoding="utf-8")
    for words in ("mädchen", "girl", "&lt;s&gt;", "&lt;/s&gt;", "head 2"):
        assert words in drawn
