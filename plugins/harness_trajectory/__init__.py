"""Trajectory matching: text on which a few steps end where many steps on real data end."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "trajectory",
        "harness_trajectory.trajectory:Trajectory",
        summary="prompts learned so that training on them moves a model as the full data does",
        produces="synthesis",
        version="1",
    )
    register(
        "trajectory-vectors",
        "harness_trajectory.vectors:TrajectoryVectors",
        summary="the same before its vectors become words, for the model it was learned with",
        produces="arrays",
        version="1",
    )
