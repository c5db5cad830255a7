"""Configs by name and by fragment, and what overrides do to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from qvbench.cli.experiment import Experiment, resolve
from qvbench.config_files import config_name, find_config, shipped_configs, shipped_folder
from qvbench.errors import UserError
from tests.cli.conftest import MECHANISM, Answer

Command = Callable[..., Answer]


def test_a_shipped_config_is_found_from_anywhere(here: Path) -> None:
    """Catches a lookup that needs the repository, or the ending of a name."""
    for name in shipped_configs():
        assert find_config(name) == shipped_folder() / name
        assert find_config(name.removesuffix(".yaml")) == find_config(name)


def test_a_file_here_comes_before_a_shipped_one(here: Path) -> None:
    name = shipped_configs()[0]
    (here / name).parent.mkdir(parents=True, exist_ok=True)
    (here / name).write_text("trainer:\n")
    assert find_config(name) == Path(name)


def test_no_way_out_of_the_shipped_folder(here: Path) -> None:
    """Catches a lookup that finds any file of the installation."""
    with pytest.raises(UserError, match="no such file"):
        find_config("../pyproject.toml")


def test_names_of_configs(here: Path) -> None:
    """Catches runs of two configs of one stem (tiny/qvka, multi30k/qvka) sharing a name."""
    for name in shipped_configs():
        assert config_name(shipped_folder() / name) == name
    assert config_name("mine/special.yaml") == "special.yaml"
    (here / "run.json").write_text('{"config": "tiny/qvka.yaml"}')
    assert config_name("config.yaml") == "tiny/qvka.yaml"


def test_a_fragment_is_relative_to_its_config(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches fragments looked up in the current folder."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    attention = resolve(["--config", str(tiny)])["model"]["attention"]
    assert attention["class_path"].endswith("QVKa")
    assert attention["init_args"].items() >= MECHANISM["init_args"].items()


def test_overrides_keep_the_settings_that_still_mean_something(
    tiny: Path, qvbench: Command
) -> None:
    """Catches an override that drops its neighbors, and a mechanism given another one's settings;
    a printed config that is another than the one that is trained."""
    args = ["--config", "tiny.yaml", "--model.attention.context_dim", "64"]
    answer = qvbench("fit", *args, "--print_config")
    attention = yaml.safe_load(answer.out)["model"]["attention"]
    assert attention["init_args"].items() >= {"context_dim": 64, "context": "per_head"}.items()
    assert attention == resolve(args)["model"]["attention"]
    attention = resolve([*args, "--model.attention", "QV"])["model"]["attention"]
    assert attention["class_path"].endswith("QV")
    assert "context_dim" not in attention["init_args"]


@pytest.mark.parametrize("given", ["file", "arguments"])
def test_fragments_ship_by_name(given: str, here: Path, qvbench: Command) -> None:
    """Catches a config of one's own that has to copy the fragments that it composes."""
    parts = {"model.attention": "attention/qv.yaml", "model.position": "position/agf.yaml"}
    base = ["--config", "tiny/qkv.yaml"]
    if given == "file":
        model = {key.partition(".")[2]: name for key, name in parts.items()}
        (here / "my.yaml").write_text(yaml.safe_dump({"model": model}))
        args = [*base, "--config", "my.yaml"]
    else:
        args = [*base, *(word for key, name in parts.items() for word in (f"--{key}", name))]
    model = resolve(args)["model"]
    assert model["attention"]["class_path"].endswith("QV")
    assert model["position"]["class_path"].endswith("AGF")


def test_a_fragment_beside_the_config_comes_first(here: Path) -> None:
    """Catches a shipped fragment that hides the one of one's own by the same name."""
    (here / "attention").mkdir()
    (here / "attention" / "qv.yaml").write_text("class_path: GQA\ninit_args: {num_kv_heads: 1}\n")
    (here / "my.yaml").write_text("model: {attention: attention/qv.yaml}\n")
    model = resolve(["--config", "tiny/qkv.yaml", "--config", "my.yaml"])["model"]
    assert model["attention"]["class_path"].endswith("GQA")


def test_numbers_are_read_as_the_parser_reads_them(here: Path) -> None:
    """Catches 1e-3, which plain YAML takes for text, and text in quotes taken for a number."""
    (here / "my.yaml").write_text("model: {label_smoothing: 1e-3}\nname: '1e-3'\n")
    model = resolve(["--config", "tiny/qkv.yaml", "-c", "my.yaml"])["model"]
    assert model["label_smoothing"] == 1e-3
    settings = Experiment("fit", ["--config", "tiny/qkv.yaml", "--config=my.yaml"]).settings
    assert settings.name == "1e-3"


MY_TASK = '''
from qvbench.tasks.translation import TranslationTask


class MyTask(TranslationTask):
    """Translation in a module of one's own."""

    def __init__(self, *, extra: int = 1, **settings) -> None:
        super().__init__(**settings)
        self.extra = extra
'''


@pytest.mark.slow
def test_a_task_of_a_module_of_ones_own(tiny: Path, here: Path, qvbench: Command) -> None:
    """Catches a task that has to be registered in the package, or is not resumed as itself."""
    (here / "my_module.py").write_text(MY_TASK)
    args = ("--config", "tiny.yaml", "--trainer.max_steps", "3")
    answer = qvbench("fit", *args, "--task", "my_module.MyTask", "--model.extra", "2")
    assert answer.status == 0, answer.err
    config = yaml.safe_load((here / "runs/tiny/seed-3/config.yaml").read_text())
    assert (config["task"], config["model"]["extra"]) == ("my_module.MyTask", 2)
    checkpoint = "runs/tiny/seed-3/checkpoints/last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["qvbench"]["task"] == "my_module.MyTask"
    (here / "in.txt").write_text("the dog sleeps\n")
    texts = ("--input", "in.txt", "--output", "out.txt")
    for args in (("validate", "--ckpt_path"), ("translate", *texts, "--checkpoint")):
        answer = qvbench(*args, checkpoint)
        assert answer.status == 0, answer.err


def test_a_seed_is_a_start_and_an_order_of_its_own() -> None:
    """Catches seeds that are one run, by a constant or one that does not reach the data: intervals
    of no width, and every difference shown."""
    starts = []
    for seed in (1, 2, 1):
        words = ["--config", "tiny/qvka.yaml", "--seed_everything", str(seed)]
        built = Experiment("fit", words).build()
        assert built.data.seed == seed
        network = built.model.build_network(50)
        starts.append(torch.cat([weight.flatten() for weight in network.parameters()]))
    assert torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[0], starts[1])
