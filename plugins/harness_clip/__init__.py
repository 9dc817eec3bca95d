"""Image-text tasks, and CLIP models of open_clip as students."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import Register

HARNESS_API = 1

_NAMED = "harness_clip.named_tasks"
_FILES = "harness_clip.own_data"


@hookimpl
def harness_register_tasks(register: Register) -> None:
    register(
        "icons",
        "harness_clip.icons:Icons",
        summary="drawn icons with captions, 67 kinds, tested on icons never seen; comes by pip",
        version="1",
    )
    register(
        "digits",
        f"{_NAMED}:Digits",
        summary="handwritten digits of 8x8 pixels, 10 classes; comes with scikit-learn",
        version="1",
    )
    register(
        "cifar10",
        f"{_NAMED}:Cifar10",
        summary="photographs of 32x32 pixels, 10 classes",
        version="1",
    )
    register(
        "groceries",
        f"{_NAMED}:Groceries",
        summary="photographs of groceries, 81 classes with descriptions",
        version="1",
    )
    register(
        "image-folder",
        f"{_FILES}:ImageFolder",
        summary="your own images with captions: image-folder:PATH",
        version="1",
        argument="path",
    )
    register(
        "webdataset",
        f"{_FILES}:WebDataset",
        summary="tar files of images with captions: webdataset:PATH",
        version="1",
        argument="path",
    )
    register(
        "image-hf",
        f"{_FILES}:ImageHub",
        summary="any data set of the hub with images and captions: image-hf:OWNER/NAME",
        version="1",
        argument="dataset",
    )


@hookimpl
def harness_register_students(register: Register) -> None:
    register(
        "clip",
        "harness_clip.student:Clip",
        summary="CLIP of any open_clip configuration, and small ones that train on two cores",
        version="1",
        argument="variant",
        variants=("tiny", "small", "base32", "vit-b-32"),
    )
