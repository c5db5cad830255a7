"""Published weights on the command line: to fine-tune, to convert, to go on with a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qvbench.cli.experiment import load_language_model
from qvbench.data.language import TextVocabulary
from qvbench.decoding.sampling import Sampling, generate
from tests.cli.conftest import Answer

transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.slow  # every test trains; `make test` runs them

Command = Callable[..., Answer]

TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(300))
NETWORK = {"d_model": 24, "num_heads": 4, "layers": 2, "ffn_dim": 96, "bias": True}
CONFIG: dict[str, Any] = {
    "task": "language_modeling",
    "model": {
        "attention": {"class_path": "QKV", "init_args": {"bias": True}},
        "position": {"class_path": "Learned", "init_args": {"max_length": 32}},
        "network": {
            "class_path": "DecoderOnly",
            "init_args": {"activation": "gelu_tanh", **NETWORK},
        },
        "optimizer": "torch.optim.AdamW",
        "schedule": {"class_path": "Constant", "init_args": {"rate": 1e-30}},
    },
    "data": {
        "corpus": {"class_path": "Files", "init_args": {"paths": "text.txt"}},
        "tokenizer": "gpt/tokenizer.json",
        "context": 32,
        "max_tokens": 256,
        "document_mask": True,  # of one document: it hides nothing
    },
    "trainer": {"accelerator": "cpu", "max_steps": 1, "val_check_interval": 1},
}


@pytest.fixture
def oracle(here: Path) -> Any:
    """A GPT-2 of ``transformers``, which lies in the folder ``gpt`` with its tokenizer, and a
    config for it, ``gpt.yaml``."""
    (here / "text.txt").write_text(TEXT)
    vocabulary = TextVocabulary.of_merges([TEXT], 300)
    torch.manual_seed(0)
    sizes = {"n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 4}
    config = transformers.GPT2Config(
        vocab_size=len(vocabulary),
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=None,
        **sizes,
    )
    oracle = transformers.GPT2LMHeadModel(config).eval()
    for name, parameter in oracle.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    oracle.save_pretrained(here / "gpt")
    vocabulary.save(here / "gpt" / "tokenizer.json")
    (here / "gpt.yaml").write_text(yaml.safe_dump(CONFIG))
    return oracle


def loss_of(answer: Answer) -> float:
    assert answer.status == 0, answer.err
    line = next(line for line in answer.out.splitlines() if line.startswith("val/loss"))
    return float(line.split()[1])


@torch.no_grad()
def loss_of_oracle(oracle: Any) -> float:
    """Of ``val``, in windows of 32 tokens one after the other."""
    vocabulary = TextVocabulary.load(Path("gpt/tokenizer.json"))
    ids = vocabulary.encode(TEXT[int(len(TEXT) * 0.9) :])
    total = 0.0
    for start in range(0, len(ids) - 1, 32):
        window = torch.tensor([ids[start : start + 33]])
        logits = oracle(window[:, :-1]).logits
        total += torch.nn.functional.cross_entropy(logits[0], window[0, 1:], reduction="sum").item()
    return total / (len(ids) - 1)


def test_a_training_starts_on_published_weights(oracle: Any, qvbench: Command, here: Path) -> None:
    """Catches weights at the wrong place, ids of another tokenizer, and a start that is lost."""
    answer = qvbench("fit", "--config", "gpt.yaml", "--model.init_from", "gpt")
    assert answer.status == 0, answer.err
    (record,) = here.glob("runs/*/*/run.json")
    found = json.loads(record.read_text())["metrics"]["val/loss"]
    assert found == pytest.approx(loss_of_oracle(oracle), abs=2e-5)


def test_llama_loses_its_keys(oracle: Any, qvbench: Command, here: Path) -> None:
    """Catches grouped heads that only a training run may have, and another base of RoPE."""
    sizes = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.4}
    given = {"vocab_size": oracle.config.vocab_size, "rope_theta": 500.0, "rms_norm_eps": 1e-5}
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **given)).eval()
    llama.save_pretrained(here / "gpt")
    attention = {"class_path": "GQA", "init_args": {"num_kv_heads": 2}}
    network = {"norm": "rms", "activation": "swiglu", "tied": False, "bias": False, "ffn_dim": 40}
    parts = {
        "attention": attention,
        "position": {"class_path": "RoPE", "init_args": {"base": 500.0}},
    }
    parts["network"] = {"class_path": "DecoderOnly", "init_args": {**NETWORK, **network}}
    model = {"model": {**CONFIG["model"], **parts}}
    Path("gpt.yaml").write_text(yaml.safe_dump({**CONFIG, **model}))
    losses = []
    for mechanism in ("GQA", "GQAQV"):
        words = ("--checkpoint", "gpt", "--config", "gpt.yaml", "--output", f"{mechanism}.ckpt")
        chosen = f"{{class_path: {mechanism}, init_args: {{num_kv_heads: 2}}}}"
        answer = qvbench("convert", *words, "--attention", chosen, "--tokens", "500")
        assert answer.status == 0, answer.err
        own = ("--config", "gpt.yaml", "--model.attention", chosen)
        losses.append(loss_of(qvbench("validate", *own, "--ckpt_path", f"{mechanism}.ckpt")))
    assert losses[0] == pytest.approx(loss_of_oracle(llama), abs=2e-5)
    assert losses[0] != losses[1]


def test_published_weights_are_converted(oracle: Any, qvbench: Command, here: Path) -> None:
    """Catches biases that are left out, text of another tokenizer, and a checkpoint that neither
    validates, starts a training, nor generates what the published model does."""
    losses = {}
    for mechanism in ("QKV", "QV"):
        file = f"{mechanism}.ckpt"
        words = ("--checkpoint", "gpt", "--config", "gpt.yaml", "--output", file)
        answer = qvbench("convert", *words, "--attention", mechanism, "--tokens", "500")
        assert answer.status == 0, answer.err
        own = (
            "--config",
            "gpt.yaml",
            "--model.attention",
            mechanism,
            "--model.attention.bias",
            "true",
        )
        losses[mechanism] = loss_of(qvbench("validate", *own, "--ckpt_path", file))
        answer = qvbench("fit", *own, "--name", mechanism, "--model.init_from", file)
        assert answer.status == 0, answer.err
    network, vocabulary = load_language_model(here / "QKV.ckpt")
    prompt = vocabulary.encode("7 times 7")
    (text,) = generate(network, [prompt], Sampling(temperature=0.0), 12)
    theirs = oracle.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    assert text == theirs[0].tolist()
    assert losses["QKV"] == pytest.approx(loss_of_oracle(oracle), abs=2e-5)
    assert losses["QV"] != losses["QKV"]


def test_what_does_not_fit_is_one_line(oracle: Any, qvbench: Command, here: Path) -> None:
    """Catches weights that are loaded in part, or into a network that computes something else."""
    (here / "gpt" / "wrong.txt").touch()
    tokenizer = json.loads((here / "gpt" / "tokenizer.json").read_text())
    ids = tokenizer["model"]["vocab"]
    ids["0"], ids["1"] = ids["1"], ids["0"]
    (here / "other.json").write_text(json.dumps(tokenizer))
    network = "--model.network.init_args"
    for words, message in (
        (
            (f"{network}.activation", "gelu"),
            "computes something else with them; compare activation",
        ),
        ((f"{network}.norm_eps", "1e-3"), "computes something else"),
        (
            (f"{network}.layers", "3"),
            r"layers.2.attention.output.weight is not there, [24, 24] here",
        ),
        ((f"{network}.ffn_dim", "24"), r"is [96, 24] there, [24, 24] here"),
        (("--model.attention", "QV"), "layers.0.attention.key.weight is [24, 24] there, not here"),
        (("--data.tokenizer", "bytes"), "data.tokenizer takes the path of its tokenizer.json"),
        (("--data.tokenizer", "other.json"), "gpt: was trained with another vocabulary"),
        (("--model.init_from", "runs"), "runs/config.json: cannot be read"),
    ):
        (here / "runs").mkdir(exist_ok=True)
        answer = qvbench("fit", "--config", "gpt.yaml", "--model.init_from", "gpt", *words)
        assert (answer.status, answer.err.count("qvbench: error")) == (2, 1), answer.err
        assert message in answer.err.splitlines()[-1]
    answer = qvbench("convert", "--checkpoint", "gpt", "--attention", "QV", "--output", "new.ckpt")
    assert answer.status == 2
    assert "--checkpoint gpt: give the --config of its network" in answer.err
