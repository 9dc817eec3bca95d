"""The masked pass: what a masked word sees, and what it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.kit.clip.contrastive.masked_words import HiddenWords
from harness.kit.clip.model import ClipModel
from harness.kit.language.labelled_rows import IGNORED
from harness.testing.image_text import toy_image_text_task
from harness.testing.text import toy_context
from harness_lightclip.masked_modelling import MaskedModelling
from harness_lightclip.objective import masking_rule, patch_width
from harness_lightclip.tokens import encode_tokens, text_tower
from toy_clips import ToyClip, batch_of

TASK = toy_image_text_task()
PLACE = 2


class Scene:
    """A model, its masked pass, and two captions of which one word is hidden."""

    def __init__(self, folder: Path, **options: Any) -> None:
        torch.manual_seed(0)
        self.model: ClipModel = ToyClip().build(TASK, toy_context(folder))
        self.tower = text_tower(self.model)
        self.modelling = MaskedModelling(
            self.tower, patch_width(self.model), **{"fused": True, **options}
        )
        batch = batch_of(self.model, TASK, rows=2)
        self.patches = encode_tokens(self.model, batch).patches.detach()
        masked = torch.zeros(batch.tokens.shape, dtype=torch.bool)
        masked[:, PLACE] = True
        self.hidden = HiddenWords(
            tokens=torch.where(masked, 0, batch.tokens),
            targets=torch.where(masked, batch.tokens, IGNORED),
            masked=masked,
        )

    def predictions(
        self, hidden: HiddenWords | None = None, patches: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[b, vocabulary] at the hidden word."""
        states = self.modelling.states(
            self.tower, hidden or self.hidden, self.patches if patches is None else patches
        )
        return self.modelling.logits(self.tower, states[:, PLACE]).detach()

    def changed(self, place: int) -> HiddenWords:
        """Another word in a place."""
        tokens = self.hidden.tokens.clone()
        tokens[:, place] = 4 + (tokens[:, place] + 3) % 8
        return replace(self.hidden, tokens=tokens)


@pytest.mark.parametrize("attention", ["bidirectional", "causal"])
def test_a_later_word_is_seen_only_if_attention_is_bidirectional(
    attention: Any, tmp_path: Path
) -> None:
    scene = Scene(tmp_path, attention=attention)
    later = scene.predictions(scene.changed(PLACE + 1))
    earlier = scene.predictions(scene.changed(PLACE - 1))
    before = scene.predictions()
    assert torch.equal(later, before) == (attention == "causal")
    assert not torch.equal(earlier, before)


def test_pads_are_never_seen(tmp_path: Path) -> None:
    scene = Scene(tmp_path, attention="bidirectional")
    before = scene.predictions()
    end = int(scene.hidden.tokens.argmax(1).max())
    with torch.no_grad():
        scene.tower.positional_embedding[end + 1 :] += 3.0
    torch.testing.assert_close(scene.predictions(), before)


@pytest.mark.parametrize(("fused", "stages"), [(False, ()), (True, ()), (True, (2,))])
def test_the_image_is_seen_where_it_is_fused_in(
    fused: bool, stages: tuple[int, ...], tmp_path: Path
) -> None:
    scene = Scene(tmp_path, fused=fused, stages=stages)
    assert len(scene.modelling.fusions) == (len(stages) or 2 if fused else 0)
    other = scene.predictions(patches=scene.patches.flip(0))
    assert torch.equal(other, scene.predictions()) != fused


def test_the_hidden_word_itself_is_not_seen(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert torch.equal(scene.predictions(scene.changed(PLACE)), scene.predictions())


def test_without_fusion_and_masks_it_is_the_towers_own_pass(tmp_path: Path) -> None:
    scene = Scene(tmp_path, fused=False, attention="causal")
    nothing = replace(scene.hidden, masked=torch.zeros_like(scene.hidden.masked))
    states = scene.modelling.states(scene.tower, nothing, scene.patches)
    ends = nothing.tokens.argmax(1)
    pooled = states[torch.arange(2), ends] @ scene.tower.text_projection
    torch.testing.assert_close(pooled, scene.model.model.encode_text(nothing.tokens))


def test_no_word_to_predict_is_a_loss_of_zero(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    none = replace(scene.hidden, targets=torch.full_like(scene.hidden.targets, IGNORED))
    loss = scene.modelling.loss(scene.tower, none, scene.patches)
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_the_loss_is_the_mean_over_predicted_words(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    shares = scene.predictions().softmax(1)
    goals = scene.hidden.targets[:, PLACE]
    expected = -sum(float(shares[row, goals[row]].log()) for row in range(2)) / 2
    found = scene.modelling.loss(scene.tower, scene.hidden, scene.patches)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("standard", [False, True])
def test_the_mask_stays_below_the_end_token_in_either_vocabulary(
    standard: bool, tmp_path: Path
) -> None:
    model = ToyClip(standard=standard, context_length=20).build(TASK, toy_context(tmp_path))
    rule = masking_rule(model, 0.15)
    assert rule.mask_id < model.tokenizer.end_id
    assert max(rule.vocabulary) < model.tokenizer.end_id
    assert {model.tokenizer.pad_id, model.tokenizer.start_id}.isdisjoint(rule.vocabulary)
