"""Masks and folds: a masked model against plain loops, a folded one against the masked one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from clip_models import coloured_rows, tiny_clip
from harness.kit.clip.model import ClipModel
from harness.kit.clip.shape import shape_of
from harness_tinyclip.kinds import MASK_KINDS, MaskKind
from harness_tinyclip.masks.folding import fold
from harness_tinyclip.masks.masked_clip import MaskedClip, MaskedLayerNorm
from harness_tinyclip.masks.masks import ClipMasks, MaskLogits, TowerMasks


def model(**options: Any) -> ClipModel:
    """Random in every weight: fresh norms and biases would hide what is done to them."""
    made = tiny_clip(width=24, layers=3, embed_dim=8, **options)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            if name != "logit_scale":
                parameter.add_(noise)
    return made


def trained_logits(
    clip: ClipModel, kinds: tuple[MaskKind, ...] = MASK_KINDS, seed: int = 0
) -> MaskLogits:
    logits, generator = MaskLogits(shape_of(clip.model), kinds), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in logits.parameters():
            values.copy_(2.5 * torch.randn(values.shape, generator=generator))
    logits.clamp()
    return logits


def inputs(clip: ClipModel) -> tuple[Tensor, Tensor]:
    rows = coloured_rows(5)
    return clip.pixels(rows.images), clip.tokens(rows.captions)


def norm(stream: Tensor, layer: Any, hidden: Tensor) -> Tensor:
    """The kept numbers alone, normalised; the others are 0."""
    kept = hidden.nonzero().flatten()
    out = torch.zeros_like(stream)
    out[..., kept] = functional.layer_norm(
        stream[..., kept], (len(kept),), layer.weight[kept], layer.bias[kept], layer.eps
    )
    return out


def slow_tower(transformer: Any, stream: Tensor, masks: TowerMasks, causal: bool) -> Tensor:
    """Layer by layer and head by head, masks applied to activations."""
    for number, block in enumerate(transformer.resblocks):
        width = block.attn.head_dim
        read = norm(stream, block.ln_1, masks.hidden)
        packed = read @ block.attn.in_proj_weight.T + block.attn.in_proj_bias
        queries, keys, values = packed.chunk(3, -1)
        outputs = []
        for head in range(block.attn.num_heads):
            own = slice(head * width, head * width + width)
            scores = queries[..., own] @ keys[..., own].transpose(1, 2) / width**0.5
            if causal:
                later = torch.ones(scores.shape[-2:]).triu(1).bool()
                scores = scores.masked_fill(later, float("-inf"))
            mixed = scores.softmax(-1) @ values[..., own]
            outputs.append(masks.heads[number][head] * mixed)
        added = block.attn.out_proj(torch.cat(outputs, -1)) * masks.attention[number]
        stream = stream + added * masks.hidden
        inner = block.mlp.gelu(block.mlp.c_fc(norm(stream, block.ln_2, masks.hidden)))
        added = block.mlp.c_proj(inner * masks.mlp[number]) * masks.feed_forward[number]
        stream = stream + added * masks.hidden
    return stream


def slow(clip: Any, images: Tensor, tokens: Tensor, masks: ClipMasks) -> tuple[Tensor, Tensor]:
    """Both embeddings, from the meaning of the masks."""
    visual, hidden = clip.visual, masks.image.hidden
    patches = visual.conv1(images).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(images), 1, -1)
    stream = (torch.cat([first, patches], 1) + visual.positional_embedding) * hidden
    stream = norm(stream, visual.ln_pre, hidden) * hidden
    stream = slow_tower(visual.transformer, stream, masks.image, causal=False)
    image = norm(stream[:, 0], visual.ln_post, hidden) @ visual.proj
    hidden = masks.text.hidden
    stream = (clip.token_embedding(tokens) + clip.positional_embedding) * hidden
    stream = slow_tower(clip.transformer, stream, masks.text, causal=True)
    last = stream[torch.arange(len(tokens)), tokens.argmax(-1)]
    text = norm(last, clip.ln_final, hidden) @ clip.text_projection
    return functional.normalize(image, dim=-1), functional.normalize(text, dim=-1)


KINDS: list[tuple[MaskKind, ...]] = [*((kind,) for kind in MASK_KINDS), MASK_KINDS]


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
@pytest.mark.parametrize("drawn", [False, True], ids=["evaluated", "sampled"])
def test_a_masked_model_does_what_its_masks_mean(kinds: tuple[MaskKind, ...], drawn: bool) -> None:
    clip = model()
    logits = trained_logits(clip, kinds)
    masks = logits.sampled(torch.Generator().manual_seed(5)) if drawn else logits.evaluated()
    with torch.no_grad():
        found = MaskedClip(clip.model)(*inputs(clip), masks)
        expected = slow(clip.model, *inputs(clip), masks)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_a_folded_model_gives_what_the_masked_one_gives(kinds: tuple[MaskKind, ...]) -> None:
    clip = model()
    masks = trained_logits(clip, kinds).evaluated()
    folded = fold(clip.model, clip.config, masks)
    smaller = replace(clip, model=folded.model, config=folded.config)
    images, tokens = inputs(clip)
    with torch.no_grad():
        expected = slow(clip.model, images, tokens, masks)
        found = smaller.image_features(images), smaller.text_features(tokens)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    before, after = (sum(p.numel() for p in m.model.parameters()) for m in (clip, smaller))
    assert after < before


def test_whole_layers_go_and_the_scale_of_what_stays_is_kept() -> None:
    """A mask that is on is 0.996: a fold that only cuts would differ."""
    clip = model()
    logits = MaskLogits(shape_of(clip.model))
    logits.clamp()
    with torch.no_grad():
        for values in (logits.image.attention, logits.image.feed_forward, logits.text.attention):
            values[1] = -4.6
    masks = logits.evaluated()
    folded = fold(clip.model, clip.config, masks)
    shape = shape_of(folded.model)
    assert len(shape.image.layers) == 2
    assert [layer.heads for layer in shape.text.layers] == [3, 0, 3]
    assert shape.image.width == shape.text.width == 24
    ratio = folded.model.visual.class_embedding / clip.model.visual.class_embedding
    assert ratio.tolist() == pytest.approx([0.996] * 24, abs=1e-3)


def test_a_part_without_heads_adds_nothing_not_even_its_bias() -> None:
    clip = model()
    logits = trained_logits(clip, ("heads",))
    with torch.no_grad():
        logits.image.heads[0].fill_(-4.6)
    masks = logits.evaluated()
    assert masks.image.attention[0] == 0
    folded = fold(clip.model, clip.config, masks)
    assert shape_of(folded.model).image.layers[0].heads == 0


def test_a_fold_can_be_folded_again() -> None:
    clip = model()
    first = fold(clip.model, clip.config, trained_logits(clip).evaluated())
    smaller = replace(clip, model=first.model, config=first.config)
    masks = trained_logits(smaller, seed=1).evaluated()
    second = fold(smaller.model, smaller.config, masks)
    smallest = replace(clip, model=second.model, config=second.config)
    images, tokens = inputs(clip)
    with torch.no_grad():
        expected = MaskedClip(smaller.model)(images, tokens, masks)
        found = smallest.image_features(images), smallest.text_features(tokens)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_folded_model_is_saved_and_loaded_like_any_other(tmp_path: Path) -> None:
    clip = model()
    folded = fold(clip.model, clip.config, trained_logits(clip).evaluated())
    smaller = replace(clip, model=folded.model, config=folded.config)
    smaller.save(tmp_path)
    loaded, rows = ClipModel.load(tmp_path), coloured_rows(4)
    assert np.array_equal(loaded.encode_images(rows.images), smaller.encode_images(rows.images))
    assert np.array_equal(loaded.encode_text(rows.captions), smaller.encode_text(rows.captions))
    assert not any("kept" in name or "logits" in name for name in loaded.model.state_dict())


def test_masks_of_evaluation_are_always_the_same_and_those_of_training_are_not() -> None:
    clip = model()
    logits = trained_logits(clip)
    masked, (images, tokens) = MaskedClip(clip.model), inputs(clip)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        steady = [masked(images, tokens, logits.evaluated())[0] for _ in range(2)]
        drawn = [masked(images, tokens, logits.sampled(generator))[0] for _ in range(2)]
        again = masked(images, tokens, logits.sampled(torch.Generator().manual_seed(0)))[0]
    assert torch.equal(*steady)
    assert not torch.equal(*drawn)
    assert not torch.equal(steady[0], drawn[0])
    assert torch.equal(again, drawn[0])


def test_a_masked_model_trains_the_weights_of_the_model_it_was_made_of() -> None:
    clip = model()
    masked, logits = MaskedClip(clip.model), trained_logits(clip)
    image, text = masked(*inputs(clip), logits.sampled(torch.Generator().manual_seed(1)))
    (image * text).sum().backward()
    assert clip.model.visual.conv1.weight.grad is not None
    assert clip.model.token_embedding.weight.grad is not None
    assert all(values.grad is not None for values in logits.parameters())
    assert {id(p) for p in masked.parameters()} == {id(p) for p in clip.model.parameters()}
    assert not any(isinstance(module, MaskedLayerNorm) for module in clip.model.modules())


def test_random_masks_that_leave_nothing_of_a_tower_are_no_nan() -> None:
    clip = model()
    logits = MaskLogits(shape_of(clip.model))
    masks = logits.evaluated()
    nothing = replace(masks.image, hidden=torch.zeros(24, requires_grad=True))
    image, _ = MaskedClip(clip.model)(*inputs(clip), replace(masks, image=nothing))
    image.sum().backward()
    assert bool((image == 0).all())
    assert all(bool(p.grad.isfinite().all()) for p in clip.model.visual.parameters())
    assert nothing.hidden.grad is not None
    assert bool(nothing.hidden.grad.isfinite().all())
