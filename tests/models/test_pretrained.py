"""Independent networks as oracles: ``transformers``' GPT-2 and Llama, randomly initialized."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qvbench.attention import precomputed
from qvbench.errors import UserError
from qvbench.models.pretrained import load_pretrained

transformers = pytest.importorskip("transformers")

VOCABULARY = 41


def gpt2(**settings: Any) -> Any:
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=24, n_layer=3, n_head=4, **settings
    )
    return transformers.GPT2LMHeadModel(config)


def llama(**settings: Any) -> Any:
    sizes = {"hidden_size": 24, "intermediate_size": 56, "num_hidden_layers": 3}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(vocab_size=VOCABULARY, **{**sizes, **settings})
    return transformers.LlamaForCausalLM(config)


class Rotations(nn.Module):
    """Llama's angles as its own module computes them, in float64."""

    def __init__(self, base: float, width: int) -> None:
        super().__init__()
        self.frequencies = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        angles = position_ids[..., None] * self.frequencies
        angles = torch.cat((angles, angles), -1)
        return angles.cos(), angles.sin()


class Norm(nn.Module):
    """Llama's norm without its rounding to float32."""

    def __init__(self, weight: nn.Parameter, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))


def in_float64(oracle: Any) -> Any:
    """Without what Llama computes in float32 whatever its weights are in."""
    oracle = oracle.double().eval()
    if isinstance(oracle, transformers.LlamaForCausalLM):
        config = oracle.config
        base = config.rope_parameters["rope_theta"]
        oracle.model.rotary_emb = Rotations(base, config.head_dim)
        for module in list(oracle.modules()):
            for name, child in list(module.named_children()):
                if type(child).__name__ == "LlamaRMSNorm":
                    setattr(module, name, Norm(child.weight, child.variance_epsilon))
    return oracle


ORACLES = {
    "gpt2": (gpt2, {}),
    "gpt2_untied": (gpt2, {"tie_word_embeddings": False, "n_inner": 40}),
    "llama": (llama, {}),
    "llama_tied": (llama, {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama_wide": (llama, {"head_dim": 10, "attention_bias": True, "rope_theta": 500.0}),
}


@pytest.mark.parametrize("name", ORACLES)
@torch.no_grad()
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """Catches a matrix transposed, a bias or norm at another place, pairs of dimensions that RoPE
    turns otherwise, and a cache that disagrees with everybody else's network."""
    build, settings = ORACLES[name]
    torch.manual_seed(0)
    oracle = build(**settings)
    for parameter in oracle.parameters():  # theirs starts with norms of one and biases of zero
        parameter.copy_(parameter.mean() + 0.2 * torch.randn_like(parameter))
    oracle.save_pretrained(tmp_path)
    ours = load_pretrained(tmp_path)
    ids = torch.randint(VOCABULARY, (3, 17))
    theirs = oracle.eval()(ids).logits
    torch.testing.assert_close(ours.project(ours(ids)), theirs, rtol=0, atol=1e-3)
    ours, theirs = ours.double(), in_float64(oracle)(ids).logits
    torch.testing.assert_close(ours.project(ours(ids)), theirs, rtol=0, atol=1e-10)
    with precomputed(ours):
        state = ours.start(ids[:, :6])
        for place in range(6, 17):
            stepped = ours.step(ids[:, place], state)
            torch.testing.assert_close(stepped, theirs[:, place], rtol=0, atol=1e-10)


def test_weights_may_lie_in_several_files_of_either_kind(tmp_path: Path) -> None:
    """Catches a reader that takes the first file for all, executes a pickle, or takes what a
    training leaves beside the weights for one of them."""
    oracle = gpt2()
    for folder, options in (("one", {}), ("many", {"max_shard_size": "30KB"})):
        oracle.save_pretrained(tmp_path / folder, **options)
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    (tmp_path / "old").mkdir()
    torch.save(oracle.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    torch.save(Path("arguments"), tmp_path / "old" / "training_args.bin")
    (tmp_path / "old" / "config.json").write_bytes((tmp_path / "one/config.json").read_bytes())
    expected = load_pretrained(tmp_path / "one").state_dict()
    for folder in ("many", "old"):
        found = load_pretrained(tmp_path / folder).state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "mamba"}, r"type mamba; known are: gpt2, llama$"),
        ({"activation_function": "tanh"}, r"activation_function is tanh; known here: gelu_new"),
        ({"n_layer": 4}, r"not the gpt2 that its config tells \('h\.3"),
        ({"n_layer": 1}, r"config.json tells of 1 layers, the weights have more$"),
        ({"n_head": None}, r"not the gpt2 that its config tells"),
        ({"n_embd": 48}, r"not the gpt2 that its config tells .*size mismatch"),
        (
            {"model_type": "llama", "rope_scaling": {"type": "linear", "factor": 4.0}},
            r"rope_type is linear; known here: default$",
        ),
    ],
)
def test_a_model_that_is_another_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Catches a setting that is overlooked, and weights loaded in part."""
    gpt2().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UserError, match=message):
        load_pretrained(tmp_path)


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """Catches a traceback for a folder without a model, or a download that was cut off."""
    with pytest.raises(UserError, match=r"config\.json: cannot be read \(No such file"):
        load_pretrained(tmp_path)
    gpt2().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read"):
        load_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(UserError, match="no weights there"):
        load_pretrained(tmp_path)
