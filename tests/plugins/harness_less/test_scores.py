"""Features and scores against the definition, however they are computed, and rows that lose."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from less_world import Scene
from torch import Tensor

from harness.errors import HarnessError, UsageError
from harness.kit.language.loss import example_losses
from harness.kit.language.training import take
from harness_less import features as features_module
from harness_less.checkpoints import Checkpoint
from harness_less.features import FlawDetector, TrainingFeatures, mean_pairwise_cosine
from harness_less.flaws import FINE, NOT_FINITE, ZERO
from harness_less.scores import ScoringInputs, exact_scores, group_cosines
from harness_less.stored_scores import StoredMoment, stored_scores
from harness_less.target_gradients import TargetGradients, usable_rows

OPTIONS = [
    (aggregation, reduction)
    for aggregation in ("mean_of_cosines", "cosine_of_mean")
    for reduction in ("max", "mean")
]


def gradient(scene: Scene, encoded: Any, row: int) -> Tensor:
    """The plain way: one row, one backward pass."""
    batch = encoded.batch([row], scene.lm.pad_id, "cpu")
    parameters = list(scene.layout.parameters(scene.lm.model).values())
    loss = example_losses(scene.lm.model, batch).sum()
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters)])


def adam_step(scene: Scene, checkpoint: Checkpoint, flat: Tensor) -> Tensor:
    """What torch's own Adam subtracts for a gradient, divided by the rate, in float64."""
    rate = 1e-3
    moments = checkpoint.adam_state(scene.layout, torch.device("cpu"))
    weight = torch.nn.Parameter(torch.zeros(len(flat), dtype=torch.float64))
    optimizer = torch.optim.Adam([weight], lr=rate)
    optimizer.state[weight] = {
        "step": torch.tensor(float(moments.steps[0])),
        "exp_avg": moments.first.double(),
        "exp_avg_sq": moments.second.double(),
    }
    weight.grad = flat.double()
    optimizer.step()
    return -weight.detach() / rate


def published_code(scene: Scene, checkpoint: Checkpoint, flat: Tensor) -> Tensor:
    moments = checkpoint.adam_state(scene.layout, torch.device("cpu"))
    m = 0.9 * moments.first + 0.1 * flat
    v = 0.999 * moments.second + 0.001 * flat**2
    return m / torch.sqrt(v + 1e-8)


FORMULAS = {
    "adam": adam_step,
    "adam_less_compat": published_code,
    "sgd": lambda scene, checkpoint, flat: flat,
}


def truth(work: ScoringInputs, scene: Scene) -> np.ndarray:
    """[m] scores by loops over checkpoints, rows, subtasks and examples."""
    pool, target = work.pool.encoded, work.target.encoded
    rates = [checkpoint.rates.mean() for checkpoint in scene.checkpoints]
    total = np.zeros((len(pool), len(work.target.subtasks)))
    for checkpoint, rate in zip(scene.checkpoints, rates, strict=True):
        checkpoint.put_weights(scene.lm.model, scene.layout)
        aims = [gradient(scene, target, row).double().numpy() for row in range(len(target))]
        for row in range(len(pool)):
            formula = FORMULAS[work.options.features]
            x = formula(scene, checkpoint, gradient(scene, pool, row)).double().numpy()
            for task, members in enumerate(work.target.subtasks.values()):
                own = np.array([aims[member] for member in members])
                if work.options.aggregation == "cosine_of_mean":
                    value = cosine(x, own.mean(0))
                else:
                    value = float(np.mean([cosine(x, v) for v in own]))
                total[row, task] += rate / sum(rates) * value
    return total.max(1) if work.options.subtasks == "max" else total.mean(1)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


class TestAgainstTheDefinition:
    @pytest.mark.parametrize("kind", FORMULAS)
    def test_exact_scores(self, kind: str, scene: Scene, tmp_path: Path) -> None:
        work = scene.work(tmp_path, features=kind)
        found = exact_scores(work)
        np.testing.assert_allclose(found.scores, truth(work, scene), atol=2e-5)
        assert (found.flaws == FINE).all()

    @pytest.mark.parametrize(("aggregation", "reduction"), OPTIONS)
    def test_aggregations_and_reductions(
        self, aggregation: str, reduction: str, scene: Scene, tmp_path: Path
    ) -> None:
        work = scene.work(tmp_path, features="sgd", aggregation=aggregation, subtasks=reduction)
        found = exact_scores(work).scores
        np.testing.assert_allclose(found, truth(work, scene), atol=2e-5)

    def test_the_two_aggregations_are_different_methods(self, scene: Scene, tmp_path: Path) -> None:
        found = [
            exact_scores(scene.work(tmp_path / a, features="sgd", aggregation=a)).scores
            for a in ("mean_of_cosines", "cosine_of_mean")
        ]
        assert np.abs(found[0] - found[1]).max() > 1e-2


class TestAWayOfComputingChangesNothing:
    @pytest.mark.parametrize("aggregation", ["mean_of_cosines", "cosine_of_mean"])
    def test_a_store_without_projection(
        self, aggregation: str, scene: Scene, tmp_path: Path
    ) -> None:
        exact = exact_scores(scene.work(tmp_path / "exact", aggregation=aggregation)).scores
        for dtype, tolerance in (("float32", 1e-5), ("float16", 1e-3)):
            work = scene.work(
                tmp_path / dtype, scoring="store", store_dtype=dtype, aggregation=aggregation
            )
            np.testing.assert_allclose(stored_scores(work, {}).scores, exact, atol=tolerance)

    @pytest.mark.parametrize("kind", ["rademacher", "sparse", "srht"])
    def test_a_projection_but_for_its_error(self, kind: str, scene: Scene, tmp_path: Path) -> None:
        """The root mean square error of a projected cosine is at most 1.3 / sqrt(d)."""
        exact = exact_scores(scene.work(tmp_path / "exact", features="sgd")).scores
        work = scene.work(
            tmp_path / kind, features="sgd", scoring="store", projection=kind, dimensions=2048
        )
        error = stored_scores(work, {}).scores - exact
        assert 0 < np.sqrt(np.mean(error**2)) < 1.3 / np.sqrt(2048)

    @pytest.mark.parametrize("rows", [1, 3])
    def test_the_size_of_batches(
        self, rows: int, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = exact_scores(scene.work(tmp_path / "usual")).scores
        monkeypatch.setattr(features_module, "_CPU_ROWS", rows)
        found = exact_scores(scene.work(tmp_path / "small")).scores
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_one_row_after_the_other_instead_of_hooks(self, scene: Scene, tmp_path: Path) -> None:
        expected = exact_scores(scene.work(tmp_path / "hooks")).scores
        looped = replace(scene, less=replace(scene.less, gradients="loop"))
        found = exact_scores(looped.work(tmp_path / "loop")).scores
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_the_order_of_the_pool_to_the_last_bit(self, scene: Scene, tmp_path: Path) -> None:
        """Two equal rows among them get equal scores, too."""
        order = np.random.default_rng(0).permutation(len(scene.readable.encoded))
        doubled = np.concatenate([order, order[:3]])
        shuffled = replace(
            scene.readable,
            encoded=take(scene.readable.encoded, doubled),
            positions=np.arange(len(doubled)),
            total=len(doubled),
        )
        plain, other = scene.work(tmp_path / "a"), scene.work(tmp_path / "b", shuffled)
        expected = plain.pool.spread(exact_scores(plain).scores, np.nan)
        found = other.pool.spread(exact_scores(other).scores, np.nan)
        np.testing.assert_array_equal(found, expected[doubled])

    def test_two_passes_give_the_same_bits(self, scene: Scene, tmp_path: Path) -> None:
        """The adapters' dropout is off; adding adapters to a model in eval mode leaves it on."""
        found = [exact_scores(scene.work(tmp_path / name)).scores for name in ("a", "b")]
        np.testing.assert_array_equal(found[0], found[1])

    def test_pieces_that_a_killed_run_left(
        self, scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("harness_less.scores._PIECE_ROWS", 1)
        monkeypatch.setattr(features_module, "_CPU_ROWS", 4)
        expected = exact_scores(scene.work(tmp_path)).scores
        pieces = sorted(tmp_path.glob("cosines-*"))
        assert len(pieces) > 4
        for piece in pieces[1::2]:
            piece.unlink()
        np.testing.assert_array_equal(exact_scores(scene.work(tmp_path)).scores, expected)

    def test_a_store_that_a_killed_run_left(self, scene: Scene, tmp_path: Path) -> None:
        options: dict[str, Any] = {"scoring": "store", "projection": "sparse", "dimensions": 64}
        expected = stored_scores(scene.work(tmp_path / "whole", **options), {}).scores
        work = scene.work(tmp_path / "killed", **options)
        moment = StoredMoment(work, 0)
        groups = work.source.groups(work.pool.encoded)

        def killed(items: Any, description: str, total: int) -> Any:
            yield from items[: len(groups) // 2]
            raise KeyboardInterrupt

        stopping = replace(work.context, progress=_Progress(killed))
        with pytest.raises(KeyboardInterrupt):
            StoredMoment(replace(work, context=stopping), 0).pool_features()
        assert moment.pool_features()["features"].shape == (len(work.pool), 64)
        np.testing.assert_array_equal(stored_scores(work, {}).scores, expected)


class _Progress:
    def __init__(self, track: Any) -> None:
        self.track = track


class TestStoresAreNotMixed:
    def test_a_folder_with_another_projection_or_kind_is_refused(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        options: dict[str, Any] = {"scoring": "store", "projection": "sparse", "dimensions": 64}
        StoredMoment(scene.work(tmp_path, **options), 0).pool_features()
        for change in (
            {"projection": "srht"},
            {"dimensions": 128},
            {"features": "sgd"},
            {"centred": True},
        ):
            with pytest.raises(UsageError, match="holds other features"):
                StoredMoment(scene.work(tmp_path, **{**options, **change}), 0).pool_features()

    def test_pool_and_target_of_a_checkpoint_share_one_projection(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        work = scene.work(tmp_path, scoring="store", projection="sparse", dimensions=64)
        manifests = [StoredMoment(work, number).manifest(3, "x") for number in (0, 1)]
        assert manifests[0].projector == manifests[1].projector
        assert manifests[0].checkpoint != manifests[1].checkpoint


class TestLikeness:
    def test_momentum_makes_features_alike_and_centring_takes_it_out(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        found = {}
        for name, options in {
            "adam": {"features": "adam"},
            "sgd": {"features": "sgd"},
            "centred": {"features": "adam", "centred": True},
        }.items():
            work = scene.work(tmp_path, **options)
            features = work.training(1)
            found[name] = mean_pairwise_cosine(features, work.pool.encoded, work.sample)
            values, _ = features.matrix(work.pool.encoded, np.arange(len(work.pool)))
            cosines = _cosines(values)
            pairs = cosines[~np.eye(len(cosines), dtype=bool)]
            assert found[name] == pytest.approx(pairs.mean(), abs=1e-4)
        assert found["adam"] > found["sgd"] + 0.1
        assert abs(found["centred"]) < 0.1

    def test_centred_features_are_those_less_their_mean(self, scene: Scene, tmp_path: Path) -> None:
        plain, centred = scene.work(tmp_path), scene.work(tmp_path, centred=True)
        everything = np.arange(len(plain.pool))
        values, _ = plain.training(0).matrix(plain.pool.encoded, everything)
        found, _ = centred.training(0).matrix(plain.pool.encoded, everything)
        mean = values[torch.from_numpy(plain.sample)].mean(0)
        torch.testing.assert_close(found, values - mean, atol=1e-4, rtol=1e-4)

    def test_before_any_training_no_gradient_reaches_a(self, scene: Scene, tmp_path: Path) -> None:
        before = copy.deepcopy(scene.checkpoints[0])
        for name, weights in before.weights.items():
            if "lora_B" in name:
                weights.fill(0)
        before.put_weights(scene.lm.model, scene.layout)
        _, share = TargetGradients(scene.source, scene.target).examine()
        # A and B of the toy's square projections have the same size.
        assert share == pytest.approx(0.5, abs=0.01)
        scene.checkpoints[1].put_weights(scene.lm.model, scene.layout)
        _, share = TargetGradients(scene.source, scene.target).examine()
        assert share < 0.01


def _cosines(values: Tensor) -> np.ndarray:
    unit = torch.nn.functional.normalize(values.double())
    return (unit @ unit.T).numpy()


class TestRowsThatLose:
    def test_health_knows_nan_infinity_and_zero(self) -> None:
        from harness.kit.gradients.column_blocks import ColumnBlock

        health = FlawDetector()
        left = torch.tensor([[0.0, 0.0], [0.0, 1e-38], [1.0, float("nan")], [0.0, 0.0]])
        right = torch.tensor([[0.0], [0.0], [1.0], [float("-inf")]])
        watched = list(health.watch([ColumnBlock(0, left), ColumnBlock(2, right)]))
        assert len(watched) == 2
        assert health.flaws().tolist() == [ZERO, FINE, NOT_FINITE, NOT_FINITE]

    @pytest.mark.parametrize("kind", ["adam", "sgd"])
    @pytest.mark.parametrize(("bad", "flaw"), [(float("nan"), NOT_FINITE), (0.0, ZERO)])
    @pytest.mark.parametrize("scoring", ["exact", "store"])
    def test_a_row_without_a_gradient_has_no_score(
        self, scoring: str, bad: float, flaw: int, kind: str, scene: Scene, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        """Under Adam a zero gradient still moves the weights; it must not win by momentum."""
        clean = exact_scores(scene.work(tmp_path / "clean", features=kind)).scores
        work = scene.work(tmp_path / "bad", features=kind, scoring=scoring, store_dtype="float32")
        monkeypatch.setattr(TrainingFeatures, "blocks", _spoiling(work, 5, bad))
        found = exact_scores(work) if scoring == "exact" else stored_scores(work, {})
        assert np.flatnonzero(found.flaws).tolist() == [5]
        assert found.flaws[5] == flaw
        assert found.scores[5] == -np.inf
        others = np.arange(len(clean)) != 5
        np.testing.assert_allclose(found.scores[others], clean[others], atol=1e-5)

    def test_examples_of_the_target_are_left_out_of_their_subtask(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        work = scene.work(tmp_path)
        name, members = next((n, m) for n, m in work.target.subtasks.items() if len(m) > 1)
        flaws = np.zeros((2, len(work.target.encoded)), dtype=np.uint8)
        flaws[1, members[0]] = NOT_FINITE
        usable = usable_rows(flaws, work.target.subtasks)
        assert np.flatnonzero(~usable).tolist() == [members[0]]
        fewer = replace(work.target, subtasks={**work.target.subtasks, name: members[1:]})
        expected = exact_scores(replace(scene.work(tmp_path / "fewer"), target=fewer))
        found = exact_scores(replace(scene.work(tmp_path / "usable"), usable=usable))
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
        stored = scene.work(tmp_path / "store", scoring="store", store_dtype="float32")
        found = stored_scores(replace(stored, usable=usable), {})
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)

    def test_a_subtask_without_any_gradient_is_an_error(self, scene: Scene) -> None:
        flaws = np.full((1, len(scene.target.encoded)), ZERO, dtype=np.uint8)
        with pytest.raises(HarnessError, match="has no direction"):
            usable_rows(flaws, scene.target.subtasks)

    def test_small_gradients_are_no_zeros(self, scene: Scene, tmp_path: Path) -> None:
        """Cosines do not depend on the scale, down to where float16 would have lost everything."""
        work = scene.work(tmp_path, features="sgd")
        features = work.training(0)
        target = TargetGradients(work.source, work.target)
        directions = target.directions(work.usable, "mean_of_cosines")
        members = np.arange(4)
        expected, _ = group_cosines(features, work.pool, members, directions)
        tiny = replace(
            features, source=_Scaled(scene.lm, scene.layout, scene.context, factor=1e-10)
        )
        found, flaws = group_cosines(tiny, work.pool, members, directions)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert (flaws == FINE).all()


def _spoiling(work: ScoringInputs, row: int, value: float) -> Any:
    """`TrainingFeatures.blocks` in which the gradient of one row of the pool is another one."""
    from harness.kit.gradients.column_blocks import ColumnBlock

    def blocks(self: TrainingFeatures, rows: Any, members: np.ndarray, health: FlawDetector) -> Any:
        gradients = self.source.backend().blocks(self.source.batch(rows, members))
        spoilt = torch.from_numpy(members == row).unsqueeze(1)
        changed = (ColumnBlock(b.start, b.values.masked_fill(spoilt, value)) for b in gradients)
        for block in health.watch(changed):
            yield self._feature(block)

    return blocks


class _Scaled(features_module.GradientSource):
    """A source whose losses, and so gradients, are multiplied by a factor."""

    def __init__(self, lm: Any, layout: Any, context: Any, factor: float) -> None:
        super().__init__(lm, layout, context)
        object.__setattr__(self, "factor", factor)

    def backend(self, *, verify: bool = False) -> Any:
        del verify
        plain = super().backend()
        factor = self.factor  # type: ignore[attr-defined]
        return replace(plain, losses=lambda model, batch: factor * plain.losses(model, batch))
