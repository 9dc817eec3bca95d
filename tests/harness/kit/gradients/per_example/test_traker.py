"""Gradients and projected features beside `traker` 0.3.2, the package that LESS projects with."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from given_matrix import GivenMatrix
from harness.kit.gradients.per_example.backend import PerExampleGradients
from harness.kit.gradients.per_example.hooks import HookGradients
from harness.kit.gradients.per_example.loop import LoopGradients
from harness.kit.gradients.projection.kinds import new_projector
from harness.kit.language.loss import example_losses
from harness.kit.training.parameter_layout import ParameterLayout

from .conftest import PAD, make_model, make_rows

pytest.importorskip("trak", reason="traker (extra `test`) is not installed")

from trak import TRAKer
from trak.gradient_computers import (
    FunctionalGradientComputer,
    IterativeGradientComputer,
)
from trak.modelout_functions import AbstractModelOutput
from trak.projectors import BasicProjector, ProjectionType
from trak.utils import vectorize

LENGTHS = (9, 4, 12, 6, 7, 7, 5, 11, 10, 8)
OUTPUTS = 256
COLUMNS = ("input_ids", "attention_mask", "targets")


class CompletionLoss(AbstractModelOutput):
    """The mean loss of one example's labelled tokens, in traker's terms a model output."""

    def __init__(self) -> None:
        super().__init__()

    def get_output(
        self,
        model: nn.Module,
        weights: Mapping[str, Tensor] | None,
        buffers: Mapping[str, Tensor] | None,
        *batch: Tensor,
    ) -> Tensor:
        """A number for one example, [b] for a batch where no weights are given."""
        if weights is None:
            return self._losses(model, (), *batch)
        one = (column.unsqueeze(0) for column in batch)
        return self._losses(model, (weights, buffers), *one)[0]

    def get_out_to_loss_grad(self, model: Any, weights: Any, buffers: Any, batch: Any) -> Tensor:
        return torch.ones(len(batch[0]), 1)

    def _losses(
        self, model: nn.Module, state: tuple[Any, ...], ids: Tensor, mask: Tensor, targets: Tensor
    ) -> Tensor:
        inputs = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
            "use_cache": False,
        }
        out = functional_call(model, state, (), inputs) if state else model(**inputs)
        chances = out.logits[:, -targets.shape[1] :].log_softmax(-1)
        labelled = targets >= 0
        picked = chances.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return -(picked * labelled).sum(1) / labelled.sum(1)


def their_projector(size: int) -> BasicProjector:
    """Dense random signs in blocks of 128 outputs, as LESS draws them."""
    return BasicProjector(
        grad_dim=size,
        proj_dim=OUTPUTS,
        seed=0,
        proj_type=ProjectionType.rademacher,
        device="cpu",
        block_size=128,
    )


def some_batch() -> dict[str, Tensor]:
    return make_rows(LENGTHS).batch(range(len(LENGTHS)), PAD, "cpu")


def ordered(batch: Mapping[str, Tensor]) -> Sequence[Tensor]:
    return [batch[name] for name in COLUMNS]


def their_gradients(model: nn.Module, layout: ParameterLayout, batch: dict[str, Tensor]) -> Tensor:
    computer = FunctionalGradientComputer(
        model, CompletionLoss(), layout.size, torch.float32, torch.device("cpu"), layout.names
    )
    found = computer.compute_per_sample_grad(ordered(batch))
    return vectorize({name: found[name] for name in layout.names}, device="cpu")


def cosines(rows: Tensor) -> Tensor:
    """Of all pairs of rows."""
    unit = nn.functional.normalize(rows.double(), dim=1)
    above = torch.triu_indices(len(unit), len(unit), offset=1)
    return (unit @ unit.T)[above[0], above[1]]


def rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


@pytest.mark.parametrize("backend", [LoopGradients, HookGradients])
def test_gradients_are_those_of_its_vectorised_computer(
    backend: type[PerExampleGradients], any_model: nn.Module
) -> None:
    layout, batch = ParameterLayout.of(any_model), some_batch()
    ours = backend(any_model, example_losses, layout).matrix(batch)
    theirs = their_gradients(any_model, layout, batch)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_its_loop() -> None:
    model, batch = make_model("llama, all weights"), some_batch()
    layout = ParameterLayout.of(model)
    computer = IterativeGradientComputer(
        model, CompletionLoss(), layout.size, torch.float32, torch.device("cpu")
    )
    theirs = computer.compute_per_sample_grad(ordered(batch))
    ours = HookGradients(model, example_losses, layout).matrix(batch)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_its_matrix_gives_its_features_through_our_blocks(tmp_path: Path) -> None:
    """`TRAKer.featurize` divides by the root of the size instead of that of the outputs."""
    model, batch = make_model("llama with LoRA"), some_batch()
    layout = ParameterLayout.of(model)
    projector = their_projector(layout.size)
    traker = TRAKer(
        model,
        CompletionLoss(),
        train_set_size=len(LENGTHS),
        save_dir=str(tmp_path),
        device="cpu",
        projector=projector,
        grad_wrt=layout.names,
        use_half_precision=False,
        logging_level=logging.ERROR,
    )
    traker.load_checkpoint(model.state_dict(), model_id=0)
    traker.featurize(ordered(batch), num_samples=len(LENGTHS))
    theirs = torch.tensor(traker.saver.current_store["grads"])
    matrix = projector.project(torch.eye(layout.size), model_id=0)
    ours = GivenMatrix.of(matrix).project_blocks(
        HookGradients(model, example_losses, layout).blocks(batch)
    )
    scaled = theirs * math.sqrt(layout.size / OUTPUTS)
    torch.testing.assert_close(ours, scaled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["rademacher", "sparse", "srht"])
def test_cosines_of_projected_features_agree_within_the_error_of_both(kind: str) -> None:
    """Each projection errs by at most 1.3 / sqrt(d), so two differ by sqrt(2) times that."""
    model, batch = make_model("llama with LoRA"), some_batch()
    layout = ParameterLayout.of(model)
    gradients = HookGradients(model, example_losses, layout).matrix(batch)
    theirs = cosines(their_projector(layout.size).project(gradients, model_id=0))
    ours = cosines(new_projector(kind, layout.size, OUTPUTS).project(gradients))
    bound = 1.3 / math.sqrt(OUTPUTS)
    assert rms(theirs - cosines(gradients)) < bound
    assert rms(ours - cosines(gradients)) < bound
    assert rms(ours - theirs) < math.sqrt(2) * bound
