"""A CLIP with layers of different sizes: it computes what open_clip's does, and is kept as one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_models import coloured_rows, tiny_clip
from harness.errors import UsageError
from harness.kit.clip.model import ClipModel, build_clip
from harness.kit.clip.shape import ClipShape, LayerShape, TowerShape, shape_of, sized_config
from harness.kit.clip.sized import SizedAttention
from harness.randomness import seeded


def uneven() -> ClipModel:
    """Layers that each differ from the next, with parts missing, and widths no head divides."""
    model = tiny_clip()
    shape = ClipShape(
        image=TowerShape(11, (LayerShape(1, 8, 5), LayerShape(3, 8, 0))),
        text=TowerShape(7, (LayerShape(0, 0, 9), LayerShape(1, 8, 3), LayerShape(2, 8, 0))),
        embedding=6,
    )
    config = sized_config(model.config, shape)
    with seeded(1):
        sized = build_clip(config)
    return replace(model, model=sized, config=config)


def test_a_plain_model_has_the_shape_of_its_configuration() -> None:
    layer = LayerShape(heads=2, head_width=8, mlp=64)
    tower = TowerShape(16, (layer, layer))
    assert shape_of(tiny_clip().model) == ClipShape(tower, tower, 8)


def test_equal_layers_give_what_open_clip_gives() -> None:
    model = tiny_clip()
    sized = build_clip(sized_config(model.config, shape_of(model.model)))
    sized.load_state_dict(model.model.state_dict())
    other = replace(model, model=sized)
    rows = coloured_rows(6)
    np.testing.assert_allclose(
        other.encode_images(rows.images), model.encode_images(rows.images), atol=1e-6
    )
    np.testing.assert_allclose(
        other.encode_text(rows.captions), model.encode_text(rows.captions), atol=1e-6
    )


def test_fewer_heads_than_fill_the_width_attend_each_for_themselves() -> None:
    """Against a loop over heads and positions in float64."""
    torch.manual_seed(0)
    attention = SizedAttention(width=5, heads=2, head_width=3).double()
    stream = torch.randn(1, 4, 5, dtype=torch.float64)
    mask = torch.full((4, 4), float("-inf")).triu(1).double()
    packed = stream[0] @ attention.in_proj_weight.T + attention.in_proj_bias
    outputs = torch.zeros(4, 6, dtype=torch.float64)
    for head in range(2):
        rows = slice(3 * head, 3 * head + 3)
        queries, keys, values = packed[:, :6], packed[:, 6:12], packed[:, 12:]
        for place in range(4):
            seen = keys[: place + 1, rows] @ queries[place, rows] / 3**0.5
            outputs[place, rows] = seen.softmax(0) @ values[: place + 1, rows]
    expected = outputs @ attention.out_proj.weight.T + attention.out_proj.bias
    torch.testing.assert_close(attention(stream, mask)[0], expected)


def test_uneven_layers_are_read_back_from_the_model() -> None:
    model = uneven()
    assert shape_of(model.model).image == TowerShape(11, (LayerShape(1, 8, 5), LayerShape(3, 8, 0)))
    assert shape_of(model.model).text.layers[0] == LayerShape(0, 0, 9)
    names = set(model.model.state_dict())
    assert "transformer.resblocks.0.mlp.c_fc.weight" in names
    assert not any(name.startswith("transformer.resblocks.0.attn") for name in names)
    assert not any(name.startswith("visual.transformer.resblocks.1.ln_2") for name in names)


def test_a_model_of_uneven_layers_comes_back_the_same(tmp_path: Path) -> None:
    model, rows = uneven(), coloured_rows(5)
    model.save(tmp_path)
    loaded = ClipModel.load(tmp_path)
    assert shape_of(loaded.model) == shape_of(model.model)
    assert loaded.width == 6
    assert np.array_equal(loaded.encode_images(rows.images), model.encode_images(rows.images))
    assert np.array_equal(loaded.encode_text(rows.captions), model.encode_text(rows.captions))


def test_a_tower_may_lose_all_its_layers() -> None:
    model = tiny_clip()
    shape = ClipShape(TowerShape(5, ()), TowerShape(4, ()), 3)
    config = sized_config(model.config, shape)
    sized = replace(model, model=build_clip(config), config=config)
    rows = coloured_rows(3)
    assert shape_of(sized.model) == shape
    assert sized.encode_images(rows.images).shape == sized.encode_text(rows.captions).shape


def test_intermediate_layers_are_on_offer_as_in_open_clip() -> None:
    model = uneven()
    pixels = model.pixels(coloured_rows(2).images)
    found = model.model.forward_intermediates(image=pixels, image_indices=1)
    assert found["image_intermediates"][0].shape == (2, 11, 2, 2)


@pytest.mark.parametrize(
    "vision",
    [{"ls_init_value": 0.1}, {"attentional_pool": True, "attn_pooler_heads": 2}, {"qk_norm": True},
     {"layers": (1, 1, 1, 1), "width": 8, "image_size": 32}],
)  # fmt: skip
def test_other_towers_are_one_clear_error(vision: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="not made of two plain transformers"):
        shape_of(tiny_clip(vision=vision).model)
