"""Predictions: those of whole prompts one at a time, and of a model whose answers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from causal_models import gpt2, llama, wrapped
from harness.context import StageContext
from harness.errors import HarnessWarning
from harness.kit.language.causal_lm import CausalLM
from harness.types import DistilledData, Recipe, TaskData
from harness_frozen.calibration import CONTENT_FREE, calibrated
from harness_frozen.in_context import InContext
from harness_frozen.predictor import InContextPredictor

POSITIONS = 160
MakeContext = Callable[..., StageContext]
FAMILIES = {
    "llama": lambda size: llama(size, max_position_embeddings=POSITIONS),
    "gpt2": lambda size: gpt2(size, POSITIONS),
}


def random_lm(
    tokenizer: PreTrainedTokenizerFast, family: str = "llama", dtype: torch.dtype = torch.float64
) -> CausalLM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return wrapped(FAMILIES[family](len(tokenizer)).to(dtype), tokenizer)


def word_counter(tokenizer: PreTrainedTokenizerFast, scale: float = 40.0) -> CausalLM:
    """A Llama whose logits grow with how often each token stands in the prompt.

    One layer attends to all tokens alike and copies their one-hot embeddings.
    """
    size = len(tokenizer)
    model = llama(
        size, hidden_size=size, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, max_position_embeddings=4096,
    ).double()  # fmt: skip
    layer = model.model.layers[0]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        for norm in (layer.input_layernorm, layer.post_attention_layernorm, model.model.norm):
            norm.weight.fill_(1.0)
        for matrix in (
            model.model.embed_tokens, layer.self_attn.v_proj, layer.self_attn.o_proj,
        ):  # fmt: skip
            matrix.weight.copy_(torch.eye(size))
        model.lm_head.weight.copy_(scale * torch.eye(size))
    return wrapped(model, tokenizer)


def fitted(
    lm: CausalLM, task: TaskData, make: MakeContext, rows: Any = range(4), **options: Any
) -> InContextPredictor:
    student = InContext(model="the-lm", **options)
    return student.fit(task, DistilledData.select(task, rows), Recipe(), make(lm))


def texts(*sentences: str) -> Dataset:
    return Dataset.from_dict({"text": list(sentences)})


def obvious(predictor: InContextPredictor, sentence: str, words: tuple[str, ...]) -> np.ndarray:
    """The whole prompt as one text, read alone for each order, with all logits computed."""
    lm, shown = predictor.lm, predictor.demonstrations
    found = []
    for order in shown.orders:
        lines = [f"text: {shown.texts[r][0]}\nlabel: {words[shown.labels[r]]}" for r in order]
        prompt = "\n\n".join([*lines, f"text: {sentence}\nlabel:"])
        ids = torch.tensor([lm.tokenizer(prompt)["input_ids"]])
        with torch.no_grad():
            logits = lm.model(ids, use_cache=False).logits[0, -1]
        first = [lm.tokenizer(f" {word}")["input_ids"][0] for word in words]
        every = logits.double().softmax(-1)[first]
        found.append((every / every.sum()).numpy())
    return np.mean(found, axis=0)


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("calibrate", [False, True])
def test_predictions_are_those_of_whole_prompts_one_at_a_time(
    family: str,
    calibrate: bool,
    tokenizer: PreTrainedTokenizerFast,
    reviews: TaskData,
    context_with: MakeContext,
) -> None:
    sentences = ("warm", "a cold and warm film?", "film film film 3 4 5", "cold")
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        lm = random_lm(tokenizer, family, dtype)
        made = fitted(lm, reviews, context_with, orders=3, calibrate=calibrate)
        expected = []
        orders = made.demonstrations.orders
        for sentence in sentences:
            each = []
            for order in orders:
                one = replace(made, demonstrations=replace(made.demonstrations, orders=(order,)))
                p = obvious(one, sentence, reviews.label_names)[None]
                free = np.stack([obvious(one, t, reviews.label_names) for t in CONTENT_FREE])
                each.append(calibrated(p, free)[0] if calibrate else p[0])
            expected.append(np.mean(each, axis=0))
        found = made.predict(texts(*sentences))
        assert found.shape == (4, 2)
        np.testing.assert_allclose(found, np.stack(expected), rtol=tolerance)
        np.testing.assert_allclose(found.sum(1), 1)


def test_orders_are_averaged(
    tokenizer: PreTrainedTokenizerFast, reviews: TaskData, context_with: MakeContext
) -> None:
    made = fitted(random_lm(tokenizer), reviews, context_with, orders=3)
    shown = made.demonstrations
    assert len(set(shown.orders)) == 3
    single = [
        replace(made, demonstrations=replace(shown, orders=(order,))).predict(reviews.test)
        for order in shown.orders
    ]
    assert not np.allclose(single[0], single[1])
    np.testing.assert_allclose(made.predict(reviews.test), np.mean(single, axis=0), rtol=1e-12)


def test_two_texts_a_row(
    tokenizer: PreTrainedTokenizerFast, reviews: TaskData, context_with: MakeContext
) -> None:
    rows = Dataset.from_dict(
        {"premise": ["a man", "film"], "hypothesis": ["sings", "is"], "label": [2, 0]}
    )
    task = replace(
        reviews, input_columns=("premise", "hypothesis"), label_names=("no", "yes", "maybe"),
        splits=dict.fromkeys(("train", "validation", "test"), rows),
    )  # fmt: skip
    lm = random_lm(tokenizer)
    found = fitted(lm, task, context_with, [0, 1]).predict(rows)
    order = fitted(lm, task, context_with, [0, 1]).demonstrations.orders[0]
    lines = [
        "premise: a man\nhypothesis: sings\nlabel: maybe",
        "premise: film\nhypothesis: is\nlabel: no",
    ]
    prompt = "\n\n".join([*(lines[r] for r in order), lines[0].removesuffix(" maybe")])
    with torch.no_grad():
        logits = lm.model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1]
    first = [tokenizer(f" {word}")["input_ids"][0] for word in task.label_names]
    np.testing.assert_allclose(found[0], logits[first].softmax(-1).numpy(), rtol=1e-12)


class TestAModelThatCountsWords:
    """Whose right answers are known: the label's word that stands in the prompt most often."""

    QUERIES = texts("a yes film", "no film", "film yes", "no no no")
    LABELS = np.array([1, 0, 1, 0])

    def accuracy(self, made: InContextPredictor) -> float:
        return float((made.predict(self.QUERIES).argmax(1) == self.LABELS).mean())

    def test_reads_the_query_behind_balanced_examples(
        self, tokenizer: PreTrainedTokenizerFast, reviews: TaskData, context_with: MakeContext
    ) -> None:
        lm = word_counter(tokenizer)
        assert self.accuracy(fitted(lm, reviews, context_with)) == 1.0
        assert self.accuracy(fitted(lm, reviews, context_with, ())) == 1.0

    def test_probabilities_are_those_of_the_counts(
        self, tokenizer: PreTrainedTokenizerFast, reviews: TaskData, context_with: MakeContext
    ) -> None:
        """One-hot rows of the counts' direction: attention's mean, scaled by the two norms."""
        made = fitted(word_counter(tokenizer), reviews, context_with, [0, 1, 3])
        shown = made.demonstrations
        lines = [
            f"text: {shown.texts[r][0]}\nlabel: {reviews.label_names[shown.labels[r]]}"
            for r in shown.orders[0]
        ]
        ids = tokenizer("\n\n".join([*lines, "text: a yes film\nlabel:"]))["input_ids"]
        size = len(tokenizer)
        hidden = np.bincount(ids, minlength=size) / len(ids) * np.sqrt(size)
        hidden[ids[-1]] += 1
        logits = 40 * hidden / np.sqrt((hidden**2).mean())
        no, yes = (logits[tokenizer(f" {word}")["input_ids"][0]] for word in ("no", "yes"))
        found = made.predict(texts("a yes film"))[0]
        np.testing.assert_allclose(found[1], 1 / (1 + np.exp(no - yes)), rtol=1e-3)

    def test_calibration_takes_the_bias_of_the_examples_away(
        self, tokenizer: PreTrainedTokenizerFast, reviews: TaskData, context_with: MakeContext
    ) -> None:
        lm = word_counter(tokenizer)
        four_of_yes = [1, 3, 5, 7]
        biased = fitted(lm, reviews, context_with, four_of_yes)
        assert self.accuracy(biased) == 0.5
        assert self.accuracy(replace(biased, calibrate=True)) == 1.0


@given(
    lengths=st.lists(st.integers(0, 120), min_size=1, max_size=5),
    limit=st.integers(40, 120),
    orders=st.integers(1, 3),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.filterwarnings("ignore::harness.errors.HarnessWarning")
def test_a_query_is_never_lost(
    lengths: list[int],
    limit: int,
    orders: int,
    tokenizer: PreTrainedTokenizerFast,
    reviews: TaskData,
    context_with: MakeContext,
) -> None:
    """Whatever is left out, every prompt keeps the limit and ends with its query."""
    made = fitted(random_lm(tokenizer), reviews, context_with, orders=orders)
    made = replace(made, prompts=replace(made.prompts, limit=limit))
    sentences = [f"yes {'film ' * length}" for length in lengths]
    sums = np.zeros(len(sentences), dtype=int)
    for reading in made.readings([(sentence,) for sentence in sentences]):
        sums[reading.members] += 1
        for member, row in zip(reading.members, reading.rows, strict=True):
            assert len(reading.prefix) + len(row) <= limit
            prompt = tokenizer.decode([*reading.prefix, *row])
            assert prompt.count("label:") == reading.shown + 1
            query = prompt.rpartition("text: ")[2]
            assert query.startswith("yes")
            assert query.endswith("\nlabel:")
            whole = f"{sentences[member].strip()}\nlabel:"
            assert query == whole or reading.shown == 0
    assert (sums == orders).all()
    assert made.predict(texts(*sentences)).shape == (len(sentences), 2)


def test_queries_that_see_less_are_counted(
    tokenizer: PreTrainedTokenizerFast, reviews: TaskData, context_with: MakeContext
) -> None:
    made = fitted(random_lm(tokenizer), reviews, context_with)
    queries = texts("warm", "film " * 110, "film " * 400)
    with pytest.warns(HarnessWarning) as caught:
        found = made.predict(queries)
    assert [str(one.message) for one in caught] == [
        "2 of 3 queries see fewer than all 4 demonstrations, to keep within 160 tokens",
        "1 of 3 queries lose the end of a text, to keep within 160 tokens",
    ]
    np.testing.assert_allclose(found[0], made.predict(texts("warm"))[0], rtol=1e-12)


def test_progress_counts_groups_of_all_orders(
    tokenizer: PreTrainedTokenizerFast, reviews: TaskData, context_with: MakeContext
) -> None:
    seen: list[tuple[str, int, int]] = []

    class Bars:
        def track(self, items: Any, description: str, total: int) -> Any:
            found = list(items)
            seen.append((description, total, len(found)))
            return found

    made = fitted(random_lm(tokenizer), reviews, context_with, orders=2)
    made.predict(reviews.test, replace(context_with(None), progress=Bars()))
    assert seen == [("predicting", 2, 2)]
