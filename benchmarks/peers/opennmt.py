"""OpenNMT-py as a peer: its model builder, Trainer, loss, optimizer and Translator.

Its Trainer takes an arg-max over the vocabulary at every step for its statistics, and waits for
three numbers; it has no switch for that, so it is in the time. It knows no bfloat16 on a CPU:
whatever the precision asked for, it computes in float32 and says so. Its greedy translations are
ours. Its beam search stops with the first end at the top of the beam, which ours does not, and
about one translation in five differs for that.
"""

from __future__ import annotations

import io
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from onmt.inputters.inputter import dict_to_vocabs
from onmt.model_builder import build_model
from onmt.modules.embeddings import PositionalEncoding
from onmt.opts import train_opts, translate_opts
from onmt.trainer import build_trainer
from onmt.translate.translator import build_translator
from onmt.utils.logging import init_logger
from onmt.utils.optimizers import Optimizer
from onmt.utils.parse import ArgumentParser
from torch import Tensor

from benchmarks import protocol
from benchmarks.protocol import Shape, Task, Weights, Work, each_time

# Its checkpoints hold a Namespace, which PyTorch does not load unasked.
torch.serialization.add_safe_globals([Namespace])
NO_GPU = -1
NEVER = 10**9
PRECISION = "32-true"
# Of a batch to translate. With its default of 30 sentences greedy search takes twice as long, and
# beam search as long as with this.
MAX_TOKENS = 4096

NAMES = (
    (r"^source_embeddings\.tokens\.", "encoder.embeddings.make_embedding.emb_luts.0."),
    (r"^target_embeddings\.tokens\.", "decoder.embeddings.make_embedding.emb_luts.0."),
    (r"^(encoder|decoder)_norm\.", r"\1.layer_norm."),
    (r"^(encoder\.\d+)\.attention_residual\.norm\.", r"\1.layer_norm."),
    (r"\.cross_attention_residual\.norm\.", ".layer_norm_2."),
    (r"\.attention_residual\.norm\.", ".layer_norm_1."),
    (r"\.feed_forward_residual\.norm\.", ".feed_forward.layer_norm."),
    (r"^encoder\.(\d+)\.", r"encoder.transformer.\1."),
    (r"^decoder\.(\d+)\.", r"decoder.transformer_layers.\1."),
    (r"\.cross_attention\.", ".context_attn."),
    (r"\.attention\.", ".self_attn."),
    (r"\.query\.", ".linear_query."),
    (r"\.key\.", ".linear_keys."),
    (r"\.value\.", ".linear_values."),
    (r"\.output\.", ".final_linear."),
    (r"\.feed_forward\.widen\.", ".feed_forward.w_1."),
    (r"\.feed_forward\.narrow\.", ".feed_forward.w_2."),
)


def training_options(shape: Shape) -> Namespace:
    """What ``onmt_train`` makes of the options for this shape; its defaults for all others."""
    parser = ArgumentParser()
    train_opts(parser)
    values: dict[str, Any] = {
        **{"data": "none", "src_vocab": "none"},
        **{"encoder_type": "transformer", "decoder_type": "transformer"},
        **{"enc_layers": shape.encoder_layers, "dec_layers": shape.decoder_layers},
        **{"hidden_size": shape.d_model, "word_vec_size": shape.d_model, "heads": shape.num_heads},
        **{"transformer_ff": shape.d_ff, "dropout": shape.dropout},
        **{"attention_dropout": shape.attention_dropout, "label_smoothing": shape.label_smoothing},
        **{"optim": "adam", "adam_beta1": shape.betas[0], "adam_beta2": shape.betas[1]},
        **{"learning_rate": shape.learning_rate, "decay_method": "none", "max_grad_norm": 0},
        "normalization": "tokens",
    }
    switches = ("position_encoding", "share_vocab", "share_embeddings", "share_decoder_embeddings")
    options = parser.parse_args(arguments(values) + [f"--{name}" for name in switches])
    ArgumentParser.update_model_opts(options)
    ArgumentParser.validate_model_opts(options)
    options.data = {}
    return options


def translation_options(shape: Shape, model: str) -> Namespace:
    """What ``onmt_translate`` makes of the options."""
    parser = ArgumentParser()
    translate_opts(parser)
    values = {
        **{"model": model, "src": "none", "gpu": NO_GPU, "beam_size": shape.beam_size},
        **{"length_penalty": "avg", "alpha": protocol.LENGTH_PENALTY},
        "max_length": shape.max_length,
        "max_length_ratio": 2,  # its default cuts translations off at 1.25 of the source
    }
    return parser.parse_args(arguments(values))


def arguments(values: dict[str, Any]) -> list[str]:
    return [arg for name, value in values.items() for arg in (f"--{name}", str(value))]


def converted(weights: Weights, shape: Shape) -> dict[str, dict[str, Tensor]]:
    model = protocol.renamed(weights, NAMES)
    bias = model.pop("output_bias")
    for side in ("encoder", "decoder"):
        positions = PositionalEncoding(shape.d_model, "SinusoidalInterleaved").pe
        model[f"{side}.embeddings.make_embedding.pe.pe"] = positions
    table = model["encoder.embeddings.make_embedding.emb_luts.0.weight"]
    return {"model": model, "generator": {"weight": table, "bias": bias}}


def vocabulary(shape: Shape) -> dict[str, Any]:
    names = protocol.token_names(shape)
    return {"src": names, "tgt": names, "data_task": "seq2seq", "decoder_start_token": "<s>"}


@contextmanager
def checkpoint(work: Work, attention: str = "scaled-dot-flash") -> Iterator[str]:
    """A file with the work's weights, as ``onmt_train`` writes it with this ``self_attn_type``."""
    shape, options = work.shape, training_options(work.shape)
    options.self_attn_type = attention
    state = converted(work.weights(), shape)
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save({**state, "vocab": vocabulary(shape), "opt": options}, file.name)
        yield file.name


def train(work: Work) -> Task:
    """Its Trainer over the batches, without validation and without saving."""
    shape, pairs = work.shape, work.batches()
    init_logger()
    torch.manual_seed(1)
    options = training_options(shape)
    vocabs = dict_to_vocabs(vocabulary(shape))
    model = build_model(options, options, vocabs, converted(work.weights(), shape), NO_GPU)
    trainer = build_trainer(options, NO_GPU, model, vocabs, Optimizer.from_opt(model, options))
    tokens = protocol.real_tokens(pairs, shape.pad)
    batches = []
    for src, tgt in pairs:
        lengths = (src != shape.pad).sum(1)
        # As its iterator makes them: a last axis for features.
        batches.append({"src": src[:, :, None], "srclen": lengths, "tgt": tgt[:, :, None]})

    @torch.no_grad()
    def check() -> dict[str, float]:
        batch = batches[0]
        model.eval()
        output, attention = model(batch["src"], batch["tgt"], batch["srclen"])
        loss, statistics = trainer.valid_loss(batch, output, attention)
        model.train()
        return {"loss": float(loss) / statistics.n_words}

    def repeat() -> None:
        """``Trainer.train`` until the batches end."""
        once = ((batch, 0) for batch in batches)
        trainer.train(once, 0, save_checkpoint_steps=0, valid_steps=NEVER)

    settings = {"precision": PRECISION, "threads": torch.get_num_threads()}
    return Task(check, each_time(repeat), tokens, settings)


def translate(work: Work) -> Task:
    """``onmt_translate``'s Translator, from a checkpoint to lines of tokens."""
    shape, sources = work.shape, work.sources()
    output = io.StringIO()
    with checkpoint(work) as path:
        translator = build_translator(
            translation_options(shape, path), NO_GPU, report_score=False, out_file=output
        )
    max_tokens = shape.max_tokens or MAX_TOKENS
    batches = []
    for indices in protocol.length_batches(sources, max_tokens):  # its iterator sorts by length too
        rows = [torch.tensor(sources[i]) for i in indices]
        src = torch.nn.utils.rnn.pad_sequence(rows, True, shape.pad)
        lengths = torch.tensor([len(row) for row in rows])
        batches.append(({"src": src[:, :, None], "srclen": lengths, "ind_in_bucket": indices}, 0))

    def lines() -> list[str]:
        output.truncate(0)
        _, predictions = translator._translate(batches)
        return [best for best, *_ in predictions]

    def check() -> dict[str, Any]:
        ids = {name: i for i, name in enumerate(protocol.token_names(shape))}
        found = [[ids[word] for word in line.split()] for line in lines()]
        return {"lines": protocol.within_limits(found, sources, shape)}

    settings = {"precision": PRECISION, "threads": torch.get_num_threads()}
    return Task(check, each_time(lines), len(sources), {**settings, "max_tokens": max_tokens})
