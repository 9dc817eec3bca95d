"""A CLIP of open_clip with its tokenizer: builds, encodes, saves and reads back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.clip.image_augmentation import AugmentationDraws
from harness.kit.clip.image_rows import ImageInput, image_arrays
from harness.kit.clip.multiply_adds import clip_multiply_adds
from harness.kit.clip.tokens import ClipTokenizer, read_tokenizer
from harness.kit.modes import evaluating
from harness.types import StudentInfo

if TYPE_CHECKING:
    from datasets import Dataset

CONFIGURATION, WEIGHTS = "clip.json", "model.safetensors"
_CPU_ROWS, _ACCELERATOR_ROWS = 64, 256


@dataclass
class ClipModel:
    """An image tower and a text tower of open_clip that end in one space.

    model: an `open_clip.model.CLIP`, or `CustomTextCLIP`; config: the arguments that
    `build_clip` made it from; image: what it takes for an image; info: whose parameters and
    multiply-adds are counted here.
    training_rows: rows whose activations are kept at once while training, 0 for the whole batch.
    """

    model: nn.Module
    tokenizer: ClipTokenizer
    image: ImageInput
    config: Mapping[str, Any]
    info: StudentInfo
    device: torch.device
    training_rows: int = field(default=0)

    def __post_init__(self) -> None:
        self.model.to(self.device).eval()
        self.info = replace(
            self.info,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            multiply_adds=clip_multiply_adds(
                self.model, self.image.size, self.tokenizer.context_length
            ),
        )

    @property
    def width(self) -> int:
        """Of the space in which images and texts meet."""
        return int(self.config["embed_dim"])

    def pixels(self, images: np.ndarray, drawn: AugmentationDraws | None = None) -> Tensor:
        """[b, h, w, 3] uint8 to [b, 3, h, w] float32 on the device, augmented and normalised."""
        values = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        values = values.permute(0, 3, 1, 2).float().div(255)
        if drawn is not None:
            values = drawn.apply(values)
        mean, std = (
            torch.tensor(v, device=self.device)[:, None, None]
            for v in (self.image.mean, self.image.std)
        )
        return (values - mean) / std

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """[n, context length] int64 on the device."""
        return torch.from_numpy(self.tokenizer.encode(texts)).to(self.device)

    def encode_image(self, rows: Dataset, context: StageContext | None = None) -> np.ndarray:
        """Unit embeddings of the column `image`, [n, width] float32, in the order of `rows`."""
        return self.encode_images(image_arrays(rows, self.image, context), context)

    def encode_images(
        self,
        images: np.ndarray,
        context: StageContext | None = None,
        augment: Callable[[np.ndarray], AugmentationDraws] | None = None,
    ) -> np.ndarray:
        """`encode_image` for [n, h, w, 3] uint8 that were fitted before.

        augment: what to do to the images at some places, [b], first; nothing when None.
        """
        made = []
        with evaluating(self.model):
            for part in self._parts(len(images), "embedding images", context):
                drawn = None if augment is None else augment(np.arange(len(images))[part])
                made.append(self.image_features(self.pixels(images[part], drawn)).cpu().numpy())
        return np.concatenate(made)

    def encode_text(self, texts: Sequence[str], context: StageContext | None = None) -> np.ndarray:
        """Unit embeddings, [n, width] float32, in the order of `texts`.

        Raises:
            UsageError: there are no texts.
        """
        if len(texts) == 0:
            raise UsageError("there are no texts to encode")
        places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
        different = list(places)
        parts = self._parts(len(different), "embedding texts", context)
        with evaluating(self.model):
            made = [self.text_features(self.tokens(different[p])).cpu().numpy() for p in parts]
        return np.concatenate(made)[[places[text] for text in texts]]

    def image_features(self, pixels: Tensor) -> Tensor:
        """[b, width] unit embeddings, at least float32, with graph."""
        return _unit(self.model.encode_image(pixels))

    def text_features(self, tokens: Tensor) -> Tensor:
        """[b, width] unit embeddings, at least float32, with graph."""
        return _unit(self.model.encode_text(tokens))

    def save(self, folder: Path) -> None:
        """Writes weights as safetensors, and configuration and tokenizer as JSON."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: t.detach().cpu().contiguous() for name, t in self._state().items()}
        save_file(weights, folder / WEIGHTS)
        stored = {
            "config": self.config,
            "tokenizer": self.tokenizer.to_json(),
            "image": asdict(self.image),
            "info": asdict(self.info),
        }
        (folder / CONFIGURATION).write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path, device: str | torch.device = "cpu") -> ClipModel:
        """Reads what `save` wrote.

        Raises:
            UsageError: the folder holds no such model.
        """
        from safetensors.torch import load_file

        if not (folder / CONFIGURATION).is_file() or not (folder / WEIGHTS).is_file():
            raise UsageError(f"the folder '{folder}' has no {CONFIGURATION} and {WEIGHTS}")
        stored = json.loads((folder / CONFIGURATION).read_bytes())
        model = build_clip(stored["config"])
        model.load_state_dict(load_file(folder / WEIGHTS))
        return cls(
            model=model,
            tokenizer=read_tokenizer(stored["tokenizer"]),
            image=ImageInput.from_json(stored["image"]),
            config=stored["config"],
            info=StudentInfo(**stored["info"]),
            device=torch.device(device),
        )

    def _state(self) -> dict[str, Tensor]:
        return self.model.state_dict()

    def _parts(
        self, rows: int, description: str, context: StageContext | None
    ) -> Iterator[slice] | list[slice]:
        size = _CPU_ROWS if self.device.type == "cpu" else _ACCELERATOR_ROWS
        parts = [slice(start, start + size) for start in range(0, rows, size)]
        return parts if context is None else context.track(parts, description, total=len(parts))


def build_clip(config: Mapping[str, Any]) -> nn.Module:
    """An untrained float32 model, its weights from torch's global generator, nothing fetched.

    Args:
        config: as the JSON files of open_clip: embed_dim, vision_cfg, text_cfg and options; with
            `layers`, as `clip_shape.sized_config` makes it, each layer has its own size.

    Raises:
        UsageError: open_clip cannot build it; says what it said.
    """
    from open_clip.model import CLIP, CustomTextCLIP

    arguments = deepcopy(dict(config))
    layers = arguments.pop("layers", None)
    custom = arguments.pop("custom_text", False) or "hf_model_name" in arguments["text_cfg"]
    if "timm_model_name" in arguments["vision_cfg"]:
        arguments["vision_cfg"]["timm_model_pretrained"] = False
    if "hf_model_name" in arguments["text_cfg"]:
        arguments["text_cfg"]["hf_model_pretrained"] = False
    try:
        with quiet_open_clip():
            model = (CustomTextCLIP if custom else CLIP)(**arguments).float()
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"open_clip cannot build this model: {reason}") from error
    if layers is not None:
        from harness.kit.clip.sized import give_layers

        give_layers(model, layers)
    return model


@contextmanager
def quiet_open_clip() -> Iterator[None]:
    """No messages of open_clip's root logger inside the block."""
    import logging

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _unit(features: Tensor) -> Tensor:
    wide = features.to(torch.promote_types(features.dtype, torch.float32))
    return functional.normalize(wide, dim=-1)
