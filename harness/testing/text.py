"""The conformance kit for text classification: tasks, distillers, students, evaluators.

    from harness.testing.text import check_distiller
    def test_my_distiller(tmp_path):
        check_distiller(MyDistiller(), tmp_path, produces="selection")

Nothing here needs data, weights, a GPU or the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.budget import Budget
from harness.errors import ContractError
from harness.fingerprint import rows_digest
from harness.randomness import seeded
from harness.registry.components import DistillerComponent
from harness.registry.contracts import check_capabilities, check_distilled, check_score, check_task
from harness.testing.conformance import (
    FittedTwice,
    MakeContext,
    described,
    described_component,
    require,
)
from harness.testing.conformance import toy_context as toy_context
from harness.testing.toys import (
    ConstantPredictor,
    toy_task,
)
from harness.types import DistilledData, Recipe, TaskData

if TYPE_CHECKING:
    from harness.data.sources import DataLocator


def check_task_plugin(task: Any, locator: DataLocator) -> TaskData:
    """A task loads, keeps its contract, and loads the same rows twice.

    Raises:
        ContractError: it does not.
    """
    component = described_component("task", task)
    first, second = task.load(locator), task.load(locator)
    check_task(component, first)
    for split in first.splits:
        require(
            component,
            rows_digest(first.split(split)) == rows_digest(second.split(split)),
            field=split,
            expected="the same rows each time it is loaded",
        )
    return first


def check_distiller(
    distiller: Any,
    folder: Path,
    *,
    produces: Literal["selection", "synthesis"],
    deterministic: bool = False,
    task: TaskData | None = None,
    budgets: Sequence[str] = ("2/class", "10rows", "25%"),
    make_context: MakeContext = toy_context,
) -> None:
    """A distiller keeps its contract at several budgets, and the same seed gives the same set.

    make_context: of a folder and a seed, for a distiller that looks through a proxy.

    Raises:
        ContractError: it does not, or it looks at the test split.
    """
    component = DistillerComponent(**described("distiller", distiller), produces=produces)
    sealed = (task or toy_task()).sealed()
    seeds = (0, 0, 1) if deterministic else (0, 0)
    for text in budgets:
        budget = Budget.parse(text)
        contents = set()
        for attempt, seed in enumerate(seeds):
            context = make_context(folder / f"{budget.unit}-{attempt}", seed)
            with seeded(seed):
                data = distiller.distill(sealed, budget, context)
            check_distilled(component, data, sealed, budget)
            contents.add(rows_digest(data.rows))
        same = "whatever the seed" if deterministic else "for the same seed"
        require(component, len(contents) == 1, field="rows", expected=f"the same rows {same}")


def check_student(
    student: Any,
    folder: Path,
    task: TaskData | None = None,
    *,
    make_context: MakeContext = toy_context,
) -> None:
    """A student trains reproducibly, survives saving, and predicts row by row.

    make_context: of a folder and a seed, for a student that builds on another one.

    Raises:
        ContractError: it does not.
    """
    import numpy as np

    component = described_component("student", student)
    sealed = (task or toy_task()).sealed()
    data = DistilledData.select(sealed, range(min(20, len(sealed.train))))
    recipe = Recipe(steps=3, batch_size=8, max_length=32)
    fitted = FittedTwice.of(component, student, sealed, data, recipe, folder, make_context)
    rows = sealed.validation
    found = fitted.first.predict(rows)
    require(component, found.shape == (len(rows), len(sealed.label_names)), "predict",
            "an array [rows, classes]")  # fmt: skip
    sums = found.sum(axis=1)
    require(component, bool(np.allclose(sums, 1, atol=1e-4)), "predict", "probabilities")
    require(component, bool(np.array_equal(found, fitted.again.predict(rows))), "fit",
            "the same weights for the same seed")  # fmt: skip
    require(component, bool(np.allclose(found, fitted.loaded.predict(rows), atol=1e-6)), "load",
            "the model that was saved")  # fmt: skip
    backwards = fitted.first.predict(rows.select(range(len(rows) - 1, -1, -1)))
    require(component, bool(np.allclose(found, backwards[::-1], atol=1e-4)), "predict",
            "probabilities in the order of the rows")  # fmt: skip


def check_classification_evaluator(
    evaluator: Any, folder: Path, task: TaskData | None = None
) -> None:
    """An evaluator scores a constant predictor as the majority share, and refuses NaN.

    Raises:
        ContractError: it does not.
    """
    import numpy as np

    component = described_component("evaluator", evaluator)
    task = task or toy_task()
    counts = np.array(task.class_counts("test"))
    majority = int(counts.argmax())
    constant = ConstantPredictor(np.eye(len(counts))[majority].tolist())
    check_capabilities(component, evaluator.needs, constant)
    score = evaluator.evaluate(constant, task, "test", toy_context(folder))
    check_score(component, score, task, "test")
    accuracy = float(np.mean(score.items["score"]))
    require(component, abs(accuracy - counts.max() / counts.sum()) < 1e-9, field="items['score']",
             expected="the majority share for a constant predictor")  # fmt: skip
    broken = ConstantPredictor([float("nan")] * len(counts))
    try:
        check_score(
            component, evaluator.evaluate(broken, task, "test", toy_context(folder)), task, "test"
        )
    except ContractError:
        return
    require(component, False, field="evaluate", expected="an error when probabilities are NaN")
