"""Distillation of CLIP by a larger teacher: open_clip, CLIP-KD, MobileCLIP; rows by CLIP score."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1

_TAUGHT = "harness_clip_distill.distillers"


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "teacher",
        f"{_TAUGHT}:TeacherItself",
        summary="the trained teacher itself, as a point of reference",
        produces="model",
        version="1",
        deterministic=True,
        reference=True,
    )
    register(
        "clip-contrastive",
        f"{_TAUGHT}:Contrastive",
        summary="the student by the contrastive loss alone, without a teacher",
        produces="model",
        version="1",
    )
    register(
        "clip-distill",
        f"{_TAUGHT}:ClipDistill",
        summary="contrastive loss and the teacher's distribution over the batch, as in open_clip",
        produces="model",
        version="1",
    )
    register(
        "clip-kd",
        "harness_clip_distill.clip_kd:ClipKd",
        summary="features, interaction and relations of the teacher, as in CLIP-KD",
        produces="model",
        version="1",
    )
    register(
        "clip-reinforce",
        "harness_clip_distill.reinforce:ClipReinforce",
        summary="stored teacher embeddings of several augmentations and captions, as in MobileCLIP",
        produces="model",
        version="1",
    )
    register(
        "clip-score",
        "harness_clip_distill.clip_score:ClipScore",
        summary="rows whose image and caption the teacher finds alike",
        produces="selection",
        version="1",
        deterministic=True,
    )
