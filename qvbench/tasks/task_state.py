"""What a checkpoint holds of the task besides its weights: plain data only."""

from __future__ import annotations

from typing import Any

from qvbench.data.vocabulary import Vocabulary, check_vocabulary
from qvbench.errors import UserError
from qvbench.tasks.agreement import check_same_model
from qvbench.tasks.random_state import random_states, restore_random_state
from qvbench.training.checkpoint_io import resumable


def task_state(task: Any) -> dict[str, Any]:
    """The vocabulary, how text is processed, the task's config; and where training stands.

    Every process has to ask.
    """
    return {
        "config": task.config_yaml,
        "vocabulary": task.vocabulary.to_json(),
        "text": task.data.processor.state(),
        "target_tokens_seen": task.tokens_seen_now(),
        "unfinished_step": task.gradient_step.state(task),
        "step_log": task.step_log.state(),
        **random_states(task.trainer.world_size),
    }


def restore_task_state(task: Any, stored: dict[str, Any]) -> None:
    """Go on with the random numbers, the step begun and the sums of the run that is taken up.

    Args:
        task: whose training starts.
        stored: :func:`task_state`; empty for a new run.
    """
    if stored:
        restore_random_state(stored, task.global_rank)
        task.gradient_step.restore(stored.get("unfinished_step", {}), task)
        task.step_log.restore(stored.get("step_log", {}), task.device)
        # Those that the next line of the log will add. A run taken up at its end has no next line.
        task.target_tokens_seen -= task.step_log.pending_target_tokens()


def check_checkpoint(task: Any, checkpoint: dict[str, Any], where: str, fit: bool) -> None:
    """Refuse what a task cannot go on from.

    Args:
        task: built, with its vocabulary.
        checkpoint: as it was read.
        where: which one, for the message.
        fit: whether training is to go on.

    Raises:
        UserError: it is of another model or vocabulary, or holds weights alone.
    """
    stored = checkpoint["qvbench"]
    check_same_model(stored["config"], task.config_yaml, where, fit)
    if fit and not resumable(checkpoint):
        raise UserError(f"{where}: holds weights alone, which cannot be trained on; take last.ckpt")
    if task.vocabulary is not None:
        expected = Vocabulary.from_json(stored["vocabulary"]).fingerprint()
        check_vocabulary(expected, task.vocabulary.fingerprint(), where)
