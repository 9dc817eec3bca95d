"""Ranks 10,000 texts for 10,000 images and back: in blocks, and with the whole matrix in memory.

The dense way makes the matrix of all similarities and the mask of right answers, and looks for
them among the ten most similar of each row and each column. CLIP_benchmark's own function, where
that package is installed, does the same with one-hot vectors for 64 queries at a time. Each runs
in a process of its own that first makes the same embeddings; its peak is that of the memory above
what it held before. Recall at 1, 5 and 10 must agree. CPU seconds say more than seconds where
other work runs beside:

    python benchmarks/speed/retrieval.py
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import psutil
import torch

from harness_zero_shot.retrieval_ranks import best_positive_ranks

CUTOFFS = (1, 5, 10)
BATCH = 64
PEER = "clip_benchmark"
Recalls = tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """images, texts: [n, width] unit embeddings; pairs: [n, 2] each text with its image."""

    images: np.ndarray
    texts: np.ndarray
    pairs: np.ndarray


@dataclass(frozen=True)
class Measured:
    """recalls: of images at each cutoff, then of texts; peak: bytes."""

    seconds: float
    cpu_seconds: float
    peak: int
    recalls: Recalls


def main() -> None:
    options = _options()
    ways = ["blocks", "dense"]
    if importlib.util.find_spec(PEER) is not None:
        ways.append("one-hot")
    print(
        f"{options.rows:,} images and texts of width {options.width}, {options.threads} threads,"
        f" torch {torch.__version__}"
    )
    print(f"{'':10}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}   recall of images at 1, 5, 10")
    found: dict[str, Measured] = {}
    for way in ways:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            one = alone.submit(measure, way, options.rows, options.width, options.threads).result()
        found[way] = one
        shown = ", ".join(f"{value:.4f}" for value in one.recalls[: len(CUTOFFS)])
        print(
            f"{way:10}{one.seconds:9.2f}{one.cpu_seconds:8.2f}{one.peak / 1e6:9.0f}   {shown}",
            flush=True,
        )
    furthest = max(
        abs(mine - other)
        for one in found.values()
        for mine, other in zip(found["blocks"].recalls, one.recalls, strict=True)
    )
    print(f"recalls differ by at most {furthest:.1e}")


def measure(way: str, rows: int, width: int, threads: int) -> Measured:
    """One way on its own, with what it took; runs in a fresh process."""
    torch.set_num_threads(threads)
    problem = make_problem(rows, width)
    before = psutil.Process().memory_info().rss
    started, cpu = time.perf_counter(), time.process_time()
    recalls = WAYS[way](problem)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measured(seconds, cpu_seconds, max(0, peak - before), recalls)


def in_blocks(problem: Problem) -> Recalls:
    of_images = best_positive_ranks(problem.texts, problem.images, problem.pairs)
    of_texts = best_positive_ranks(problem.images, problem.texts, problem.pairs[:, ::-1])
    return tuple(float((ranks <= k).mean()) for ranks in (of_images, of_texts) for k in CUTOFFS)


def dense(problem: Problem) -> Recalls:
    """The definition, as tensors: all similarities, all pairs, the ten most similar."""
    similar = torch.from_numpy(problem.texts) @ torch.from_numpy(problem.images).T
    right = torch.zeros_like(similar, dtype=torch.bool)
    right[problem.pairs[:, 0], problem.pairs[:, 1]] = True
    recalls = []
    for scores, positives in ((similar, right), (similar.T, right.T)):
        nearest = scores.topk(max(CUTOFFS), dim=1).indices
        hits = positives.gather(1, nearest)
        recalls += [float(hits[:, :k].any(1).double().mean()) for k in CUTOFFS]
    return tuple(recalls)


def one_hot(problem: Problem) -> Recalls:
    """CLIP_benchmark's function, once for each cutoff, as its evaluation calls it."""
    from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k

    similar = torch.from_numpy(problem.texts) @ torch.from_numpy(problem.images).T
    right = torch.zeros_like(similar, dtype=torch.bool)
    right[problem.pairs[:, 0], problem.pairs[:, 1]] = True
    recalls = []
    for scores, positives in ((similar, right), (similar.T, right.T)):
        for k in CUTOFFS:
            found = batchify(recall_at_k, scores, positives, BATCH, "cpu", k=k)
            recalls.append(float((found > 0).double().mean()))
    return tuple(recalls)


def make_problem(rows: int, width: int) -> Problem:
    """Texts near their images, so that some are found first and most are not.

    Made in place: temporary arrays would count as the peak of what comes after.
    """
    generator = np.random.default_rng(0)
    images = _unit(generator.standard_normal((rows, width), dtype=np.float32))
    texts = _unit(generator.standard_normal((rows, width), dtype=np.float32))
    texts *= 7
    texts += images
    return Problem(images, _unit(texts), np.stack([np.arange(rows)] * 2, axis=1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors /= np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return vectors


WAYS: dict[str, Callable[[Problem], Recalls]] = {
    "blocks": in_blocks,
    "dense": dense,
    "one-hot": one_hot,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
