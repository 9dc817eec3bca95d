"""Phases of a training run, each kept when it ends, so that a killed run resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from harness.kit.clip.model import ClipModel, build_clip
from harness.kit.files.computed_once import computed_once
from harness.randomness import seeded

Curves = Mapping[str, np.ndarray]
_WEIGHTS, _CURVES, _CONFIG = "weights/", "curves/", "config"


@dataclass(frozen=True)
class Phase:
    """What a phase of training leaves: the model, in its shape, and a value for each step."""

    model: ClipModel
    curves: Curves

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights, curves and the model's configuration as arrays with names, for a file."""
        state = self.model.model.state_dict()
        return {
            **{f"{_WEIGHTS}{name}": value.cpu().numpy() for name, value in state.items()},
            **{f"{_CURVES}{name}": values for name, values in self.curves.items()},
            _CONFIG: np.frombuffer(json.dumps(self.model.config).encode(), dtype=np.uint8),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray], like: ClipModel) -> Phase:
        """What `arrays` gave; like: a model with its tokenizer, image input and name."""
        config = json.loads(arrays[_CONFIG].tobytes())
        weights = {
            name.removeprefix(_WEIGHTS): torch.from_numpy(np.array(value))
            for name, value in arrays.items()
            if name.startswith(_WEIGHTS)
        }
        with seeded(0):
            model = build_clip(config)
        model.load_state_dict(weights)
        curves = {
            name.removeprefix(_CURVES): value
            for name, value in arrays.items()
            if name.startswith(_CURVES)
        }
        return cls(replace(like, model=model, config=config), curves)


def kept_phase(path: Path, like: ClipModel, train: Callable[[], Phase]) -> Phase:
    """The phase kept at `path`, trained and written first if the file is not there."""
    arrays = computed_once(path, lambda: train().arrays())
    return Phase.of_arrays(arrays, like)
