"""Suite files: what they may say, what is refused, and when a variant is another one."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qvbench.cli import part_overrides
from qvbench.cli.experiment import Experiment, resolve
from qvbench.config_files import shipped_folder, shipped_suites
from qvbench.errors import UserError
from qvbench.runs.identity import identity
from qvbench.sweep.plan import PlannedRun, plan
from qvbench.sweep.suite import Suite, find_suite, read_suite
from tests.cli.conftest import TINY_CONFIG, Answer, task_on_meta
from tests.sweep.conftest import SUITE, write_suite

RESULTS = Path(__file__).parents[2] / "results"


@cache
def resolved(args: tuple[str, ...]) -> dict[str, Any]:
    """What several suites ask for, once; task, network and optimizer are built of it on the way."""
    experiment = Experiment("fit", list(args))
    task = task_on_meta(experiment)
    with torch.device("meta"):
        task.optimizer(task.network.parameters())
    return experiment.resolved()


@cache
def planned(suite: str) -> list[PlannedRun]:
    """The runs of a shipped suite with its first seed, searched values left out."""
    return plan_of(replace(read_suite(find_suite(suite)), search=None))


def plan_of(suite: Suite) -> list[PlannedRun]:
    return plan(suite, Path("none"), lambda args: resolved(tuple(args)), seeds=suite.seeds[:1])


@pytest.mark.slow
def test_every_shipped_suite_plans_and_builds() -> None:
    """Catches a variant that fails after the hours of those before it, one that is not what it
    says, two rows that are one and the same run, a budget without a validation at its end, and
    a key to search that changes nothing."""
    for suite in shipped_suites():
        read, runs = read_suite(find_suite(suite)), planned(suite)
        assert len({run.id for run in runs}) == len(read.variants) * len(read.budgets), suite
        if read.search:
            alone = {read.baseline: read.variants[read.baseline]}
            two = replace(read.search, values=read.search.values[:2], seeds=read.search.seeds[:1])
            searched = plan_of(replace(read, variants=alone, search=two))
            assert len({run.id for run in searched}) == 2, suite
        common = set.intersection(*(set(v.settings) for v in read.variants.values()))
        for run in runs:
            for key, value in set(run.variant.settings) - common:
                if key in ("model.attention", "model.position") and value.endswith(".yaml"):
                    assert Path(value).stem in run.variant.name, f"{key} of {run.id} is {value}"
            trainer = run.resolved["trainer"]
            if trainer["check_val_every_n_epoch"] is None:
                batches = trainer["max_steps"] * trainer["accumulate_grad_batches"]
                assert batches % trainer["val_check_interval"] == 0, f"{suite}: {run.id}"
        assert len(read.seeds) >= 5, suite
        steps = {run.resolved["trainer"]["max_steps"] for run in runs}
        assert len(steps) == len(read.budgets) or None in read.budgets, suite


TABLES = ("table2", "table3", "table4", "figure7", "sharing")


@pytest.mark.parametrize(
    ("prefix", "more"), [("", []), ("multi30k_", []), ("grammar_", ["mechanisms", "positions"])]
)
def test_suites_of_one_corpus_share_their_rows(prefix: str, more: list[str]) -> None:
    """Catches a row that is trained again for every table, or called otherwise in one of them."""
    suites = [*(prefix + table for table in TABLES), *more]
    rows = {(run.variant.name, run.identity) for suite in suites for run in planned(suite)}
    assert len(rows) == len({name for name, _ in rows}) == len({found for _, found in rows})
    assert len(planned(prefix + "table4")) == 6


@pytest.mark.parametrize("suite", ["multi30k_table4", "grammar_table4", "mechanisms", "precision"])
def test_published_runs_are_still_those_of_their_suite(suite: str) -> None:
    """Catches a change after which no suite finds what was trained for it before."""
    folder = RESULTS / suite.replace("_", "/") / "runs"
    records = (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    kept = {json.loads(record)["identity"] for record in records}
    assert kept
    assert kept == {identity(yaml.safe_load(file.read_text())) for file in folder.glob("*.yaml")}
    assert kept <= {run.identity for run in planned(suite)}


def test_two_names_of_one_experiment_are_refused(tmp_path: Path) -> None:
    """Catches a class that is given anew and keeps the settings it had, so that a row is another's
    under a second name."""
    variants = {"qv": {}, "same": {"model.attention": "QV"}}
    suite = read_suite(write_suite(tmp_path, variants=variants))
    with pytest.raises(UserError, match="variants qv and same are one experiment"):
        plan(suite, tmp_path, resolve)


def test_runs_go_seed_by_seed(tmp_path: Path) -> None:
    """Catches an interrupted sweep with seeds of one variant and none to compare them with."""
    runs = plan(read_suite(write_suite(tmp_path)), tmp_path / "out", resolve)
    assert [(run.variant.name, run.seed) for run in runs] == [
        *(("qv", 1), ("one", 1)),
        *(("qv", 2), ("one", 2)),
    ]
    group = f"qv-{runs[0].identity[:8]}"
    assert runs[0].id == f"{group}/seed-1"
    assert runs[0].folder == tmp_path / "out" / "runs" / group / "seed-1"


def test_suites_share_a_run_whatever_they_call_it(tmp_path: Path) -> None:
    """Catches hours of training that another suite has done already."""
    first = plan(read_suite(write_suite(tmp_path)), tmp_path, resolve)[0]
    first.folder.mkdir(parents=True)
    (first.folder / "run.json").write_text(
        json.dumps({"identity": first.identity, "status": "finished"})
    )
    other = write_suite(tmp_path, variants={"named": {}}, baseline="named").rename(
        tmp_path / "other.yaml"
    )
    again = plan(read_suite(other), tmp_path, resolve)[0]
    assert (again.id, again.is_finished) == (first.id, True)


def test_settings_become_words_of_the_command(tmp_path: Path) -> None:
    """Catches nested settings lost, a number as text, a fragment found from one folder only."""
    network = {"class_path": "EncoderDecoder", "init_args": {"d_model": 8}}
    settings = {"trainer": {"max_steps": 2}, "model": {"network": network}, "data.lowercase": True}
    variants = {"qv": {}, "one": {"model.attention": "single.yaml", "trainer.max_steps": 3}}
    suite = read_suite(write_suite(tmp_path, settings=settings, variants=variants))
    run = plan(suite, tmp_path, resolve, ["one"], [7], (("data.merges", "9"),))[0]
    words = run.args
    values = {word: words[n + 1] for n, word in enumerate(words) if word.startswith("--")}
    assert values["--trainer.max_steps"] == "3"
    assert json.loads(values["--model.network"]) == network
    assert values["--data.lowercase"] == "true"
    assert values["--model.attention"] == str(tmp_path / "single.yaml")
    assert values["--config"] == str(tmp_path / "tiny.yaml")
    assert (values["--seed_everything"], values["--name"]) == ("7", run.group)
    assert values["--data.merges"] == "9"


def test_an_infinite_setting_is_written_as_yaml(tmp_path: Path) -> None:
    """Catches JSON's word for it, which the parser takes for text; and a text that is changed."""
    stop = {"class_path": "Stop", "init_args": {"above": math.inf, "why": 'a "Infinity" b'}}
    settings = {"data.merges": -math.inf, "trainer.callbacks+": stop}
    words = dict(read_suite(write_suite(tmp_path, settings=settings)).variants["qv"].settings)
    assert words["data.merges"] == "-.inf"
    assert yaml.safe_load(words["trainer.callbacks+"]) == stop


def identity_of(file: Path, variant: str = "one", **overrides: str) -> str:
    return identity(resolve(read_suite(file).variants[variant].args(tuple(overrides.items()))))


def test_another_content_is_another_variant(tmp_path: Path) -> None:
    """Catches results of an edited suite, config or fragment that count as the present one's."""
    suite = write_suite(tmp_path)
    seen = {
        identity_of(suite),
        identity_of(suite, "qv"),
        identity_of(suite, **{"data.merges": "9"}),
    }
    fragment, base = tmp_path / "single.yaml", tmp_path / "tiny.yaml"
    fragment.write_text(fragment.read_text() + "init_args: {bias: true}\n")
    seen.add(identity_of(suite))
    base.write_text(base.read_text().replace("max_tokens: 256", "max_tokens: 255"))
    seen.add(identity_of(suite))
    write_suite(tmp_path, settings={"trainer.max_steps": 3})
    seen.add(identity_of(suite))
    assert len(seen) == 6


def test_what_changes_no_run_is_the_same_variant(tmp_path: Path) -> None:
    """Catches a finished sweep run again for a comment, another place, one more variant or seed."""
    suite = write_suite(tmp_path)
    first = identity_of(suite)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    more = {**SUITE["variants"], "other": {"data.merges": 9}}
    file = write_suite(elsewhere, seeds=[4], title="T", baseline="one", variants=more)
    base = elsewhere / "tiny.yaml"
    base.write_text("# why\n" + base.read_text().replace("seed_everything: 3", ""))
    assert identity_of(file) == first
    assert identity_of(file, **{"trainer.logger": "false"}) == first


@pytest.mark.parametrize(
    "variant",
    [
        {"model.attention": {"class_path": "Single"}},
        {"model": {"attention": "single.yaml"}, "data.merges": 150, "trainer.max_steps": "2"},
        {"config": "written.yaml", "model.network.d_model": 16},
    ],
)
def test_the_same_in_other_words_is_the_same_variant(
    variant: dict[str, Any], tmp_path: Path
) -> None:
    """Catches suites that do not share a run because they start from another base or fragment."""
    first = identity_of(write_suite(tmp_path))
    written = TINY_CONFIG | {"model": TINY_CONFIG["model"] | {"attention": "single.yaml"}}
    (tmp_path / "written.yaml").write_text(yaml.safe_dump(written))
    assert identity_of(write_suite(tmp_path, variants={"qv": {}, "one": variant})) == first


def test_a_setting_added_to_a_list_is_another_variant(tmp_path: Path) -> None:
    """Catches a callback that the identity does not see, or that takes the place of the others."""
    suite = read_suite(write_suite(tmp_path))
    more = (("trainer.callbacks+", '{"class_path": "Timer"}'),)
    found = resolve(suite.variants["qv"].args(more))["trainer"]["callbacks"]
    names = [callback["class_path"].rpartition(".")[2] for callback in found]
    assert names == ["ModelCheckpoint", "Timer"]
    with pytest.raises(UserError, match=r"pair\.yaml: variant qv: .*data\.merges\.x: "):
        plan(suite, tmp_path, resolve, overrides=(("data.merges.x", "1"),))


def test_a_suite_extends_another(tmp_path: Path) -> None:
    """Catches settings of the extended suite lost or in front, a variant that is not its own, and
    an extension of an extension that loses the first."""
    write_suite(tmp_path, settings={"data.merges": 5, "data.lowercase": True})
    more = {"extends": "pair.yaml", "settings": {"data": {"merges": 7}}, "seeds": [4]}
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(more))
    rows = {"one": None, "new": {"data.merges": 9}}
    last = {"extends": "more.yaml", "baseline": "new", "variants": rows, "margin": 0.2}
    (tmp_path / "last.yaml").write_text(yaml.safe_dump(last, sort_keys=False))
    pair, more, last = (read_suite(tmp_path / f"{name}.yaml") for name in ("pair", "more", "last"))
    assert (more.variants.keys(), more.baseline) == (pair.variants.keys(), pair.baseline)
    assert (last.seeds, last.margin, [*last.variants]) == ((4,), 0.2, ["one", "new"])
    assert last.variants["one"] == more.variants["one"]
    assert last.variants["one"].settings == (
        *(("data.merges", "7"), ("data.lowercase", "true")),
        ("model.attention", str(tmp_path / "single.yaml")),
    )
    assert dict(last.variants["new"].settings) == {"data.merges": "9", "data.lowercase": "true"}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"variants": {}}, "lacks 'variants'"),
        ({"extends": "tabel4"}, "no such suite ships (did you mean table4?)"),
        ({"extends": "pair.yaml"}, "extends pair.yaml, which extends this suite"),
        ({"extends": "mechanisms", "variants": {"qv": None}}, "variant qv: the extended suite has"),
        ({"extends": "mechanisms", "variants": {1: None}}, "variant 1: the extended suite has"),
        ({"extends": ["mechanisms"]}, "extends must be text"),
        ({"variants": {"qv": {}, "a-b": {}}}, "'a-b'"),
        (
            {"variants": {"qv": {"model.attention": "x.yaml"}}},
            "x.yaml: no class of that name is known here, nor a file",
        ),
        ({"variants": {"qv": {"config": "x.yaml"}}}, "x.yaml: no such file here"),
        ({"variants": {"qv": 3}}, "variant qv"),
        ({"baseline": "qkv"}, "'qkv' is no variant"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"seeds": ["a"]}, "different whole numbers"),
        ({"seeds": 3}, "seeds must be a list"),
        ({"margin": 0}, "margin must be above 0"),
        ({"margin": True}, "margin must be a number like 0.1, got True"),
        ({"margin": "narrow"}, "margin must be a number like 0.1"),
        ({"seed": [3]}, "no key 'seed'"),
        ({"base": None}, "lacks 'base'"),
        ({"budget": 3}, "budget must be a mapping"),
        ({"budget": {"hours": 3}}, "budget takes one of steps, target_tokens, minutes"),
        ({"budget": {"steps": 3, "minutes": 1}}, "budget takes one of"),
        ({"budget": {"steps": 1.5}}, "steps must be a whole number above 0, got 1.5"),
        ({"budget": {"minutes": 0}}, "minutes must be a number above 0"),
        ({"budget": {"minutes": math.inf}}, "minutes must be a number above 0, got inf"),
    ],
)
def test_a_faulty_suite_is_one_line(
    changes: dict[str, Any], fault: str, tmp_path: Path, qvbench: Callable[..., Answer]
) -> None:
    """Catches a traceback, or a fault that shows after hours."""
    file = write_suite(tmp_path, **changes)
    answer = qvbench("sweep", "--suite", str(file), "--dry_run")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert f"{file}: " in answer.err
    assert fault in answer.err


@pytest.mark.parametrize(
    ("budget", "found"),
    [
        ({"steps": 7}, {"max_steps": 7, "max_time": None, "callbacks": 1}),
        ({"target_tokens": 9}, {"max_steps": -1, "max_epochs": -1, "callbacks": 2}),
        ({"minutes": 1.5}, {"max_steps": -1, "max_epochs": -1, "max_time": "00:00:01:30"}),
        ({"minutes": 1501}, {"max_steps": -1, "max_time": "01:01:01:00"}),
    ],
)
def test_a_budget_is_the_same_for_all(
    budget: dict[str, Any], found: dict[str, Any], tmp_path: Path
) -> None:
    """Catches one that the parser reads otherwise, that leaves a limit of the config's, or that a
    variant gets round."""
    variants = {"qv": {}, "one": {"model.attention": "single.yaml", "trainer.max_steps": 99}}
    suite = read_suite(write_suite(tmp_path, budget=budget, variants=variants))
    for run in plan(suite, tmp_path, resolve):
        trainer = run.resolved["trainer"]
        seen = {**trainer, "callbacks": len(trainer["callbacks"])}
        assert {key: seen[key] for key in found} == found


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--suite", "mechanism"], "did you mean mechanisms"),
        (["--suite", "mechanisms", "--only", "qkv_agf", "qkw"], "--only qkw"),
        (
            ["--suite", "mechanisms", "--seed_everything", "3"],
            "the sweep's to set, by --suite, --seeds",
        ),
        (["--suite", "mechanisms", "--trainer.default_root_dir=x"], "--seeds and --output"),
        (["--suite", "mechanisms", "--trainer.max_steps"], "needs a value"),
        (["--suite", "mechanisms", "--trainer.steps", "3"], "mechanisms.yaml: variant qkv_agf"),
        (["--suite", "mechanisms", "qkv"], "unrecognized arguments: qkv"),
    ],
)
def test_a_faulty_command_is_one_line(
    words: list[str], fault: str, here: Path, qvbench: Callable[..., Answer]
) -> None:
    answer = qvbench("sweep", *words, "--dry_run")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert fault in answer.err


def test_options_of_fit_are_told_from_the_sweeps() -> None:
    """Catches the value of an option taken for another argument."""
    args = ["--trainer.max_steps", "5", "--suite", "x", "--data.merges=9"]
    own, overrides = part_overrides([*args, "--model.a.b", "-1", "--seeds", "1"])
    assert own == ["--suite", "x", "--seeds", "1"]
    assert overrides == (("trainer.max_steps", "5"), ("data.merges", "9"), ("model.a.b", "-1"))


def test_a_dry_run_runs_nothing(here: Path, qvbench: Callable[..., Answer]) -> None:
    answer = qvbench("sweep", "--suite", "mechanisms", "--only", "qv_agf", "--dry_run")
    assert answer.status == 0
    assert answer.out.count("to run    qv_agf-") == 5
    assert str(shipped_folder().resolve() / "attention" / "qv.yaml") in answer.out
    assert list(here.iterdir()) == []


def test_the_documented_numbers_of_seeds_are_those_of_the_suites() -> None:
    """Catches a table that was not changed with a suite."""
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|.*\| (\d+) \|$", page, re.MULTILINE)
    told = {name: int(seeds) for names, seeds in rows for name in re.findall(r"`(\w+)`", names)}
    assert len(told) > 20
    assert told == {name: len(read_suite(find_suite(name)).seeds) for name in told}


@pytest.mark.slow
def test_the_suite_of_the_documentation_is_one(tmp_path: Path) -> None:
    """Catches a page that teaches what is refused."""
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    whole, extension, search = blocks
    (tmp_path / "mine.yaml").write_text(whole)
    (tmp_path / "extension.yaml").write_text(extension)
    (tmp_path / "searched.yaml").write_text(whole + search)
    runs = plan(read_suite(tmp_path / "mine.yaml"), tmp_path, resolve)
    assert len(runs) == 15
    assert len(plan(read_suite(tmp_path / "searched.yaml"), tmp_path, resolve)) == 3 * 4 * 2
    extended = plan_of(replace(read_suite(tmp_path / "extension.yaml"), search=None))
    assert [run.variant.name for run in extended] == ["qkv_rope", "qv_rope"]
    for run in (*runs[:3], *extended):
        command, *words = run.args
        task_on_meta(Experiment(command, words))
