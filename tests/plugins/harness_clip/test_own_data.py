"""Tasks from a user's own images: folders, tar files and the hub, and what is wrong in them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from harness.data.images import image_bytes
from harness.data.sources import DataLocator, LocatedSplits
from harness.errors import HarnessError, UsageError
from harness.kit.clip.image_rows import ImageInput, image_arrays
from harness.testing.text import check_task_plugin
from harness.types import DataSource
from harness_clip.own_data import ImageFolder, ImageHub, WebDataset
from resolved import resolved

HERE = DataLocator(use_hub=False)


def _file(number: int, kind: str = "PNG", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (6, 5), (number, 255 - number, 9)).convert(mode).save(file, kind)
    return file.getvalue()


CUT = _file(3, "JPEG")[:200]


def _folder(root: Path, count: int = 20, *, classes: tuple[str, ...] = ("cat", "owl")) -> Path:
    for number in range(count):
        own = root / (classes[number % len(classes)] if classes else "")
        own.mkdir(parents=True, exist_ok=True)
        (own / f"{number:02}.png").write_bytes(_file(number))
    return root


def _tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def _samples(count: int = 20) -> list[tuple[str, bytes]]:
    made = []
    for n in range(count):
        made += [(f"{n:04}.png", _file(n)), (f"{n:04}.txt", f"picture {n}".encode())]
    return made


class TestFolder:
    def test_subfolders_are_classes_and_name_them(self, tmp_path: Path) -> None:
        task = check_task_plugin(ImageFolder(path=str(_folder(tmp_path / "pets"))), HERE)
        assert task.name == "pets"
        assert task.label_names == ("cat", "owl")
        assert task.class_texts == (("a photo of a cat",), ("a photo of an owl",))
        assert [len(task.splits[s]) for s in ("train", "validation", "test")] == [16, 2, 2]
        assert set(task.train["caption"]) == {"a photo of a cat", "a photo of an owl"}

    def test_captions_stand_in_a_table_or_beside_the_image(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path / "x", classes=())
        rows = "".join(f'{{"file_name": "{n:02}.png", "text": "t {n}"}}\n' for n in range(19))
        (folder / "metadata.jsonl").write_text(rows)
        (folder / "19.txt").write_text("beside\n")
        task = ImageFolder(path=str(folder)).load(HERE)
        captions = {c for rows in task.splits.values() for c in rows["caption"]}
        assert captions == {"beside", *(f"t {n}" for n in range(19))}
        assert task.label_names == ()
        assert task.metric == "recall_at_1"

    def test_the_split_is_of_the_images_whatever_their_names(self, tmp_path: Path) -> None:
        first = _folder(tmp_path / "one", classes=("a",))
        second = tmp_path / "two" / "a"
        second.mkdir(parents=True)
        for number, path in enumerate(sorted(first.rglob("*.png"), reverse=True)):
            (second / f"new{number:02}.png").write_bytes(path.read_bytes())
        tests = [
            set(image_bytes(ImageFolder(path=str(p)).load(HERE).test, "image"))
            for p in (first, second.parent)
        ]
        assert tests[0] == tests[1]

    @pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "I;16"])
    def test_images_of_every_mode_are_read(self, tmp_path: Path, mode: str) -> None:
        folder = _folder(tmp_path / "x")
        (folder / "cat" / "odd.png").write_bytes(_file(99, mode=mode if mode != "I;16" else "L"))
        if mode == "I;16":
            values = np.full((4, 4), 40000, dtype=np.uint16)
            PIL.Image.fromarray(values).save(folder / "cat" / "odd.png")
        task = ImageFolder(path=str(folder)).load(HERE)
        sizes = {image_arrays(rows, ImageInput((4, 4))).shape for rows in task.splits.values()}
        assert {shape[1:] for shape in sizes} == {(4, 4, 3)}

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda f: (f / "cat" / "bad.jpg").write_bytes(b"none"), r"'cat/bad\.jpg' cannot"),
            (lambda f: (f / "owl" / "cut.jpg").write_bytes(CUT), r"owl/cut\.jpg"),
            (lambda f: (f / "loose.png").write_bytes(_file(77)), r"no class; .* 'loose\.png'"),
            (lambda f: (f / "owl" / "01.txt").write_bytes(b"\xff\xfe\xfa"), r"01\.txt' is not UTF"),
            (lambda f: (f / "metadata.csv").write_text("a,b\n1,2\n"), "file_name"),
            (lambda f: (f / "metadata.csv").write_text("file_name,caption\nno.png,x\n"),
             r"no\.png', which is not there"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_named_by_its_file(
        self, tmp_path: Path, spoil: Any, message: str
    ) -> None:
        folder = _folder(tmp_path / "x")
        spoil(folder)
        with pytest.raises(HarnessError, match=message):
            ImageFolder(path=str(folder)).load(HERE)

    def test_an_image_without_a_caption_is_named_or_left_out(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path / "x", classes=())
        for number in range(18):
            (folder / f"{number:02}.txt").write_text(f"t {number}")
        with pytest.raises(UsageError, match=r"2 images .* the first is '18\.png'"):
            ImageFolder(path=str(folder)).load(HERE)
        task = ImageFolder(path=str(folder), drop_empty=True).load(HERE)
        assert sum(len(rows) for rows in task.splits.values()) == 18
        assert any("2 rows removed that lack a caption" in note for note in task.notes)

    def test_no_folder_no_images_and_bad_options_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="needs a place"):
            ImageFolder().load(HERE)
        with pytest.raises(UsageError, match="no folder"):
            ImageFolder(path=str(tmp_path / "none")).load(HERE)
        with pytest.raises(UsageError, match="no image"):
            ImageFolder(path=str(tmp_path)).load(HERE)
        with pytest.raises(UsageError, match=r"one \{\}"):
            ImageFolder(path="x", templates=("a photo",))
        with pytest.raises(UsageError, match="test_share"):
            resolved(ImageFolder, path="x", test_share=0.6)


class TestTars:
    def test_samples_are_read_in_order_from_one_or_many(self, tmp_path: Path) -> None:
        _tar(tmp_path / "a.tar", _samples(12))
        json_parts = [("s/x.jpg", _file(200, "JPEG")), ("s/x.json", b'{"caption": "by json"}')]
        _tar(tmp_path / "b.tar", json_parts)
        task = check_task_plugin(WebDataset(path=str(tmp_path)), HERE)
        captions = [c for rows in task.splits.values() for c in rows["caption"]]
        assert sorted(captions) == sorted([*(f"picture {n}" for n in range(12)), "by json"])
        alone = WebDataset(path=str(tmp_path / "a.tar")).load(HERE)
        assert sum(len(rows) for rows in alone.splits.values()) == 12

    def test_classes_stand_in_files_of_their_own(self, tmp_path: Path) -> None:
        members = _samples(12)
        for n in range(12):
            members.insert(3 * n + 2, (f"{n:04}.cls", b"owl" if n % 2 else b"cat"))
        task = WebDataset(path=str(_tar(tmp_path / "a.tar", members))).load(HERE)
        assert task.label_names == ("cat", "owl")

    @pytest.mark.parametrize(
        ("members", "message"),
        [
            ([*_samples(3), ("z.txt", b"alone")], "sample 'z' of 'a.tar' has no image"),
            ([*_samples(3), ("z.png", b"bad")], "'a.tar/z' cannot be read"),
            ([*_samples(3), ("z.png", _file(9))], "no caption; the first is 'a.tar/z'"),
            ([*_samples(3), ("z.png", _file(9)), ("z.json", b"{")], "z.json' is not JSON"),
            ([], "no sample"),
        ],
    )
    def test_what_is_wrong_is_named_by_its_sample(
        self, tmp_path: Path, members: list[tuple[str, bytes]], message: str
    ) -> None:
        with pytest.raises(HarnessError, match=message.replace(".", r"\.")):
            WebDataset(path=str(_tar(tmp_path / "a.tar", members))).load(HERE)

    def test_what_is_no_tar_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.tar").write_bytes(b"not a tar file" * 100)
        with pytest.raises(HarnessError, match=r"a\.tar' is damaged"):
            WebDataset(path=str(tmp_path / "a.tar")).load(HERE)
        with pytest.raises(UsageError, match="no tar file"):
            WebDataset(path=str(tmp_path / "none.tar")).load(HERE)


class TestHub:
    @pytest.fixture
    def on_hub(self, monkeypatch: pytest.MonkeyPatch) -> Dataset:
        rows = Dataset.from_dict(
            {"picture": [{"bytes": _file(n), "path": None} for n in range(20)],
             "said": [f"t {n}" for n in range(20)], "kind": [n % 2 for n in range(20)],
             "many": [["a", "b"]] * 20},
            features=Features({"picture": Image(), "said": Value("string"),
                               "kind": ClassLabel(names=["cat", "owl"]),
                               "many": [Value("string")]}),
        )  # fmt: skip

        def from_hub(self: DataLocator, hub: Any, splits: tuple[str, ...]) -> LocatedSplits:
            return LocatedSplits(dict.fromkeys(splits, rows), DataSource("hub", f"{hub}"))

        monkeypatch.setattr(DataLocator, "from_hub", from_hub)
        return rows

    def test_any_columns_of_images_captions_and_classes(self, on_hub: Dataset) -> None:
        task = check_task_plugin(
            ImageHub(dataset="o/n", revision="abc", image="picture", caption="said", label="kind"),
            HERE,
        )
        assert task.label_names == ("cat", "owl")
        assert task.source == DataSource("hub", "o/n@abc")
        assert task.train.column_names == ["image", "caption", "label"]

    def test_without_a_caption_column_the_template_is_the_caption(self, on_hub: Dataset) -> None:
        task = ImageHub(dataset="o/n", image="picture", caption="", label="kind").load(HERE)
        assert set(task.train["caption"]) == {"a photo of a cat", "a photo of an owl"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"image": "none"}, "no column 'none'"),
            ({"image": "said"}, "holds no images"),
            ({"image": "picture", "caption": "kind"}, "row 0 .* has a int for a caption"),
            ({"image": "picture", "caption": "many"}, "Several captions"),
            ({"image": "picture", "label": "said"}, "no names of classes"),
            ({"image": "picture", "label": "none"}, "no column 'none'"),
        ],
    )
    def test_columns_that_do_not_fit_are_named(
        self, on_hub: Dataset, options: dict[str, str], message: str
    ) -> None:
        with pytest.raises(HarnessError, match=message):
            ImageHub(**{"dataset": "o/n", "caption": "said", **options}).load(HERE)  # type: ignore[arg-type]
