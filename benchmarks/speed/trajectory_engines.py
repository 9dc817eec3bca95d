"""Peak extra memory and time of one outer step of trajectory matching, by three engines.

The unrolled graph of all inner steps is MTT's way, the two-pass gradient TESLA's; ours is an exact
sweep of adjoints. One small language model with adapters, one synthetic set, one start and target
for all. Every case runs in a process of its own, so that no memory is left over from another one;
extra memory is the peak of the resident set above what it was before the step (of what was
allocated, on an accelerator), and time on a CPU is the process's own. How far each gradient is
from the unrolled one is measured in the same run, in float32:

    python benchmarks/speed/trajectory_engines.py
    python benchmarks/speed/trajectory_engines.py --steps 4 16 --layers 4 --width 256
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from peak_memory import peak_memory, start_memory
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.language.lora import LoraOptions, add_lora
from harness.kit.training.batching import EncodedRows
from harness.kit.trajectories.inner_loop.engines import ENGINES, EngineName, OuterGradient
from harness.kit.trajectories.inner_loop.flat_module import FlatModule
from harness.kit.trajectories.inner_loop.inner_losses import ResponseLoss
from harness.kit.trajectories.inner_loop.matching_loss import MatchingTarget
from harness.kit.trajectories.inner_loop.optimizers import Adam, Sgd
from harness.kit.trajectories.inner_loop.steps import InnerLoop
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS, PseudoRows

ORDER: tuple[EngineName, ...] = ("unroll", "tesla", "adjoint")


@dataclass(frozen=True)
class Measured:
    """One engine at one number of inner steps; gradient: of the inputs, flattened."""

    engine: EngineName
    steps: int
    megabytes: float
    seconds: float
    gradient: np.ndarray


def main() -> None:
    options = _options()
    print(
        f"Llama {options.layers} x {options.width}, vocabulary {options.vocabulary}, LoRA r"
        f" {options.rank}, batches of {options.batch} x {options.tokens} tokens,"
        f" {options.optimizer}, step size {options.step_size:g}, {options.threads} threads,"
        f" {options.device}, torch {torch.__version__}; least of {options.repeats} times"
    )
    print("| N | engine | extra MB | ratio | CPU s | ratio | cosine | relative error |")
    print("| --: | --- | --: | --: | --: | --: | --: | --: |")
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        for steps in options.steps:
            found: list[Measured] = []
            for engine in ORDER:
                if engine != "tesla" or options.optimizer == "sgd":
                    found.append(pool.apply(measure, (engine, steps, options)))
                    print(f"{engine} {steps}: done", file=sys.stderr)
            for each in found:
                print(line(each, found[0]))


def line(found: Measured, peer: Measured) -> str:
    """A row of the table; ratios and errors against the unrolled graph."""
    ours, theirs = found.gradient.astype(np.float64), peer.gradient.astype(np.float64)
    lengths = float(np.linalg.norm(ours)), float(np.linalg.norm(theirs))
    cosine = float(ours @ theirs) / (lengths[0] * lengths[1])
    error = float(np.linalg.norm(ours - theirs)) / lengths[1]
    return (
        f"| {found.steps} | {found.engine} | {found.megabytes:.0f} |"
        f" {found.megabytes / peer.megabytes:.2f} | {found.seconds:.2f} |"
        f" {found.seconds / peer.seconds:.2f} | {cosine:.3f} | {error:.1e} |"
    )


def measure(engine: EngineName, steps: int, options: argparse.Namespace) -> Measured:
    """Runs in a process of its own."""
    torch.set_num_threads(options.threads)
    step = outer_step(engine, steps, options)
    # One tiny step loads every kernel, and leaves hardly any memory behind.
    outer_step(engine, 1, argparse.Namespace(**{**vars(options), "batch": 1, "tokens": 8}))()
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    before = start_memory(options.device)
    seconds = []
    for _ in range(options.repeats):
        started = clock()
        found = step()
        seconds.append(clock() - started)
    megabytes = (peak_memory(options.device) - before) / 1e6
    gradient = found.learned[EMBEDDINGS].flatten().cpu().numpy()
    return Measured(engine, steps, megabytes, min(seconds), gradient)


def outer_step(
    engine: EngineName, steps: int, options: argparse.Namespace
) -> Callable[[], OuterGradient]:
    """The gradient of one matching loss, ready to be computed."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=3 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=max(1, options.width // 64),
    )
    plain = LlamaForCausalLM(config)
    model = add_lora(plain, LoraOptions(options.rank, 2 * options.rank), 0).to(options.device)
    view = FlatModule.of(model.eval())
    encoded = random_rows(options)
    masks = tuple(labels == IGNORED for labels in encoded.labels)
    pseudo = PseudoRows(encoded.rows, masks, 0, torch.device(options.device))
    start = view.start() + 0.01 * torch.randn_like(view.start())
    target = start + 0.01 * torch.randn_like(start)
    members = torch.arange(options.batch, device=options.device)
    optimizer = Sgd() if options.optimizer == "sgd" else Adam()
    loop = InnerLoop(ResponseLoss(view, encoded, pseudo), optimizer, [members] * steps)
    state = optimizer.begin(start)
    if isinstance(optimizer, Adam):
        state = optimizer.resume(start, 1e-3 * start, 1e-4 * start.square(), 10)
    learned = {EMBEDDINGS: pseudo.initial(view)}
    rate: Tensor = torch.tensor(options.step_size, device=options.device).log()
    outer = MatchingTarget(view.layout, start, target).loss("squared")
    return lambda: ENGINES[engine](loop, state, learned, rate, outer)


def random_rows(options: argparse.Namespace) -> LabelledRows:
    """Rows of equal length, half prompt and half response."""
    generator = np.random.default_rng(0)
    shape = (options.batch, options.tokens)
    ids = generator.integers(1, options.vocabulary, shape).astype(np.int32)
    labels = ids.astype(np.int64)
    labels[:, : options.tokens // 2] = IGNORED
    return LabelledRows(EncodedRows(tuple(ids)), tuple(labels))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
    parser.add_argument("--step-size", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
