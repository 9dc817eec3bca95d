"""LightCLIP's objective: softened contrast, matched tokens, masked words."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from harness.context import StageContext
from harness.kit.clip.contrastive.masked_words import MaskingRule, hide_words, is_word
from harness.kit.clip.contrastive.matchers import new_matcher
from harness.kit.clip.contrastive.softening import softened_amount, softened_clip_loss
from harness.kit.clip.contrastive.token_matching import matched_contrast_loss, matched_pairs_loss
from harness.kit.clip.model import ClipModel
from harness.kit.clip.training import LARGEST_SCALE, ClipBatch, encode_batch
from harness.randomness import seeded
from harness_lightclip.masked_modelling import MaskedModelling
from harness_lightclip.options import LightClipOptions
from harness_lightclip.tokens import TokenFeatures, encode_tokens, text_tower


class LightClipObjective:
    """The sum of three parts, with heads that are trained along and never saved.

    Raises:
        UsageError: the student's towers cannot be looked into, or lack a stage.
    """

    def __init__(self, options: LightClipOptions, model: ClipModel, context: StageContext) -> None:
        self._options = options
        self._heads = nn.ModuleDict()
        self._generator = context.torch_generator("masked words")
        self._matcher = new_matcher(
            options.matcher,
            patches_a_word=options.patches_a_word,
            entropy=options.entropy,
            iterations=options.iterations,
        )
        self._rule = masking_rule(model, options.mask_rate) if options.mlm_weight else None
        self._losses: dict[str, list[Tensor]] = {}
        with seeded(context.seed_for("lightclip heads")):
            if options.token_weight:
                self._heads["tokens"] = TokenHeads(
                    text_tower(model).ln_final.weight.shape[0], patch_width(model), model.width
                )
            if options.mlm_weight:
                self._heads["words"] = MaskedModelling(
                    text_tower(model),
                    patch_width(model),
                    fused=options.fusion,
                    stages=options.stages,
                    attention=options.attention,
                )
        self._heads.to(model.device)

    def parameters(self) -> Iterable[nn.Parameter]:
        return self._heads.parameters()

    def loss(self, model: ClipModel, batch: ClipBatch, step: int, steps: int) -> Tensor:
        """The weighted sum of the parts that are on; rows count alike."""
        options = self._options
        tokens = encode_tokens(model, batch) if len(self._heads) else None
        pairs = encode_batch(model, batch) if tokens is None else tokens.pairs
        amount = softened_amount(step, steps, options.softening, options.rise)
        total = softened_clip_loss(pairs, amount, options.negatives, options.softening_temperature)
        self._note("instance loss", total)
        if tokens is not None and options.token_weight:
            matched = self._matched(model, batch, tokens)
            self._note("token loss", matched)
            total = total + options.token_weight * matched
        if tokens is not None and options.mlm_weight:
            predicted = self._predicted(model, batch, tokens)
            self._note("masked word loss", predicted)
            total = total + options.mlm_weight * predicted
        return total

    def after_step(self, model: ClipModel, step: int) -> None:
        """Keeps the scale of matched similarities where the model's own is kept."""
        del model, step
        if "tokens" in self._heads:
            with torch.no_grad():
                self._token_heads.log_scale.clamp_(0, LARGEST_SCALE)

    def keep_curves(self, context: StageContext) -> None:
        """Puts every part's loss at each step into the record."""
        for name, values in self._losses.items():
            context.keep_curve(name, torch.stack(values).cpu().numpy())

    def _matched(self, model: ClipModel, batch: ClipBatch, tokens: TokenFeatures) -> Tensor:
        words = is_word(batch.tokens, _special(model))
        used = words.any(0)
        heads = self._token_heads
        patches = heads.patches(tokens.patches.float())
        texts, words = heads.words(tokens.words[:, used].float()), words[:, used]
        if not self._options.token_negatives:
            return matched_pairs_loss(patches, texts, words, self._matcher)
        return matched_contrast_loss(
            patches,
            texts,
            words,
            self._matcher,
            heads.log_scale.exp(),
            self._options.token_negatives,
        )

    def _predicted(self, model: ClipModel, batch: ClipBatch, tokens: TokenFeatures) -> Tensor:
        assert self._rule is not None
        hidden = hide_words(batch.tokens, self._rule, self._generator)
        modelling: Any = self._heads["words"]
        with batch.autocast():
            return modelling.loss(text_tower(model), hidden, tokens.patches)

    @property
    def _token_heads(self) -> TokenHeads:
        heads: Any = self._heads["tokens"]
        return heads

    def _note(self, name: str, value: Tensor) -> None:
        self._losses.setdefault(name, []).append(value.detach())


class TokenHeads(nn.Module):
    """Linear maps of patches and words into one space, and the scale of their similarities."""

    def __init__(self, text_width: int, image_width: int, width: int) -> None:
        super().__init__()
        self.words = nn.Sequential(nn.LayerNorm(text_width), nn.Linear(text_width, width))
        self.patches = nn.Sequential(nn.LayerNorm(image_width), nn.Linear(image_width, width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))


@torch.no_grad()
def patch_width(model: ClipModel) -> int:
    """Numbers of a patch after the image tower's last layer."""
    visual: Any = model.model.visual
    blank = torch.zeros(1, 3, *model.image.size, device=model.device)
    made = visual.forward_intermediates(blank, indices=1, output_fmt="NCHW")
    return int(made["image_intermediates"][0].shape[1])


def masking_rule(model: ClipModel, rate: float) -> MaskingRule:
    """Any word of the model's vocabulary may replace another; pad, start and end are no words."""
    tokenizer = model.tokenizer
    special = _special(model)
    mask = tokenizer.pad_id if tokenizer.mask_id is None else tokenizer.mask_id
    reserved = {*special, mask}
    words = tuple(i for i in range(tokenizer.vocabulary_size) if i not in reserved)
    return MaskingRule(mask_id=mask, vocabulary=words, special=special, rate=rate)


def _special(model: ClipModel) -> tuple[int, int, int]:
    tokenizer = model.tokenizer
    return (tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id)
