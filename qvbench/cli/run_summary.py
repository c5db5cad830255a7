"""What a training run shows when it ends: its accuracy, some translations, where things lie."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from lightning.pytorch import Trainer

from qvbench.data.module import TranslationDataModule
from qvbench.decoding.translator import Translator
from qvbench.runs.folder import CURVES, RECORD
from qvbench.tasks.translation import TranslationTask

EXAMPLES = 3


def print_summary(
    trainer: Trainer, task: TranslationTask, data: TranslationDataModule, folder: Path
) -> None:
    """Print the summary of a finished run to standard output.

    Args:
        trainer: of the run.
        task: as trained.
        data: its validation set gives the examples.
        folder: of the run.
    """
    metrics = trainer.callback_metrics
    print()
    for source, reference, translation in examples(task, data):
        print(f"source      {source}\nreference   {reference}\ntranslation {translation}\n")
    if "val/accuracy" in metrics:
        accuracy, loss = float(metrics["val/accuracy"]), float(metrics["val/loss"])
        print(f"validation  accuracy {accuracy:.2f} %, loss {loss:.4f} per token")
    here = Path.cwd()
    place = folder.relative_to(here) if here in folder.parents else folder
    print(f"curves      {place / CURVES}")
    print(f"record      {place / RECORD}")
    for checkpoint in sorted(folder.glob("checkpoints/*.ckpt")):
        print(f"checkpoint  {place / checkpoint.relative_to(folder)}")


def examples(task: TranslationTask, data: TranslationDataModule) -> list[tuple[str, str, str]]:
    """The first validation pairs with their translations, as the corpus writes text."""
    assert task.network is not None
    pairs = list(islice(data.corpus.pairs("val"), EXAMPLES))
    processor = data.processor
    translator = Translator(task.network, data.vocabulary, beam_size=task.beam_size)
    words = translator.translate_lines([processor.source(source) for source, _ in pairs])
    texts = words if processor.tokenized else [processor.detokenize(line) for line in words]
    return [(*pair, text) for pair, text in zip(pairs, texts, strict=True)]
