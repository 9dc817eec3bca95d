"""Times one DiLM matching step, says where the time goes and what memory it takes.

All engines score the same samples with the same generator and match the same real rows on the same
learner (random weights; BERT of the size of MiniLM-L6), and their gradients are compared in the
same run, in float32 and in float64. `closed form` and `whole network` are the plugin's own code,
for `match = "head"` and `"full"`. `torch.func` and `whole network, torch.func` are the obvious way
to each: the generator's gradient of the cosine, with the learner's gradient taken inside, one
padded batch a class, all of it timed as `algebra`. `double backward` is that by plain automatic
differentiation of the head's gradient; `published` does so too but, as the published code, takes
the gradient of the whole learner first and drops all but the head. Memory is the peak above what
was in use before the step, each engine in a process of its own.

    python benchmarks/speed/dilm_step.py
    python benchmarks/speed/dilm_step.py --generator-layers 12 --generator-width 768 --device cuda
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from dilm_engines import ENGINES, FULL, OURS, PARTS, PEERS, Bench, Clock, flat_gradient, run_engine
from peak_memory import peak_memory, start_memory
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from harness.context import StageContext
from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows
from harness.types import Recipe, StudentInfo
from harness_dilm.generator.model import Generator
from harness_dilm.generator.text_format import TextFormat
from harness_dilm.matching.learner import Learner
from harness_dilm.optimiser import Optimiser
from harness_dilm.options import MatchingOptions

WORDS = range(1000, 30_000)


def review_lengths(count: int, rng: np.random.Generator) -> np.ndarray:
    """Tokens of so many sentences of film reviews."""
    return np.clip(rng.normal(28, 12, count).round().astype(int), 5, 70)


def random_rows(
    lengths: np.ndarray, first: int, last: int, vocabulary: range, rng: np.random.Generator
) -> EncodedRows:
    """Rows of random tokens between a first and a last one."""
    return EncodedRows(
        ids=tuple(
            np.array([first, *rng.integers(vocabulary.start, vocabulary.stop, n - 2), last])
            for n in lengths
        )
    )


def make_bench(arguments: argparse.Namespace) -> Bench:
    """Everything of random weights and random tokens; lengths are those of movie reviews."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    device = torch.device(arguments.device)
    vocabulary, classes = arguments.vocabulary, arguments.classes
    end, separator, pad = vocabulary - 1, vocabulary + classes, vocabulary + classes + 1
    form = TextFormat(
        tokenizer=tiny_tokenizer(),
        columns=("text",),
        class_ids=tuple(range(vocabulary, vocabulary + classes)),
        separator=separator,
        pad=pad,
        end=end,
    )
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=pad + 1,
            n_positions=128,
            n_embd=arguments.generator_width,
            n_layer=arguments.generator_layers,
            n_head=max(1, arguments.generator_width // 64),
            activation_function="gelu_pytorch_tanh",
            bos_token_id=end,
            eos_token_id=end,
        )
    )
    generator = Generator(
        model=model.to(device).eval(),
        format=form,
        max_length=128,
        device=device,
        dtype=torch.float32,
        sampleable=torch.ones(pad + 1, dtype=torch.bool, device=device),
    )
    learner_model = BertForSequenceClassification(
        BertConfig(
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
            num_labels=classes,
        )
    )
    options = MatchingOptions(dtype="float32", learner_steps_between=arguments.learner_updates)
    context = StageContext(seed=0, workdir=Path(tempfile.gettempdir()), device=arguments.device)
    classifier = TextClassifier(
        model=learner_model,
        tokenizer=tiny_tokenizer(),
        input_columns=("text",),
        max_length=128,
        info=StudentInfo("bert", "random", "random", 0),
        device=device,
    )
    learner = Learner(classifier, options, context)
    with torch.no_grad():
        classifier.head.weight.normal_()

    sampled = [review_lengths(arguments.synthetic, rng) for _ in range(classes)]
    return Bench(
        generator=generator,
        learner=learner,
        samples=tuple(
            random_rows(own, form.class_ids[label], end, range(vocabulary - 1), rng)
            for label, own in enumerate(sampled)
        ),
        read=tuple(random_rows(own, 101, 102, WORDS, rng) for own in sampled),
        real=tuple(
            random_rows(review_lengths(arguments.real, rng), 101, 102, WORDS, rng)
            for _ in range(classes)
        ),
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>")),
        pad_token="<pad>",
        model_max_length=512,
    )


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The options that `make_bench` reads, and where it runs."""
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--synthetic", type=int, default=64, help="samples of a class")
    parser.add_argument("--real", type=int, default=200, help="real rows of a class")
    parser.add_argument("--learner-updates", type=int, default=20, help="before each step")
    parser.add_argument("--generator-layers", type=int, default=4)
    parser.add_argument("--generator-width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=4096)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sizes(parser)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    # Before any thread of this process: a forked child has none of them.
    with multiprocessing.get_context("fork").SamplePool(1, maxtasksperchild=1) as pool:
        memory = {engine: pool.apply(extra_memory, (engine, arguments)) for engine in ENGINES}
    torch.set_num_threads(arguments.threads)
    bench = make_bench(arguments)
    clocks = {engine: Clock(bench.generator.device) for engine in ENGINES}
    gradients = {}
    recipe = Recipe(steps=1 << 30, learning_rate=0.0, warmup=0.0, weight_decay=0.0)
    optimiser = Optimiser(bench.generator.model, recipe, "the generator")
    for repeat in range(arguments.repeats + 1):
        for engine in ENGINES:
            clock = clocks[engine] if repeat else Clock(bench.generator.device)
            run_engine(bench, engine, clock)
            gradients[engine] = flat_gradient(bench)
            with clock.part("optimiser"):
                optimiser.step()
        print(f"round {repeat} of {arguments.repeats} done", file=sys.stderr)
    totals = print_table(clocks, memory, arguments.repeats)
    exact = double_gradients(bench)
    for engine, ours in PEERS.items():
        print(
            f"{ours} is {totals[engine] / totals[ours]:.2f} times as fast as {engine}, with"
            f" {memory[ours] / memory[engine]:.2f} of its memory; their gradients differ by"
            f" {difference(gradients[ours], gradients[engine]):.1e}, in float64 by"
            f" {difference(exact[ours], exact[engine]):.1e}; from that of {engine} in float64"
            f" they are {difference(gradients[ours], exact[engine]):.1e} and"
            f" {difference(gradients[engine], exact[engine]):.1e} away"
        )
    print(f"{FULL} costs {totals[FULL] / totals[OURS]:.2f} times the time of {OURS}")


def double_gradients(bench: Bench) -> dict[str, Tensor]:
    """Of both ways of each kind, in float64; turns the models into that type."""
    bench.learner.classifier.model.double()
    generator = replace(bench.generator, model=bench.generator.model.double(), dtype=torch.float64)
    double = replace(bench, generator=generator)
    found = {}
    for engine in (*PEERS, *PEERS.values()):
        run_engine(double, engine, Clock(generator.device))
        found[engine] = flat_gradient(double)
    return found


def difference(found: Tensor, expected: Tensor) -> float:
    """Relative to the length of what is expected."""
    return float((found.to(expected) - expected).norm() / expected.norm())


def extra_memory(engine: str, arguments: argparse.Namespace) -> int:
    """Bytes of one step's peak above what was in use; runs in a process of its own."""
    torch.set_num_threads(arguments.threads)
    # A tiny step loads every kernel, and leaves hardly any memory behind.
    tiny = make_bench(argparse.Namespace(**{**vars(arguments), "synthetic": 1, "real": 1}))
    run_engine(tiny, engine, Clock(tiny.generator.device))
    del tiny
    bench = make_bench(arguments)
    before = start_memory(arguments.device)
    run_engine(bench, engine, Clock(bench.generator.device))
    return peak_memory(arguments.device) - before


def print_table(clocks: dict[str, Clock], memory: dict[str, int], repeats: int) -> dict[str, float]:
    """Median milliseconds of each part of a step; returns those of the whole step by engine."""
    totals = {}
    parts = " | ".join(f"{part} ms" for part in PARTS)
    print(f"| engine | {parts} | step ms | steps/s | extra MB |")
    print("|---" * (len(PARTS) + 4) + "|")
    for engine, clock in clocks.items():
        per_step = {
            part: np.array(values or [0.0] * repeats).reshape(repeats, -1).sum(1).tolist()
            for part, values in clock.spent.items()
        }
        totals[engine] = statistics.median(map(sum, zip(*per_step.values(), strict=True)))
        cells = [f"{statistics.median(values):.1f}" for values in per_step.values()]
        cells += [f"{totals[engine]:.1f}", f"{1e3 / totals[engine]:.2f}"]
        print(f"| {engine} | " + " | ".join(cells) + f" | {memory[engine] / 1e6:,.0f} |")
    return totals


if __name__ == "__main__":
    main()
