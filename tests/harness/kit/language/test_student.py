"""Language models as proxies: built by any student that gives one away, and named for caches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from causal_models import make_lm
from harness.context import StageContext
from harness.errors import UsageError
from harness.kit.language.student import build_proxy_lm, proxy_lm_inputs
from harness.testing.instruction import toy_instruction_task


@dataclass(frozen=True)
class Small:
    """A student as far as a proxy needs one."""

    built: Any = None
    rank: int = 3

    def fingerprint(self) -> str:
        return "small"

    def build(self, task: Any, context: Any) -> Any:
        return self.built


def context_of(tmp_path: Path, student: Any) -> StageContext:
    return StageContext(0, tmp_path, student=lambda spec: student)


def test_the_model_is_the_one_that_the_student_builds(tmp_path: Path) -> None:
    lm = make_lm()
    context = context_of(tmp_path, Small(lm))
    assert build_proxy_lm("small", toy_instruction_task(), context) is lm


@pytest.mark.parametrize("student", [Small("no model"), object()], ids=["other", "none"])
def test_a_student_without_a_language_model_is_refused(student: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'small' builds no causal language model"):
        build_proxy_lm("small", toy_instruction_task(), context_of(tmp_path, student))


def test_no_proxy_at_all_is_refused(tmp_path: Path) -> None:
    context = context_of(tmp_path, Small())
    with pytest.raises(UsageError, match="no proxy"):
        build_proxy_lm("", toy_instruction_task(), context)
    with pytest.raises(UsageError, match="no proxy"):
        proxy_lm_inputs("", context)


def test_every_option_and_the_weights_name_a_cached_result(tmp_path: Path) -> None:
    found = proxy_lm_inputs("small", context_of(tmp_path, Small("x", rank=5)))
    assert found == {
        "proxy": "small", "options": {"built": "x", "rank": 5}, "fingerprint": "small",
    }  # fmt: skip
