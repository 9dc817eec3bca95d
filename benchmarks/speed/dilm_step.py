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
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from peak_memory import peak_memory, start_memory
from tokenizers import Tokenizer, models
from torch import Tensor
from torch.func import functional_call
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
from harness_dilm.full_network import NetworkBatch, matched_parameters
from harness_dilm.generator import Generator
from harness_dilm.language_modelling import divisors, sequence_losses
from harness_dilm.learner import Learner, RowTable
from harness_dilm.matching import HeadBatch, backward_matching_loss, sample_weights
from harness_dilm.optimiser import Optimiser
from harness_dilm.options import MatchingOptions
from harness_dilm.text_format import TextFormat

OURS, FULL = "closed form", "whole network"
PEERS = {"torch.func": OURS, "whole network, torch.func": FULL}
"""The obvious way to what an engine of ours computes."""

ENGINES = (OURS, "torch.func", "double backward", "published", FULL, "whole network, torch.func")
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

    def whole_network(self, clock: Clock) -> None:
        """As `harness_dilm.gradient_matching` does it with `match = "full"`."""
        classifier = self.learner.classifier
        names = matched_parameters(classifier, "full")
        sizes = [len(rows) for rows in self.samples]
        with clock.part("score"):
            scale = np.concatenate([divisors(rows.lengths, "batch") for rows in self.samples])
            losses = sequence_losses(self.generator, joined(self.samples), scale)
            weights = [sample_weights(own, 1.0) for own in losses.split(sizes)]
        matches = []
        for label, weight in enumerate(weights):
            with clock.part("learner"):
                real = NetworkBatch(classifier, names, self.real[label], label).mean_gradient()
            with clock.part("algebra"):
                own = NetworkBatch(classifier, names, self.read[label], label)
                matches.append(own.match(real, weight.detach()))
        with clock.part("backward"):
            backward_matching_loss(weights, matches)

    def torch_func(self, clock: Clock, match: str) -> None:
        """Class after class: a gradient in the generator around one in the learner."""
        model = self.generator.model
        values = {name: p.detach() for name, p in model.named_parameters()}
        for label in range(len(self.samples)):

            def loss(values: dict[str, Tensor], label: int = label) -> Tensor:
                weights = self._padded_weights(self.samples[label], values)
                uniform = torch.full((len(self.real[label]),), 1 / len(self.real[label]))
                target = self._functional_gradient(self.real[label], label, uniform, match)
                own = self._functional_gradient(self.read[label], label, weights, match)
                cosine = F.cosine_similarity(target.detach(), own, dim=0)
                return (1 - cosine) / len(self.samples)

            with clock.part("algebra"), sdpa_kernel(SDPBackend.MATH):
                gradients = torch.func.grad(loss)(values)
            for name, parameter in model.named_parameters():
                before = 0.0 if parameter.grad is None else parameter.grad
                parameter.grad = before + gradients[name]

    def _functional_gradient(
        self, rows: EncodedRows, label: int, weights: Tensor, match: str
    ) -> Tensor:
        classifier = self.learner.classifier
        parameters = dict(classifier.model.named_parameters())
        names = matched_parameters(classifier, match)
        inputs = rows.pad(range(len(rows)), classifier.pad_id, classifier.device)
        targets = torch.full((len(rows),), label, device=classifier.device)

        def loss(values: dict[str, Tensor]) -> Tensor:
            logits = functional_call(classifier.model, values, (), inputs).logits
            losses = F.cross_entropy(logits, targets, reduction="none")
            return (weights.to(losses) * losses).sum()

        found = torch.func.grad(loss)({name: parameters[name].detach() for name in names})
        return torch.cat([leaf.flatten() for leaf in found.values()])

    def _features(self, rows: tuple[EncodedRows, ...]) -> tuple[Tensor, ...]:
        table = RowTable(joined(rows))
        features = self.learner.head_inputs(table, np.arange(len(table.rows)))
        return features.split([len(part) for part in rows])

    def _padded_weights(self, rows: EncodedRows, values: dict[str, Tensor] | None = None) -> Tensor:
        form = self.generator.format
        inputs = rows.pad(range(len(rows)), form.pad, self.generator.device)
        model = self.generator.model
        outputs = functional_call(model, values, (), inputs) if values else model(**inputs)
        logits = outputs.logits[:, :-1].transpose(1, 2)
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
    match engine:
        case "closed form":
            bench.closed_form(clock)
        case "whole network":
            bench.whole_network(clock)
        case "torch.func" | "whole network, torch.func":
            bench.torch_func(clock, "head" if engine == "torch.func" else "full")
        case _:
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
    # Before any thread of this process: a forked child has none of them.
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
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
