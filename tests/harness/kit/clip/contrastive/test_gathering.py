"""Two processes that gather their embeddings train as one process with the whole batch does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from embedded_pairs import pairs

from harness.kit.clip.contrastive.features import ClipFeatures
from harness.kit.clip.contrastive.gathering import gather_rows
from harness.kit.clip.contrastive.mimicking import weighted_distillation
from harness.kit.clip.contrastive.pair_losses import siglip_loss

WORKER = """
import sys
import torch
from torch import distributed
sys.path.insert(0, sys.argv[3])
from test_gathering import gradients

rank, folder = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group(
    "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
)
torch.save(gradients(slice(3 * rank, 3 * rank + 3)), f"{folder}/{rank}.pt")
distributed.barrier()
distributed.destroy_process_group()
"""


def gradients(part: slice) -> list[torch.Tensor]:
    """Of a tower's weight, of the scale and of the bias, averaged over processes as DDP does."""
    given, teacher = pairs(6), pairs(6, width=9, seed=1)
    tower = torch.eye(4, dtype=torch.float64).requires_grad_()
    scale = torch.tensor(7.0, dtype=torch.float64).requires_grad_()
    bias = torch.tensor(-2.0, dtype=torch.float64).requires_grad_()
    rows = (given.image[part] @ tower, given.text[part] @ tower)
    image, text, *goals = (gather_rows(r) for r in (*rows, teacher.image[part], teacher.text[part]))
    student = ClipFeatures(image, text, scale, bias)
    loss = weighted_distillation(
        student, ClipFeatures(goals[0], goals[1], teacher.scale, None), alpha=0.5
    )
    (loss + siglip_loss(student)).backward()
    found = [tower.grad, scale.grad, bias.grad]
    if torch.distributed.is_initialized():
        for gradient in found:
            torch.distributed.all_reduce(gradient)
            gradient /= torch.distributed.get_world_size()
    return found


def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(rank), str(tmp_path), str(Path(__file__).parent)],
            cwd=Path(__file__).parents[5],
        )
        for rank in range(2)
    ]
    assert [worker.wait(timeout=240) for worker in workers] == [0, 0]
    alone = gradients(slice(0, 6))
    for rank in range(2):
        for found, expected in zip(torch.load(tmp_path / f"{rank}.pt"), alone, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_alone_there_is_nothing_to_gather() -> None:
    rows = pairs().image
    assert gather_rows(rows) is rows
