"""LESS with the dense matrix of `traker`, which the published code projects with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from less_world import Scene
from torch import Tensor

from given_matrix import GivenMatrix
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.language.loss import example_losses
from harness_less import stored_scores as stored_scores_module
from harness_less.scores import ScoringInputs, exact_scores
from harness_less.stored_scores import stored_scores

pytest.importorskip("trak", reason="traker (extra `test`) is not installed")

from trak.projectors import BasicProjector, ProjectionType

OUTPUTS = 1024
STORED = {"features": "sgd", "scoring": "store", "store_dtype": "float32", "dimensions": OUTPUTS}


@pytest.fixture(scope="module")
def theirs(scene: Scene) -> BasicProjector:
    return BasicProjector(
        grad_dim=scene.layout.size,
        proj_dim=OUTPUTS,
        seed=0,
        proj_type=ProjectionType.rademacher,
        device="cpu",
        block_size=OUTPUTS,
    )


def their_features(scene: Scene, rows: LabelledRows, projector: BasicProjector) -> np.ndarray:
    """[rows, outputs] of length 1, by one backward pass a row and `project`."""
    parameters = list(scene.layout.parameters(scene.lm.model).values())
    gradients: list[Tensor] = []
    for row in range(len(rows)):
        loss = example_losses(scene.lm.model, rows.batch([row], scene.lm.pad_id, "cpu")).sum()
        found = torch.autograd.grad(loss, parameters)
        gradients.append(torch.cat([gradient.reshape(-1) for gradient in found]))
    features = projector.project(torch.stack(gradients), model_id=0).double().numpy()
    return np.asarray(features / np.linalg.norm(features, axis=1, keepdims=True))


def their_scores(work: ScoringInputs, scene: Scene, projector: BasicProjector) -> np.ndarray:
    """The published code's: weighted cosines, their mean over a subtask, the best subtask."""
    rates = np.array([checkpoint.rates.mean() for checkpoint in scene.checkpoints])
    total = np.zeros((len(work.pool), len(work.target.encoded)))
    for checkpoint, weight in zip(scene.checkpoints, rates / rates.sum(), strict=True):
        checkpoint.put_weights(scene.lm.model, scene.layout)
        train = their_features(scene, work.pool.encoded, projector)
        total += weight * train @ their_features(scene, work.target.encoded, projector).T
    return np.stack([total[:, own].mean(1) for own in work.target.subtasks.values()]).max(0)


def test_its_matrix_in_our_pipeline_gives_its_scores(
    theirs: BasicProjector, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = GivenMatrix.of(theirs.proj_matrix)
    monkeypatch.setattr(stored_scores_module, "new_projector", lambda *_: matrix)
    work = scene.work(tmp_path, projection="rademacher", **STORED)
    found = stored_scores(work, {}).scores
    np.testing.assert_allclose(found, their_scores(work, scene, theirs), atol=1e-5)


@pytest.mark.parametrize("kind", ["rademacher", "sparse", "srht"])
def test_our_projections_score_as_its_does_within_the_error_of_both(
    kind: str, theirs: BasicProjector, scene: Scene, tmp_path: Path
) -> None:
    """A projected cosine errs by 1.3 / sqrt(d) at most, root mean square; a mean of some, less."""
    bound = 1.3 / OUTPUTS**0.5
    exact = exact_scores(scene.work(tmp_path / "exact", features="sgd")).scores
    work = scene.work(tmp_path / kind, projection=kind, **STORED)
    ours, published = stored_scores(work, {}).scores, their_scores(work, scene, theirs)
    assert _rms(published - exact) < bound
    assert _rms(ours - published) < 2**0.5 * bound


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
