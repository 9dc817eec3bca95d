"""The warm-up: its seeds, its rates, what it leaves, and going on after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from less_world import Scene, make_context, make_scene, planted_task

from harness.errors import DivergenceError, HarnessError, UsageError
from harness.kit.language.loss import example_losses
from harness.kit.training.parameter_layout import ParameterLayout
from harness_instruct.students.families import Llama
from harness_less.checkpoints import Checkpoint
from harness_less.options import WarmUpOptions
from harness_less.scores import checkpoint_weights
from harness_less.warm_up import WarmUp, checkpoints_of, epoch_rates, sound_rows, warm_up_rows


def run_of(scene: Scene, *, seed: int = 0, **options: Any) -> WarmUp:
    context = make_context(scene.context.workdir, seed)
    own = replace(scene.less, **options)
    rows = warm_up_rows(scene.readable, own.fraction, context)
    return WarmUp(scene.lm, scene.layout, rows, own, context)


def fresh(run: WarmUp) -> Checkpoint:
    """Equal adapters before any step."""
    shapes = dict(zip(run.layout.names, run.layout.shapes, strict=True))
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    start = {name: np.full(shape, 0.05, np.float32) for name, shape in shapes.items()}
    return Checkpoint(
        start, zeros, zeros, dict.fromkeys(shapes, 0), np.zeros(0), np.zeros(0), (0.9, 0.999), 1e-8
    )


class TestRows:
    def test_the_seed_draws_the_rows_and_the_fraction_says_how_many(self, scene: Scene) -> None:
        drawn = set()
        for seed in (3, 6, 9):
            rows = warm_up_rows(scene.readable, 0.25, make_context(scene.context.workdir, seed))
            assert len(rows) == 6
            drawn.add(tuple(ids.tobytes() for ids in rows.rows.ids))
        assert len(drawn) == 3
        assert len(warm_up_rows(scene.readable, 1e-9, scene.context)) == 1
        assert len(warm_up_rows(scene.readable, 1.0, scene.context)) == 24


class TestRates:
    def test_they_are_those_of_the_published_run(self) -> None:
        """105 steps an epoch; the means stand in the published README. That run logged a step's
        rate after the step, and its epochs have 103 to 106 steps, hence the tolerance."""
        published = [1.6877e-05, 1.2859e-05, 7.7030e-06, 2.5616e-06]
        found = [rates.mean() for rates in epoch_rates(105, WarmUpOptions())]
        np.testing.assert_allclose(found, published, atol=0.01 * 2e-5)

    def test_weights_are_mean_rates_that_sum_to_one(self) -> None:
        rates = [1.6877e-05, 1.2859e-05, 7.7030e-06, 2.5616e-06]
        weights = checkpoint_weights(rates, "lr")
        assert abs(weights.sum() - 1) < 1e-12
        np.testing.assert_allclose(weights / weights[0], np.array(rates) / rates[0])
        assert checkpoint_weights(rates, "uniform").tolist() == [0.25] * 4

    def test_the_rates_that_are_kept_are_those_that_were_used(self, scene: Scene) -> None:
        """From moments of zero, a first step of Adam moves a weight by its rate."""
        run = run_of(scene, batch_size=99, epochs=2, warmup=0.0)
        start = fresh(run)
        first = run.epoch(0, start)
        name = scene.layout.names[0]
        moved = np.abs(first.weights[name] - start.weights[name]).max()
        assert first.rates.tolist() == [3e-3]
        assert moved == pytest.approx(3e-3, rel=1e-3)
        assert run.epoch(1, first).rates.tolist() == [1.5e-3]

    def test_a_run_without_a_rate_is_refused(self) -> None:
        with pytest.raises(UsageError, match="learning rate 0"):
            epoch_rates(1, WarmUpOptions(epochs=1, warmup=0.9))


class TestEpochs:
    def test_every_row_is_seen_once_an_epoch(self, scene: Scene) -> None:
        run = run_of(scene, fraction=1.0, batch_size=5)
        checkpoint = run.epoch(1, fresh(run))
        assert len(checkpoint.losses) == len(checkpoint.rates) == 5
        assert set(checkpoint.steps.values()) == {5}

    def test_it_is_one_run_of_adam_over_all_epochs(self, tmp_path: Path) -> None:
        """Against a plain loop with one optimiser, whose memory nobody took or put back."""
        scene = make_scene(tmp_path / "scene", planted_task(8, 16), lora_dropout=0.0)
        run = run_of(scene, fraction=0.5, batch_size=5, epochs=3, warmup=0.0, clip_norm=0.5)
        start = fresh(run)
        start.put_weights(scene.lm.model, scene.layout)
        found = checkpoints_of(run.run(tmp_path), 3)[-1]
        start.put_weights(scene.lm.model, scene.layout)
        parameters = list(scene.layout.parameters(scene.lm.model).values())
        optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.0)
        step, losses = 0, []
        for epoch in range(3):
            order = run.context.numpy_generator("less order", epoch).permutation(12)
            losses = []
            for batch in (order[:5], order[5:10], order[10:]):
                optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / 9)
                optimizer.zero_grad()
                rows = run.rows.batch(batch, scene.lm.pad_id, "cpu")
                loss = example_losses(scene.lm.model, rows).mean()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 0.5)
                optimizer.step()
                losses.append(loss.item())
                step += 1
        np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
        assert set(found.steps.values()) == {9}
        for name, parameter in scene.layout.parameters(scene.lm.model).items():
            moments = optimizer.state[parameter]
            for value, expected in (
                (found.weights[name] - start.weights[name], parameter.detach() - 0.05),
                (found.first[name], moments["exp_avg"]),
                (found.second[name], moments["exp_avg_sq"]),
            ):
                error = np.linalg.norm(value - expected.numpy())
                assert error < 5e-3 * np.linalg.norm(expected.numpy()), name

    def test_a_proxy_that_computes_no_row_is_refused(self, scene: Scene) -> None:
        rows = run_of(scene).rows
        weight = scene.lm.model.get_input_embeddings().weight
        start = rows.rows.ids[0][0]
        before = weight[start].detach().clone()
        with torch.no_grad():
            weight[start] = float("nan")
        try:
            with pytest.raises(HarnessError, match="all 6 rows"):
                sound_rows(scene.lm, rows, scene.context)
        finally:
            with torch.no_grad():
                weight[start] = before
        assert len(sound_rows(scene.lm, rows, scene.context)) == 6

    def test_going_on_after_a_kill_gives_the_same_bits(self, scene: Scene, tmp_path: Path) -> None:
        """Dropout is on, so that its random numbers must be the same as well."""
        run = run_of(scene, epochs=3)
        fresh(run).put_weights(scene.lm.model, scene.layout)
        undisturbed = run.run(tmp_path)
        for epoch in (1, 2):
            (tmp_path / f"warm-up-{epoch}.safetensors").unlink()
        scene.checkpoints[0].put_weights(scene.lm.model, scene.layout)
        resumed = run.run(tmp_path)
        assert set(resumed) == set(undisturbed)
        for name, array in undisturbed.items():
            np.testing.assert_array_equal(resumed[name], array, err_msg=name)

    def test_seeds_differ_and_dropout_is_on_while_it_trains(self, scene: Scene) -> None:
        runs = [run_of(scene, fraction=1.0, batch_size=99, seed=seed) for seed in (0, 0, 1)]
        losses = [float(run.epoch(0, fresh(run)).losses[0]) for run in runs]
        assert losses[0] == losses[1] != losses[2]

    def test_a_run_that_diverges_says_so(self, scene: Scene) -> None:
        run = run_of(scene)
        broken = fresh(run)
        broken.weights[scene.layout.names[0]].fill(np.nan)
        with pytest.raises(DivergenceError, match="warm-up of less diverged"):
            run.epoch(0, broken)


class TestWhatItLeaves:
    def test_the_model_is_in_eval_mode_and_only_adapters_are_trained(self, scene: Scene) -> None:
        assert not [name for name, part in scene.lm.model.named_modules() if part.training]
        assert all("lora_" in name for name in scene.layout.names)
        # 2 layers x 4 projections x (A and B) of 128 x rank 4.
        assert scene.layout.size == 2 * 4 * 2 * 128 * 4

    def test_nothing_but_adapters_changed(self, scene: Scene) -> None:
        plain = Llama(variant="tiny").build(planted_task(8, 16), scene.context)
        wrapped = dict(scene.lm.model.named_parameters())
        for name, before in plain.model.named_parameters():
            for candidate in (name, name.replace(".weight", ".base_layer.weight")):
                found = wrapped.get(f"base_model.model.{candidate}")
                if found is not None:
                    assert torch.equal(found, before), name
                    break
            else:
                pytest.fail(f"{name} is gone")

    def test_checkpoints_survive_a_file(self, scene: Scene) -> None:
        checkpoint = scene.checkpoints[1]
        again = Checkpoint.of_arrays(checkpoint.arrays())
        assert again.digest == checkpoint.digest
        assert (again.betas, again.eps, again.steps) == ((0.9, 0.999), 1e-8, checkpoint.steps)
        assert checkpoint.digest != scene.checkpoints[0].digest

    def test_names_decide_whatever_the_order_of_what_was_saved(self, scene: Scene) -> None:
        """Sorted as text, layer 10 comes before layer 2, and equal shapes hide it."""
        checkpoint = scene.checkpoints[1]
        shuffled = Checkpoint.of_arrays(dict(sorted(checkpoint.arrays().items(), reverse=True)))
        expected = checkpoint.adam_state(scene.layout, scene.lm.device)
        found = shuffled.adam_state(scene.layout, scene.lm.device)
        assert torch.equal(found.first, expected.first)
        assert torch.equal(found.second, expected.second)
        reverse = ParameterLayout(scene.layout.names[::-1], scene.layout.shapes[::-1])
        by_name = reverse.split(checkpoint.adam_state(reverse, scene.lm.device).first)
        for name, moment in scene.layout.split(expected.first).items():
            assert torch.equal(by_name[name], moment)

    def test_states_that_do_not_fit_are_refused(self, scene: Scene) -> None:
        checkpoint = scene.checkpoints[0]
        name = scene.layout.names[0]
        lost = {n: m for n, m in checkpoint.second.items() if n != name}
        with pytest.raises(UsageError, match="missing"):
            replace(checkpoint, second=lost).adam_state(scene.layout, scene.lm.device)
        flat = {**checkpoint.weights, name: np.zeros(3, np.float32)}
        with pytest.raises(UsageError, match="shape"):
            replace(checkpoint, weights=flat).put_weights(scene.lm.model, scene.layout)
