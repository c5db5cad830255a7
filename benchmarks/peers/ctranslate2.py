"""CTranslate2 as a peer for translation, through its own converter of OpenNMT-py's checkpoints.

Greedy translations are ours. With beams about one in a hundred differs, for its search stops by
another rule than ours.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import ctranslate2
from ctranslate2.converters import OpenNMTPyConverter

from benchmarks import protocol
from benchmarks.protocol import Task, Work, each_time

MAX_TOKENS = 2048  # of a batch, over all beams: with 4,096 sources' tokens it is a third slower


def convert(work: Work, folder: str) -> None:
    """Write the work's weights as CTranslate2 loads them."""
    from benchmarks.peers import opennmt  # in a process of its own, for what it imports is large

    with opennmt.checkpoint(work, "scaled-dot") as path:
        OpenNMTPyConverter(path).convert(folder, force=True)


def translate(work: Work) -> Task:
    """One translator per thread: for many sentences better than one translator with all threads."""
    shape, sources = work.shape, work.sources()
    names = protocol.token_names(shape)
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(convert, work, folder).result()
        translator = ctranslate2.Translator(
            folder, compute_type="float32", inter_threads=shape.threads, intra_threads=1
        )
    ids = {name: i for i, name in enumerate(names)}
    words = [[names[i] for i in source] for source in sources]
    max_tokens = shape.max_tokens or MAX_TOKENS // shape.beam_size
    batches = protocol.length_batches(sources, max_tokens)

    def submit(batch: list[int]) -> list[Any]:
        pending: list[Any] = translator.translate_batch(
            [words[i] for i in batch],
            asynchronous=True,
            beam_size=shape.beam_size,
            length_penalty=protocol.LENGTH_PENALTY,
            max_decoding_length=protocol.limit(shape, len(sources[batch[0]])),
        )
        return pending

    def lines() -> list[list[str]]:
        """Translations in the order of the sources; the workers take batches as they get free."""
        found: list[list[str]] = [[] for _ in sources]
        for batch, results in zip(batches, [submit(batch) for batch in batches], strict=True):
            for index, result in zip(batch, results, strict=True):
                found[index] = result.result().hypotheses[0]
        return found

    def check() -> dict[str, Any]:
        found = [[ids[word] for word in line] for line in lines()]
        return {"lines": protocol.within_limits(found, sources, shape)}

    settings = {"compute_type": "float32", "workers": shape.threads, "max_tokens": max_tokens}
    return Task(check, each_time(lines), len(sources), settings)
