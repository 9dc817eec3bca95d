"""The stages of DiLM: language modelling, gradient matching, generation with selection."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from harness.budget import Budget
from harness.context import StageContext
from harness.errors import HarnessError
from harness.kit.embedding import proxy_inputs, proxy_student
from harness.kit.files.named_arrays import prefixed, without_prefix
from harness.kit.files.resume_point import ResumePoint, computed_in_steps
from harness.kit.language.student import proxy_lm_inputs
from harness.kit.text.classifier import TextClassifier
from harness.kit.training.batching import EncodedRows
from harness.randomness import derive_seed
from harness.types import LABEL_COLUMN, DistilledData, TaskData
from harness_dilm.generator.language_modelling import score, train_language_model
from harness_dilm.generator.model import Generator, build_generator
from harness_dilm.generator.names import names_student
from harness_dilm.generator.synthesis import SyntheticRows, synthesise
from harness_dilm.matching.gradient_matching import GradientMatching
from harness_dilm.matching.learner import LEARNER_VERSION
from harness_dilm.options import LanguageModelOptions, MatchingOptions, Selection
from harness_dilm.report import Report, report_language_model, report_matching, report_samples
from harness_dilm.selection import by_herding, by_kmeans, by_rank, first_of_each

ONE_SEED = derive_seed("dilm generator")
LENGTH_QUANTILE = 0.99
TOP_UPS = 10
STAGE_ONE_OPTIONS = (
    "tiny_layers",
    "tiny_width",
    "tiny_heads",
    "tiny_vocabulary",
    "tiny_dropout",
    "max_length",
    "dtype",
    "lm_steps",
    "lm_batch_size",
    "lm_learning_rate",
    "lm_warmup",
    "weight_decay",
    "clip_norm",
    "normalise",
    "class_start",
)
"""The options that the trained language model depends on, besides `generator`."""
SELECTION_OPTIONS = ("over_sample", "selection", "one_generator")
"""The options that no trained generator depends on."""


@dataclass(frozen=True)
class TrainedGenerator:
    """What stage 1 leaves.

    sequences: the train rows as the generator reads them; max_new_tokens: of a sample.
    """

    generator: Generator
    sequences: EncodedRows
    max_new_tokens: int
    report: Report


def model_language(
    options: LanguageModelOptions, task: TaskData, context: StageContext
) -> TrainedGenerator:
    """Stage 1: the generator learns to write the train rows behind their class tokens.

    The result is shared through the context's cache by all stages with the same seed, data and
    stage-1 options, whatever their budget, and kept in the stage's folder.
    """
    context = _training_context(options, context)
    generator = build_generator(options, task, context)
    sequences = generator.format.encode(task.train, generator.max_length)

    def compute(resume_point: ResumePoint) -> Mapping[str, np.ndarray]:
        losses = train_language_model(generator, sequences, options, context, resume_point)
        return {"losses": losses, **prefixed("model", generator.parameters())}

    inputs = stage_one_inputs(options, generator, sequences, context)
    path = context.workdir / "language-model.safetensors"
    arrays = context.cache.arrays(
        "dilm-lm", inputs, lambda: computed_in_steps(path, inputs, compute)
    )
    generator.load_parameters(without_prefix("model", arrays))
    context.keep_curve("language model loss", arrays["losses"])
    return TrainedGenerator(
        generator=generator,
        sequences=sequences,
        max_new_tokens=options.max_new_tokens or longest_sample(sequences, generator.format.given),
        report=report_language_model(np.asarray(arrays["losses"])),
    )


def match_gradients(
    language_model: TrainedGenerator,
    options: MatchingOptions,
    task: TaskData,
    context: StageContext,
) -> TrainedGenerator:
    """Stage 2: the generator's weights after matching.

    Shared like those of stage 1, and kept in the stage's folder.
    """
    generator = language_model.generator
    context = _training_context(options, context)

    def compute(resume_point: ResumePoint) -> Mapping[str, np.ndarray]:
        matching = GradientMatching(
            generator,
            proxy_classifier(options, task, context, options.learner_max_length),
            task,
            language_model.sequences,
            language_model.max_new_tokens,
            options,
            context,
        )
        trace = matching.run(resume_point)
        return {**prefixed("trace", trace.arrays()), **prefixed("model", generator.parameters())}

    inputs = {
        "language_model": stage_one_inputs(options, generator, language_model.sequences, context),
        "proxy": proxy_inputs(task, options.proxy, context),
        "learner_version": LEARNER_VERSION,
        **{name: getattr(options, name) for name in stage_two_options()},
    }
    path = context.workdir / "matched-generator.safetensors"
    arrays = context.cache.arrays(
        "dilm-matched", inputs, lambda: computed_in_steps(path, inputs, compute)
    )
    generator.load_parameters(without_prefix("model", arrays))
    trace = without_prefix("trace", arrays)
    context.keep_curve("gradient similarity", trace["similarity"])
    matched = report_matching(trace, options.inner_steps, options.learner_steps_between)
    return TrainedGenerator(
        generator=generator,
        sequences=language_model.sequences,
        max_new_tokens=language_model.max_new_tokens,
        report={**language_model.report, **matched},
    )


def stage_one_inputs(
    options: LanguageModelOptions,
    generator: Generator,
    sequences: EncodedRows,
    context: StageContext,
) -> dict[str, Any]:
    """All that the trained language model depends on."""
    student = options.generator if names_student(options.generator) else ""
    return {
        "seed": context.seed,
        "device": generator.device.type,
        "generator": proxy_lm_inputs(student, context) if student else options.fingerprint(),
        "rows": sequences_hash(sequences),
        **{name: getattr(options, name) for name in STAGE_ONE_OPTIONS},
    }


def stage_two_options() -> list[str]:
    """The options that matching depends on, besides those of stage 1."""
    names = {field.name for field in fields(MatchingOptions)}
    return sorted(names - {*STAGE_ONE_OPTIONS, *SELECTION_OPTIONS, "generator", "proxy"})


def choose_rows(
    language_model: TrainedGenerator,
    options: LanguageModelOptions,
    task: TaskData,
    budget: Budget,
    context: StageContext,
) -> DistilledData:
    """Stage 3: `over_sample` times too many rows, and the best of each class among them."""
    shares = budget.per_class(task.class_counts())
    pool = generate_candidates(language_model, options, shares, context)
    kept = select(language_model.generator, pool, shares, options, task, context)
    samples = report_samples(language_model.generator, pool, kept, task)
    features = task.train.select_columns([*task.input_columns, LABEL_COLUMN]).features
    return DistilledData(
        rows=pool.dataset(kept, features),
        report={**language_model.report, **samples},
    )


def generate_candidates(
    language_model: TrainedGenerator,
    options: LanguageModelOptions,
    shares: Sequence[int],
    context: StageContext,
) -> SyntheticRows:
    """`over_sample` rows for each one to keep, and more where too few of them are distinct.

    Raises:
        HarnessError: the generator repeats itself, so that a class stays short of rows.
    """
    wanted = [options.over_sample * share for share in shares]
    pool: SyntheticRows | None = None
    for attempt in range(TOP_UPS + 1):
        more = synthesise(
            language_model.generator,
            wanted,
            language_model.max_new_tokens,
            options,
            context,
            "candidates",
            attempt,
        )
        pool = more if pool is None else pool.joined(more)
        labels = pool.labels[first_of_each(pool.fields)]
        found = np.bincount(labels, minlength=len(shares))
        wanted = [max(0, share - int(n)) for share, n in zip(shares, found, strict=True)]
        if not any(wanted):
            return pool
    raise HarnessError(
        f"the generator repeats itself: after {len(pool or ())} samples,"
        f" {sum(wanted)} rows are still missing for {sum(shares)} distinct ones",
        hint="Train it less (lm_steps), widen the nucleus (top_p), or lower the budget.",
    )


def select(
    generator: Generator,
    pool: SyntheticRows,
    shares: Sequence[int],
    options: LanguageModelOptions,
    task: TaskData,
    context: StageContext,
) -> np.ndarray:
    """Positions of `shares[c]` rows of each class, classes in order, no two texts equal."""
    distinct = first_of_each(pool.fields)
    candidates = pool.take(distinct)
    values = selection_values(generator, candidates, options, task, context)
    chosen = []
    for label, share in enumerate(shares):
        own = candidates.of_class(label)
        if share:
            places = _choose(options.selection, values[own], share, label, context)
            chosen.append(distinct[own[places]])
    return np.concatenate(chosen)


def selection_values(
    generator: Generator,
    candidates: SyntheticRows,
    options: LanguageModelOptions,
    task: TaskData,
    context: StageContext,
) -> np.ndarray:
    """What the choice looks at: embeddings [n, d], losses [n], or nothing for `random`."""
    if options.selection == "random":
        return np.zeros(len(candidates))
    if options.selection == "lm-loss":
        return score(generator, candidates.sequences, options.normalise)
    rows = candidates.dataset(range(len(candidates)))
    return proxy_classifier(options, task, context).embed(rows, options.embedding, context)


def _choose(
    selection: Selection, values: np.ndarray, count: int, label: int, context: StageContext
) -> np.ndarray:
    match selection:
        case "k-means":
            return by_kmeans(values, count, context.torch_generator("selection", label))
        case "herding":
            return by_herding(values, count)
        case "lm-loss":
            return by_rank(values, count)
        case "random":
            rng = context.numpy_generator("selection", label)
            return rng.choice(len(values), count, replace=False)


def proxy_classifier(
    options: LanguageModelOptions, task: TaskData, context: StageContext, max_length: int = 512
) -> TextClassifier:
    """The proxy student, fresh.

    Raises:
        UsageError: no proxy is named, or it is no text classifier.
    """
    return proxy_student(options.proxy, context).build(task, context, max_length=max_length)


def _training_context(options: LanguageModelOptions, context: StageContext) -> StageContext:
    """The seed that the generator is trained from."""
    return replace(context, seed=ONE_SEED) if options.one_generator else context


def longest_sample(sequences: EncodedRows, given: int = 1) -> int:
    """The tokens after the `given` ones that suffice for 99 % of the train rows."""
    return int(np.quantile(sequences.lengths - given, LENGTH_QUANTILE, method="higher"))


def sequences_hash(sequences: EncodedRows) -> str:
    """A hash of all rows, labels included."""
    digest = hashlib.sha256(sequences.lengths.tobytes())
    digest.update(np.concatenate(sequences.ids).astype("<i8").tobytes())
    return digest.hexdigest()
