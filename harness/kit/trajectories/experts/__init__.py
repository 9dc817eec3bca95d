"""Training runs on the full data, their parameters kept, for methods that match trajectories.

`record_experts` trains several experts from one initialisation and writes a folder that survives
a kill at any moment; `ExpertTrajectories` reads it: states, the optimizer's memory at each, the
loss and the rows of every step; `draw_segment` draws what a student should reach. The model is
anything whose gradient on given rows can be asked for (`ExpertModel`): `completion_expert` and
`classification_expert` make it for language models and classifiers, with LoRA, all parameters,
or those that `train_only` chooses.

Experts on real data and their use as targets: Cazenavette et al., "Dataset Distillation by
Matching Training Trajectories", CVPR 2022, arXiv 2203.11932, section 3.
"""

from harness.kit.trajectories.experts.manifest import ExpertManifest, ExpertOptions
from harness.kit.trajectories.experts.model import (
    ExpertModel,
    classification_expert,
    completion_expert,
    train_only,
)
from harness.kit.trajectories.experts.optimizer import ExpertOptimizer, OptimizerMemory
from harness.kit.trajectories.experts.recording import record_experts
from harness.kit.trajectories.experts.segments import Segment, draw_segment
from harness.kit.trajectories.experts.trajectories import ExpertTrajectories

__all__ = [
    "ExpertManifest",
    "ExpertModel",
    "ExpertOptimizer",
    "ExpertOptions",
    "ExpertTrajectories",
    "OptimizerMemory",
    "Segment",
    "classification_expert",
    "completion_expert",
    "draw_segment",
    "record_experts",
    "train_only",
]
