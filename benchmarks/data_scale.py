"""What a corpus of WMT17's size costs: preparing it, opening it, reading batches of it.

Generates a corpus in statmt's layout from the built-in grammar, then measures every stage in a
process of its own::

    python -m benchmarks.data_scale --pairs 4500000 --folder /tmp/scale --out results/data-scale
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.scale_corpus import lines, write_pairs

SENTENCES = 200_000  # of the grammar, of which lines are made
LOADER_SECONDS = 20.0
RAW_PAIRS = 60_000
MERGES, MAX_LENGTH, MAX_VOCABULARY, MAX_TOKENS = 32_000, 95, 36_000, 5_000
GIB = 1 << 30


def main() -> int:
    """Measure everything, or one step in a process that this one starts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=4_500_000)
    parser.add_argument("--folder", type=Path, required=True, help="for corpus and store")
    parser.add_argument("--out", type=Path, required=True, help="for data_scale.json, README.md")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        import qvbench.data.module  # noqa: F401 - not to be measured

        begin = time.perf_counter()
        result = STEPS[arguments.step](arguments)
        result.setdefault("seconds", time.perf_counter() - begin)
        print(json.dumps({**result, "peak_bytes": status_bytes("VmHWM")}))
        return 0
    results = {step: in_process(step) for step in STEPS}
    write_results(arguments, results)
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
    """From Linux's account of this process: VmHWM is the most memory that it had, file mappings
    included, RssAnon what it has now without them."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])


# What is measured


def generate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Write ``corpus.tc.{en,de}.gz`` and the development sets, unless they are there."""
    from qvbench.data.corpora import Grammar

    folder = corpus_folder(arguments)
    if (folder / "complete").is_file():
        return dict(json.loads((folder / "complete").read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    count = min(SENTENCES, max(2_000, arguments.pairs // 5))
    grammar = Grammar(count, 3_000, 3_000, arguments.seed)
    pool = list(grammar.pairs("train"))
    words = write_pairs(folder, "corpus.tc", ".gz", lines(pool, arguments.pairs, arguments.seed))
    for year, split in ((2014, "val"), (2015, "val"), (2016, "test")):
        write_pairs(folder, f"newstest{year}.tc", "", grammar.pairs(split))
    seconds = time.perf_counter() - begin
    result = {"words": words, "bytes": folder_bytes(folder), "seconds": seconds}
    (folder / "complete").write_text(json.dumps(result))
    return result


def corpus_folder(arguments: argparse.Namespace) -> Path:
    """Where a corpus of this size lies."""
    folder: Path = arguments.folder
    return folder / f"corpus-{arguments.pairs}-{arguments.seed}"


def module_of(arguments: argparse.Namespace, num_workers: int = 0) -> Any:
    """The data module of ``configs/data/wmt17.yaml``, over the generated corpus."""
    os.environ["QVBENCH_CACHE"] = str(arguments.folder / "cache")
    from qvbench.data.corpora import Wmt17
    from qvbench.data.module import TranslationDataModule

    return TranslationDataModule(
        Wmt17(str(corpus_folder(arguments))),
        max_tokens=MAX_TOKENS,
        merges=MERGES,
        max_length=MAX_LENGTH,
        max_vocabulary=MAX_VOCABULARY,
        num_workers=num_workers,
    )


def stages_of(arguments: argparse.Namespace) -> Any:
    """The preparation in the folder where the data module would go on with it."""
    from qvbench.data.storing import Stages

    module = module_of(arguments)
    work = module.folder.parent / f".{module.folder.name}.partial"
    work.mkdir(parents=True, exist_ok=True)
    return Stages(work, module.corpus, module.processor, module.recipe)


def verify(arguments: argparse.Namespace) -> dict[str, Any]:
    """The checksums of all files, decompressed."""
    module = module_of(arguments)
    shutil.rmtree(module.folder, ignore_errors=True)
    return {"fingerprint": module.fingerprint}


def read_lines(arguments: argparse.Namespace) -> dict[str, Any]:
    """All lines into the working folder, characters counted."""
    stages = stages_of(arguments)
    return {"characters": len(stages.characters()), "bytes": folder_bytes(stages.folder)}


def tokenise(arguments: argparse.Namespace) -> dict[str, Any]:
    """As raw text would be, on all cores: the first lines of the corpus."""
    from qvbench.data.parallel import ordered_map, usable_cores
    from qvbench.data.text_processing import TextProcessor

    raw = TextProcessor("en", "de", tokenized=False)
    pairs = list(islice(stages_of(arguments).corpus.pairs("train"), RAW_PAIRS))
    chunks = [pairs[start : start + 1_000] for start in range(0, len(pairs), 1_000)]
    begin = time.perf_counter()
    for _ in ordered_map(raw.spooled, chunks, usable_cores()):
        pass
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "pairs_per_second": len(pairs) / seconds}


def learn(arguments: argparse.Namespace) -> dict[str, Any]:
    """The vocabulary."""
    stages = stages_of(arguments)
    return {"entries": len(stages.vocabulary), **stages.learned()}


def encode(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ids and offsets of all splits."""
    stages = stages_of(arguments)
    entries = [stages.encoded(split) for split in stages.corpus.splits()]
    train = entries[0]
    return {
        "kept": train["pairs"],
        "dropped": train["dropped"],
        "subwords": [train[side]["subwords"] for side in ("source", "target")],
        "working_bytes": folder_bytes(stages.folder),
    }


def finish(arguments: argparse.Namespace) -> dict[str, Any]:
    """Manifest, synchronisation with the disk, and the final name."""
    module = module_of(arguments)
    module.prepare_data()
    return {"bytes": folder_bytes(module.folder)}


def open_run(arguments: argparse.Namespace) -> dict[str, Any]:
    """From the settings to a loader, and from there to the first batch."""
    before, begin = status_bytes("RssAnon"), time.perf_counter()
    module = module_of(arguments)
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


def load(arguments: argparse.Namespace, num_workers: int) -> dict[str, Any]:
    """Batches for a while, after the first one: real target tokens a second."""
    module = module_of(arguments, num_workers)
    module.setup()
    batches = iter(module.train_dataloader())
    next(batches)
    tokens = count = 0
    begin = time.perf_counter()
    for batch in batches:
        tokens += int((batch.target != 0).sum())
        count += 1
        if time.perf_counter() - begin > LOADER_SECONDS:
            break
    seconds = time.perf_counter() - begin
    return {"tokens_per_second": tokens / seconds, "batches_per_second": count / seconds}


STEPS = {
    "generate": generate,
    "verify": verify,
    "read": read_lines,
    "tokenise": tokenise,
    "learn": learn,
    "encode": encode,
    "finish": finish,
    "open": open_run,
    "load with 0 workers": lambda arguments: load(arguments, 0),
    "load with 1 worker": lambda arguments: load(arguments, 1),
    "load with 2 workers": lambda arguments: load(arguments, 2),
}


def folder_bytes(folder: Path) -> int:
    """Size of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# Results


def write_results(arguments: argparse.Namespace, results: dict[str, Any]) -> None:
    """Write the results as JSON and as a table."""
    about = {
        **{"pairs": arguments.pairs, "merges": MERGES, "seed": arguments.seed},
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[2],
        "machine": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("numpy", "tokenizers", "torch")},
        "date": time.strftime("%Y-%m-%d"),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"about": about, "steps": results}, indent=1)
    (arguments.out / "data_scale.json").write_text(f"{content}\n")
    (arguments.out / "README.md").write_text(page(about, results))
    print(page(about, results))


def page(about: dict[str, Any], results: dict[str, Any]) -> str:
    """The results as a page in Markdown."""
    rows = [
        f"| {step} | {result['seconds']:,.2f} | {rate(step, about, result)} "
        f"| {result['peak_bytes'] / GIB:.2f} |"
        for step, result in results.items()
    ]
    preparing = ("verify", "read", "learn", "encode", "finish")
    total = sum(results[step]["seconds"] for step in preparing)
    opened = results["open"]
    return "\n".join(
        [
            f"# The data path at {about['pairs']:,} pairs",
            "",
            f"{about['date']}, {about['cores']} cores ({about['machine']}), load average "
            f"{about['load_average']:.1f} over the last fifteen minutes. `python "
            f"-m benchmarks.data_scale --pairs {about['pairs']} --seed {about['seed']} --folder "
            "FOLDER --out results/data-scale`",
            "",
            "| step | seconds | rate | peak memory, GiB |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Preparing takes {total / 60:.1f} minutes in all and "
            f"{max(results[step]['peak_bytes'] for step in preparing) / GIB:.2f} GiB at most. "
            f"Disk: {results['encode']['working_bytes'] / GIB:.2f} GiB while it works, "
            f"{results['finish']['bytes'] / GIB:.2f} GiB for good. Opening a run takes "
            f"{opened['seconds']:.2f} s and {opened['anonymous_bytes'] / GIB:.2f} GiB; the first "
            f"batch comes {opened['first_batch_seconds']:.2f} s later.",
            "",
            f"*tokenise* is what raw text takes besides, measured on {RAW_PAIRS:,} pairs: at this "
            f"rate {about['pairs'] / results['tokenise']['pairs_per_second'] / 60:.0f} minutes for "
            "all.",
            "",
        ]
    )


def rate(step: str, about: dict[str, Any], result: dict[str, Any]) -> str:
    """What a step does a second, where that makes sense."""
    for key, unit in (("tokens_per_second", "target tokens/s"), ("pairs_per_second", "pairs/s")):
        if key in result:
            return f"{result[key]:,.0f} {unit}"
    whole = step in ("finish", "open")
    return "" if whole else f"{about['pairs'] / result['seconds']:,.0f} pairs/s"


if __name__ == "__main__":
    sys.exit(main())
