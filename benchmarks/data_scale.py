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
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from qvbench.runs.record import git_revision

GIB = 1 << 30
MEAN_WORDS = 29.0  # per side
RARE_SHARE = 0.03
RARE_TYPES = 20_000_000
SYLLABLES = [a + b for a in "bdfghklmnprstvwz" for b in "aeio"]
GRAMMAR_PAIRS = 200_000  # of which lines are made
RAW_PAIRS = 60_000
LOADER_SECONDS = 20.0
SETTINGS: dict[str, Any] = {"merges": 32_000, "max_length": 95, "max_vocabulary": 36_000}
MAX_TOKENS = 5_000


def main() -> int:
    """Measure everything, or one step in a process that this one starts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=4_500_000)
    parser.add_argument("--folder", type=Path, required=True, help="for corpus and store")
    parser.add_argument("--out", type=Path, required=True, help="for data_scale.json, README.md")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        import qvbench.data.module  # noqa: F401 - not part of what is timed

        begin = time.perf_counter()
        result = STEPS[args.step](args)
        result.setdefault("seconds", time.perf_counter() - begin)
        print(json.dumps({**result, "peak_bytes": status_bytes("VmHWM")}))
        return 0
    about = {
        **{"pairs": args.pairs, "merges": SETTINGS["merges"], "seed": args.seed},
        "commit": git_revision(),
        "cores": os.cpu_count(),
        "load_average_before": os.getloadavg()[0],
        "machine": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "tokenizers", "torch")},
        "date": time.strftime("%Y-%m-%d"),
    }
    write_results(args.out, about, {step: in_process(step) for step in STEPS})
    return 0


def in_process(step: str) -> dict[str, Any]:
    """Run a step in a process of its own, so that its peak memory is its own."""
    print(f"{step} …", file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks.data_scale", *sys.argv[1:], "--step", step]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{step}: {json.dumps(result)}", file=sys.stderr)
    return result


def status_bytes(key: str) -> int:
    """From Linux's account of this process: VmHWM is its peak memory, file mappings included,
    RssAnon its memory now without them."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])


def folder_bytes(folder: Path) -> int:
    """Size of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# The corpus


def lines(pool: list[tuple[str, str]], pairs: int, seed: int) -> Iterator[tuple[str, str]]:
    """Pairs of lines of several sentences each, with rare words among their words."""
    rng = random.Random(seed)
    for _ in range(pairs):
        # Exponential lengths, as a corpus of sentences and paragraphs has many short lines.
        wanted = 4.0 + rng.expovariate(1 / (MEAN_WORDS - 9.0))
        source, target = [], []
        length = 0
        while length < wanted:
            one, other = pool[int(rng.random() * len(pool))]
            source.append(one)
            target.append(other)
            length += one.count(" ") + 1
        yield with_rare_words(" ".join(source), rng), with_rare_words(" ".join(target), rng)


def with_rare_words(line: str, rng: random.Random) -> str:
    """A line in which some words are replaced by rare ones."""
    words = line.split(" ")
    expected = RARE_SHARE * len(words)
    for _ in range(int(expected) + (rng.random() < expected % 1)):
        words[int(rng.random() * len(words))] = rare_word(int(RARE_TYPES ** rng.random()))
    return " ".join(words)


def rare_word(rank: int) -> str:
    """A pronounceable word for every rank."""
    rank += len(SYLLABLES)  # two syllables at least
    word = ""
    while rank:
        rank, digit = divmod(rank, len(SYLLABLES))
        word += SYLLABLES[digit]
    return word


def opened(path: Path) -> Any:
    """A file to write bytes to, gzipped by its name."""
    return gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb")


def write_pairs(paths: list[Path], pairs: Iterator[tuple[str, str]]) -> list[int]:
    """Write two line-aligned files; returns their numbers of words."""
    words = [0, 0]
    with ExitStack() as files:
        sides = [files.enter_context(opened(path)) for path in paths]
        for pair in pairs:
            for side, line in enumerate(pair):
                sides[side].write(f"{line}\n".encode())
                words[side] += line.count(" ") + 1
    return words


def generate(args: argparse.Namespace) -> dict[str, Any]:
    """Write ``corpus.tc.{en,de}.gz`` and the development sets, unless they are there."""
    from qvbench.data.corpora import Grammar

    folder = corpus_folder(args)
    if (folder / "complete").is_file():
        return dict(json.loads((folder / "complete").read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    grammar = Grammar(min(GRAMMAR_PAIRS, max(2_000, args.pairs // 5)), 3_000, 3_000, args.seed)
    pool = list(grammar.pairs("train"))
    train = [folder / f"corpus.tc.{language}.gz" for language in ("en", "de")]
    words = write_pairs(train, lines(pool, args.pairs, args.seed))
    for year, split in ((2014, "val"), (2015, "val"), (2016, "test")):
        paths = [folder / f"newstest{year}.tc.{language}" for language in ("en", "de")]
        write_pairs(paths, grammar.pairs(split))
    seconds = time.perf_counter() - begin
    result = {"words": words, "bytes": folder_bytes(folder), "seconds": seconds}
    (folder / "complete").write_text(json.dumps(result))
    return result


def corpus_folder(args: argparse.Namespace) -> Path:
    """Where a corpus of this size is kept."""
    folder: Path = args.folder
    return folder / f"corpus-{args.pairs}-{args.seed}"


# What is measured


def module_of(args: argparse.Namespace, num_workers: int = 0) -> Any:
    """The data module of ``configs/data/wmt17.yaml``, over the generated corpus."""
    os.environ["QVBENCH_CACHE"] = str(args.folder / "cache")
    from qvbench.data.corpora import Wmt17
    from qvbench.data.module import TranslationDataModule

    corpus = Wmt17(str(corpus_folder(args)))
    return TranslationDataModule(corpus, max_tokens=MAX_TOKENS, num_workers=num_workers, **SETTINGS)


def stage_folder(args: argparse.Namespace) -> Path:
    """Where the stages of a preparation are measured one by one."""
    folder: Path = args.folder / "stages"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def verify(args: argparse.Namespace) -> dict[str, Any]:
    """The checksums of all files, decompressed."""
    module = module_of(args)
    shutil.rmtree(module.folder, ignore_errors=True)
    return {"fingerprint": module.fingerprint}


def read(args: argparse.Namespace) -> dict[str, Any]:
    """All lines into a working folder, characters counted."""
    from qvbench.data.preprocessing import read_lines

    module, folder = module_of(args), stage_folder(args)
    characters = read_lines(folder, module.corpus, module.processor)
    (folder / "characters.json").write_text(json.dumps(characters))
    return {"characters": len(characters), "bytes": folder_bytes(folder)}


def learn(args: argparse.Namespace) -> dict[str, Any]:
    """The vocabulary."""
    from qvbench.data.preprocessing import PreprocessingConfig, learn_vocabulary

    folder = stage_folder(args)
    characters = json.loads((folder / "characters.json").read_text())
    vocabulary, words = learn_vocabulary(folder, characters, PreprocessingConfig(**SETTINGS))
    return {"entries": len(vocabulary), **words}


def encode(args: argparse.Namespace) -> dict[str, Any]:
    """Ids and offsets of all splits."""
    from qvbench.data.preprocessing import PreprocessingConfig, encode_split
    from qvbench.data.store import TOKENIZER
    from qvbench.data.vocabulary import Vocabulary

    module, folder = module_of(args), stage_folder(args)
    vocabulary = Vocabulary.load(folder / TOKENIZER)
    config = PreprocessingConfig(**SETTINGS)
    splits = module.corpus.splits()
    train, *_ = (encode_split(folder, split, vocabulary, config) for split in splits)
    result = {"kept": train["pairs"], "dropped": train["dropped"]}
    result["working_bytes"] = folder_bytes(folder)
    shutil.rmtree(folder)
    return result


def prepare(args: argparse.Namespace) -> dict[str, Any]:
    """All of it, as ``fit`` and ``prepare`` do it."""
    module = module_of(args)
    module.prepare_data()
    return {"bytes": folder_bytes(module.folder)}


def tokenize(args: argparse.Namespace) -> dict[str, Any]:
    """The first lines of the corpus as raw text, on all cores."""
    from qvbench.data.parallel import ordered_map, usable_cores
    from qvbench.data.text_processing import TextProcessor

    raw = TextProcessor("en", "de", tokenized=False)
    pairs = list(islice(module_of(args).corpus.pairs("train"), RAW_PAIRS))
    chunks = [pairs[start : start + 1_000] for start in range(0, len(pairs), 1_000)]
    begin = time.perf_counter()
    for _ in ordered_map(raw.words_of_pairs, chunks, usable_cores()):
        pass
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "pairs_per_second": len(pairs) / seconds}


def open_run(args: argparse.Namespace) -> dict[str, Any]:
    """From the settings to a loader, and from there to the first batch."""
    before, begin = status_bytes("RssAnon"), time.perf_counter()
    module = module_of(args)
    module.setup()
    loader = module.train_dataloader()
    opened = time.perf_counter()
    next(iter(loader))
    return {
        "seconds": opened - begin,
        "first_batch_seconds": time.perf_counter() - opened,
        "anonymous_bytes": status_bytes("RssAnon") - before,
        "batches": len(loader),
    }


def load(args: argparse.Namespace, num_workers: int) -> dict[str, Any]:
    """Batches for a while, after the first one: real target tokens per second."""
    module = module_of(args, num_workers)
    module.setup()
    batches = iter(module.train_dataloader())
    next(batches)
    tokens = 0
    begin = time.perf_counter()
    for batch in batches:
        tokens += int((batch.target != 0).sum())
        if time.perf_counter() - begin > LOADER_SECONDS:
            break
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "tokens_per_second": tokens / seconds}


STEPS = {
    "generate": generate,
    "verify": verify,
    "read": read,
    "learn": learn,
    "encode": encode,
    "prepare": prepare,
    "tokenize": tokenize,
    "open": open_run,
    "load with 0 workers": lambda args: load(args, 0),
    "load with 1 worker": lambda args: load(args, 1),
    "load with 2 workers": lambda args: load(args, 2),
}


# Results


def write_results(folder: Path, about: dict[str, Any], results: dict[str, Any]) -> None:
    """Write the results as JSON and as a page."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"about": about, "steps": results}, indent=1)
    (folder / "data_scale.json").write_text(f"{content}\n")
    (folder / "README.md").write_text(page(about, results))
    print(page(about, results))


def page(about: dict[str, Any], results: dict[str, Any]) -> str:
    """The results as a page in Markdown."""
    rows = [
        f"| {step} | {result['seconds']:,.2f} | {rate(step, about, result)} "
        f"| {result['peak_bytes'] / GIB:.2f} |"
        for step, result in results.items()
    ]
    prepared, opened = results["prepare"], results["open"]
    raw_minutes = about["pairs"] / results["tokenize"]["pairs_per_second"] / 60
    return f"""# The data path at {about["pairs"]:,} pairs

{about["date"]}, commit `{(about["commit"] or "unknown")[:8]}`, {about["cores"]} cores \
({about["machine"]}), load average {about["load_average_before"]:.1f} before the start. \
`python -m benchmarks.data_scale --pairs {about["pairs"]} --seed {about["seed"]} --folder FOLDER \
--out results/data-scale`

| step | seconds | rate | peak memory, GiB |
|---|---|---|---|
{chr(10).join(rows)}

Preparing takes {prepared["seconds"] / 60:.1f} minutes in all and \
{prepared["peak_bytes"] / GIB:.2f} GiB at most (*prepare*; its stages *read*, *learn* and *encode* \
were measured one by one as well). Disk: {results["encode"]["working_bytes"] / GIB:.2f} GiB while \
it works, {prepared["bytes"] / GIB:.2f} GiB afterwards. Opening a run takes \
{opened["seconds"]:.2f} s and {opened["anonymous_bytes"] / GIB:.2f} GiB; the first batch comes \
{opened["first_batch_seconds"]:.2f} s later.

*tokenize* is what raw text takes in addition, measured on {RAW_PAIRS:,} pairs: at this rate \
{raw_minutes:.0f} minutes for all.
"""


def rate(step: str, about: dict[str, Any], result: dict[str, Any]) -> str:
    """What a step does per second, where that makes sense."""
    for key, unit in (("tokens_per_second", "target tokens/s"), ("pairs_per_second", "pairs/s")):
        if key in result:
            return f"{result[key]:,.0f} {unit}"
    return "" if step == "open" else f"{about['pairs'] / result['seconds']:,.0f} pairs/s"


if __name__ == "__main__":
    sys.exit(main())
