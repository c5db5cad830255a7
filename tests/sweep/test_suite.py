"""Suite files: what they may say, what is refused, and when a variant is another one."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from qvbench.cli.experiment import Experiment, resolve
from qvbench.config_files import read_yaml, shipped_folder, shipped_suites
from qvbench.errors import UserError
from qvbench.runs.identity import identity
from qvbench.sweep.estimate import Costs
from qvbench.sweep.plan import plan, read_overrides
from qvbench.sweep.suite import find_suite, read_suite
from tests.cli.conftest import TINY_CONFIG, Answer
from tests.sweep.conftest import SUITE, write_suite
from tests.test_configs import parse

VARIANTS = [
    pytest.param(suite, variant, id=f"{suite}-{variant}")
    for suite in shipped_suites()
    for variant in read_yaml(find_suite(suite))["variants"]
]


@pytest.mark.parametrize(("suite", "variant"), VARIANTS)
def test_every_variant_of_a_shipped_suite_builds(suite: str, variant: str) -> None:
    """A variant that fails after the hours of those before it; one that is not what it says."""
    chosen = read_suite(find_suite(suite)).variants[variant]
    words = [word for key, value in chosen.settings for word in (f"--{key}", value)]
    resolved, _, _ = parse(chosen.config, *words)
    for key, value in chosen.settings:
        if key in ("model.attention", "model.position") and value.endswith(".yaml"):
            assert Path(value).stem in variant, f"{key} of {variant} is {value}"
    trainer = resolved["trainer"]
    batches = trainer["max_steps"] * trainer["accumulate_grad_batches"]
    if trainer["check_val_every_n_epoch"] is None:
        assert batches % trainer["val_check_interval"] == 0, (
            "no validation at the end of the budget"
        )


@pytest.mark.parametrize("suite", shipped_suites())
def test_every_shipped_suite_plans(suite: str, tmp_path: Path) -> None:
    """Two rows that are one and the same run; a suite without its seeds or its budget."""
    read = read_suite(find_suite(suite))
    runs = plan(read, tmp_path, resolve)
    assert len({run.id for run in runs}) == len(read.variants) * len(read.seeds) == len(runs)
    if suite == "rates":  # a search, not a comparison
        return
    assert len(read.seeds) >= 5
    steps = {run.resolved["trainer"]["max_steps"] for run in runs}
    assert len(steps) == 1


def names_of_hashes(corpus: list[str]) -> dict[str, set[str]]:
    suites = [read_suite(find_suite(suite)) for suite in corpus]
    found: dict[str, set[str]] = {}
    for suite in suites:
        for variant in suite.variants.values():
            found.setdefault(variant.name, set()).add(identity(resolve(variant.args())))
    return found


TABLES = ("table2", "table3", "table4", "figure7", "sharing")


@pytest.mark.parametrize(
    ("prefix", "more"), [("", []), ("multi30k_", []), ("grammar_", ["mechanisms", "positions"])]
)
def test_suites_of_one_corpus_share_their_rows(prefix: str, more: list[str]) -> None:
    """A row that is trained again for every table in which it stands, or called otherwise there."""
    hashes = names_of_hashes([*(prefix + table for table in TABLES), *more])
    assert {name: len(found) for name, found in hashes.items()} == dict.fromkeys(hashes, 1)
    assert len(set.union(*hashes.values())) == len(hashes)
    assert len(names_of_hashes([prefix + "table4"])) == 6


def test_shipped_suites_have_a_line_for_the_list() -> None:
    for name in shipped_suites():
        assert find_suite(name).read_text(encoding="utf-8").startswith("# ")


def test_runs_go_seed_by_seed(tmp_path: Path) -> None:
    """An interrupted sweep with three seeds of one variant and nothing to compare them with."""
    runs = plan(read_suite(write_suite(tmp_path)), tmp_path / "out", resolve)
    assert [(run.variant.name, run.seed) for run in runs] == [
        *(("qv", 1), ("one", 1)),
        *(("qv", 2), ("one", 2)),
    ]
    group = f"qv-{runs[0].identity[:8]}"
    assert runs[0].id == f"{group}/seed-1"
    assert runs[0].folder == tmp_path / "out" / "runs" / group / "seed-1"


def test_suites_share_a_run_whatever_they_call_it(tmp_path: Path) -> None:
    """Hours of training that another suite has done already."""
    first = plan(read_suite(write_suite(tmp_path)), tmp_path, resolve)[0]
    first.folder.mkdir(parents=True)
    (first.folder / "run.json").write_text(
        json.dumps({"identity": first.identity, "status": "finished"})
    )
    other = write_suite(tmp_path, variants={"named": {}}, baseline="named").rename(
        tmp_path / "other.yaml"
    )
    again = plan(read_suite(other), tmp_path, resolve)[0]
    assert (again.id, again.finished) == (first.id, True)


def test_settings_become_words_of_the_command(tmp_path: Path) -> None:
    """Nested settings lost, a number as text, a fragment that is only found from one folder."""
    network = {"class_path": "EncoderDecoder", "init_args": {"d_model": 8}}
    settings = {"trainer": {"max_steps": 2}, "model": {"network": network}, "data.lowercase": True}
    variants = {"qv": {}, "one": {"model.attention": "single.yaml", "trainer.max_steps": 3}}
    suite = read_suite(write_suite(tmp_path, settings=settings, variants=variants))
    run = plan(suite, tmp_path, resolve, ["one"], [7], (("data.merges", "9"),))[0]
    words = run.words
    values = {word: words[n + 1] for n, word in enumerate(words) if word.startswith("--")}
    assert values["--trainer.max_steps"] == "3"
    assert json.loads(values["--model.network"]) == network
    assert values["--data.lowercase"] == "true"
    assert values["--model.attention"] == str(tmp_path / "single.yaml")
    assert values["--config"] == str(tmp_path / "tiny.yaml")
    assert (values["--seed_everything"], values["--name"]) == ("7", run.group)
    assert values["--data.merges"] == "9"


def identity_of(file: Path, variant: str = "one", **overrides: str) -> str:
    return identity(resolve(read_suite(file).variants[variant].args(tuple(overrides.items()))))


def test_another_content_is_another_variant(tmp_path: Path) -> None:
    """Results of an edited suite, config or fragment passed off as those of the present one."""
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
    """A finished sweep run again for a comment, another place, or one more variant or seed."""
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
    """Suites that do not share a run because they start from another base or fragment."""
    first = identity_of(write_suite(tmp_path))
    written = TINY_CONFIG | {"model": TINY_CONFIG["model"] | {"attention": "single.yaml"}}
    (tmp_path / "written.yaml").write_text(yaml.safe_dump(written))
    assert identity_of(write_suite(tmp_path, variants={"qv": {}, "one": variant})) == first


def test_a_setting_added_to_a_list_is_another_variant(tmp_path: Path) -> None:
    """A callback that the hash does not see, or one that takes the place of the others."""
    suite = read_suite(write_suite(tmp_path))
    more = (("trainer.callbacks+", '{"class_path": "Timer"}'),)
    found = resolve(suite.variants["qv"].args(more))["trainer"]["callbacks"]
    names = [callback["class_path"].rpartition(".")[2] for callback in found]
    assert names == ["ModelCheckpoint", "Timer"]
    with pytest.raises(UserError, match=r"pair\.yaml: variant qv: .*data\.merges: "):
        plan(suite, tmp_path, resolve, overrides=(("data.merges.x", "1"),))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"variants": {}}, "no variants"),
        ({"variants": {"a-b": {}}}, "'a-b'"),
        ({"variants": {"qv": {"model.attention": "x.yaml"}}}, "no file x.yaml"),
        ({"variants": {"qv": {"config": "x.yaml"}}}, "no config x.yaml"),
        ({"variants": {"qv": 3}}, "variant qv"),
        ({"baseline": "qkv"}, "'qkv' is no variant"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"seeds": ["a"]}, "different whole numbers"),
        ({"seeds": 3}, "seeds must be a list"),
        ({"margin": 0.0}, "margin must be above 0"),
        ({"margin": "narrow"}, "margin must be like 0.1"),
        ({"seed": [3]}, "no key 'seed'"),
        ({"base": None}, "lacks 'base'"),
        ({"budget": 3}, "budget must be a mapping"),
        ({"budget": {"hours": 3}}, "budget takes one of steps, target_tokens, minutes"),
        ({"budget": {"steps": 3, "minutes": 1}}, "budget takes one of"),
        ({"budget": {"steps": 1.5}}, "steps must be a whole number above 0, got 1.5"),
        ({"budget": {"minutes": 0}}, "minutes must be a number above 0"),
    ],
)
def test_a_faulty_suite_is_one_line(
    changes: dict[str, Any], fault: str, tmp_path: Path, qvbench: Callable[..., Answer]
) -> None:
    """A traceback, or a fault that shows after hours."""
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
        ({"minutes": 1.5}, {"max_steps": -1, "max_epochs": -1, "max_time": {"seconds": 90}}),
    ],
)
def test_a_budget_is_the_same_for_all(
    budget: dict[str, Any], found: dict[str, Any], tmp_path: Path
) -> None:
    """One that the parser reads otherwise, that leaves a limit of the config's, or that a variant
    gets round."""
    variants = {"qv": {}, "one": {"model.attention": "single.yaml", "trainer.max_steps": 99}}
    suite = read_suite(write_suite(tmp_path, budget=budget, variants=variants))
    for run in plan(suite, tmp_path, resolve):
        words = [word for key, value in run.variant.settings for word in (f"--{key}", value)]
        trainer = Experiment("fit", ["--config", str(run.variant.config), *words]).settings.trainer
        seen = {**trainer, "callbacks": len(trainer.callbacks)}
        assert {key: seen[key] for key in found} == found
    estimate = Costs(plan(suite, tmp_path, resolve)).describe_rest()
    assert {"steps": "7 steps", "target_tokens": "9 target tokens", "minutes": "90"}[
        next(iter(budget))
    ] in estimate


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--suite", "mechanism"], "near it: mechanisms"),
        (["--suite", "mechanisms", "--only", "qkv_agf", "qkw"], "--only qkw"),
        (["--suite", "mechanisms", "--seed_everything", "3"], "use --seeds"),
        (["--suite", "mechanisms", "--trainer.default_root_dir=x"], "use --output"),
        (["--suite", "mechanisms", "--trainer.max_steps"], "needs a value"),
        (["--suite", "mechanisms", "qkv"], "belongs to no option"),
    ],
)
def test_a_faulty_command_is_one_line(
    words: list[str], fault: str, here: Path, qvbench: Callable[..., Answer]
) -> None:
    answer = qvbench("sweep", *words, "--dry_run")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert fault in answer.err


def test_overrides() -> None:
    words = ["--trainer.max_steps", "5", "--data.merges=9", "--x", "-1"]
    assert read_overrides(words) == (("trainer.max_steps", "5"), ("data.merges", "9"), ("x", "-1"))
    with pytest.raises(UserError, match="cannot be given to a sweep"):
        read_overrides(["--config=x.yaml"])


def test_a_dry_run_runs_nothing(here: Path, qvbench: Callable[..., Answer]) -> None:
    answer = qvbench("sweep", "--suite", "mechanisms", "--only", "qv_agf", "--dry_run")
    assert answer.status == 0
    assert answer.out.count("to run    qv_agf-") == 5
    assert str(shipped_folder().resolve() / "attention" / "qv.yaml") in answer.out
    assert list(here.iterdir()) == []


def test_no_torch_is_needed() -> None:
    """Seconds before the plan is shown."""
    code = "import sys, qvbench.cli.sweep;sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_suite_of_the_documentation_is_one(tmp_path: Path) -> None:
    """A page that teaches what is refused."""
    page = (Path(__file__).parents[2] / "docs" / "suites.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "mine.yaml").write_text(block)
    suite = read_suite(tmp_path / "mine.yaml")
    assert len(plan(suite, tmp_path, resolve)) == 15
    for variant in suite.variants.values():
        words = [word for key, value in variant.settings for word in (f"--{key}", value)]
        parse(variant.config, *words)
