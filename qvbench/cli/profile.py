"""``qvbench profile --config NAME [--config NAME ...]``."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from jsonargparse.typing import NonNegativeInt, PositiveInt

from qvbench.cli import ArgumentParser
from qvbench.errors import UserError

if TYPE_CHECKING:  # torch is loaded once the arguments are known to be right
    from qvbench.profile.measure import Model

DEFAULT_VOCABULARY = 32_000  # where the corpus is not prepared; a multiple of 8, as all are


def main(args: list[str]) -> int:
    options, overrides = _parser().parse_known_args(args)
    # PyTorch's profiler, which reads off memory, else says on standard error that it starts.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    import torch

    from qvbench.models.facts import Size
    from qvbench.profile.measure import count, measure
    from qvbench.profile.render import FORMATS

    size = Size(options.batch_size, options.source_length, options.target_length)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records = []
    for name in options.config:
        # What is counted needs shapes alone: a network that no memory holds can be counted too.
        with device if options.repeats else torch.device("meta"):
            model = build(name, overrides, options.vocab_size)
        measured = measure(model, size, options.repeats, device) if options.repeats else None
        records.append(count(model, size) | {"measured": measured})
    print(FORMATS[options.format](records))
    return 0


def build(name: str, overrides: list[str], vocab_size: int | None = None) -> Model:
    """The model of a config, without its data; ``vocab_size`` is by default that of the corpus if
    it is prepared, else that which is to be learned, else ``DEFAULT_VOCABULARY``."""
    from qvbench.cli.experiment import Experiment
    from qvbench.models.facts import Network
    from qvbench.profile.measure import Model

    experiment = Experiment("profile", ["--config", name, *overrides])
    built, source = experiment.build(), "--vocab_size"
    if vocab_size is None:
        planned = built.data.planned_vocabulary
        vocab_size, source = planned or DEFAULT_VOCABULARY, "config" if planned else "default"
        with suppress(UserError):  # the corpus's own files are not there
            if built.data.is_stored:
                vocab_size, source = len(built.data.vocabulary), "corpus"
    task = built.model
    task.network = task.build_network(vocab_size)
    if not isinstance(task.network, Network):
        kind = type(task.network).__name__
        raise UserError(f"profile: {name}: cannot count a network of the user's own ({kind})")
    trainer = experiment.settings.trainer
    named = trainer.devices  # ``auto``, a number that may be text, or a list of which
    named = str(len(named) if isinstance(named, list) else named)
    devices = trainer.num_nodes * (int(named) if named.isdecimal() else 1)
    strategy = getattr(trainer.strategy, "class_path", trainer.strategy)
    precision = str(trainer.precision or "32-true")
    return Model(experiment.name, task, precision, source, devices, "fsdp" in str(strategy).lower())


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="qvbench profile",
        description="Parameters, FLOPs per target token, elements and bytes that decoding keeps "
        "per token, memory that training needs, and time and memory of a step: of configs side by "
        "side, without their data. "
        "Other options are those of `qvbench fit`, for every config: --model.attention QV.",
    )
    parser.usage = "%(prog)s --config NAME [--config NAME ...] [OPTIONS] [--KEY VALUE ...]"
    add = parser.add_argument
    config = "YAML file, or a name of `qvbench list`"
    add("-c", "--config", action="append", required=True, metavar="NAME", help=config)
    add("--format", choices=("table", "json", "latex"), default="table", help="of the output")
    source, target = "of a source sentence, or of a prompt", "of a target sentence, or of a text"
    add("--source_length", type=PositiveInt, default=32, metavar="N", help=f"tokens {source}")
    add("--target_length", type=PositiveInt, default=32, metavar="N", help=f"tokens {target}")
    add("--batch_size", type=PositiveInt, default=2, metavar="N", help="sentences or texts")
    vocab_size = "entries; else those of the corpus if it is prepared, else as many as the config "
    vocab_size += f"says that it will have, else {DEFAULT_VOCABULARY}"
    add("--vocab_size", type=PositiveInt, metavar="N", help=vocab_size)
    add("--repeats", type=NonNegativeInt, default=3, metavar="N", help="training steps to time")
    return parser
