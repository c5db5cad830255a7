"""What a corpus of WMT17's size costs: preparing it, opening it, reading batches of it.

Generates a corpus in statmt's layout from the built-in grammar, then measures every step in a
process of its own::

    python -m benchmarks.data_scale --pairs 4500000 --folder /tmp/scale --out results/data-scale

Lines consist of whole sentences of the grammar, about 29 words per side as in WMT17. Since the
grammar's lexicon is small, some words in a hundred are replaced by made-up ones that follow Zipf's
law, as names, numbers and compounds do: what learning a vocabulary costs depends on the number of
different words. Everything is a function of the seed.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.serve import peak_memory
from qvbench.data.corpora import Grammar, Wmt17
from qvbench.data.preprocessing import ordered_map, usable_cores
from qvbench.data.text import TextProcessor
from qvbench.data.translation import TranslationDataModule
from qvbench.runs.record import git_revision, versions

GIB = 1 << 30
MEAN_WORDS = 29.0  # per side
RARE_SHARE = 0.03
RARE_TYPES = 20_000_000
SYLLABLES = [a + b for a in "bdfghklmnprstvwz" for b in "aeio"]
GRAMMAR_PAIRS = 200_000  # of which lines are made
RAW_PAIRS = 60_000
LOADER_SECONDS = 20.0

Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=4_500_000)
    parser.add_argument("--folder", type=Path, required=True, help="new, for corpus and store")
    parser.add_argument("--out", type=Path, required=True, help="for data_scale.json, README.md")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        args.folder.mkdir(parents=True)
    except FileExistsError:  # what is stored there would not be prepared again
        parser.error(f"--folder {args.folder}: is there already; name a new one")
    os.environ["QVBENCH_CACHE"] = str(args.folder / "cache")
    about = {
        **{"pairs": args.pairs, "seed": args.seed, "date": time.strftime("%Y-%m-%d")},
        **{"commit": git_revision(), "cores": os.cpu_count(), "machine": platform.platform()},
        **{"load_average_before": os.getloadavg()[0], "versions": versions()},
    }
    results = {}
    for step in STEPS:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:  # its peak memory is its own
            results[step] = process.submit(measured, step, args).result()
        print(f"{step}: {json.dumps(results[step])}", file=sys.stderr)
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"about": about, "steps": results}, indent=1)
    (args.out / "data_scale.json").write_text(f"{text}\n")
    (args.out / "README.md").write_text(page(about, results))


def measured(step: str, args: argparse.Namespace) -> Result:
    begin = time.perf_counter()
    result = STEPS[step](args)
    return {"seconds": time.perf_counter() - begin, **result, "peak_bytes": peak_memory()}


def lines(pool: list[tuple[str, str]], pairs: int, seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of lines of several sentences each, with rare words among their words."""
    rng = random.Random(seed)
    for _ in range(pairs):
        # Exponential lengths, as a corpus of sentences and paragraphs has many short lines.
        wanted = 4.0 + rng.expovariate(1 / (MEAN_WORDS - 9.0))
        chosen, length = [], 0
        while length < wanted:
            chosen.append(pool[int(rng.random() * len(pool))])
            length += chosen[-1][0].count(" ") + 1
        source, target = (" ".join(side) for side in zip(*chosen, strict=True))
        yield with_rare_words(source, rng), with_rare_words(target, rng)


def with_rare_words(line: str, rng: random.Random) -> str:
    words = line.split(" ")
    expected = RARE_SHARE * len(words)
    for _ in range(int(expected) + (rng.random() < expected % 1)):
        words[int(rng.random() * len(words))] = rare_word(int(RARE_TYPES ** rng.random()))
    return " ".join(words)


def rare_word(rank: int) -> str:
    rank += len(SYLLABLES)  # two syllables at least
    word = ""
    while rank:
        rank, digit = divmod(rank, len(SYLLABLES))
        word += SYLLABLES[digit]
    return word


def generate(args: argparse.Namespace) -> Result:
    """Write ``corpus.tc.{en,de}.gz`` and the development sets."""
    grammar = Grammar(min(GRAMMAR_PAIRS, max(2_000, args.pairs // 5)), 3_000, 3_000, args.seed)
    train = lines(list(grammar.pairs("train")), args.pairs, args.seed)
    write_pairs(args.folder, "corpus.tc.{}.gz", train, partial(gzip.open, compresslevel=1))
    for year, split in ((2014, "val"), (2015, "val"), (2016, "test")):
        write_pairs(args.folder, f"newstest{year}.tc.{{}}", grammar.pairs(split), open)
    return {}


def write_pairs(folder: Path, name: str, pairs: Iterator[tuple[str, str]], open_: Any) -> None:
    """Write two line-aligned files; ``name`` has a place for the language."""
    paths = [folder / name.format(language) for language in ("en", "de")]
    with open_(paths[0], "wb") as english, open_(paths[1], "wb") as german:
        for source, target in pairs:
            english.write(f"{source}\n".encode())
            german.write(f"{target}\n".encode())


def module_of(args: argparse.Namespace, num_workers: int = 0) -> TranslationDataModule:
    """The data module of ``configs/data/wmt17.yaml``, over the generated corpus."""
    return TranslationDataModule(
        Wmt17(str(args.folder)),
        merges=32_000,
        max_length=95,
        max_vocabulary=36_000,
        max_tokens=5_000,
        num_workers=num_workers,
    )


def prepare(args: argparse.Namespace) -> Result:
    """As ``fit`` and ``prepare`` do it: checksums, then reading, learning, encoding."""
    module = module_of(args)
    module.prepare_data()
    return {"bytes": sum(module.store.manifest["files"].values())}


def tokenize(args: argparse.Namespace) -> Result:
    """The first lines of the corpus as raw text, on all cores."""
    raw = TextProcessor("en", "de", tokenized=False)
    pairs = list(islice(module_of(args).corpus.pairs("train"), RAW_PAIRS))
    chunks = [pairs[start : start + 1_000] for start in range(0, len(pairs), 1_000)]
    begin = time.perf_counter()
    for _ in ordered_map(raw.words_of_pairs, chunks, usable_cores()):
        pass
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "pairs": len(pairs), "pairs_per_second": len(pairs) / seconds}


def open_run(args: argparse.Namespace) -> Result:
    """From the settings to a loader, and from there to the first batch; memory without mappings."""
    before, begin = anonymous_bytes(), time.perf_counter()
    module = module_of(args)
    module.setup()
    loader = module.train_dataloader()
    opened = time.perf_counter()
    next(iter(loader))
    first = time.perf_counter() - opened
    memory = anonymous_bytes() - before
    return {"seconds": opened - begin, "first_batch_seconds": first, "anonymous_bytes": memory}


def anonymous_bytes() -> int:
    return 1024 * int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])


def load(args: argparse.Namespace, num_workers: int) -> Result:
    """Batches for a while, after the first one: real target tokens per second."""
    module = module_of(args, num_workers)
    module.setup()
    batches = iter(module.train_dataloader())
    next(batches)
    tokens, begin = 0, time.perf_counter()
    for batch in batches:
        tokens += int((batch.target[:, 1:] != 0).sum())  # nothing predicts `<s>`
        if time.perf_counter() - begin > LOADER_SECONDS:
            break
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "tokens_per_second": tokens / seconds}


STEPS: dict[str, Callable[[argparse.Namespace], Result]] = {
    "generate": generate,
    "prepare": prepare,
    "tokenize": tokenize,
    "open": open_run,
    "load with 0 workers": partial(load, num_workers=0),
    "load with 1 worker": partial(load, num_workers=1),
    "load with 2 workers": partial(load, num_workers=2),
}


def page(about: Result, results: dict[str, Result]) -> str:
    rows = []
    for step, result in results.items():
        pairs = result.get("pairs_per_second", about["pairs"] / result["seconds"])
        rate = f"{pairs:,.0f} pairs/s"
        if "tokens_per_second" in result:
            rate = f"{result['tokens_per_second']:,.0f} target tokens/s"
        if step == "open":  # which reads no pairs
            rate = ""
        peak = f"{result['peak_bytes'] / GIB:.2f}"
        rows.append(f"| {step} | {result['seconds']:,.2f} | {rate} | {peak} |")
    opened = results["open"]
    raw = results["tokenize"]
    raw_minutes = about["pairs"] / raw["pairs_per_second"] / 60
    return f"""# The data path at {about["pairs"]:,} pairs

{about["date"]}, commit `{(about["commit"] or "unknown")[:8]}`, {about["cores"]} cores \
({about["machine"]}), load average {about["load_average_before"]:.1f} before \
(other programs make rates lower). \
`python -m benchmarks.data_scale --pairs {about["pairs"]} --seed {about["seed"]} --folder FOLDER \
--out results/data-scale`

| step | seconds | rate | peak memory, GiB |
|---|---|---|---|
{chr(10).join(rows)}

The store has {results["prepare"]["bytes"] / GIB:.2f} GiB. Opening a run takes \
{opened["anonymous_bytes"] / GIB:.2f} GiB without mappings; the first batch comes \
{opened["first_batch_seconds"]:.2f} s later.

*tokenize* is what raw text takes in addition, measured on {raw["pairs"]:,} pairs: at this rate \
{raw_minutes:.0f} minutes for all.
"""


if __name__ == "__main__":
    main()
