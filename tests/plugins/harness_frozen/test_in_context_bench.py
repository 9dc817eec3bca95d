"""From a file of rows to a board with a language model that is shown them, offline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

import harness
from causal_models import llama, wrapped
from harness.errors import UsageError


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wrapped(llama(len(tokenizer), max_position_embeddings=2048), tokenizer).save(
            tmp_path / "my-model"
        )
    return tmp_path / "my-model"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    words = [("cold", "no"), ("warm", "yes")]
    lines = [{"text": f"{words[n % 2][0]} film {n}", "label": words[n % 2][1]} for n in range(48)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def bench(model: Path, rows: Path, tmp_path: Path, *settings: str) -> harness.BenchResult:
    return harness.bench(
        tasks=[f"jsonl:{rows}"], distillers=["random", "base"],
        students=[f"in-context:hf-lm:{model}"], evaluators=["classification"],
        budgets=["3/class"], seeds=[0, 1],
        settings=list(settings), output=tmp_path / "results", device="cpu",
    )  # fmt: skip


def test_a_board_with_examples_and_without(model: Path, rows: Path, tmp_path: Path) -> None:
    done = bench(model, rows, tmp_path, "student.in-context.orders=2", "recipe.steps=7")
    assert [f.message for f in done.outcome.failures] == []
    records = done.results.records
    assert {record.distiller.name for record in records} == {"random", "base", "full"}
    for record in records:
        assert record.student.component.label == f"in-context:hf-lm:{model}"
        assert record.student.source.startswith("folder sha256:")
        assert record.metrics["accuracy"] == record.items["score"].unpack().mean()
        shown = record.curves.get("fit: examples of each class")
        match record.distiller.name:
            case "base":
                assert shown is None
            case "random":
                assert shown is not None
                assert list(shown.values) == [3, 3]
    again = bench(model, rows, tmp_path, "student.in-context.orders=2", "recipe.steps=7")
    assert again.outcome.computed == 0


def test_rates_of_a_grid_change_nothing(model: Path, rows: Path, tmp_path: Path) -> None:
    done = bench(model, rows, tmp_path, "recipe.learning_rate=1e-4,1e-3")
    assert [f.message for f in done.outcome.failures] == []
    for record in done.results.records:
        if record.distiller.name == "random":
            first, second = record.tuning.validation
            assert first == second
            assert record.tuning.chosen == 1e-4


def test_an_option_that_is_no_use_is_named(model: Path, rows: Path, tmp_path: Path) -> None:
    done = bench(model, rows, tmp_path, "student.in-context.label_words=warm,warmer")
    assert done.outcome.failures
    assert all("begin with the same token" in f.message for f in done.outcome.failures)
    with pytest.raises(UsageError, match=r"in-context\.orders = '0': should be .*, at least 1"):
        bench(model, rows, tmp_path, "student.in-context.orders=0")
