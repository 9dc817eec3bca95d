"""A record that was changed, cut or mixed up is found, and a sound one is left alone."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.errors import ContractError, UsageError
from harness.hookspecs import hookimpl
from harness.plugins import PluginHost, PluginSource
from harness.records.curves import Curve
from harness.records.record import PackedArray, Record, TaskRecord, Tuning
from harness.upkeep.verification import Finding, Verification, verify

COMMITTED = sorted(p.parent for p in Path(__file__).parents[3].glob("results/*/records"))
TARGETS = np.arange(200, dtype=np.uint8) % 2


@dataclass(frozen=True)
class Accuracy:
    """An evaluator that can say what its metric was."""

    needs = ("predict",)
    complain: bool = False

    def recompute(self, items: Mapping[str, np.ndarray], task: TaskRecord) -> dict[str, float]:
        if self.complain:
            raise ContractError(plugin="the record", field="items", expected="x", got="y")
        assert task.metric == "accuracy"
        right = [float(outcome) for outcome in items["score"]]
        return {"accuracy": sum(right) / len(right)}


class Silent:
    """An evaluator that cannot."""

    needs = ("predict",)


class Failing:
    needs = ("predict",)

    def recompute(self, items: Mapping[str, np.ndarray], task: TaskRecord) -> dict[str, float]:
        raise KeyError("nothing")


@pytest.fixture
def host() -> PluginHost:
    """Just the components that the records name, in the versions that they name."""
    module = ModuleType("judges")

    def harness_register_evaluators(register: Any) -> None:
        for name, target in (("classification", Accuracy), ("silent", Silent), ("fails", Failing)):
            register(name, target, summary="", version="1.0")

    def harness_register_students(register: Any) -> None:
        register("bert", Silent, summary="", version="1.0")

    def harness_register_tasks(register: Any) -> None:
        register("sst2", Silent, summary="", version="1.0")

    def harness_register_distillers(register: Any) -> None:
        for name in ("random", "dilm"):
            register(name, Silent, summary="", version="1.0", produces="selection")

    for hook in (harness_register_evaluators, harness_register_students, harness_register_tasks,
                 harness_register_distillers):  # fmt: skip
        setattr(module, hook.__name__, hookimpl(hook))
    made = PluginHost()
    made.add(PluginSource("judges", "", "", lambda: module))
    assert made.broken == []
    return made


@pytest.fixture
def sound(make_record: Any) -> Callable[..., Record]:
    """Records as a bench leaves them: hexadecimal keys, and metrics that follow from items."""

    def make(seed: int = 0, value: float = 0.7, **changes: Any) -> Record:
        right = np.arange(200) < round(200 * value)
        items = {
            "score": PackedArray.pack(right),
            "prediction": PackedArray.pack(np.where(right, TARGETS, 1 - TARGETS).astype(np.uint8)),
            "target": PackedArray.pack(TARGETS),
        }
        digits = hashlib.sha256(f"{seed} {value}".encode()).hexdigest()
        record = make_record(
            "random", value, distill_seed=seed, key=digits[:32], fit_key=digits[16:48],
            distill_key=digits[32:], items=items, metrics={"accuracy": value},
        )  # fmt: skip
        return replace(record, **changes)

    return make


def write(folder: Path, records: Sequence[Record]) -> Path:
    (folder / "records").mkdir(parents=True, exist_ok=True)
    for record in records:
        (folder / "records" / f"{record.key}.json").write_bytes(record.to_json())
    return folder


def told(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.text) for finding in findings]


class TestSoundRecords:
    def test_nothing_is_found(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        done = verify([write(tmp_path, [sound(seed) for seed in range(3)])], host)
        assert done == Verification(3, 0, 3, ())

    @pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
    def test_the_committed_records_are_sound(self, folder: Path) -> None:
        done = verify([folder], PluginHost.discover())
        assert (done.errors, done.recomputed) == ((), done.records)
        assert done.records > 0

    def test_nothing_changes_on_disk(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        folder = write(tmp_path, [sound(), sound(1, fit_key="x")])
        (folder / "records/broken.json").write_text("{")
        before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*.json")}
        assert verify([folder], host).errors
        assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*")
                if p.is_file()} == before  # fmt: skip


def changed(record: Record, what: str) -> Record:
    task, tuning, costs = record.task, record.tuning, record.costs
    short = PackedArray.pack(TARGETS[:-1])
    nan_scores = PackedArray.pack(np.array([math.nan, 2.0] + [0.5] * 198))
    changes: dict[str, dict[str, Any]] = {
        "path as distill key": {"distill_key": "../../../etc"},
        "upper case": {"fit_key": record.fit_key.upper()},
        "metric above one": {"metrics": {**record.metrics, "f1": 70.0}},
        "negative seconds": {"costs": replace(costs, fit=replace(costs.fit, seconds=-1.0))},
        "set above the budget": {"distilled": replace(record.distilled, rows=21)},
        "empty set": {"distilled": replace(record.distilled, rows=0)},
        "budget above train": {"budget": "2000rows"},
        "percent": {"budget": "1%", "distilled": replace(record.distilled, rows=11)},
        "no classes": {"task": replace(task, label_names=())},
        "test was used": {"distilled": replace(record.distilled, used_splits=("train", "test"))},
        "short array": {"items": {**record.items, "other": short}},
        "other number scored": {"scored": 199},
        "no scores": {"items": {"target": record.items["target"]}, "evaluator": None},
        "scores of nothing": {"items": {**record.items, "score": nan_scores}, "evaluator": None},
        "no test rows": {"task": replace(task, rows={"train": 1000})},
        "rate outside": {"tuning": replace(tuning, chosen=0.5)},
        "second best": {"tuning": replace(tuning, chosen=5e-5)},
        "second of equals": {"tuning": Tuning((5e-5, 1e-4), (0.7, 0.7), 1e-4)},
        "all diverged": {"tuning": Tuning((5e-5, 1e-4), (None, None), 1e-4)},
        "scores missing": {"tuning": Tuning((5e-5, 1e-4), (0.7,), 1e-4)},
        "scores of one rate": {"tuning": Tuning((1e-4,), (0.7,), 1e-4)},
        "other rate in the recipe": {"recipe": {**record.recipe, "learning_rate": 0.5}},
        "metric": {"metrics": {"accuracy": 0.7001}},
        "no accuracy": {"metrics": {"f1": 0.7}, "main": "f1"},
    }
    fields = changes[what]
    if "evaluator" in fields:
        fields["evaluator"] = replace(record.evaluator, name="silent")
    return replace(record, **fields)


class TestWrongRecords:
    @pytest.mark.parametrize(
        ("what", "check", "text"),
        [
            ("path as distill key", "key", "distill_key is '../../../etc'"),
            ("upper case", "key", "fit_key"),
            ("metric above one", "numbers", "metrics.f1 is 70"),
            ("negative seconds", "numbers", "costs.fit.seconds is -1"),
            ("set above the budget", "budget", "21 rows, 10/class allows 20"),
            ("empty set", "budget", "0 rows"),
            ("budget above train", "budget", "more than the 1000 rows"),
            ("percent", "budget", "11 rows, 1% allows 10"),
            ("no classes", "budget", "there are no classes"),
            ("test was used", "splits", "a look at test"),
            ("short array", "items", "'other' has 199 values for 200 test rows"),
            ("other number scored", "items", "'score' has 200 values for 199 scored items"),
            ("no scores", "items", "no item outcome 'score'"),
            ("scores of nothing", "items", "2 of 'score' are not fractions"),
            ("no test rows", "items", "how many test rows"),
            ("rate outside", "learning rate", "0.5 is not in the grid 5e-05, 0.0001"),
            ("second best", "learning rate", "5e-05 was chosen, but 0.0001 is the first best"),
            ("second of equals", "learning rate", "0.0001 was chosen, but 5e-05"),
            ("all diverged", "learning rate", "0.0001 was chosen, but None"),
            ("scores missing", "learning rate", "1 validation scores for 2 rates"),
            ("scores of one rate", "learning rate", "a grid of one rate"),
            ("other rate in the recipe", "learning rate", "0.5 in the recipe"),
            ("metric", "metrics", "accuracy is 0.700100, the item outcomes give 0.700000"),
            ("no accuracy", "metrics", "accuracy is missing"),
        ],
    )
    def test_what_is_wrong_is_said_with_its_file(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost, what: str,
        check: str, text: str,
    ) -> None:  # fmt: skip
        record = changed(sound(), what)
        folder = write(tmp_path, [record, sound(1)])
        errors = verify([folder], host).errors
        assert any(e.check == check and text in e.text for e in errors), told(errors)
        assert {e.where for e in errors} == {str(folder / "records" / f"{record.key}.json")}

    @pytest.mark.parametrize(
        "tuning",
        [
            Tuning((5e-5, 1e-4), (0.7, 0.7), 5e-5),
            Tuning((5e-5, 1e-4, 2e-4), (None, 0.0, 0.0), 1e-4),
            Tuning((1e-4,), (), 1e-4),
        ],
    )
    def test_a_tie_goes_to_the_first_rate_and_divergence_is_no_score(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost, tuning: Tuning
    ) -> None:
        recipe = {"learning_rate": tuning.chosen}
        folder = write(tmp_path, [sound(tuning=tuning, recipe=recipe)])
        assert verify([folder], host).findings == ()

    @pytest.mark.parametrize(
        "place", [("distilled", "report", "loss"), ("recipe", "warmup"), ("curves", "values")]
    )
    def test_a_number_that_is_none_is_found_wherever_it_stands(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost,
        place: tuple[str, ...],
    ) -> None:  # fmt: skip
        record = sound(curves={"fit": Curve((1,), (0.5,))})
        document = json.loads(record.to_json())
        if place[0] == "curves":
            document["curves"]["fit"]["values"] = [math.nan]
        else:
            inner = document
            for name in place[:-1]:
                inner = inner[name]
            inner[place[-1]] = math.nan
        folder = write(tmp_path, [])
        (folder / "records" / f"{record.key}.json").write_text(json.dumps(document))
        (error,) = verify([folder], host).errors
        assert (error.check, "nan, not a finite number" in error.text) == ("numbers", True)

    @pytest.mark.parametrize("content", [b"", b"{", b'{"schema": 99}'])
    def test_a_file_that_cannot_be_read_is_an_error(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost, content: bytes
    ) -> None:
        folder = write(tmp_path, [sound()])
        (folder / "records/broken.json").write_bytes(content)
        (error,) = verify([folder], host).errors
        assert (error.check, error.where) == ("readable", str(folder / "records/broken.json"))

    def test_a_record_under_another_name_is_an_error(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        folder = write(tmp_path, [sound()])
        shutil.copy(next((folder / "records").iterdir()), folder / "records/copy.json")
        assert told(verify([folder], host).errors)[0][0] == "readable"

    @pytest.mark.parametrize("name", ["nowhere", "empty"])
    def test_no_records_are_a_wrong_request(
        self, tmp_path: Path, host: PluginHost, name: str
    ) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(UsageError, match=name):
            verify([tmp_path / name], host)


class TestRecordsTogether:
    def test_other_targets_for_the_same_test_rows(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        odd = sound(2)
        odd = replace(odd, items={**odd.items, "target": PackedArray.pack(1 - TARGETS)})
        folder = write(tmp_path, [sound(0), sound(1), odd])
        (error,) = verify([folder], host).errors
        assert (error.check, odd.key in error.where) == ("targets", True)
        assert "in 1 records" in error.text
        assert "in 2, as in" in error.text

    def test_other_targets_of_other_items_are_nothing_wrong(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        def part(seed: int, rows: int) -> Record:
            record = sound(seed, value=1.0)
            items = {n: PackedArray.pack(a.unpack()[:rows]) for n, a in record.items.items()}
            evaluator = replace(record.evaluator, options={"limit": rows})
            return replace(record, items=items, evaluator=evaluator, scored=rows)

        records = [sound(0), part(1, 50), part(2, 60)]
        assert verify([write(tmp_path / "sound", records)], host).errors == ()
        odd = part(3, 60)
        turned = PackedArray.pack(1 - TARGETS[:60])
        odd = replace(odd, items={**odd.items, "target": turned, "prediction": turned})
        found = verify([write(tmp_path / "odd", [*records, odd])], host).errors
        assert [error.check for error in found] == ["targets"]

    def test_the_same_targets_in_another_dtype_are_the_same(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        wide = sound(1)
        wide = replace(
            wide, items={**wide.items, "target": PackedArray.pack(TARGETS.astype(np.int32))}
        )
        assert verify([write(tmp_path, [sound(0), wide])], host).findings == ()

    @pytest.mark.parametrize("field", ["fingerprint", "test_fingerprint"])
    def test_two_fingerprints_of_one_task_and_version(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost, field: str
    ) -> None:
        odd = sound(2)
        odd = replace(odd, task=replace(odd.task, **{field: "0" * 64}))
        one, two = write(tmp_path / "a", [sound(0), sound(1)]), write(tmp_path / "b", [odd])
        errors = verify([one, two], host).errors
        assert [(e.check, odd.key in e.where) for e in errors] == [("data", True)]

    def test_another_version_of_a_task_may_have_other_data(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        newer = sound(1)
        newer = replace(newer, task=replace(newer.task, version=2, fingerprint="0" * 64))
        assert verify([write(tmp_path, [sound(0), newer])], host).findings == ()

    def test_two_scores_for_one_run(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        other = replace(sound(0, 0.6), key=sound().key, distill_key=sound().distill_key,
                        fit_key=sound().fit_key)  # fmt: skip
        folders = [write(tmp_path / "a", [sound()]), write(tmp_path / "b", [other])]
        (error,) = verify(folders, host).errors
        assert error.check == "same run"
        assert "in metrics, items" in error.text
        assert str(tmp_path / "a") in error.text


class TestRemarks:
    def remarks(self, folder: Path, host: PluginHost) -> list[tuple[str, str]]:
        done = verify([folder], host)
        assert done.errors == ()
        return told(done.remarks)

    def test_other_versions_are_remarked_once_and_metrics_are_not_compared(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        records = [sound(seed) for seed in range(2)]
        newer = [
            replace(r, evaluator=replace(r.evaluator, version="2"), metrics={"accuracy": 0.1})
            for r in records
        ]
        folder = write(tmp_path, newer)
        assert self.remarks(folder, host) == [
            ("metrics", "not recomputed: evaluator 'classification' is installed in version 1.0,"
                        " the records have 2"),
            ("versions", "evaluator 'classification' was version 2, 1.0 is installed"),
        ]  # fmt: skip
        assert verify([folder], host).remarks[0].where == "2 records"

    @pytest.mark.parametrize(
        ("name", "text"),
        [("silent", "cannot tell its metrics"), ("unknown", "is not installed")],
    )
    def test_an_evaluator_that_cannot_recompute_is_said(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost, name: str, text: str
    ) -> None:
        record = sound()
        record = replace(record, evaluator=replace(record.evaluator, name=name))
        found = self.remarks(write(tmp_path, [record]), host)
        assert found[0][0] == "metrics"
        assert text in found[0][1]

    def test_options_that_the_evaluator_no_longer_has_are_said(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        record = sound()
        record = replace(record, evaluator=replace(record.evaluator, options={"gone": 1}))
        ((check, text),) = self.remarks(write(tmp_path, [record]), host)
        assert (check, "no option 'gone'" in text) == ("metrics", True)

    def test_a_main_metric_that_needs_more_than_the_items_is_said(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost
    ) -> None:
        record = sound(main="loss", metrics={"accuracy": 0.7, "loss": 0.5})
        ((_, text),) = self.remarks(write(tmp_path, [record]), host)
        assert "loss does not follow" in text

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ({"options": {"complain": True}}, "items should be x, got y"),
            ({"name": "fails"}, "evaluator 'fails' failed: KeyError"),
        ],
    )
    def test_an_evaluator_that_refuses_or_breaks_is_an_error_of_that_record(
        self, tmp_path: Path, sound: Callable[..., Record], host: PluginHost,
        change: dict[str, Any], text: str,
    ) -> None:  # fmt: skip
        record = sound()
        record = replace(record, evaluator=replace(record.evaluator, **change))
        errors = verify([write(tmp_path, [record, sound(1)])], host).errors
        assert [(e.check, text in e.text) for e in errors] == [("metrics", True)]
