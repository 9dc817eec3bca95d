"""Times gradient features of a LoRA language model: one example at a time, and in batches.

The obvious way takes one backward pass for each example and multiplies with a dense matrix of
random signs that is drawn anew for every 16 examples, as the published code of LESS does where it
has no CUDA kernel. Ours takes rows of similar length together, gets their gradients from hooks,
and projects with signs (drawn anew for every 64), sparsely or by Hadamard transforms. All give
Adam's directions of the same examples, projected to the same size. How far each one's cosines are
from the exact ones, and the gradients of the batches from those of the loop, is measured in the
same run:

    python benchmarks/speed/per_example_gradients.py
    python benchmarks/speed/per_example_gradients.py --layers 12 --width 768 --rows 512

With `--dattri` the package dattri-llm does the same work on the same batches instead: gradients,
Adam's directions, and cosines of those with the gradients of 16 further rows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.optim import AdamW
from transformers import LlamaConfig, LlamaForCausalLM

from harness.kit.gradients.adam_direction import AdamState
from harness.kit.gradients.column_blocks import ColumnBlock, products
from harness.kit.gradients.per_example.backend import PerExampleGradients
from harness.kit.gradients.per_example.hooks import HookGradients
from harness.kit.gradients.per_example.loop import LoopGradients
from harness.kit.gradients.projection.identity import Identity
from harness.kit.gradients.projection.kinds import new_projector
from harness.kit.gradients.projection.projector import Projector
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.language.loss import example_losses
from harness.kit.training.batching import EncodedRows, group_overhead, length_groups, token_limit
from harness.kit.training.parameter_layout import ParameterLayout

PAD = 0
REDRAWN_FOR = 16
COLLECTED = 64
SIGN_BLOCK = 128
TARGET_ROWS = 16


@dataclass(frozen=True)
class Bench:
    """A model with adapters in mid-training, and rows of varied length."""

    model: nn.Module
    rows: LabelledRows
    layout: ParameterLayout
    optimizer: AdamW
    device: torch.device

    @cached_property
    def state(self) -> AdamState:
        return AdamState.of(self.optimizer, self.model, self.layout)

    def batched(
        self, backend: type[PerExampleGradients], batch: int, projector: Projector, *, adam: bool
    ) -> Tensor:
        """[rows, outputs]: groups of similar length, projected block by block."""
        gradients = backend(self.model, example_losses, self.layout)
        features = torch.empty(len(self.rows), projector.outputs, device=self.device)
        for group, inputs in self.batches(batch):
            blocks: Iterable[ColumnBlock] = gradients.blocks(inputs)
            if adam:
                blocks = (self.state.direction(block) for block in blocks)
            features[torch.from_numpy(group).to(self.device)] = projector.project_blocks(blocks)
        return features

    def obvious(self, outputs: int) -> Tensor:
        """[rows, outputs]: batches of one, and a dense product for every 16 of them."""
        parameters = list(self.layout.parameters(self.model).values())
        features, waiting = [], []
        for row in range(len(self.rows)):
            own = example_losses(self.model, self.rows.batch([row], PAD, self.device))[0]
            found = torch.autograd.grad(own, parameters)
            gradient = torch.cat([part.reshape(-1) for part in found]).unsqueeze(0)
            waiting.append(self.state.direction(ColumnBlock(0, gradient)).values)
            if len(waiting) == REDRAWN_FOR or row == len(self.rows) - 1:
                features.append(self._dense(torch.cat(waiting), outputs))
                waiting = []
        return torch.cat(features)

    def _dense(self, rows: Tensor, outputs: int) -> Tensor:
        """A product with random signs, 128 outputs at a time, each block from its own seed."""
        signs = torch.empty(self.layout.size, SIGN_BLOCK, device=self.device)
        parts = []
        for start in range(0, outputs, SIGN_BLOCK):
            generator = torch.Generator(self.device).manual_seed(start)
            signs.bernoulli_(0.5, generator=generator).mul_(2).sub_(1)
            parts.append(rows @ signs)
        return torch.cat(parts, dim=1)[:, :outputs]

    def cosines(self, batch: int, directions: Tensor) -> Tensor:
        """[rows, directions] of Adam's directions, none of which is kept."""
        gradients = HookGradients(self.model, example_losses, self.layout)
        found = torch.empty(len(self.rows), len(directions), device=self.device)
        for group, inputs in self.batches(batch):
            blocks = (self.state.direction(block) for block in gradients.blocks(inputs))
            dots, squares = products(blocks, directions)
            found[torch.from_numpy(group).to(self.device)] = dots / squares.sqrt().unsqueeze(1)
        return found

    def batches(self, batch: int) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        """Rows of similar length together."""
        groups = length_groups(
            self.rows.rows.lengths,
            batch,
            overhead=group_overhead(self.device),
            max_tokens=token_limit(self.device),
        )
        return ((group, self.rows.batch(group, PAD, self.device)) for group in groups)


@dataclass(frozen=True)
class Contender:
    """One way to get features.

    peer: what its time is divided into; truth: what its result is compared with, row by row, or
    by the cosines of all pairs where it is projected.
    """

    name: str
    run: Callable[[], Tensor]
    peer: str
    truth: str
    projected: bool = False


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    bench = make_bench(options)
    lengths = bench.rows.rows.lengths
    print(
        f"{len(lengths)} rows of {lengths.min()} to {lengths.max()} tokens, {bench.layout.size}"
        f" adapter parameters, {options.outputs} outputs, batches of {options.batch},"
        f" {options.threads} threads, {options.device}, torch {torch.__version__};"
        f" medians of {options.repeats}"
    )
    make = dattri_contenders if options.dattri else make_contenders
    contenders = list(make(bench, options))
    seconds: dict[str, list[tuple[float, float]]] = {each.name: [] for each in contenders}
    found: dict[str, Tensor] = {}
    for _ in range(options.repeats):
        for each in contenders:
            started = time.perf_counter(), time.process_time()
            found[each.name] = each.run().cpu()
            spent = time.perf_counter() - started[0], time.process_time() - started[1]
            seconds[each.name].append(spent)
            print(f"{each.name}: {spent[0]:.2f} s, CPU {spent[1]:.2f} s", file=sys.stderr)
    report(contenders, seconds, found, len(lengths))


def report(
    contenders: list[Contender],
    seconds: dict[str, list[tuple[float, float]]],
    found: dict[str, Tensor],
    rows: int,
) -> None:
    """Prints a line for each contender."""
    medians = {
        name: tuple(statistics.median(column) for column in zip(*spent, strict=True))
        for name, spent in seconds.items()
    }
    print(f"{'':26}{'examples/s':>11}{'CPU ms each':>12}{'ratio':>7}{'ratio CPU':>10}  error")
    for each in contenders:
        wall, cpu = medians[each.name]
        peer = medians[each.peer]
        own, truth = found[each.name], found[each.truth]
        if each.projected:
            error = f"{rms(cosines(own) - cosines(truth)):.4f} rms of cosines"
        else:
            error = f"{relative(own, truth):.1e} of a row's length"
        print(
            f"{each.name:26}{rows / wall:11.1f}{cpu / rows * 1e3:12.1f}{peer[0] / wall:7.1f}"
            f"{peer[1] / cpu:10.1f}  {error}"
        )


def make_contenders(bench: Bench, options: argparse.Namespace) -> Iterator[Contender]:
    """Gradients alone, against the loop; then features of Adam's directions, projected."""
    size, batch = bench.layout.size, options.batch
    whole = Identity(size, size)

    def gradients(backend: type[PerExampleGradients], rows: int) -> Callable[[], Tensor]:
        return lambda: bench.batched(backend, rows, whole, adam=False)

    yield Contender("loop", gradients(LoopGradients, 1), "loop", "loop")
    yield Contender("hooks", gradients(HookGradients, batch), "loop", "loop")
    obvious, exact = "adam, obvious", "adam, hooks"
    yield Contender(obvious, lambda: bench.obvious(options.outputs), obvious, exact, True)

    def features(projector: Projector) -> Callable[[], Tensor]:
        return lambda: bench.batched(HookGradients, batch, projector, adam=True)

    yield Contender(exact, features(whole), obvious, exact)

    def collected(projector: Projector) -> Callable[[], Tensor]:
        parts = features(whole)
        return lambda: torch.cat([projector.project(p) for p in parts().split(COLLECTED)])

    for kind, way in (("rademacher", collected), ("srht", features), ("sparse", features)):
        projector = new_projector(kind, size, options.outputs)
        yield Contender(f"adam, hooks, {kind}", way(projector), obvious, exact, True)


def dattri_contenders(bench: Bench, options: argparse.Namespace) -> Iterator[Contender]:
    """The package and ours in turn, on the same batches; each pair gives the same numbers."""
    from dattri_peer import DattriPeer

    size, batch, rows = bench.layout.size, options.batch, len(bench.rows)
    whole = Identity(size, size)
    peer = DattriPeer(bench.model, bench.layout, bench.optimizer)
    for name, adam in (("gradients", False), ("adam", True)):

        def theirs(adam: bool = adam) -> Tensor:
            return peer.features(bench.batches(batch), rows, adam=adam)

        def ours(adam: bool = adam) -> Tensor:
            return bench.batched(HookGradients, batch, whole, adam=adam)

        dattri = f"{name}, dattri-llm"
        yield Contender(dattri, theirs, dattri, dattri)
        yield Contender(f"{name}, hooks", ours, dattri, dattri)
    target = random_rows(TARGET_ROWS, options, seed=1).batch(range(TARGET_ROWS), PAD, bench.device)
    gradients = HookGradients(bench.model, example_losses, bench.layout).matrix(target)
    directions, held = nn.functional.normalize(gradients, dim=1), peer.whole(target)
    dattri = "cosines, dattri-llm"
    yield Contender(dattri, lambda: peer.cosines(bench.batches(batch), rows, held), dattri, dattri)
    yield Contender("cosines, hooks", lambda: bench.cosines(batch, directions), dattri, dattri)


def make_bench(options: argparse.Namespace) -> Bench:
    """Random weights, five AdamW updates of the adapters, and rows that are half prompt."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=3 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=max(1, options.width // 64),
        attn_implementation="eager",
    )
    adapters = LoraConfig(
        r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]
    )
    device = torch.device(options.device)
    model = get_peft_model(LlamaForCausalLM(config), adapters).to(device).eval()
    rows = random_rows(options.rows, options, seed=0)
    layout = ParameterLayout.of(model)
    optimizer = AdamW(layout.parameters(model).values(), lr=1e-3)
    for start in range(5):
        batch = rows.batch(np.arange(start, start + 4), PAD, device)
        example_losses(model, batch).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return Bench(model, rows, layout, optimizer, device)


def random_rows(count: int, options: argparse.Namespace, seed: int) -> LabelledRows:
    """Rows of random tokens and lengths, the first half of each a prompt without labels."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(options.shortest, options.longest + 1, count)
    ids = tuple(rng.integers(1, options.vocabulary, size=n) for n in lengths)
    labels = tuple(np.where(np.arange(len(row)) < len(row) // 2, IGNORED, row) for row in ids)
    return LabelledRows(EncodedRows(ids), labels)


def cosines(features: Tensor) -> Tensor:
    """Cosines of all pairs of rows."""
    unit = nn.functional.normalize(features.double(), dim=1)
    above = torch.triu_indices(len(unit), len(unit), offset=1)
    return (unit @ unit.T)[above[0], above[1]]


def rms(errors: Tensor) -> float:
    return float(errors.square().mean().sqrt())


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest error of a row, as a share of the row's length."""
    return float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--shortest", type=int, default=32)
    parser.add_argument("--longest", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--outputs", type=int, default=8192)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dattri", action="store_true", help="compare with dattri-llm instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
