"""A run that is stopped and resumed goes on as if nothing had happened."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from qvbench.errors import UserError
from qvbench.training.checkpoints import newest_whole
from tests.tasks.conftest import make_task


@pytest.mark.parametrize("stopped_after", [3, 4, 7])
def test_resumed_weights_are_bit_for_bit_the_same(data, trainer, tmp_path, stopped_after):
    """Dropout that starts again from the seed, batches replayed or skipped, a schedule reset."""
    settings = {"accumulate_grad_batches": 2, "enable_checkpointing": True}

    def saver(folder: str) -> ModelCheckpoint:
        return ModelCheckpoint(
            tmp_path / folder, filename="{step}", every_n_train_steps=stopped_after, save_top_k=-1
        )

    whole = make_task(dropout=0.3)
    module = data(max_tokens=40)
    module.prepare_data()
    module.setup("fit")
    batches = len(list(module.train_dataloader()))
    assert batches == 9, "five steps an epoch, the last of one batch: stops in and across epochs"
    trainer(max_steps=10, callbacks=[saver("a")], **settings).fit(whole, datamodule=data())
    checkpoint = tmp_path / "a" / f"step={stopped_after}.ckpt"
    stored = torch.load(checkpoint, weights_only=True)["qvbench"]  # plain data, nothing runs
    assert set(stored) >= {"config", "vocabulary", "text", "target_tokens_seen", "random_state"}
    resumed = make_task(dropout=0.3)
    run = trainer(max_steps=10, callbacks=[saver("b")], **settings)
    run.fit(resumed, datamodule=data(), ckpt_path=str(checkpoint))
    assert run.global_step == 10
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert whole.tokens_seen_now() == resumed.tokens_seen_now() > 0


def test_a_checkpoint_within_a_step_is_not_resumed(data, trainer, tmp_path, caplog):
    """Catches a step that goes on with the gradients of its second half alone: validations count
    batches over all epochs, accumulation counts them within one."""

    def run(ckpt_path: str | None = None) -> None:
        trainer(
            max_steps=6,
            accumulate_grad_batches=2,
            val_check_interval=5,  # batches; an epoch has 9 of them, and 5 steps
            check_val_every_n_epoch=None,
            limit_val_batches=1,
            enable_checkpointing=True,
            callbacks=[ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1)],
        ).fit(make_task(), datamodule=data(), ckpt_path=ckpt_path)

    run()
    within = tmp_path / "step=2.ckpt"
    assert torch.load(within, weights_only=True)["qvbench"]["unfinished_step"]
    with pytest.raises(UserError, match="written within an optimizer step"):
        run(str(within))
    assert newest_whole([within]) is None
