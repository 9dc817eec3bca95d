"""The phases of LESS: reading, warm-up, target gradients, scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.context import StageContext
from harness.kit.files.computed_once import computed_once
from harness.kit.language.causal_lm import CausalLM
from harness.kit.language.lora import add_lora
from harness.kit.language.student import build_proxy_lm
from harness.kit.training.parameter_layout import ParameterLayout
from harness.types import TaskData
from harness_less.checkpoints import Checkpoint
from harness_less.features import GradientSource, mean_pairwise_cosine
from harness_less.flaws import LEFT_OUT, UNREADABLE
from harness_less.options import LessOptions
from harness_less.rows import DistinctRows, ReadableRows, Target, read_pool, read_target
from harness_less.scores import ScoringInputs, exact_scores
from harness_less.stored_scores import stored_scores
from harness_less.target_gradients import TargetGradients, usable_rows
from harness_less.warm_up import WarmUp, checkpoints_of, sound_rows, warm_up_rows


def score_pool(
    options: LessOptions,
    task: TaskData,
    considered: np.ndarray,
    inputs: Mapping[str, Any],
    context: StageContext,
) -> dict[str, np.ndarray]:
    """Scores [n] of all train rows, -inf for those that must not be taken, with what was measured.

    Args:
        considered: [k] positions of the rows that may be taken.
        inputs: everything that the warm-up depends on.

    Returns:
        scores, lengths (tokens) and flaws of all rows [n], the warm-up's losses, and numbers for
        the report, each an array of one.
    """
    lm = build_proxy_lm(options.proxy, task, context)
    encoder = lm.encoder(options.max_length)
    pool = read_pool(encoder, task, considered, context)
    target = read_target(encoder, task, options.target_rows, context)
    lm.model = add_lora(lm.model, options.lora, context.seed_for("lora")).eval()
    layout = ParameterLayout.of(lm.model)
    trained, checkpoints = warm_up(options, lm, layout, pool, inputs, context)
    source = GradientSource(lm, layout, context, options.gradients)
    flaws, zero_shares = examine_target(source, target, checkpoints, context)
    work = ScoringInputs(
        options=options,
        source=source,
        pool=DistinctRows.of(pool),
        target=target,
        checkpoints=checkpoints,
        usable=usable_rows(flaws, target.subtasks),
        folder=context.workdir,
        context=context,
    )
    exact = options.scoring == "exact"
    scored = exact_scores(work) if exact else stored_scores(work, inputs)
    place = work.pool.spread
    among = np.isin(np.arange(len(task.train)), considered)
    return {
        "scores": place(scored.scores, -np.inf),
        "lengths": place(work.pool.encoded.rows.lengths, 0),
        "flaws": np.where(among, place(scored.flaws, UNREADABLE), LEFT_OUT).astype(np.uint8),
        "losses": np.concatenate([checkpoint.losses for checkpoint in checkpoints]),
        "zero_coordinates": zero_shares,
        "mean_pairwise_cosine": np.array([likeness(work)]),
        **counts(work, trained),
    }


def warm_up(
    options: LessOptions,
    lm: CausalLM,
    layout: ParameterLayout,
    pool: ReadableRows,
    inputs: Mapping[str, Any],
    context: StageContext,
) -> tuple[int, list[Checkpoint]]:
    """A run on a part of the pool, shared by all budgets and variants: its rows, and checkpoints.

    Rows whose loss is not finite before any training are left out.
    """

    def train() -> dict[str, np.ndarray]:
        rows = sound_rows(lm, warm_up_rows(pool, options.fraction, context), context)
        return WarmUp(lm, layout, rows, options, context).run(context.workdir)

    arrays = context.cache.arrays("less-warm-up", inputs, train)
    return int(arrays["rows"][0]), checkpoints_of(arrays, options.epochs)


def examine_target(
    source: GradientSource,
    target: Target,
    checkpoints: list[Checkpoint],
    context: StageContext,
) -> tuple[np.ndarray, np.ndarray]:
    """What is wrong with each example at each checkpoint, [t, m], and zero coordinates, [t]."""

    def look() -> dict[str, np.ndarray]:
        found = []
        shown = context.track(checkpoints, "looking at the target", total=len(checkpoints))
        for checkpoint in shown:
            checkpoint.put_weights(source.lm.model, source.layout)
            found.append(TargetGradients(source, target).examine())
        return {
            "flaws": np.stack([flaws for flaws, _ in found]),
            "zero_shares": np.array([share for _, share in found]),
        }

    arrays = computed_once(context.workdir / "target.safetensors", look)
    return arrays["flaws"], arrays["zero_shares"]


def likeness(work: ScoringInputs) -> float:
    """The mean pairwise cosine of some rows' features at the last checkpoint.

    Adam's momentum is common to all rows, so these features are more alike than gradients are.
    """

    def look() -> dict[str, np.ndarray]:
        features = work.training(len(work.checkpoints) - 1)
        value = mean_pairwise_cosine(features, work.pool.encoded, work.sample)
        return {"value": np.array([value])}

    return float(computed_once(work.folder / "likeness.safetensors", look)["value"][0])


def counts(work: ScoringInputs, trained: int) -> dict[str, np.ndarray]:
    """Whole numbers for the report; trained: rows of the warm-up."""
    values = {
        "warm_up_rows": trained,
        "checkpoints": len(work.checkpoints),
        "adapter_parameters": work.source.layout.size,
        "target_rows": int(work.usable.sum()),
        "subtasks": len(work.target.subtasks),
        "excluded_target_rows": work.target.excluded + int((~work.usable).sum()),
        "distinct_rows": len(work.pool),
    }
    return {name: np.array([value]) for name, value in values.items()}
