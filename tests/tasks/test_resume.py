"""A run that is stopped and resumed goes on as if nothing had happened."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.tasks.conftest import make_task


def weights(task) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


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
    resumed = make_task(dropout=0.3)
    run = trainer(max_steps=10, callbacks=[saver("b")], **settings)
    run.fit(resumed, datamodule=data(), ckpt_path=str(checkpoint))
    assert run.global_step == 10
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    assert whole.tokens_seen_now() == resumed.tokens_seen_now() > 0


def test_a_checkpoint_is_plain_data(data, trainer, tmp_path):
    """A checkpoint that runs code when it is loaded, or that needs its run's folder."""
    saver = ModelCheckpoint(tmp_path, filename="saved", every_n_train_steps=1)
    task = make_task()
    trainer(max_steps=1, callbacks=[saver], enable_checkpointing=True).fit(task, datamodule=data())
    stored = torch.load(tmp_path / "saved.ckpt", weights_only=True)["qvbench"]
    assert set(stored) >= {"config", "vocabulary", "text", "target_tokens_seen", "random_state"}
