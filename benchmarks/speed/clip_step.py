"""Times a training step of each method that makes CLIPs, on one student with one teacher.

The same rows, student and recipe for all; the teacher is twice as wide and twice as deep. Steps
are those of the methods' own training loop, in turns, and their processor time counts, so that a
busy machine changes little. `kept` is what the graph of one step holds for the backward pass.
LightCLIP's matchers are timed inside its steps.

    OMP_NUM_THREADS=1 python benchmarks/speed/clip_step.py
    python benchmarks/speed/clip_step.py --patch 4 --batch 128 --device cuda
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.context import StageContext
from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.kinds import MatcherName
from harness.kit.clip.image_augmentation import Augmentation
from harness.kit.clip.image_rows import ImageInput, ImageTextRows
from harness.kit.clip.model import ClipModel, build_clip
from harness.kit.clip.teacher import StoredTeacher
from harness.kit.clip.tokens import WordTokenizer
from harness.kit.clip.training import ClipBatch, ClipObjective, ContrastiveObjective, train_clip
from harness.randomness import seeded
from harness.types import Recipe, StudentInfo
from harness_clip_distill.kd_objective import KdObjective
from harness_clip_distill.kd_weights import KdWeights
from harness_clip_distill.open_clip_objective import OpenClipObjective
from harness_clip_distill.reinforced_objective import ReinforcedObjective
from harness_clip_distill.reinforcement import Reinforcement
from harness_clip_distill.teaching import LiveTeacher
from harness_lightclip.objective import LightClipObjective
from harness_lightclip.options import LightClipOptions

SIZE, WORDS, CONTEXT, HEAD = 32, 2048, 16, 16
MATCHERS: tuple[MatcherName, ...] = ("hungarian", "k-to-1", "max", "sinkhorn")
VIEWS = Augmentation(seed=0, count=4)


@dataclass(frozen=True)
class Scene:
    """Random rows, an untrained student's shape, and a teacher."""

    rows: ImageTextRows
    teacher: ClipModel
    stored: StoredTeacher
    views: Reinforcement
    options: argparse.Namespace

    @classmethod
    def make(cls, options: argparse.Namespace) -> Scene:
        generator = np.random.default_rng(0)
        words = generator.integers(0, WORDS, (options.rows, 12))
        lengths = generator.integers(5, 13, options.rows)
        captions = tuple(
            " ".join(name(word) for word in own[:length])
            for own, length in zip(words, lengths, strict=True)
        )
        shape = (options.rows, SIZE, SIZE, 3)
        rows = ImageTextRows(generator.integers(0, 256, shape, dtype=np.uint8), captions)
        teacher = model_of(options, 2)
        teacher.model.requires_grad_(False)
        image = torch.from_numpy(teacher.encode_images(rows.images)).to(teacher.device)
        text = torch.from_numpy(teacher.encode_text(captions)).to(teacher.device)
        scale = teacher.model.logit_scale.exp()
        views = Reinforcement(image.repeat(4, 1, 1), text.repeat(2, 1, 1), scale)
        return cls(rows, teacher, StoredTeacher(image, text, scale, None), views, options)

    def objectives(self) -> dict[str, Callable[[ClipModel, StageContext], ClipObjective]]:
        """By the method's name, each made anew for a student."""
        live = LiveTeacher(self.teacher, self.rows)

        def stored(batch: ClipBatch) -> ClipFeatures:
            return self.stored.features(batch.rows)

        width = self.teacher.width
        captions = self.rows.captions
        light = {
            f"lightclip, {matcher}": lambda model, context, matcher=matcher: LightClipObjective(
                LightClipOptions(matcher=matcher), model, context
            )
            for matcher in MATCHERS
        }
        return {
            "clip-contrastive": lambda model, context: ContrastiveObjective(),
            "clip-distill, stored": lambda model, context: OpenClipObjective(stored),
            "clip-distill, live": lambda model, context: OpenClipObjective(live),
            "clip-kd, stored": lambda model, context: KdObjective(
                KdWeights(), model, width, stored, context
            ),
            "clip-kd, live": lambda model, context: KdObjective(
                KdWeights(), model, width, live, context
            ),
            "clip-reinforce": lambda model, context: ReinforcedObjective(
                model, captions, [self.views], VIEWS, contrastive=0.0, distillation=1.0
            ),
            **light,
        }


@dataclass
class Measured:
    """milliseconds, matching: of each round's mean step; kept: bytes; heads: parameters."""

    milliseconds: list[float]
    matching: list[float]
    kept: int = 0
    heads: int = 0


class TimedMatcher:
    """A matcher that adds up its processor seconds."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher
        self.seconds = 0.0

    def __call__(self, similarity: Tensor, words: Tensor) -> Tensor:
        started = time.process_time()
        plan = self._matcher(similarity, words)
        self.seconds += time.process_time() - started
        return plan


def name(word: int) -> str:
    """A word of four letters for each number."""
    return "".join(chr(97 + (word // 26**place) % 26) for place in range(4))


def model_of(options: argparse.Namespace, times: int) -> ClipModel:
    """The student, or one `times` as wide and deep."""
    tokenizer = WordTokenizer(tuple(name(word) for word in range(WORDS)), CONTEXT)
    width, layers = options.width * times, options.layers * times
    config = {
        "embed_dim": width,
        "vision_cfg": {
            "image_size": SIZE, "patch_size": options.patch, "width": width, "layers": layers,
            "head_width": HEAD,
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": tokenizer.vocabulary_size, "width": width,
            "heads": width // HEAD, "layers": layers,
        },
    }  # fmt: skip
    with seeded(0):
        model = build_clip(config)
    size = sum(parameter.numel() for parameter in model.parameters())
    info = StudentInfo("clip", "", "random", size)
    device = torch.device(options.device)
    return ClipModel(model, tokenizer, ImageInput((SIZE, SIZE)), config, info, device)


def run(
    scene: Scene, title: str, make: Callable[..., ClipObjective], steps: int, found: Measured
) -> None:
    """Some steps of one method, from the same start."""
    options = scene.options
    recipe = Recipe(steps=steps, batch_size=options.batch, learning_rate=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        context = StageContext(seed=0, workdir=Path(folder), device=options.device)
        model = model_of(options, 1)
        objective: Any = make(model, context)
        timed = TimedMatcher(getattr(objective, "_matcher", None))
        if title.startswith("lightclip"):
            objective._matcher = timed
        augmentation = VIEWS if title == "clip-reinforce" else None
        started = time.process_time()
        train_clip(
            model, scene.rows, np.ones(len(scene.rows)), objective, recipe, context,
            augmentation=augmentation,
        )  # fmt: skip
        if torch.device(options.device).type != "cpu":
            torch.accelerator.synchronize()
        found.milliseconds.append((time.process_time() - started) * 1e3 / steps)
        found.matching.append(timed.seconds * 1e3 / steps)
        found.heads = sum(parameter.numel() for parameter in objective.parameters())


def bytes_kept(scene: Scene, title: str, make: Callable[..., ClipObjective]) -> int:
    """What autograd holds between the passes of one step, each storage once, no parameters."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(scene, title, make, 1, Measured([], []))
    return sum(storages.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    scene = Scene.make(options)
    objectives = scene.objectives()
    measured = {title: Measured([], []) for title in objectives}
    for title, make in objectives.items():
        run(scene, title, make, 2, Measured([], []))
        measured[title].kept = bytes_kept(scene, title, make)
    for _ in range(options.rounds):
        for title, make in objectives.items():
            run(scene, title, make, options.steps, measured[title])
    student, taught = model_of(options, 1).info.parameters, scene.teacher.info.parameters
    print(f"student {student:,} parameters, teacher {taught:,}")
    print("| | ms/step | x contrastive | matcher ms | share | heads' parameters | kept MB |")
    print("| --- | --: | --: | --: | --: | --: | --: |")
    base = statistics.median(measured["clip-contrastive"].milliseconds)
    for title, found in measured.items():
        step, matching = (statistics.median(v) for v in (found.milliseconds, found.matching))
        print(
            f"| {title} | {step:.1f} | {step / base:.2f} | {matching:.2f} |"
            f" {matching / step:.1%} | {found.heads:,} | {found.kept / 1e6:.1f} |"
        )
    for method in ("clip-distill", "clip-kd"):
        live, stored = (
            statistics.median(measured[f"{method}, {kind}"].milliseconds)
            for kind in ("live", "stored")
        )
        print(f"{method}: stored embeddings make a step {live / stored:.2f} times as fast")


if __name__ == "__main__":
    main()
