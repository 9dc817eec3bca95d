"""A small network that learns ten points, and experts of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor, nn

from harness.context import StageContext
from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows
from harness.kit.training.parameter_layout import ParameterLayout
from harness.kit.trajectories.experts import (
    ExpertModel,
    ExpertOptions,
    ExpertTrajectories,
    record_experts,
)

POINTS = 10


@pytest.fixture
def make_expert_model() -> Callable[..., ExpertModel]:
    """The same seed gives the same network; the points never change."""

    def make(*, seed: int = 0, dropout: float = 0.0, points: int = POINTS) -> ExpertModel:
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(points, 3, generator=generator)
        targets = torch.randn(points, 1, generator=generator)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(dropout), nn.Linear(4, 1))

        def accumulate(rows: np.ndarray) -> Tensor:
            chosen = torch.from_numpy(rows.copy())
            loss = (model(inputs[chosen]) - targets[chosen]).square().mean()
            loss.backward()
            return loss.detach()

        return ExpertModel(model, ParameterLayout.of(model), accumulate, points)

    return make


@pytest.fixture
def record(
    make_expert_model: Callable[..., ExpertModel], tmp_path: Path
) -> Callable[..., ExpertTrajectories]:
    """Two experts of six steps, a state every second one; keyword arguments change that."""

    def run(
        expert_model: ExpertModel | None = None,
        folder: Path | None = None,
        *,
        model: str = "m",
        data: str = "d",
        **options: Any,
    ) -> ExpertTrajectories:
        settings = {"experts": 2, "steps": 6, "every": 2, "batch_size": 4, **options}
        context = StageContext(seed=0, workdir=tmp_path)
        return record_experts(
            folder or tmp_path / "experts",
            expert_model or make_expert_model(),
            ExpertOptions(**settings),
            context,
            model=model,
            data=data,
        )

    return run


@pytest.fixture
def make_letters(
    make_classifier: Callable[..., TextClassifier],
) -> Callable[[], tuple[TextClassifier, EncodedRows]]:
    """A small BERT and five rows of letters for it."""

    def make() -> tuple[TextClassifier, EncodedRows]:
        texts = ["a b", "c d e", "f", "b b a c", "d"]
        classifier = make_classifier()
        return classifier, classifier.encode(Dataset.from_dict({"text": texts}))

    return make
