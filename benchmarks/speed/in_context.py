"""Reads queries behind one prompt of examples: its keys computed once, and the obvious way.

The obvious way reads each query's whole prompt, alone, and computes the logits of every token.
Between the two, `one at a time` still reads whole prompts alone, but only the last token's logits
are computed. Ours lays queries end to end behind the examples' keys and values, or, for families
that take no mask, repeats these for a padded batch. The model is random (of SmolLM2's shape with
`--smollm2`); probabilities must agree. CPU seconds say more than seconds where other work runs
beside:

    python benchmarks/speed/in_context.py
    python benchmarks/speed/in_context.py --smollm2 --queries 16
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.kit.language.causal_lm import CausalLM
from harness.kit.modes import evaluating
from harness.types import StudentInfo
from harness_frozen.prefix import ReadingMode, SharedPrefix, split_rows

ANSWERS = [11, 12]
SMALL = {
    "vocab_size": 8192, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
SMOLLM2 = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
}  # fmt: skip

Rows = Sequence[np.ndarray]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    lm = _model(SMOLLM2 if options.smollm2 else SMALL)
    rng = np.random.default_rng(0)
    prefix = rng.integers(20, 8000, options.examples * 32)
    rows = [rng.integers(20, 8000, length) for length in rng.integers(12, 60, options.queries)]
    ways: dict[str, Callable[[CausalLM, np.ndarray, Rows], np.ndarray]] = {
        "whole prompts, all logits": partial(one_at_a_time, last=False),
        "one at a time, last logits": partial(one_at_a_time, last=True),
        "prefix repeated": partial(behind_prefix, way="expanded"),
        "packed (as used)": partial(behind_prefix, way="packed"),
    }
    print(
        f"{options.queries} queries of 12 to 59 tokens behind {len(prefix)}, {options.threads}"
        f" threads, torch {torch.__version__}"
    )
    print(f"{'':28}{'seconds':>9}{'CPU s':>8}{'ratio':>7}   furthest probability")
    first: tuple[float, np.ndarray] | None = None
    for name, way in ways.items():
        started, cpu = time.perf_counter(), time.process_time()
        with evaluating(lm.model):
            found = way(lm, prefix, rows)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        first = first or (cpu, found)
        furthest = np.abs(found - first[1]).max()
        print(
            f"{name:28}{seconds:9.2f}{cpu:8.2f}{first[0] / cpu:7.1f}   {furthest:.1e}", flush=True
        )


def one_at_a_time(lm: CausalLM, prefix: np.ndarray, rows: Rows, *, last: bool) -> np.ndarray:
    found = []
    for row in rows:
        ids = torch.from_numpy(np.concatenate([prefix, row]))[None]
        logits = lm.model(ids, use_cache=False, logits_to_keep=1 if last else 0).logits
        found.append(_answers(logits[0, -1:]))
    return np.concatenate(found)


def behind_prefix(lm: CausalLM, prefix: np.ndarray, rows: Rows, *, way: ReadingMode) -> np.ndarray:
    shared = SharedPrefix(lm, prefix, way)
    groups = split_rows(np.array([len(row) for row in rows]), len(prefix), way, lm.device)
    found = [_answers(shared.logits([rows[place] for place in group])) for group in groups]
    return np.concatenate(found)[np.argsort(np.concatenate(groups))]


def _answers(logits: torch.Tensor) -> np.ndarray:
    return logits[:, ANSWERS].double().softmax(-1).numpy()


def _model(shape: dict[str, object]) -> CausalLM:
    from tokenizers import Tokenizer, models

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**shape, max_position_embeddings=8192))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    return CausalLM(model, tokenizer, StudentInfo("llama", "", "random", 0), torch.device("cpu"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--examples", type=int, default=20)
    parser.add_argument("--smollm2", action="store_true", help="SmolLM2's shape, 135 M parameters")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
