"""The same numbers as CLIP_benchmark 1.6.2 and open_clip on the same embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.testing.text import toy_context
from harness.types import TaskData
from harness_zero_shot.class_texts import class_embeddings
from harness_zero_shot.retrieval import Retrieval
from harness_zero_shot.zero_shot import ZeroShot
from numbered_pictures import Told, directions, make_rows, make_task

NOT_HERE = "clip_benchmark 1.6.2 is not installed; it needs numpy below 2.4, so no extra has it"


class Numbered:
    """What CLIP_benchmark takes for a model: pictures and texts come as their numbers."""

    def __init__(self, images: np.ndarray, texts: np.ndarray) -> None:
        # At other lengths than 1, as encoders give them.
        self.images, self.texts = torch.from_numpy(images) * 3, torch.from_numpy(texts) * 0.5

    def encode_image(self, numbers: Tensor) -> Tensor:
        return self.images[numbers]

    def encode_text(self, numbers: Tensor, normalize: bool = False) -> Tensor:
        texts = self.texts[numbers]
        return torch.nn.functional.normalize(texts, dim=-1) if normalize else texts


class Batches:
    """A loader of pictures with labels, and the list of classes that CLIP_benchmark looks for."""

    def __init__(self, labels: np.ndarray, classes: list[str]) -> None:
        self.labels, self.dataset = labels, SimpleNamespace(classes=classes)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self.labels), 64):
            labels = torch.from_numpy(self.labels[start : start + 64])
            yield torch.arange(start, start + len(labels)), labels


CLASSES = [f"class{c}" for c in range(7)]
TEMPLATES = ["{}", "a {}", "the {} of it"]
TEXTS = [template.format(name) for name in CLASSES for template in TEMPLATES]
PLACES = {text: n for n, text in enumerate(TEXTS)}


def classification(seed: int) -> tuple[Told, Numbered, TaskData, np.ndarray]:
    labels = np.random.default_rng(seed).integers(0, 7, 200)
    images, texts = directions(200, 16, seed), directions(len(TEXTS), 16, seed + 1)
    images = images + 0.6 * texts[labels * len(TEMPLATES)]
    rows = make_rows(list(range(200)), ["c"] * 200, labels.tolist())
    task = make_task(rows, classes=CLASSES, texts=[["unused"]] * 7)
    told = Told(images, dict(zip(TEXTS, texts, strict=True)))
    return told, Numbered(images, texts), task, labels


def numbers(texts: list[str]) -> Tensor:
    return torch.tensor([PLACES[text] for text in texts])


@pytest.mark.parametrize("seed", [0, 1])
def test_zero_shot_is_clip_benchmark_s(seed: int, tmp_path: Path) -> None:
    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification", reason=NOT_HERE)
    if tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4):
        pytest.skip("clip_benchmark 1.6.2 makes a number of an array, which numpy 2.4 refuses")
    told, numbered, task, labels = classification(seed)
    templates = [template.replace("{}", "{c}") for template in TEMPLATES]
    theirs = peer.evaluate(
        numbered, Batches(labels, CLASSES), numbers, CLASSES, templates, "cpu", amp=False
    )
    evaluator = ZeroShot(templates=tuple(TEMPLATES))
    ours = evaluator.evaluate(told, task, "test", toy_context(tmp_path)).metrics
    assert 0.2 < ours["top1"] < 0.95
    assert ours["top1"] == pytest.approx(theirs["acc1"], abs=1e-6)
    assert ours["top5"] == pytest.approx(theirs["acc5"], abs=1e-6)
    assert ours["mean_per_class_recall"] == pytest.approx(theirs["mean_per_class_recall"], abs=1e-6)


def test_class_embeddings_are_open_clip_s() -> None:
    from open_clip import build_zero_shot_classifier

    told, numbered, _, _ = classification(3)
    templates = [lambda name, t=template: t.format(name) for template in TEMPLATES]
    theirs = build_zero_shot_classifier(numbered, numbers, CLASSES, templates, 4, "cpu")
    ours = class_embeddings(told.encode_text(TEXTS), [len(TEMPLATES)] * 7).T
    assert ours == pytest.approx(theirs.numpy(), abs=1e-6)


@pytest.mark.parametrize("several", [1, 3])
def test_retrieval_is_clip_benchmark_s(several: int, tmp_path: Path) -> None:
    peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval", reason=NOT_HERE)
    images = directions(120, 16, 5)
    counts = np.random.default_rng(6).integers(1, several + 1, 120)
    shown = np.repeat(np.arange(120), counts)
    texts = images[shown] + 1.8 * directions(len(shown), 16, 7)
    captions = [f"caption {n}" for n in range(len(shown))]
    places = {caption: n for n, caption in enumerate(captions)}

    def batches() -> Iterator[tuple[Tensor, list[list[str]]]]:
        for start in range(0, 120, 50):
            pictures = range(start, min(start + 50, 120))
            own = [[c for c, n in zip(captions, shown, strict=True) if n == p] for p in pictures]
            yield torch.tensor(pictures), own

    theirs = peer.evaluate(
        Numbered(images, texts.astype(np.float32)), batches(),
        lambda wanted: torch.tensor([places[text] for text in wanted]), "cpu", amp=False,
        recall_k_list=[1, 5, 10],
    )  # fmt: skip
    told = Told(images, dict(zip(captions, texts, strict=True)))
    task = make_task(make_rows(shown.tolist(), captions))
    ours = Retrieval().evaluate(told, task, "test", toy_context(tmp_path)).metrics
    for k in (1, 5, 10):
        for way in ("image", "text"):
            expected = theirs[f"{way}_retrieval_recall@{k}"]
            assert ours[f"{way}_recall_at_{k}"] == pytest.approx(expected, abs=1e-6)
    assert 0.05 < ours["recall_at_1"] < 0.95


def test_paired_retrieval_is_open_clip_s(tmp_path: Path) -> None:
    from open_clip_train.train import get_clip_metrics

    images = directions(90, 12, 8)
    texts = (images + 0.9 * directions(90, 12, 9)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    theirs = get_clip_metrics(torch.from_numpy(images), torch.from_numpy(texts), torch.tensor(1.0))
    captions = [f"caption {n}" for n in range(90)]
    told = Told(images, dict(zip(captions, texts, strict=True)))
    task = make_task(make_rows(list(range(90)), captions))
    ours = Retrieval().evaluate(told, task, "test", toy_context(tmp_path)).metrics
    for k in (1, 5, 10):
        assert ours[f"image_recall_at_{k}"] == pytest.approx(theirs[f"text_to_image_R@{k}"])
        assert ours[f"text_recall_at_{k}"] == pytest.approx(theirs[f"image_to_text_R@{k}"])
    medians = theirs["text_to_image_median_rank"], theirs["image_to_text_median_rank"]
    # They round the median down.
    assert int(1 / ours["image_reciprocal_median_rank"] + 1e-9) == medians[0]
    assert int(1 / ours["text_reciprocal_median_rank"] + 1e-9) == medians[1]
