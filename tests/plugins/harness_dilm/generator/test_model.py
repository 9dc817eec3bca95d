"""The generator: what it starts from, and how it is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from dilm_world import TINY, make_task
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness import MissingDependencyError, UsageError
from harness.context import StageContext
from harness.kit.training.loop import decay_groups
from harness.types import TaskData
from harness_dilm.generator.language_modelling import divisors, negative_log_likelihoods
from harness_dilm.generator.model import Generator, build_generator
from harness_dilm.generator.names import GPT2, fingerprint, names_student
from harness_dilm.generator.sampling import sample
from harness_dilm.options import LanguageModelOptions
from harness_instruct.students.families import AnyCausalLM


def save_llama(folder: Path, task: TaskData, *, safetensors: bool = True) -> None:
    """A causal language model whose output embeddings are not tied to the input ones."""
    words = sorted({word for text in task.train["text"] for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["<s>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=24,
        tie_word_embeddings=False,
    )
    fast.save_pretrained(folder)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    if not safetensors:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")


def test_class_tokens_of_a_pretrained_model_start_as_its_start_token(
    task: TaskData, context: StageContext, tmp_path: Path
) -> None:
    save_llama(tmp_path / "llama", task)
    options = LanguageModelOptions(generator=str(tmp_path / "llama"))
    generator = build_generator(options, task, context)
    start = generator.format.tokenizer.bos_token_id
    embeddings = (generator.model.get_input_embeddings(), generator.model.get_output_embeddings())
    assert not torch.equal(embeddings[0].weight[start], embeddings[1].weight[start])
    for embedding in embeddings:
        for class_id in generator.format.class_ids:
            assert torch.equal(embedding.weight[class_id], embedding.weight[start])


class TestClassesThatStartAsTheirNames:
    @pytest.fixture
    def named(self, task: TaskData, context: StageContext, tmp_path: Path) -> Generator:
        save_llama(tmp_path / "llama", task)
        options = LanguageModelOptions(
            generator=str(tmp_path / "llama"), class_start="name", dtype="float32"
        )
        return build_generator(options, task, context)

    def test_a_class_token_is_the_mean_of_its_name(self, named: Generator, task: TaskData) -> None:
        rows = named.model.get_input_embeddings().weight
        for name, class_id in zip(task.label_names, named.format.class_ids, strict=True):
            ids = named.format.tokenizer(name, add_special_tokens=False).input_ids
            torch.testing.assert_close(rows[class_id], rows[ids].mean(0))
        assert not torch.equal(*rows[list(named.format.class_ids)])

    def test_rows_begin_with_the_start_token_and_their_class(
        self, named: Generator, task: TaskData
    ) -> None:
        form = named.format
        encoded = form.encode(task.train, 24)
        for ids, row in zip(encoded.ids, task.train, strict=True):
            assert ids[:2].tolist() == [form.tokenizer.bos_token_id, form.class_ids[row["label"]]]
            assert form.fields(ids) == (row["text"],)

    def test_neither_of_them_is_predicted(self, named: Generator, task: TaskData) -> None:
        encoded = named.format.encode(task.train, 24).take(np.arange(3))
        with torch.no_grad():
            found = negative_log_likelihoods(named, encoded)
            for ids, loss in zip(encoded.ids, found, strict=True):
                logits = named.model(torch.from_numpy(ids)[None]).logits[0]
                logs = logits.log_softmax(-1)
                expected = -sum(logs[t, ids[t + 1]] for t in range(1, len(ids) - 1))
                assert loss == pytest.approx(float(expected), rel=1e-5)
        np.testing.assert_array_equal(divisors(encoded.lengths, "own", 2), encoded.lengths - 2)

    def test_samples_begin_with_them_too(self, named: Generator) -> None:
        form, labels = named.format, np.array([0, 1, 1])
        drawn = sample(
            named, labels, top_p=1.0, max_new_tokens=50, rng=torch.Generator().manual_seed(0)
        )
        for ids, label in zip(drawn.ids, labels, strict=True):
            assert ids[:2].tolist() == form.prompt(label)
            assert 2 < len(ids) <= named.max_length


def test_class_tokens_of_a_model_from_scratch_start_apart(generator: Generator) -> None:
    rows = generator.model.get_input_embeddings().weight.detach()
    first, second = rows[list(generator.format.class_ids)]
    typical = rows[: len(generator.format.tokenizer)].norm(dim=1).mean()
    assert (first - second).norm() > 5 * typical


def test_structural_tokens_are_distinct_and_outside_the_tokenizer(generator: Generator) -> None:
    form = generator.format
    new = {*form.class_ids, form.separator, form.pad}
    assert len(new) == 4
    assert min(new) >= len(form.tokenizer)
    assert form.end == form.tokenizer.eos_token_id


def test_only_texts_and_the_end_token_can_be_sampled(generator: Generator) -> None:
    form = generator.format
    forbidden = {*form.class_ids, form.separator, form.pad}
    allowed = set(torch.nonzero(generator.sampleable)[:, 0].tolist())
    assert allowed == set(range(len(generator.sampleable))) - forbidden
    assert form.end in allowed


def test_the_same_seed_gives_the_same_generator_and_another_seed_another(
    task: TaskData, context: StageContext, tmp_path: Path
) -> None:
    options = LanguageModelOptions(**TINY)
    first, second = (build_generator(options, task, context).parameters() for _ in range(2))
    other = build_generator(options, task, StageContext(4, tmp_path)).parameters()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert not np.array_equal(first["transformer.wte.weight"], other["transformer.wte.weight"])


def test_norms_and_biases_of_gpt2_do_not_decay(generator: Generator) -> None:
    decayed, exempt = decay_groups(generator.model)
    assert set(decayed) == {
        "transformer.wte.weight",
        "transformer.wpe.weight",
        "transformer.h.0.attn.c_attn.weight",
        "transformer.h.0.attn.c_proj.weight",
        "transformer.h.0.mlp.c_fc.weight",
        "transformer.h.0.mlp.c_proj.weight",
    }
    norms = {"transformer.h.0.ln_1", "transformer.h.0.ln_2", "transformer.ln_f"}
    assert {f"{norm}.weight" for norm in norms} < set(exempt)
    assert all(name.endswith("bias") for name in set(exempt) - {f"{n}.weight" for n in norms})


def test_any_causal_model_from_a_folder_with_its_own_limits(
    task: TaskData, context: StageContext, tmp_path: Path
) -> None:
    save_llama(tmp_path / "llama", task)
    options = LanguageModelOptions(generator=str(tmp_path / "llama"), dtype="float32")
    generator = build_generator(options, task, context)
    form, start = generator.format, generator.format.tokenizer.bos_token_id
    assert generator.max_length == 24
    assert min(form.class_ids) == 64
    assert not generator.sampleable[[start, len(form.tokenizer), 63, form.pad]].any()
    with pytest.raises(UsageError, match="more than the 24 positions"):
        build_generator(
            LanguageModelOptions(generator=str(tmp_path / "llama"), max_length=25), task, context
        )


def test_a_student_that_is_a_language_model_can_be_the_generator(
    task: TaskData, tmp_path: Path
) -> None:
    save_llama(tmp_path / "llama", task)
    student = AnyCausalLM(model=str(tmp_path / "llama"))
    context = StageContext(3, tmp_path / "work", student=lambda _: student)
    options = LanguageModelOptions(generator="hf-lm:llama", dtype="float32")
    of_student = build_generator(options, task, context).parameters()
    folder = LanguageModelOptions(generator=str(tmp_path / "llama"), dtype="float32")
    of_folder = build_generator(folder, task, context).parameters()
    assert of_student.keys() == of_folder.keys()
    old = "model.layers.0.self_attn.q_proj.weight"
    assert np.array_equal(of_student[old], of_folder[old])


def test_a_student_that_classifies_cannot_be_the_generator(
    task: TaskData, context: StageContext
) -> None:
    with pytest.raises(UsageError, match="'bert' builds no causal language model"):
        build_generator(LanguageModelOptions(generator="bert"), task, context)


def test_a_folder_is_known_by_its_content(task: TaskData, tmp_path: Path) -> None:
    save_llama(tmp_path / "a", task)
    before = fingerprint(str(tmp_path / "a"))
    (tmp_path / "a" / "config.json").write_text("{}")
    assert before.startswith("sha256:")
    assert fingerprint(str(tmp_path / "a")) != before


def test_pickled_weights_are_refused(task: TaskData, tmp_path: Path) -> None:
    save_llama(tmp_path / "pickled", task, safetensors=False)
    with pytest.raises(UsageError, match=r"holds no \.safetensors weights"):
        fingerprint(str(tmp_path / "pickled"))


@pytest.mark.parametrize("name", ["smollm2:135m", "hf-lm:someone/model", "gpt3", "./missing"])
def test_what_is_no_name_of_its_own_names_a_student(name: str) -> None:
    assert names_student(name)
    assert LanguageModelOptions(generator=name).uses_students == (name,)


@pytest.mark.parametrize("name", ["gpt2", "gpt2:tiny", f"someone/model@{'0' * 40}"])
def test_its_own_names_need_no_student(name: str) -> None:
    assert LanguageModelOptions(generator=name).uses_students == ()


def test_the_default_is_pinned() -> None:
    assert fingerprint("gpt2") == GPT2
    assert len(GPT2.partition("@")[2]) == 40


def test_weights_that_cannot_be_had_name_the_ways_out(
    context: StageContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    options = LanguageModelOptions(generator=f"nobody/nothing@{'0' * 40}")
    with pytest.raises(MissingDependencyError, match="gpt2:tiny"):
        build_generator(options, make_task(), context)


def test_the_mode_is_put_back(make_generator: Callable[..., Generator], task: TaskData) -> None:
    generator = make_generator(task)
    with generator.mode(dropout=True):
        assert generator.model.training
    assert not generator.model.training
