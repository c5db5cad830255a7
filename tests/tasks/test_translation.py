"""What translation alone does: examples of a finished training, scores of a test set."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from tests.tasks.conftest import make_task


def test_examples_are_pairs_as_they_are_stored(
    data: Callable[..., Any], trainer: Callable[..., Any]
) -> None:
    """Catches a finished training that fails because the downloads are gone."""
    task, module = make_task(), data()
    trainer(max_steps=1).fit(task, datamodule=module)
    expected = list(module.corpus.pairs("val"))[:3]
    for file in module.corpus.files["val"]:
        file.unlink()
    found = task.examples(3)
    assert [(each["source"], each["reference"]) for each in found] == expected
    assert [*found[0]] == ["source", "reference", "translation"]


def test_a_part_of_a_test_set_has_its_own_references(
    data: Callable[..., Any], trainer: Callable[..., Any]
) -> None:
    """Catches a traceback where the trainer's limits leave a part of the test set, and translations
    scored against the set's first lines, whatever was translated."""
    task, module = make_task(beam_size=1), data(eval_max_tokens=20)
    run = trainer(max_steps=1, limit_test_batches=2)
    run.fit(task, datamodule=module)
    run.test(task, datamodule=module, verbose=False)
    batches = islice(module.test_dataloader(), 2)
    lines = sorted(line for batch in batches for line in batch.index.tolist())
    assert lines != [*range(len(lines))]
    references = module.lines("test", "target")
    assert task.tested_lines["references"] == [references[line] for line in lines]
    assert len(task.tested_lines["translations"]) == len(lines)
