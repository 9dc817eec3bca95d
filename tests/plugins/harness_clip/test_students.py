"""CLIP models as students: which model a variant is, its words, and what is refused."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import HarnessError, UsageError
from harness.kit.clip.model import build_clip
from harness.kit.clip.tokens import StandardTokenizer, WordTokenizer
from harness.testing.image_text import check_image_text_student, toy_image_text_task
from harness.testing.text import toy_context
from harness.testing.toys import toy_task
from harness.types import DistilledData, Recipe
from harness_clip.configurations import SMALL, find_configuration
from harness_clip.student import Clip
from resolved import resolved

TASK = toy_image_text_task()
LITTLE: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 16, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16,
    },
    "text_cfg": {"context_length": 12, "vocab_size": 12, "width": 32, "heads": 2, "layers": 1},
}  # fmt: skip


@pytest.fixture
def little(tmp_path: Path) -> str:
    path = tmp_path / "little.json"
    path.write_text(json.dumps(LITTLE))
    return str(path)


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the network was reached for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_a_small_model_keeps_the_contract_of_students(tmp_path: Path) -> None:
    check_image_text_student(Clip("tiny"), tmp_path)


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("variant", SMALL)
def test_small_models_differ_in_width_and_depth_alone(variant: str, tmp_path: Path) -> None:
    model = Clip(variant).build(TASK, toy_context(tmp_path))
    vision, text = SMALL[variant]["vision_cfg"], SMALL[variant]["text_cfg"]
    assert (vision["image_size"], vision["patch_size"], vision["head_width"]) == (32, 8, 32)
    assert text["width"] // text["heads"] == 32
    assert model.info.variant == variant
    assert model.info.parameters == sum(p.numel() for p in model.model.parameters())
    assert isinstance(model.tokenizer, WordTokenizer)
    assert model.tokenizer.vocabulary_size == model.model.token_embedding.num_embeddings


@pytest.mark.usefixtures("_offline")
def test_a_configuration_of_open_clip_is_built_from_random_weights_without_a_network(
    tmp_path: Path,
) -> None:
    student = Clip("RN50")
    model = student.build(TASK, toy_context(tmp_path))
    assert model.info.variant == "rn50"
    assert model.image.size == (224, 224)
    assert model.tokenizer == StandardTokenizer(77)
    assert model.info.parameters == pytest.approx(102e6, rel=0.01)
    assert student.fingerprint().startswith("random ")


def test_names_of_open_clip_may_be_written_in_any_case() -> None:
    assert find_configuration("vit-b-32").known_as == "ViT-B-32"
    assert find_configuration("ViT-B/32").name == "vit-b-32"
    assert not find_configuration("vit-b-32").own_words


def test_a_json_file_is_a_variant_known_by_its_content(little: str, tmp_path: Path) -> None:
    student = Clip(little)
    check_image_text_student(student, tmp_path / "kit")
    assert student.configuration.name == "little"
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"model_cfg": {**LITTLE, "embed_dim": 8}}))
    assert Clip(str(other)).fingerprint() != student.fingerprint()


def test_a_vocabulary_holds_the_most_frequent_words_of_train_and_classes(
    little: str, tmp_path: Path
) -> None:
    tokenizer = Clip(little).build(TASK, toy_context(tmp_path)).tokenizer
    assert isinstance(tokenizer, WordTokenizer)
    assert tokenizer.vocabulary_size == 12
    assert {"a", "square", "number"} <= set(tokenizer.words)
    words = Clip("tiny").build(TASK, toy_context(tmp_path)).tokenizer
    assert isinstance(words, WordTokenizer)
    assert {"red", "green", "blue", "that", "is"} <= set(words.words)


def test_the_seed_draws_the_weights(little: str, tmp_path: Path) -> None:
    models = [Clip(little).build(TASK, toy_context(tmp_path, seed)) for seed in (0, 0, 1)]
    text = [model.encode_text(["a red square"]) for model in models]
    assert np.array_equal(text[0], text[1])
    assert not np.array_equal(text[0], text[2])


def test_fitting_learns_which_caption_belongs_to_which_square(little: str, tmp_path: Path) -> None:
    recipe = Recipe(steps=60, batch_size=24, learning_rate=3e-3, warmup=0.1)
    data = DistilledData.select(TASK, range(48))
    model = Clip(little).fit(TASK, data, recipe, toy_context(tmp_path))
    classes = np.stack([model.encode_text(texts).mean(0) for texts in TASK.class_texts])
    found = (model.encode_image(TASK.test) @ classes.T).argmax(1)
    assert (found == np.asarray(TASK.test["label"])).mean() > 0.9


def test_batches_in_parts_give_the_same_model(little: str, tmp_path: Path) -> None:
    recipe = Recipe(steps=5, batch_size=24, learning_rate=1e-3)
    data = DistilledData.select(TASK, range(48))
    text = [
        Clip(little, training_rows=rows)
        .fit(TASK, data, recipe, toy_context(tmp_path))
        .encode_text(["a red square"])
        for rows in (0, 8)
    ]
    np.testing.assert_allclose(text[0], text[1], atol=1e-4)


def test_weights_of_rows_and_checkpoints_on_validation_count(little: str, tmp_path: Path) -> None:
    selected = DistilledData.select(TASK, range(48))
    weighted = DistilledData(selected.rows, selected.indices, weights=np.arange(48.0))
    recipe = Recipe(steps=4, batch_size=16, checkpoint="validation", evaluations=2)
    made = [
        Clip(little).fit(TASK, data, recipe, toy_context(tmp_path)).encode_text(["a red square"])
        for data in (selected, weighted)
    ]
    assert not np.array_equal(made[0], made[1])


def test_pretrained_weights_may_be_a_safetensors_file(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    config = {**LITTLE, "text_cfg": {**LITTLE["text_cfg"], "vocab_size": 49408}}
    path = tmp_path / "standard.json"
    path.write_text(json.dumps(config))
    torch.manual_seed(3)
    weights = build_clip(config).state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    student = Clip(str(path), pretrained=str(tmp_path / "weights.safetensors"))
    model = student.build(TASK, toy_context(tmp_path))
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert "weights.safetensors sha256:" in student.fingerprint()
    assert str(tmp_path) not in student.fingerprint()
    save_file({"other": torch.zeros(2)}, tmp_path / "wrong.safetensors")
    wrong = Clip(str(path), pretrained=str(tmp_path / "wrong.safetensors"))
    with pytest.raises(HarnessError, match="not those of 'standard'"):
        wrong.build(TASK, toy_context(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "vit-b-33"}, "vit-b-33'\nDid you mean vit-b-32"),
        ({"variant": "no.json"}, "no configuration"),
        ({"variant": "siglip-base"}, "unknown variant"),
        ({"variant": "ViT-B-16-SigLIP"}, "does not bundle"),
        ({"variant": "roberta-ViT-B-32"}, "hf_model_name"),
        ({"variant": "coca_ViT-B-32"}, "does not bundle"),
        ({"variant": "tiny", "pretrained": "openai"}, "learns its words"),
        (
            {"variant": "tiny", "training_rows": -1},
            "training_rows = -1: should be",
        ),
    ],
)
def test_variants_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(Clip, **options)


@pytest.mark.parametrize("content", ["{", "[1]", '{"embed_dim": 3}'])
def test_a_json_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"bad\.json"):
        Clip(str(path))


def test_weights_that_open_clip_does_not_know_or_that_are_pickled_are_refused(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="knows no weights 'laion2b_s34b_b79'"):
        Clip("vit-b-32", pretrained="laion2b_s34b_b79").fingerprint()
    (tmp_path / "w.pt").write_bytes(b"pickled")
    with pytest.raises(HarnessError, match="not safetensors"):
        Clip("vit-b-32", pretrained=str(tmp_path / "w.pt")).fingerprint()
    with pytest.raises(UsageError, match="no weights"):
        Clip("vit-b-32", pretrained=str(tmp_path / "gone.safetensors")).fingerprint()


def test_a_task_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="images with captions"):
        Clip("tiny").build(toy_task(), toy_context(tmp_path))
