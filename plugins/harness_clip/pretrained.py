"""Pre-trained weights of open_clip: a tag, or a safetensors file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, MissingDependencyError, UsageError, did_you_mean
from harness_clip.configurations import ClipConfiguration

if TYPE_CHECKING:
    from torch import nn

    from harness.kit.clip.image_rows import ImageInput


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint of a configuration; name: a tag, or the path of a safetensors file."""

    configuration: ClipConfiguration
    name: str

    def fingerprint(self) -> str:
        """The content hash of the weights, which are fetched if they are not here yet."""
        with self.file().open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        shown = Path(self.name).name if self._is_file else self.name
        return f"open_clip {self.configuration.name} {shown} sha256:{digest}"

    def file(self) -> Path:
        """The weights on this machine.

        Raises:
            UsageError: open_clip knows no such tag for the model, or the file is none.
            MissingDependencyError: they cannot be fetched.
            HarnessError: they are pickled.
        """
        path = Path(self.name).expanduser() if self._is_file else self._fetched()
        if not path.is_file():
            raise UsageError(f"there are no weights '{path}'")
        if path.suffix != ".safetensors":
            raise HarnessError(
                f"the weights '{path.name}' are not safetensors",
                hint="Pickled weights are never loaded. Convert them once and name the file.",
            )
        return path

    def load_into(self, model: nn.Module) -> None:
        """Raises HarnessError when the weights are another model's."""
        from open_clip.factory import load_checkpoint

        from harness.kit.clip.model import quiet_open_clip

        path = self.file()
        try:
            with quiet_open_clip():
                load_checkpoint(model, str(path))
        except (RuntimeError, KeyError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise HarnessError(
                f"the weights '{path.name}' are not those of '{self.configuration.name}': {reason}"
            ) from error

    def image_input(self, image: ImageInput) -> ImageInput:
        """What the checkpoint takes for an image, where open_clip says so."""
        if self._is_file:
            return image
        known = self._tag()
        return replace(
            image,
            mean=tuple(known.get("mean", image.mean)),
            std=tuple(known.get("std", image.std)),
            interpolation=known.get("interpolation", image.interpolation),
            resize=known.get("resize_mode", image.resize),
        )

    @property
    def _is_file(self) -> bool:
        return "/" in self.name or self.name.endswith((".safetensors", ".pt", ".bin", ".pth"))

    def _tag(self) -> dict[str, Any]:
        from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

        found = get_pretrained_cfg(self.configuration.known_as, self.name)
        if not found:
            tags = list_pretrained_tags_by_model(self.configuration.known_as)
            raise UsageError(
                f"open_clip knows no weights '{self.name}' of '{self.configuration.name}'",
                hint=did_you_mean(self.name, tags) if tags else "It knows none of this model.",
            )
        return found

    def _fetched(self) -> Path:
        from open_clip.pretrained import download_pretrained

        known = self._tag()
        try:
            return Path(download_pretrained(known))
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise MissingDependencyError(
                f"the weights '{self.name}' of '{self.configuration.name}' are not on this machine"
                f" and could not be fetched: {reason}",
                hint="With a network run once; or set pretrained to a safetensors file.",
            ) from error
