"""The verb ``inspect``: what it writes, and one clear line for what cannot be read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
import yaml

from qvbench.cli.main import main
from tests.cli.conftest import TINY_CONFIG, Answer
from tests.tasks.test_language_modeling import CONFIG as TEXT_CONFIG

pytestmark = pytest.mark.slow  # all use networks that are trained for them

FEW = ("--sentences", "6")
Inspect = Callable[..., Answer]
TREE = "1\tthe\t_\tDET\t_\t_\t2\tdet\t_\t_\n2\tgirl\t_\tNOUN\t_\t_\t0\troot\t_\t_\n\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of a translation and of a language model, of a few steps."""
    folder = tmp_path_factory.mktemp("trained")
    translation, text = deepcopy(TINY_CONFIG), deepcopy(TEXT_CONFIG)
    translation["model"]["attention"] = "QV"
    text["model"]["position"] = {"class_path": "Learned", "init_args": {"max_length": 40}}
    text["data"] |= {"tokenizer": "characters", "eval_context": 40}
    text["trainer"]["max_steps"] = 8
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("QVBENCH_CACHE", str(folder))
        for name, config in {"translation": translation, "text": text}.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
            assert main(["fit", "--config", f"{name}.yaml"]) == 0
    return {
        name: folder / f"runs/{name}/seed-{seed}/checkpoints/last.ckpt"
        for name, seed in (("translation", 3), ("text", 0))
    }


@pytest.fixture
def inspect(trained, qvbench, here) -> Inspect:
    """The command on one of the checkpoints, or on any file, writing to ``out``."""

    def run(checkpoint: str | Path, *words: str) -> Answer:
        place = str(trained.get(str(checkpoint), checkpoint))
        return qvbench("inspect", "--checkpoint", place, "--output", "out", *words)

    return run


def sentences_of(page: Path) -> list[dict]:
    found = re.search(r'"application/json">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found
    return json.loads(found[1])


def test_a_translation_with_its_target(inspect: Inspect, here: Path) -> None:
    """Catches layers or sides that are left out, and figures of one name."""
    answer = inspect("translation", "--text", "the girl sleeps .", "--target", "das Mädchen .")
    assert (answer.status, answer.out) == (0, "wrote out/index.html\n")
    (sentence,) = sentences_of(here / "out" / "index.html")
    assert [found["kind"] for found in sentence["maps"]] == ["encoder", "decoder", "cross"]
    assert sentence["words"] == {
        "source": ["the", "girl", "sleeps", ".", "</s>"],
        "target": ["<s>", "das", "Mädchen", "."],
    }
    assert len(list((here / "out").glob("1-*.png"))) == 3


def test_a_language_model_on_a_file(inspect: Inspect, here: Path) -> None:
    """Catches a command that knows translation alone, and more sentences than were asked for."""
    (here / "in.txt").write_text("the girl sleeps.\nthe dog\nanother one\n")
    assert inspect("text", "--file", "in.txt", "--sentences", "2").status == 0
    shown = sentences_of(here / "out" / "index.html")
    assert [each["words"]["source"] for each in shown] == [
        ["the", "girl", "sleeps", "."],
        ["the", "dog"],
    ]
    assert len(list((here / "out").glob("2-layers.*.svg"))) == 2


def test_a_treebank(inspect: Inspect, here: Path) -> None:
    """Catches a tree that is lost on its way to the page."""
    (here / "two.conllu").write_text(TREE)
    for checkpoint in ("translation", "text"):
        assert inspect(checkpoint, "--conllu", "two.conllu").status == 0
        (sentence,) = sentences_of(here / "out" / "index.html")
        assert sentence["tree"] == {
            "tags": ["DET", "NOUN"],
            "heads": [2, 0],
            "relations": ["det", "root"],
        }


def test_measures_are_written_into_the_folder_of_the_run(
    trained, qvbench, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a checkpoint measured in another's folder, also one given from beside it, a target
    given to a language model, and sentences of a treebank for which translation has no gold
    target."""
    (here / "four.conllu").write_text(TREE * 4)
    for name, checkpoint in trained.items():
        run = checkpoint.parent.parent
        for given in (("--sentences", "6"), ("--conllu", "four.conllu")):
            answer = qvbench("measure", "--checkpoint", str(checkpoint), *given)
            assert (answer.status, answer.out) == (0, f"wrote {run / 'inside.json'}\n")
        found = json.loads((run / "inside.json").read_text())
        assert (found["summary"]["text"], found["sentences"]) == ("four.conllu", 4)
        assert found["summary"]["options"] == "--sentences 400 --conllu four.conllu"
        assert set(found["dependencies"]) == {"encoder" if name == "translation" else "causal"}
    monkeypatch.chdir(checkpoint.parent)
    answer = qvbench("measure", "--checkpoint", checkpoint.name, "--sentences", "6")
    assert answer.out == f"wrote {run / 'inside.json'}\n"


def test_what_cannot_be_measured_is_one_line(trained, qvbench, here: Path) -> None:
    """Catches a traceback, and a treebank too small to choose on one half of it."""
    write_faults(here)
    (here / "two.conllu").write_text(TREE * 2)
    for words, message in {
        "--conllu two.conllu": "two.conllu: 2 sentences that the model can read; give 4",
        "--conllu bad.conllu": "bad.conllu, line 2: the head of word 2 is 7",
        "--conllu none.conllu": "none.conllu: cannot be read: No such file",
        "--output no/where.json": "no/where.json: cannot be written",
    }.items():
        answer = qvbench("measure", "--checkpoint", str(trained["text"]), *words.split(), *FEW)
        assert answer.status == 2
        assert message in answer.err.splitlines()[-1]


def write_faults(here: Path) -> None:
    (here / "empty.txt").write_text("")
    (here / "gap.txt").write_text("the girl\n\nthe dog\n")
    (here / "latin.txt").write_bytes("the M\u00fcller".encode("latin-1"))
    (here / "bad.conllu").write_text(TREE.replace("\t0\troot", "\t7\troot"))
    (here / "cut.ckpt").write_bytes(b"PK\x03\x04 and no more")
    torch.save({"state_dict": {}, "qvbench": {"task": "other"}}, here / "other.ckpt")


FAULTS = {
    "unknown characters": ("text", "--text the\u00a7girl", "--text: the model does not know '§'"),
    "of a translation": ("translation", "--text \u4e00", "--text: the model does not know '一'"),
    "empty": ("translation", "--text=", "--text: a sentence without words"),
    "an empty line": ("text", "--file gap.txt", "--file gap.txt, sentence 2: a sentence without"),
    "an empty file": ("text", "--file empty.txt", "empty.txt: no sentences there"),
    "no UTF-8": ("text", "--file latin.txt", "latin.txt:1: not UTF-8"),
    "no file": ("text", "--file none.txt", "--file none.txt: no such file"),
    "too long": ("text", f"--text {'girl' * 20}", "--text: 80 tokens, but the model has 40"),
    "malformed": ("text", "--conllu bad.conllu", "bad.conllu, line 2: the head of word 2 is 7"),
    "a target": ("text", "--text the --target das", "--text: a language model has no target"),
    "few targets": (
        "translation",
        "--file gap.txt --target empty.txt",
        "--target empty.txt: ends before sentence 1 of --file gap.txt",
    ),
    "no checkpoint": ("none.ckpt", "--text the", "none.ckpt: no such checkpoint"),
    "damaged": ("cut.ckpt", "--text the", "cut.ckpt: not a checkpoint, or damaged"),
    "another kind": ("other.ckpt", "--text the", "other.ckpt: a checkpoint, but not"),
    "two inputs": ("text", "--text the --file gap.txt", "not allowed with argument --text"),
    "no input": ("text", "", "one of the arguments --text --file --conllu is required"),
    "a file for a folder": ("text", "--text the --output gap.txt", "--output gap.txt: not a"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_read_is_one_line(fault: str, inspect: Inspect, here: Path) -> None:
    """Catches a traceback, and a page that is written all the same."""
    checkpoint, words, message = FAULTS[fault]
    write_faults(here)
    answer = inspect(checkpoint, *words.split(" ")) if words else inspect(checkpoint)
    assert (answer.status, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert line.startswith("qvbench: error: ")
    assert message in line
    assert not (here / "out").exists()
