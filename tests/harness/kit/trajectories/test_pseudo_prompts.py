"""Pseudo prompts begin as real rows, and as embeddings they are to a model what the ids are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from causal_models import TEXTS, byte_tokenizer, make_lm, sentence_piece_tokenizer
from harness.errors import UsageError
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.encoding import InstructionEncoder
from harness.kit.language.labelled_rows import IGNORED, LabelledRows
from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows
from harness.kit.trajectories.inner_loop.flat_module import FlatModule
from harness.kit.trajectories.inner_loop.inner_losses import ResponseLoss
from harness.kit.trajectories.pseudo_prompts import (
    PseudoPrompts,
    kmeans_sources,
    prompts_of,
    random_sources,
    random_tokens,
)
from harness.kit.trajectories.pseudo_rows import EMBEDDINGS, PseudoRows
from harness.kit.trajectories.token_projection import allow_tokens

PAIRS = [
    ("Question: what colour is grass? Answer: ", "green"),
    ("Question: is snow cold? Answer: ", "white and cold"),
    ("Question: the colour of the answer, and of snow? Answer: ", "not green, not white"),
    ("Question: what? Answer: ", "it"),
]
FAMILIES = ("llama", "opt", "gpt2")


def world(family: str = "llama", starts: bool = True) -> tuple[CausalLM, LabelledRows]:
    lm = make_lm(family, tokenizer=byte_tokenizer(starts=starts))
    return lm, lm.encoder().encode(PAIRS, end=True)


def special(lm: CausalLM) -> list[int]:
    return list(lm.tokenizer.all_special_ids)


def pseudo_rows(prompts: PseudoPrompts, lm: CausalLM) -> PseudoRows:
    return PseudoRows(prompts.rows, prompts.learned, lm.pad_id, lm.device)


class TestMarks:
    @pytest.mark.parametrize("starts", [True, False])
    def test_a_start_token_and_a_response_are_not_learned(self, starts: bool) -> None:
        lm, rows = world(starts=starts)
        prompts = prompts_of(rows, [2, 0], special(lm))
        assert prompts.sources.tolist() == [2, 0]
        for row, mask in enumerate(prompts.learned):
            source = prompts.sources[row]
            learned = rows.rows.ids[source][mask]
            assert lm.tokenizer.decode(learned) == PAIRS[source][0].rstrip()
            assert mask[0] == (not starts)
            assert (prompts.encoded.labels[row][mask] == IGNORED).all()

    def test_what_all_prompts_share_is_a_template(self) -> None:
        lm, rows = world()
        prompts = prompts_of(rows, [0, 1, 2, 3], special(lm), template=True)
        learned = [lm.tokenizer.decode(ids) for ids in prompts.split(prompts.learned_ids)]
        assert [text.strip(" ?") for text in learned] == [
            "what colour is grass", "is snow cold", "the colour of the answer, and of snow", "what",
        ]  # fmt: skip
        plain = prompts_of(rows, [0], special(lm))
        assert plain.learned[0].sum() > prompts.learned[0].sum()

    def test_the_template_is_the_pools_and_leaves_every_prompt_a_token(self) -> None:
        pool = EncodedRows(tuple(np.array(row) for row in ([5, 6, 7], [5, 7], [5, 6, 8, 7])))
        found = prompts_of(pool, [0, 1, 2], [], template=True).learned
        assert [mask.tolist() for mask in found] == [
            [False, True, True], [False, True], [False, True, True, True],
        ]  # fmt: skip
        alone = prompts_of(pool.take([0]), [0], [], template=True)
        assert alone.learned[0].sum() == 1

    def test_a_classifiers_special_tokens_stay(
        self, make_classifier: Callable[..., TextClassifier]
    ) -> None:
        classifier = make_classifier(columns=("text", "other"))
        rows = Dataset.from_dict({"text": ["a b", "c"], "other": ["d", "e f"]})
        encoded = classifier.encode(rows)
        prompts = prompts_of(encoded, [1], classifier.tokenizer.all_special_ids)
        assert prompts.learned[0].tolist() == [False, True, False, True, True, False]
        assert prompts.rows.type_ids is not None
        assert encoded.type_ids is not None
        np.testing.assert_array_equal(prompts.rows.type_ids[0], encoded.type_ids[1])
        assert prompts.prompt_texts(classifier.tokenizer) == ["c e f"]
        with pytest.raises(UsageError, match="no tokens as labels"):
            _ = prompts.encoded


def responses(prompts: PseudoPrompts, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    rows = [row[row != IGNORED].tolist() for row in prompts.encoded.labels]
    return list(tokenizer.batch_decode(rows, skip_special_tokens=True))


class TestResponses:
    @pytest.mark.parametrize("make", [byte_tokenizer, sentence_piece_tokenizer])
    @pytest.mark.parametrize("max_length", [1000, 12])
    def test_labelled_positions_decode_to_the_response_of_every_row(
        self, make: Callable[..., PreTrainedTokenizerFast], max_length: int
    ) -> None:
        """Long prompts lose their beginning, the response stays whole."""
        encoder = InstructionEncoder(make(texts=[*TEXTS, *sum(PAIRS, ())]), max_length)
        rows = encoder.encode(PAIRS, end=True)
        fixed = encoder.tokenizer.all_special_ids
        prompts = prompts_of(rows, [3, 1, 2, 0], fixed)
        texts = responses(prompts, encoder.tokenizer)
        assert [text.strip() for text in texts] == [PAIRS[row][1] for row in prompts.sources]
        changed = prompts.with_learned_ids(np.full(len(prompts.learned_ids), 40))
        assert responses(changed, encoder.tokenizer) == texts

    def test_prompts_are_text_again(self) -> None:
        lm, rows = world()
        prompts = prompts_of(rows, [0, 1, 2, 3], special(lm))
        assert prompts.prompt_texts(lm.tokenizer) == [prompt.rstrip() for prompt, _ in PAIRS]


class TestInitialisations:
    def test_random_rows_are_different_and_drawn_by_the_generator(self) -> None:
        drawn = random_sources(20, 8, np.random.default_rng(0))
        assert len(set(drawn.tolist())) == 8
        assert drawn.tolist() == random_sources(20, 8, np.random.default_rng(0)).tolist()
        assert drawn.tolist() != random_sources(20, 8, np.random.default_rng(1)).tolist()
        with pytest.raises(UsageError, match="21 of 20"):
            random_sources(20, 21, np.random.default_rng(0))

    def test_kmeans_takes_one_prompt_of_each_group_whatever_is_fixed(self) -> None:
        """Prompts of three far groups of words; token 0 is everywhere and means nothing."""
        table = torch.zeros(40, 2)
        table[0] = 1e4
        for group, centre in enumerate(([10.0, 0.0], [0.0, 10.0], [-10.0, -10.0])):
            noise = torch.randn(10, 2, generator=torch.Generator().manual_seed(group))
            table[10 * group + 1 : 10 * group + 11] = torch.tensor(centre) + 0.1 * noise
        generator = np.random.default_rng(0)
        groups = np.arange(18) % 3
        ids = [np.array([0, *(10 * g + 1 + generator.integers(10, size=4))]) for g in groups]
        pool = EncodedRows((*ids, np.array([0, 0])))
        found = kmeans_sources(pool, [0], table, 3, torch.Generator().manual_seed(0))
        assert sorted(groups[found].tolist()) == [0, 1, 2]
        with pytest.raises(UsageError, match="19 of 18 prompts"):
            kmeans_sources(pool, [0], table, 19, torch.Generator().manual_seed(0))

    def test_the_chosen_prompt_is_the_nearest_to_its_centre(self) -> None:
        table = torch.tensor([[0.0], [1.0], [5.0], [20.0], [21.0], [22.0]])
        pool = EncodedRows(tuple(np.array([token]) for token in range(6)))
        found = kmeans_sources(pool, [], table, 2, torch.Generator().manual_seed(0))
        assert sorted(found.tolist()) == [1, 4]

    def test_random_tokens_are_allowed_and_leave_all_else(self) -> None:
        lm, rows = world()
        allowed = allow_tokens(lm.tokenizer, len(lm.tokenizer))
        prompts = prompts_of(rows, [0, 1], special(lm))
        found = random_tokens(prompts, allowed, np.random.default_rng(0))
        assert set(found.learned_ids.tolist()) <= set(allowed.ids.tolist())
        assert (found.learned_ids != prompts.learned_ids).mean() > 0.8
        for before, after, mask in zip(
            prompts.rows.ids, found.rows.ids, prompts.learned, strict=True
        ):
            np.testing.assert_array_equal(before[~mask], after[~mask])
        assert found.labels is prompts.labels

    def test_ids_are_put_back_where_they_were_taken(self) -> None:
        lm, rows = world()
        prompts = prompts_of(rows, [3, 0], special(lm))
        parts = prompts.split(prompts.learned_ids)
        assert [len(part) for part in parts] == [int(mask.sum()) for mask in prompts.learned]
        again = prompts.with_learned_ids(np.concatenate(parts))
        assert all(map(np.array_equal, again.rows.ids, prompts.rows.ids))
        with pytest.raises(UsageError, match="1 values for"):
            prompts.with_learned_ids(np.array([3]))


class TestBudget:
    def test_tokens_count_whole_rows(self) -> None:
        lm, rows = world()
        prompts = prompts_of(rows, [0, 1, 2], special(lm))
        lengths = prompts.rows.lengths
        assert prompts.rows.lengths.sum() == lengths.sum()
        for tokens, kept in ((lengths[0], 1), (lengths[:2].sum(), 2), (lengths.sum() - 1, 2)):
            assert prompts.within(int(tokens)).sources.tolist() == [0, 1, 2][:kept]
        assert len(prompts.within(9999)) == len(prompts)

    def test_a_budget_of_fewer_tokens_than_a_prompt_needs_is_refused(self) -> None:
        lm, rows = world()
        prompts = prompts_of(rows, [0, 1, 2], special(lm))
        needed = prompts.rows.lengths[0]
        with pytest.raises(UsageError, match=f"budget of {needed - 1} tokens .* the {needed}"):
            prompts.within(int(needed - 1))


class TestAsEmbeddings:
    """What a model makes of embeddings of real ids is what it makes of the ids."""

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_forward_of_embeddings_is_the_forward_of_ids(self, family: str) -> None:
        lm, rows = world(family)
        lm.model.double()
        prompts = prompts_of(rows, [2, 0, 3], special(lm))
        pseudo, view = pseudo_rows(prompts, lm), FlatModule.of(lm.model)
        members = torch.arange(3)
        embeds = pseudo.embedded(view, view.start(), pseudo.initial(view), members)
        found = view(view.start(), inputs_embeds=embeds, use_cache=False).logits
        for row, source in enumerate(prompts.sources):
            ids = torch.from_numpy(rows.rows.ids[source]).long()[None]
            expected = lm.model(input_ids=ids, use_cache=False).logits[0]
            torch.testing.assert_close(found[row, : ids.shape[1]], expected, atol=1e-6, rtol=1e-6)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_padding_gets_no_gradient_and_more_of_it_changes_nothing(self, family: str) -> None:
        lm, rows = world(family)
        prompts = prompts_of(rows, [0, 1, 2, 3], special(lm))
        pseudo, view = pseudo_rows(prompts, lm), FlatModule.of(lm.model)
        loss = ResponseLoss(view, prompts.encoded, pseudo)
        start = view.start()
        # Noise at every position, padding and response included, where nothing may look at it.
        noise = torch.randn(pseudo.initial(view).shape, generator=torch.Generator().manual_seed(0))
        vectors = (pseudo.initial(view) + 0.1 * noise).requires_grad_()
        members = torch.tensor([3, 2])
        value = loss(start, {EMBEDDINGS: vectors[members]}, members)
        (gradient,) = torch.autograd.grad(value, vectors)
        assert (gradient[~pseudo.mask] == 0).all()
        assert (gradient[3][pseudo.mask[3]].norm(dim=1) > 0).all()
        alone = [loss(start, {EMBEDDINGS: vectors[[m]]}, torch.tensor([m])) for m in (3, 2)]
        torch.testing.assert_close(value, torch.stack(alone).mean(), atol=1e-6, rtol=1e-6)

    def test_a_classifier_sees_embeddings_as_it_sees_ids(
        self, make_classifier: Callable[..., TextClassifier]
    ) -> None:
        classifier = make_classifier()
        encoded = classifier.encode(Dataset.from_dict({"text": ["a b c d", "e", "f f a"]}))
        prompts = prompts_of(encoded, [1, 0], classifier.tokenizer.all_special_ids)
        pseudo = PseudoRows(prompts.rows, prompts.learned, classifier.pad_id, classifier.device)
        view = FlatModule.of(classifier.model)
        inputs = pseudo.rows.pad([0, 1], classifier.pad_id, "cpu")
        embeds = pseudo.embedded(view, view.start(), pseudo.initial(view), torch.arange(2))
        embeds = embeds.detach().requires_grad_()
        del inputs["input_ids"]
        logits = view(view.start(), inputs_embeds=embeds, **inputs).logits
        expected = classifier.predict_encoded(encoded.take([1, 0]))
        np.testing.assert_allclose(logits.softmax(-1).detach().numpy(), expected, atol=1e-6)
        loss = functional.cross_entropy(logits, torch.tensor([0, 2]))
        (gradient,) = torch.autograd.grad(loss, embeds)
        assert (gradient[0, 3:] == 0).all()
        assert (gradient[0, :3].norm(dim=1) > 0).all()


class TestBadInput:
    def test_rows_that_do_not_exist_are_refused(self) -> None:
        lm, rows = world()
        for wrong in ([4], [-1], []):
            with pytest.raises(UsageError, match="rows 0 to 3 of the pool"):
                prompts_of(rows, wrong, special(lm))

    def test_a_row_with_nothing_to_learn_is_refused_by_its_number(self) -> None:
        lm = make_lm(tokenizer=byte_tokenizer(starts=True))
        rows = lm.encoder().encode([PAIRS[0], ("", "green")], end=True)
        with pytest.raises(UsageError, match="row 1 has no prompt of its own"):
            prompts_of(rows, [0, 1], special(lm))

    def test_a_response_is_never_learned(self) -> None:
        lm, rows = world()
        good = prompts_of(rows, [0], special(lm))
        everything = (np.ones_like(good.learned[0]),)
        with pytest.raises(UsageError, match="row 0 would learn a token of its response"):
            PseudoPrompts(good.rows, everything, good.labels, good.sources)
        with pytest.raises(UsageError, match="one mark a token"):
            PseudoPrompts(good.rows, (good.learned[0][1:],), good.labels, good.sources)
