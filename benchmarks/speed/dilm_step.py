"""Times one DiLM matching step and says where the time goes, closed form against double backward.

Both engines score the same samples with the same generator and match the same real rows on the
same learner (random weights; BERT of the size of MiniLM-L6), and their gradients are compared in
the same run. `closed form` is the plugin's own code; `double backward` differentiates through the
gradient of the head, one padded batch a class; `published` does so too but, as the published code,
takes the gradient of the whole learner first and drops all but the head.

    python benchmarks/speed/dilm_step.py
    python benchmarks/speed/dilm_step.py --generator-layers 12 --generator-width 768 --device cuda
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from harness.context import StageContext
from harness.kit.batching import EncodedRows
from harness.kit.text_classifier import TextClassifier
from harness.types import Recipe, StudentInfo
from harness_dilm.generator import Generator
from harness_dilm.language_modelling import divisors, sequence_losses
from harness_dilm.learner import Learner, RowTable
from harness_dilm.matching import HeadBatch, backward_matching_loss, sample_weights
from harness_dilm.optimiser import Optimiser
from harness_dilm.options import MatchingOptions
from harness_dilm.text_format import TextFormat

ENGINES = ("closed form", "double backward", "published")
PARTS = ("score", "learner", "algebra", "backward", "optimiser")


@dataclass
class Clock:
    """Milliseconds spent in each part of a step, step after step."""

    device: torch.device
    spent: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = self._now()
        yield
        self.spent[name].append((self._now() - started) * 1e3)

    def _now(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()


@dataclass(frozen=True)
class Bench:
    """A generator, a learner, and for each class its synthetic and its real rows."""

    generator: Generator
    learner: Learner
    samples: tuple[EncodedRows, ...]
    read: tuple[EncodedRows, ...]
    real: tuple[EncodedRows, ...]

    def closed_form(self, clock: Clock) -> None:
        """As `harness_dilm.gradient_matching` does it, rows of all classes at once."""
        sizes = [len(rows) for rows in self.samples]
        with clock.part("score"):
            scale = np.concatenate([divisors(rows.lengths, "batch") for rows in self.samples])
            losses = sequence_losses(self.generator, joined(self.samples), scale)
            weights = [sample_weights(own, 1.0) for own in losses.split(sizes)]
        with clock.part("learner"):
            features = [self._features(rows) for rows in (self.real, self.read)]
        with clock.part("algebra"):
            head = self.learner.classifier.head
            matches = [
                HeadBatch.at(head, own, label).match(
                    HeadBatch.at(head, target, label).mean_gradient(), weight.detach()
                )
                for label, (target, own, weight) in enumerate(zip(*features, weights, strict=True))
            ]
        with clock.part("backward"):
            backward_matching_loss(weights, matches)

    def double_backward(self, clock: Clock, *, whole: bool) -> None:
        """Class after class, with automatic differentiation of the head's gradient."""
        for label in range(len(self.samples)):
            with clock.part("score"):
                weights = self._padded_weights(self.samples[label])
            with clock.part("learner"):
                real = self._losses(self.real[label], label)
                synthetic = self._losses(self.read[label], label)
            with clock.part("algebra"), sdpa_kernel(SDPBackend.MATH):
                target = self._head_gradient(real.mean(), whole=whole, differentiable=False)
                own = self._head_gradient((weights * synthetic).sum(), whole=whole)
                loss = 1 - F.cosine_similarity(target, own, dim=0)
            with clock.part("backward"):
                (loss / len(self.samples)).backward(inputs=list(self.generator.model.parameters()))

    def _features(self, rows: tuple[EncodedRows, ...]) -> tuple[Tensor, ...]:
        table = RowTable(joined(rows))
        features = self.learner.head_inputs(table, np.arange(len(table.rows)))
        return features.split([len(part) for part in rows])

    def _padded_weights(self, rows: EncodedRows) -> Tensor:
        form = self.generator.format
        inputs = rows.pad(range(len(rows)), form.pad, self.generator.device)
        logits = self.generator.model(**inputs).logits[:, :-1].transpose(1, 2)
        targets = inputs["input_ids"][:, 1:]
        losses = F.cross_entropy(logits, targets, ignore_index=form.pad, reduction="none")
        scale = torch.from_numpy(divisors(rows.lengths, "batch")).to(losses)
        return sample_weights(losses.sum(1) / scale, 1.0)

    def _losses(self, rows: EncodedRows, label: int) -> Tensor:
        classifier = self.learner.classifier
        inputs = rows.pad(range(len(rows)), classifier.pad_id, classifier.device)
        with sdpa_kernel(SDPBackend.MATH):
            logits = classifier.model(**inputs).logits
        targets = torch.full((len(rows),), label, device=classifier.device)
        return F.cross_entropy(logits, targets, reduction="none")

    def _head_gradient(self, loss: Tensor, *, whole: bool, differentiable: bool = True) -> Tensor:
        classifier = self.learner.classifier
        head = list(classifier.head.parameters())
        parameters = list(classifier.model.parameters()) if whole else head
        gradients = torch.autograd.grad(loss, parameters, create_graph=differentiable)
        return torch.cat([gradient.flatten() for gradient in gradients[-len(head) :]])


def joined(parts: tuple[EncodedRows, ...]) -> EncodedRows:
    return EncodedRows(ids=tuple(row for part in parts for row in part.ids))


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
    options = MatchingOptions(dtype="float32")
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

    def lengths(count: int) -> np.ndarray:
        return np.clip(rng.normal(28, 12, count).round().astype(int), 5, 70)

    sampled = [lengths(arguments.synthetic) for _ in range(classes)]
    words = range(1000, 30_000)
    return Bench(
        generator=generator,
        learner=learner,
        samples=tuple(
            random_rows(own, form.class_ids[label], end, range(vocabulary - 1), rng)
            for label, own in enumerate(sampled)
        ),
        read=tuple(random_rows(own, 101, 102, words, rng) for own in sampled),
        real=tuple(
            random_rows(lengths(arguments.real), 101, 102, words, rng) for _ in range(classes)
        ),
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>")),
        pad_token="<pad>",
        model_max_length=512,
    )


def run_engine(bench: Bench, engine: str, clock: Clock) -> None:
    bench.generator.model.zero_grad(set_to_none=True)
    if engine == "closed form":
        bench.closed_form(clock)
    else:
        bench.double_backward(clock, whole=engine == "published")


def flat_gradient(bench: Bench) -> Tensor:
    return torch.cat([p.grad.flatten() for p in bench.generator.model.parameters()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--synthetic", type=int, default=64, help="samples of a class")
    parser.add_argument("--real", type=int, default=200, help="real rows of a class")
    parser.add_argument("--generator-layers", type=int, default=4)
    parser.add_argument("--generator-width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=4096)
    arguments = parser.parse_args()
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
    print_table(clocks, arguments.repeats)
    closed, naive = gradients["closed form"], gradients["double backward"]
    print(f"relative difference of the gradients: {(closed - naive).norm() / naive.norm():.1e}")


def print_table(clocks: dict[str, Clock], repeats: int) -> None:
    """Median milliseconds of each part of a step, and how many times faster than the last row."""
    totals = {}
    print("| engine | " + " | ".join(f"{part} ms" for part in PARTS) + " | step ms |")
    print("|---" * (len(PARTS) + 2) + "|")
    for engine, clock in clocks.items():
        per_step = {
            part: np.array(values).reshape(repeats, -1).sum(1).tolist()
            for part, values in clock.spent.items()
        }
        totals[engine] = statistics.median(map(sum, zip(*per_step.values(), strict=True)))
        cells = [f"{statistics.median(values):.1f}" for values in per_step.values()]
        print(f"| {engine} | " + " | ".join(cells) + f" | {totals[engine]:.1f} |")
    for engine in ENGINES[1:]:
        print(f"closed form is {totals[engine] / totals[ENGINES[0]]:.2f} times as fast as {engine}")


if __name__ == "__main__":
    main()
