"""``qvbench convert``: a trained QKV model with another mechanism, to validate or fine-tune."""

from __future__ import annotations

from pathlib import Path

import yaml
from jsonargparse.typing import PositiveInt

from qvbench.cli import ArgumentParser
from qvbench.errors import UserError
from qvbench.runs.folder import CONFIG, folder_of

KEPT = ("epoch", "global_step", "pytorch-lightning_version")  # of a checkpoint of weights alone


def main(args: list[str]) -> int:
    """Run the command with the arguments after ``convert``."""
    options, overrides = _parser().parse_known_args(args)
    if options.output.exists():
        raise UserError(f"--output {options.output}: is there already; give a new name")

    from qvbench.cli.experiment import Experiment, load_task, task_from_config
    from qvbench.data.text import check_vocabulary
    from qvbench.models.conversion import convert
    from qvbench.tasks import TASKS
    from qvbench.tasks.base import Task
    from qvbench.training.checkpoints import SafeCheckpointIO, read_checkpoint

    checkpoint: Path = options.checkpoint
    source, stored = load_task(checkpoint, Task, "a model")
    config = ["--config", str(options.config or _config_beside(checkpoint))]
    words = [*config, *overrides, "--model.attention", options.attention]
    experiment = Experiment("convert", words)
    if type(source) is not type((built := experiment.build()).model):
        raise UserError(f"--config {config[1]}: is of another task than {checkpoint}")
    built.data.setup()
    own, there = built.data.vocabulary.fingerprint(), source.vocabulary.fingerprint()
    check_vocabulary(there, own, f"--checkpoint {checkpoint}")
    model = yaml.safe_load(stored["config"])
    model["attention"] = experiment.resolved()["model"]["attention"]
    text = yaml.safe_dump(model, sort_keys=False)
    target = task_from_config(text, TASKS.name_of(type(source)))
    target.build(source.vocabulary)

    def read_text() -> None:
        tokens = 0
        for batch in built.data.train_dataloader():
            tokens += int(source(batch).counted.sum())
            if tokens >= options.tokens:
                return

    convert(source.network, target.network, read_text)
    whole = read_checkpoint(checkpoint, tensors=False)
    saved = {name: whole[name] for name in KEPT}
    saved |= {"state_dict": target.state_dict(), "qvbench": {**stored, "config": text}}
    SafeCheckpointIO().save_checkpoint(saved, options.output)
    counts = [sum(p.numel() for p in task.network.parameters()) for task in (source, target)]
    names = [task.network.attention.label for task in (source, target)]
    print(f"{names[0]}, {counts[0]:,} parameters, to {names[1]}, {counts[1]:,}: {options.output}")
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench convert",
        description="Give a trained QKV model another mechanism (QV, QV-Ka, GQA, MQA, V-shared), "
        "by rules that qvbench.models.conversion states: a checkpoint to validate, or to "
        "fine-tune with `qvbench fit --model.init_from`. Other options are those of `qvbench fit`.",
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="PATH", help="of a training run of QKV")
    mechanism = "a mechanism, or a fragment with one, as --model.attention takes it"
    add("--attention", required=True, metavar="NAME", help=mechanism)
    add("--output", type=Path, required=True, metavar="FILE", help="the new checkpoint")
    add("--config", metavar="NAME", help="whose data is read; by default that of the run")
    add("--tokens", type=PositiveInt, default=16384, help="target tokens of text to solve on")
    return parser


def _config_beside(checkpoint: Path) -> Path:
    folder = folder_of(checkpoint)
    if folder is None:
        raise UserError(f"--checkpoint {checkpoint}: is in no run's folder; give its --config")
    return folder / CONFIG
