"""What the conformance kits share: demands, and a student fitted twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import ContractError
from harness.testing.conformance import FittedTwice, described_component, require
from harness.testing.toys import WordCounts, toy_task
from harness.types import DistilledData, Recipe


def fitted(student: Any, folder: Path) -> FittedTwice:
    task = toy_task().sealed()
    component = described_component("student", student)
    data = DistilledData.select(task, range(8))
    return FittedTwice.of(component, student, task, data, Recipe(steps=2), folder)


def test_a_demand_names_the_part_the_field_and_what_was_expected() -> None:
    component = described_component("student", WordCounts())
    require(component, True, "fit", "anything")
    with pytest.raises(ContractError) as caught:
        require(component, False, "fit", "the same weights for the same seed")
    for part in ("student 'WordCounts'", "fit", "the same weights for the same seed"):
        assert part in str(caught.value)


def test_three_fits_of_a_reproducible_student_are_one(tmp_path: Path) -> None:
    three = fitted(WordCounts(), tmp_path)
    rows = toy_task().sealed().validation
    first = three.first.predict(rows)
    assert np.array_equal(first, three.again.predict(rows))
    assert np.array_equal(first, three.loaded.predict(rows))


def test_a_fingerprint_is_a_string(tmp_path: Path) -> None:
    class Numbered(WordCounts):
        def fingerprint(self) -> Any:
            return 7

    with pytest.raises(ContractError, match="fingerprint"):
        fitted(Numbered(), tmp_path)


def test_what_a_student_offers_it_must_have(tmp_path: Path) -> None:
    class Promising(WordCounts):
        offers = ("predict", "loglikelihood")

    with pytest.raises(ContractError, match="loglikelihood"):
        fitted(Promising(), tmp_path)
