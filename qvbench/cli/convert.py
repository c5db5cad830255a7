"""``qvbench convert``: a trained model with another mechanism, to validate or fine-tune."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    from qvbench.training.machine import RunFault

    checkpoint: Path = options.checkpoint
    if checkpoint.is_dir():
        source, whole = _published(checkpoint, options.config, overrides)
        stored = whole["qvbench"]
    else:
        if of_model := [word for word in overrides if word.startswith("--model")]:
            what = f"{of_model[0]}: the model is the checkpoint's; --attention is what changes"
            raise UserError(f"convert: {what}")
        source, stored = load_task(checkpoint, Task, "a model")
        whole = read_checkpoint(checkpoint, tensors=False)
    config = str(options.config or _config_beside(checkpoint))
    words = ["--config", config, *overrides, "--model.attention", options.attention]
    experiment = Experiment("convert", words)
    if type(source) is not type((built := experiment.build()).model):
        raise UserError(f"--config {config}: is of another task than {checkpoint}")
    built.data.setup()
    own, there = built.data.vocabulary.fingerprint(), source.vocabulary.fingerprint()
    check_vocabulary(there, own, f"--checkpoint {checkpoint}")
    model = yaml.safe_load(stored["config"])
    model["attention"] = experiment.resolved()["model"]["attention"]
    model["attention"]["init_args"]["bias"] = source.network.attention.bias  # which are kept
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
    saved = {name: whole[name] for name in KEPT}
    saved |= {"state_dict": target.state_dict(), "qvbench": {**stored, "config": text}}
    try:
        SafeCheckpointIO().save_checkpoint(saved, options.output)
    except RunFault as error:  # which says how a training goes on
        what = f"cannot be written ({getattr(error.__cause__, 'strerror', None) or error})"
        raise UserError(f"--output {options.output}: {what}; name another place") from error
    counts = [sum(p.numel() for p in task.network.parameters()) for task in (source, target)]
    names = [task.network.attention.label for task in (source, target)]
    print(f"{names[0]}, {counts[0]:,} parameters, to {names[1]}, {counts[1]:,}: {options.output}")
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench convert",
        description="Give a trained QKV or GQA model another mechanism (QV, QV-Ka, GQA-QvVv, MQA, "
        "V-shared, ...), by rules that qvbench.models.conversion states: a checkpoint to validate, "
        "or to fine-tune with `qvbench fit --model.init_from`. Other options are those of "
        "`qvbench fit`.",
    )
    add = parser.add_argument
    trained = "of a training run, or a folder with GPT-2's or Llama's published weights"
    add("--checkpoint", type=Path, required=True, metavar="PATH", help=trained)
    mechanism = "a mechanism, or a fragment with one, as --model.attention takes it"
    add("--attention", required=True, metavar="NAME", help=mechanism)
    add("--output", type=Path, required=True, metavar="FILE", help="the new checkpoint")
    read = "config of the text to fit on; that of the run if not given. For published weights, of "
    read += "their network too"
    add("--config", metavar="NAME", help=read)
    add("--tokens", type=PositiveInt, default=16384, help="of text, to fit new keys on")
    return parser


def _published(
    folder: Path, config: str | None, overrides: list[str]
) -> tuple[Any, dict[str, Any]]:
    """The task of a config with the weights of a folder, and what a checkpoint of it would hold
    beside them."""
    if config is None:
        raise UserError(f"--checkpoint {folder}: give the --config of its network and of text")
    import lightning

    from qvbench.cli.experiment import Experiment

    experiment = Experiment("convert", ["--config", config, *overrides])
    built = experiment.build()
    built.data.setup()
    task = built.model
    task.build(built.data.vocabulary)
    task.start_from(folder)
    task.network.eval()
    resolved = experiment.resolved()
    own = {
        "task": resolved["task"],
        "config": yaml.safe_dump(resolved["model"], sort_keys=False),
        "vocabulary": task.vocabulary.to_json(),
        "target_tokens_seen": 0,
    }
    version = {"pytorch-lightning_version": lightning.__version__}
    return task, {"epoch": 0, "global_step": 0, **version, "qvbench": own}


def _config_beside(checkpoint: Path) -> Path:
    folder = folder_of(checkpoint)
    if folder is None:
        raise UserError(f"--checkpoint {checkpoint}: is in no run's folder; give its --config")
    return folder / CONFIG
