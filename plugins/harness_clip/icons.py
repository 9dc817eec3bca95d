"""The task `icons`: icons of Font Awesome, drawn in colours, sizes and rotations.

The icons come with the package `fontawesomefree` (CC BY 4.0), of which only the font and two data
files are read. Everything drawn is settled by the icon's name and the number of the drawing.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Le

from harness.data.sources import DataLocator
from harness.errors import MissingDependencyError
from harness.types import DataSource, Split, TaskData
from harness_clip.picture_rows import bitmap, picture_table
from harness_clip.templates import filled, with_article

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

REQUIREMENT = "fontawesomefree==6.6.0"
_ROOT = Path("static/fontawesomefree")
_FONT = _ROOT / "otfs/Font Awesome 6 Free-Solid-900.otf"
COLOURS = {
    "red": (214, 39, 40), "orange": (245, 130, 30), "green": (35, 140, 60),
    "blue": (35, 90, 200), "purple": (130, 60, 170), "brown": (125, 80, 50), "black": (15, 15, 15),
}  # fmt: skip
GROUNDS = {
    "white": (255, 255, 255), "grey": (190, 190, 190), "yellow": (250, 225, 110),
    "pink": (250, 190, 205), "turquoise": (150, 225, 215),
}  # fmt: skip
SIZES = {"small": 0.55, "": 0.75, "large": 0.95}
TURNS = {"": 0, "tilted left": 20, "tilted right": -20}
KIND = "an icon of the kind {}"
TERMS = 3
_KIND_ALONE = 4
_MASK = 80


@dataclass(frozen=True)
class Icon:
    """One icon. kind: the name of its category; terms: what one would look for it by."""

    name: str
    label: str
    terms: tuple[str, ...]
    kind: str
    character: str


@dataclass(frozen=True)
class Icons:
    """1,395 icons in 67 kinds, a tenth each held out for validation and for test, so that what
    is tested was never seen. A caption says colour, name, kind and some search terms; about every
    fourth one of train says colour and kind alone. Ground, size and rotation go unsaid.

    An icon in several of Font Awesome's categories counts to the one with the fewest icons.

    drawings: of each icon in train; validation and test have two. size: of an image, in pixels.
    """

    drawings: Annotated[int, Ge(1), Le(1000)] = 8
    size: Annotated[int, Ge(8), Le(512)] = 32

    def load(self, locator: DataLocator) -> TaskData:
        """Draws the icons.

        Raises:
            MissingDependencyError: the package is not installed.
        """
        del locator
        folder = _package_folder()
        icons = read_icons(folder)
        kinds = tuple(sorted({icon.kind for icon in icons}))
        held_out = hold_out(icons)
        drawings: Mapping[Split, int] = {
            "train": self.drawings, "validation": 2, "test": 2
        }  # fmt: skip
        version = importlib.metadata.version("fontawesomefree")
        return TaskData(
            name="icons",
            modality="image-text",
            version=1,
            metric="top1",
            input_columns=("image", "caption"),
            label_names=kinds,
            splits={
                split: self._table(split, held_out[split], count, kinds, folder / _FONT)
                for split, count in drawings.items()
            },
            source=DataSource("package", f"fontawesomefree=={version}"),
            class_texts=filled((KIND,), kinds),
        )

    def _table(
        self, split: Split, icons: Sequence[Icon], count: int, kinds: Sequence[str], font: Path
    ) -> Dataset:
        images, captions, labels = [], [], []
        shapes = _Shapes(font)
        for icon in icons:
            turned = shapes.turned(icon.character)
            for number in range(count):
                style = Style.of(icon.name, number)
                images.append(bitmap(style.draw(turned[style.turn], self.size)))
                kind_alone = split == "train" and style.order % _KIND_ALONE == 0
                captions.append(style.kind(icon) if kind_alone else style.caption(icon))
                labels.append(kinds.index(icon.kind))
        return picture_table(images, captions, labels)


@dataclass(frozen=True)
class Style:
    """How an icon is drawn once, and which of its search terms the caption has first."""

    colour: str
    ground: str
    size: str
    turn: str
    order: int

    @classmethod
    def of(cls, name: str, number: int) -> Style:
        """Settled by the icon's name and the drawing's number."""
        drawn = int.from_bytes(hashlib.sha256(f"{name} {number}".encode()).digest()[:8], "big")
        chosen: list[str] = []
        choices: Mapping[str, Any]
        for choices in (COLOURS, GROUNDS, SIZES, TURNS):
            drawn, place = divmod(drawn, len(choices))
            chosen.append(list(choices)[place])
        colour, ground, size, turn = chosen
        return cls(colour, ground, size, turn, drawn)

    def caption(self, icon: Icon) -> str:
        """Such as: a red bicycle, an icon of the kind sports and fitness, bike, gears."""
        start = self.order % max(1, len(icon.terms))
        terms = (*icon.terms[start:], *icon.terms[:start])[:TERMS]
        first = with_article(f"a {self.colour} {icon.label.lower()}")
        return ", ".join((first, KIND.format(icon.kind), *terms))

    def kind(self, icon: Icon) -> str:
        """Such as: a red icon of the kind sports and fitness."""
        return with_article(f"a {self.colour} icon of the kind {icon.kind}")

    def draw(self, shape: Image, size: int) -> Image:
        """A square image of `size` pixels; shape: the turned mask, white where the icon is."""
        import PIL.Image

        scale = SIZES[self.size] * size / max(shape.size)
        width, height = (max(1, round(side * scale)) for side in shape.size)
        mask = shape.resize((width, height), PIL.Image.Resampling.BOX)
        picture = PIL.Image.new("RGB", (size, size), GROUNDS[self.ground])
        corner = ((size - mask.width) // 2, (size - mask.height) // 2)
        picture.paste(COLOURS[self.colour], (*corner, corner[0] + mask.width,
                                             corner[1] + mask.height), mask)  # fmt: skip
        return picture


def read_icons(folder: Path) -> list[Icon]:
    """The solid icons of the package, by name."""
    import yaml

    metadata = folder / _ROOT / "metadata"
    stored: dict[str, Any] = json.loads((metadata / "icons.json").read_bytes())
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    categories = yaml.load((metadata / "categories.yml").read_bytes(), loader)
    solid = {name: icon for name, icon in sorted(stored.items()) if "solid" in icon["free"]}
    members = {c["label"]: [i for i in c["icons"] if i in solid] for c in categories.values()}
    kinds: dict[str, str] = {}
    for label in sorted(members, key=lambda label: (-len(members[label]), label)):
        kinds |= dict.fromkeys(members[label], label.replace(" + ", " and ").lower())
    return [
        Icon(
            name=name,
            label=icon["label"],
            terms=tuple(dict.fromkeys(str(term).lower() for term in icon["search"]["terms"])),
            kind=kinds[name],
            character=chr(int(icon["unicode"], 16)),
        )
        for name, icon in solid.items()
        if name in kinds
    ]


def hold_out(icons: Sequence[Icon]) -> dict[Split, list[Icon]]:
    """A tenth of each kind for test and a tenth for validation, those with the smallest hashes."""
    by_kind: defaultdict[str, list[Icon]] = defaultdict(list)
    for icon in icons:
        by_kind[icon.kind].append(icon)
    made: dict[Split, list[Icon]] = {"train": [], "validation": [], "test": []}
    for kind in sorted(by_kind):
        own = sorted(by_kind[kind], key=lambda icon: hashlib.sha256(icon.name.encode()).digest())
        count = max(1, round(len(own) / 10))
        made["test"] += own[:count]
        made["validation"] += own[count : 2 * count]
        made["train"] += own[2 * count :]
    return made


def _package_folder() -> Path:
    spec = importlib.util.find_spec("fontawesomefree")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError(
            "the package 'fontawesomefree', which carries the icons, is not installed",
            hint=f"pip install {REQUIREMENT}",
        )
    folder = Path(next(iter(spec.submodule_search_locations)))
    if not (folder / _FONT).is_file():
        raise MissingDependencyError(
            f"the package 'fontawesomefree' has no '{_FONT.name}'",
            hint=f"pip install --force-reinstall --no-deps {REQUIREMENT}",
        )
    return folder


class _Shapes:
    """Icons of a font as masks that just hold them."""

    def __init__(self, font: Path) -> None:
        import PIL.ImageFont

        layout = PIL.ImageFont.Layout.BASIC
        self._font = PIL.ImageFont.truetype(str(font), _MASK, layout_engine=layout)

    def turned(self, character: str) -> dict[str, Image]:
        """The icon in each of the `TURNS`."""
        import PIL.Image
        import PIL.ImageDraw

        drawn = PIL.Image.new("L", (3 * _MASK, 2 * _MASK))
        place = (_MASK // 2, _MASK // 2)
        PIL.ImageDraw.Draw(drawn).text(place, character, fill=255, font=self._font)
        shape = drawn.crop(drawn.getbbox())
        bilinear = PIL.Image.Resampling.BILINEAR
        return {name: shape.rotate(turn, bilinear, expand=True) for name, turn in TURNS.items()}
