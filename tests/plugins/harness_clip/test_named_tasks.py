"""The tasks with a name: what they hold, that they load the same twice, and what they refuse."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from datasets import Dataset

from harness.data.images import image_bytes
from harness.data.sources import DataLocator
from harness.errors import MissingDependencyError
from harness.testing.text import check_task_plugin
from harness_clip.icons import COLOURS, GROUNDS, Icons, Style, read_icons
from harness_clip.named_tasks import CIFAR10_CLASSES, Cifar10, Digits, Groceries
from harness_clip.templates import filled, settled, with_article

NOWHERE = DataLocator(use_hub=False)


def _png(value: int, size: int = 4) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (size, size), (value, value // 2, 7)).save(file, "PNG")
    return file.getvalue()


def _write(folder: Path, name: str, columns: dict[str, list[object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns).to_parquet(folder / f"{name}.parquet")


def _cifar(folder: Path, *, overlap: bool = False) -> DataLocator:
    for split, start, count in (("train", 0, 100), ("test", 0 if overlap else 150, 20)):
        labels = [n % 10 for n in range(count)]
        _write(
            folder / "cifar10", split,
            {"image": [_png(start + n) for n in range(count)], "label": labels,
             "class": [CIFAR10_CLASSES[label] for label in labels],
             "caption": [f"a photo of a {CIFAR10_CLASSES[label]}" for label in labels]},
        )  # fmt: skip
    return DataLocator(folder, use_hub=False)


class TestIcons:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("fontawesomefree")

    def test_no_icon_of_validation_or_test_is_in_train(self) -> None:
        task = check_task_plugin(Icons(drawings=1, size=8), NOWHERE)
        assert len(task.label_names) == len(task.class_texts) == 67
        assert {split: len(rows) for split, rows in task.splits.items()} == {
            "train": 1109, "validation": 286, "test": 286,
        }  # fmt: skip
        kinds = Counter(task.train["label"])
        for split in ("validation", "test"):
            held_out = Counter(task.splits[split]["label"])
            assert set(held_out) == set(range(67))
            assert all(held_out[kind] / 2 <= kinds[kind] / 3 for kind in held_out)

    def test_a_drawing_has_the_colours_that_its_caption_says(self) -> None:
        task = Icons(drawings=2, size=24).load(NOWHERE)
        for row in task.train.select(range(0, 2000, 97)):
            words = row["caption"].split()
            pixels = np.asarray(row["image"]).reshape(-1, 3)
            shown = Counter(map(tuple, pixels.tolist()))
            assert pixels.shape == (24 * 24, 3)
            colour = next(COLOURS[word] for word in words if word in COLOURS)
            ground = np.array(shown.most_common(1)[0][0])
            if tuple(ground) not in GROUNDS.values():
                ground = np.array(shown.most_common(2)[1][0])
            assert tuple(ground) in GROUNDS.values()
            towards = (pixels - ground) @ (np.array(colour) - ground)
            strongest = pixels[towards.argmax()]
            assert np.abs(strongest - np.array(colour)).max() < 60

    def test_captions_have_name_kind_and_search_terms(self) -> None:
        folder = Path(pytest.importorskip("fontawesomefree").__file__).parent
        icons = {icon.name: icon for icon in read_icons(folder)}
        style = Style("red", "white", "large", "tilted left", order=1)
        caption = style.caption(icons["bicycle"])
        kind = icons["bicycle"].kind
        assert caption.startswith(f"a red bicycle, an icon of the kind {kind}, ")
        assert caption.count(",") == 4
        assert Style("orange", "grey", "", "", 0).caption(icons["bone"]).startswith("an orange")
        assert style.kind(icons["bicycle"]) == f"a red icon of the kind {kind}"

    def test_the_kind_alone_is_told_in_train_and_never_where_images_are_looked_for(self) -> None:
        task = Icons(drawings=2, size=8).load(NOWHERE)
        alone = ["," not in caption for caption in task.train["caption"]]
        assert 0.2 < np.mean(alone) < 0.3
        assert all("," in caption for caption in task.test["caption"])

    def test_more_drawings_begin_with_the_same_ones(self) -> None:
        few, many = (Icons(drawings=n, size=8).load(NOWHERE).train for n in (1, 3))
        assert list(image_bytes(few, "image")) == list(image_bytes(many, "image"))[::3]

    def test_without_the_package_it_says_what_to_install(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(MissingDependencyError, match="pip install fontawesomefree"):
            Icons().load(NOWHERE)


class TestDigits:
    def test_every_digit_is_there_once_with_its_picture(self) -> None:
        from sklearn.datasets import load_digits

        task = check_task_plugin(Digits(), NOWHERE)
        assert sum(len(rows) for rows in task.splits.values()) == 1797
        row = task.train[0]
        pixels = np.asarray(row["image"])[..., 0]
        given = (load_digits().images * 255 / 16).round()
        match = np.flatnonzero((given == pixels).all((1, 2)))
        assert load_digits().target[match[0]] == row["label"]
        assert row["caption"] in task.class_texts[row["label"]]


class TestCifar10:
    def test_validation_is_a_tenth_of_train_and_test_is_left_alone(self, tmp_path: Path) -> None:
        task = check_task_plugin(Cifar10(), _cifar(tmp_path))
        assert [len(task.splits[s]) for s in ("train", "validation", "test")] == [90, 10, 20]
        assert task.class_texts[0] == ("a photo of an airplane",)
        assert task.source.detail == "cifar10/train.parquet + cifar10/test.parquet"

    def test_train_rows_whose_image_is_in_test_are_removed(self, tmp_path: Path) -> None:
        task = Cifar10().load(_cifar(tmp_path, overlap=True))
        assert len(task.train) + len(task.validation) == 80
        assert "train: 20 rows removed whose image is in test" in task.notes

    def test_the_hubs_columns_are_read_and_captioned(self) -> None:
        columns = {"img": [_png(1)], "label": [1]}
        rows = Cifar10()._rows(Dataset.from_dict(columns), "the hub")
        assert rows["caption"][:] == ["a photo of an automobile"]
        assert rows.column_names == ["image", "caption", "label"]

    def test_where_the_rows_are_nowhere_it_names_the_ways_to_get_them(self) -> None:
        with pytest.raises(MissingDependencyError, match="cifar10"):
            Cifar10().load(NOWHERE)


class TestGroceries:
    @pytest.fixture
    def locator(self, tmp_path: Path) -> DataLocator:
        for split, start, count in (("train", 0, 12), ("val", 50, 4), ("test", 70, 6)):
            labels = [n % 2 for n in range(count)]
            names = [("Kiwi", "Pink-Lady")[label] for label in labels]
            _write(
                tmp_path / "groceries", split,
                {"image": [_png(start + n) for n in range(count)], "label": labels,
                 "class": names, "caption": [f"a photo of {name.lower()}" for name in names],
                 "description": [f"{name} is good." for name in names]},
            )  # fmt: skip
        return DataLocator(tmp_path, use_hub=False)

    def test_a_class_is_told_by_caption_and_description(self, locator: DataLocator) -> None:
        task = check_task_plugin(Groceries(), locator)
        assert task.label_names == ("Kiwi", "Pink-Lady")
        assert task.class_texts[0] == ("a photo of kiwi", "Kiwi is good.")
        assert [len(task.splits[s]) for s in ("train", "validation", "test")] == [12, 4, 6]

    def test_captions_may_be_the_descriptions(self, locator: DataLocator) -> None:
        task = Groceries(captions="description").load(locator)
        assert set(task.train["caption"]) == {"Kiwi is good.", "Pink-Lady is good."}


def test_templates_have_the_right_article() -> None:
    assert with_article("a orange cat on a egg, A apple") == "an orange cat on an egg, An apple"
    assert filled(("a {}", "the {}"), ("owl", "cat")) == (
        ("an owl", "the owl"),
        ("a cat", "the cat"),
    )


def test_a_settled_template_follows_from_the_content() -> None:
    choices = {settled(("a {}", "b {}"), "x", json.dumps(n).encode()) for n in range(20)}
    assert choices == {"a x", "b x"}
    assert settled(("a {}", "b {}"), "x", b"1") == settled(("a {}", "b {}"), "x", b"1")
