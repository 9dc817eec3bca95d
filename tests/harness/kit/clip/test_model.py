"""A CLIP in memory: what it makes of images and texts, and that saving keeps it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clip_models import coloured_rows, tiny_clip
from harness.errors import UsageError
from harness.kit.clip.model import ClipModel, build_clip


def test_embeddings_are_units_and_do_not_depend_on_their_neighbours() -> None:
    model, rows = tiny_clip(), coloured_rows(70)
    images, texts = model.encode_images(rows.images), model.encode_text(rows.captions)
    assert images.shape == texts.shape == (70, 8)
    assert images.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model.encode_images(rows.images[66:67]), images[66:67], atol=1e-5)
    np.testing.assert_allclose(model.encode_text(rows.captions[66:67]), texts[66:67], atol=1e-5)


def test_a_saved_model_comes_back_the_same(tmp_path: Path) -> None:
    model, rows = tiny_clip(bias=-10.0), coloured_rows(5)
    model.save(tmp_path)
    loaded = ClipModel.load(tmp_path)
    assert np.array_equal(loaded.encode_images(rows.images), model.encode_images(rows.images))
    assert np.array_equal(loaded.encode_text(rows.captions), model.encode_text(rows.captions))
    assert loaded.info == model.info
    assert loaded.tokenizer == model.tokenizer
    assert loaded.image == model.image
    assert loaded.model.logit_bias.item() == -10.0
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_pixels_are_normalised_as_torchvision_does() -> None:
    from torchvision.transforms.v2 import Compose, Normalize, ToDtype, ToImage

    model, rows = tiny_clip(), coloured_rows(3)
    steps = Compose(
        [ToImage(), ToDtype(torch.float32, scale=True),
         Normalize(model.image.mean, model.image.std)]
    )  # fmt: skip
    expected = torch.stack([steps(image) for image in rows.images])
    torch.testing.assert_close(model.pixels(rows.images), expected)


def test_a_model_that_open_clip_refuses_is_one_clear_error() -> None:
    config = dict(tiny_clip().config)
    config["vision_cfg"] = {**config["vision_cfg"], "no_such_option": 1}
    with pytest.raises(UsageError, match=r"open_clip cannot build.*no_such_option"):
        build_clip(config)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"clip\.json"):
        ClipModel.load(tmp_path)
    with pytest.raises(UsageError, match="no texts"):
        tiny_clip().encode_text([])
