"""Log-likelihoods, generation and saving, against the model run plainly and against lm-eval."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from causal_models import CHAT_TEMPLATE, FAMILIES, byte_tokenizer, make_lm, sentence_piece_tokenizer
from harness.errors import HarnessError, UsageError
from harness.kit.language.causal_lm import CausalLM, LabelledTokens
from harness.kit.language.forward import CausalForward
from harness.kit.language.labelled_rows import LabelledRows
from harness.kit.training.batching import EncodedRows
from harness.protocols import LanguageModel

PAIRS = [
    ("Question: what colour is grass? Answer: ", "green"),
    ("Question: what colour is grass? Answer: ", "white and cold"),
    ("the", " answer is not answering the question of the colour"),
    ("", "green"),
    ("colour " * 40, "white"),
]
EVERY = pytest.mark.parametrize("family", list(FAMILIES))


def plain_scores(lm: CausalLM, pair: tuple[str, str]) -> tuple[float, bool, int]:
    """One pair by itself, unpadded, with logits of every token."""
    encoded = lm.encoder().encode([pair], end=False)
    ids, labels = encoded.rows.ids[0], encoded.labels[0]
    with torch.no_grad():
        logits = lm.model(input_ids=torch.tensor([ids.tolist()])).logits[0].double()
    total, greedy, count = 0.0, True, 0
    for position in range(1, len(ids)):
        if labels[position] < 0:
            continue
        row = logits[position - 1]
        total += float(row[ids[position]] - row.logsumexp(0))
        greedy &= int(row.argmax()) == ids[position]
        count += 1
    return total, greedy, count


@EVERY
def test_scores_are_those_of_each_pair_alone(family: str) -> None:
    lm = make_lm(family, tokenizer=byte_tokenizer(starts=family == "opt"))
    assert isinstance(lm, LanguageModel)
    found = lm.loglikelihood(PAIRS)
    expected = [plain_scores(lm, pair) for pair in PAIRS]
    np.testing.assert_allclose(found.sums, [e[0] for e in expected], rtol=1e-5, atol=1e-5)
    assert found.greedy.tolist() == [e[1] for e in expected]
    assert found.tokens.tolist() == [e[2] for e in expected]


@pytest.mark.parametrize("seed", range(3))
def test_what_the_model_would_say_is_greedy(seed: int) -> None:
    lm = make_lm(seed=seed)
    prompts = [f"{word} {n}" for n in range(9) for word in ("colour", "answer", "snow")]
    said = lm.generate(prompts, max_new_tokens=1)
    pairs = list(zip(prompts, said, strict=True))
    # A token that is half a character cannot be written down, so it cannot be asked for either.
    written = [pair for pair in pairs if pair[1].strip() and pair[1].isascii()]
    assert written
    found = lm.loglikelihood(written)
    assert found.greedy.all()
    least = lm.loglikelihood([(prompt, "~") for prompt, _ in written])
    assert not least.greedy.any()
    assert (found.sums > least.sums).all()


def test_one_reading_of_a_question_serves_all_its_letters() -> None:
    lm = make_lm()
    read: list[int] = []
    lm.model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    letters = [("what colour? ", letter) for letter in "ABCD"]
    found = lm.loglikelihood(letters)
    assert sum(read) == 1
    expected = [plain_scores(lm, pair)[0] for pair in letters]
    np.testing.assert_allclose(found.sums, expected, rtol=1e-5)


@pytest.mark.parametrize("pieces", [False, True], ids=["bytes", "pieces"])
def test_scores_are_lm_evals(pieces: bool) -> None:
    """The same numbers as lm-eval's own model class, to the precision of float32."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    tokenizer = sentence_piece_tokenizer() if pieces else byte_tokenizer()
    lm = make_lm(tokenizer=tokenizer)
    pairs = [pair for pair in PAIRS if pair[0]]
    tokenizer.pad_token = tokenizer.eos_token
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = HFLM(pretrained=lm.model, tokenizer=tokenizer, batch_size=4, max_length=64)
        requests = [
            Instance("loglikelihood", {}, arguments=pair, idx=n) for n, pair in enumerate(pairs)
        ]
        expected = theirs.loglikelihood(requests, disable_tqdm=True)
    found = lm.loglikelihood(pairs)
    np.testing.assert_allclose(found.sums, [e[0] for e in expected], rtol=1e-5, atol=1e-5)
    assert found.greedy.tolist() == [e[1] for e in expected]


@given(st.permutations(range(len(PAIRS))))
def test_the_order_of_the_pairs_changes_nothing(order: list[int]) -> None:
    lm = make_lm(seed=1)
    straight = lm.loglikelihood(PAIRS)
    mixed = lm.loglikelihood([PAIRS[n] for n in order])
    np.testing.assert_allclose(mixed.sums, straight.sums[order], rtol=1e-5, atol=1e-5)
    assert mixed.tokens.tolist() == straight.tokens[order].tolist()


@EVERY
def test_logits_of_chosen_tokens_are_those_of_all_tokens(family: str) -> None:
    lm = make_lm(family, dtype=torch.float64)
    generator = np.random.default_rng(0)
    ids = tuple(generator.integers(2, 300, size=n).astype(np.int32) for n in (3, 9, 5))
    forward = CausalForward(lm.model, EncodedRows(ids), 0, lm.device)
    rows, positions = np.array([2, 0, 1, 1]), np.array([4, 0, 8, 3])
    members = np.array([0, 1, 2])
    found = forward.logits(members, rows, positions)
    for got, row, position in zip(found, rows, positions, strict=True):
        alone = lm.model(input_ids=torch.tensor([ids[row].tolist()])).logits[0, position]
        torch.testing.assert_close(got, alone, rtol=1e-9, atol=1e-9)
    again = lm.model(input_ids=torch.tensor([ids[0].tolist()])).logits
    assert again.shape == (1, 3, len(lm.tokenizer))


def test_rows_padded_on_the_left_are_refused() -> None:
    lm = make_lm()
    with pytest.raises(HarnessError, match="padded on the right"):
        CausalForward(lm.model, EncodedRows((np.arange(3),), side="left"), 0, lm.device)


def test_labelled_tokens_are_found_wherever_they_stand() -> None:
    rows = EncodedRows((np.arange(5), np.arange(10, 13)))
    labels = (np.array([0, -100, 2, -100, 4]), np.array([-100, -100, 12]))
    tokens = LabelledTokens.of(LabelledRows(rows, labels), np.array([1, 0]))
    assert tokens.rows.tolist() == [0, 1, 1]
    assert tokens.positions.tolist() == [1, 1, 3]
    assert tokens.targets.tolist() == [12, 2, 4]


@EVERY
def test_generation_is_a_plain_loop_over_the_most_probable_token(family: str) -> None:
    lm = make_lm(family, seed=3)
    prompts = ["Question: what colour is", "the answer ", "green"]
    expected = []
    for prompt in prompts:
        ids = list(lm.tokenizer(prompt.rstrip())["input_ids"])
        start = len(ids)
        for _ in range(5):
            with torch.no_grad():
                best = int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            if best == lm.tokenizer.eos_token_id:
                break
            ids.append(best)
        expected.append(lm.tokenizer.decode(ids[start:], skip_special_tokens=True))
    assert lm.generate(prompts, max_new_tokens=5) == expected
    with pytest.raises(UsageError, match="max_new_tokens"):
        lm.generate(prompts, max_new_tokens=64)


def test_dropout_is_off_while_scoring_and_on_again_after_it() -> None:
    lm = make_lm()
    before = lm.loglikelihood(PAIRS).sums
    for module in lm.model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    lm.model.train()
    np.testing.assert_array_equal(lm.loglikelihood(PAIRS).sums, before)
    assert lm.model.training


def test_a_continuation_longer_than_the_model_is_named() -> None:
    with pytest.raises(UsageError, match=r"row 1: .* does not fit into 64 tokens"):
        make_lm().loglikelihood([("a", "b"), ("a", "x" * 64)])


def test_nothing_needs_a_pad_token() -> None:
    lm = make_lm()
    assert lm.tokenizer.pad_token_id is None
    assert lm.pad_id == lm.tokenizer.eos_token_id
    lm.loglikelihood(PAIRS)
    assert lm.tokenizer.pad_token_id is None


def test_training_rows_have_the_recipes_length_and_scored_ones_the_models() -> None:
    from datasets import Dataset

    lm = make_lm()
    rows = Dataset.from_dict({"prompt": ["colour " * 80], "completion": ["white"]})
    assert lm.encode(rows, max_length=20).rows.lengths.tolist() == [20]
    assert lm.encode(rows).rows.lengths.tolist() == [64]
    assert lm.encode(rows, max_length=500).rows.lengths.tolist() == [64]


def test_chat_is_a_matter_of_the_prompt() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    lm = make_lm(tokenizer=tokenizer)
    chatting = dataclasses.replace(lm, chat=True)
    (written,) = chatting.loglikelihood([("what? ", "green")]).sums
    (spelled,) = lm.loglikelihood([("[user]what?</s>\n[assistant]", "green")]).sums
    assert written == pytest.approx(spelled, rel=1e-5)


def test_is_saved_as_safetensors_with_its_tokenizer(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lm = make_lm()
    lm.save(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    again = CausalLM(
        AutoModelForCausalLM.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
        lm.info,
        lm.device,
    )
    np.testing.assert_allclose(
        again.loglikelihood(PAIRS).sums, lm.loglikelihood(PAIRS).sums, rtol=1e-6
    )
