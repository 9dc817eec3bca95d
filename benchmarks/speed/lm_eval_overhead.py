"""Times lm-eval through the harness and called alone: one model, the same questions, one run.

Runs alternate, so that other work on the machine falls on both, and processor seconds are compared
because they are disturbed less. The log-likelihoods are lm-eval's own either way; what the harness
adds is copying the tokenizer, checking every value, and keeping outcomes:

    python benchmarks/speed/lm_eval_overhead.py
    python benchmarks/speed/lm_eval_overhead.py --rows 1000 --width 512
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.context import StageContext
from harness.kit.language.causal_lm import CausalLM
from harness.types import DataSource, StudentInfo, TaskData
from harness_lm_eval.evaluator import LmEval

BATCH = 32
METRICS = ("acc", "acc_norm", "acc_bytes")
_WORDS = ("what", "is", "the", "colour", "of", "grass", "snow", "green", "white", "answer", "long")

Results = dict[str, float]


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    lm, task = _model(options.layers, options.width), _task(options.rows)
    contenders: dict[str, Callable[[CausalLM, TaskData], Results]] = {
        "lm-eval alone": alone,
        "harness": through_harness,
    }
    for run in contenders.values():
        run(lm, _task(8))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, Results] = {}
    for turn in range(options.repeats):
        names = list(contenders) if turn % 2 == 0 else list(reversed(contenders))
        for name in names:
            begin = time.process_time()
            found[name] = contenders[name](lm, task)
            seconds[name].append(time.process_time() - begin)
            print(f"{name}: {seconds[name][-1]:.2f} CPU s", file=sys.stderr)
    print(_table(seconds, found))


def alone(lm: CausalLM, task: TaskData) -> Results:
    """As a user of lm-eval would write it, with its own defaults but for the bars."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    rows = task.test
    config: dict[str, Any] = {
        "task": "questions",
        "custom_dataset": lambda **_: {"test": rows},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "prompt",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in METRICS
        ],
    }
    # lm-eval gives the tokenizer a pad token, and a later run should find none either.
    tokenizer = copy.deepcopy(lm.tokenizer)
    results = evaluate(
        lm=HFLM(pretrained=lm.model, tokenizer=tokenizer, batch_size=BATCH),
        task_dict=TaskManager(include_defaults=False).load([config]),
        bootstrap_iters=0,
        log_samples=True,
    )
    return {metric: results["results"]["questions"][f"{metric},none"] for metric in METRICS}


def through_harness(lm: CausalLM, task: TaskData) -> Results:
    with tempfile.TemporaryDirectory() as folder:
        context = StageContext(seed=0, workdir=Path(folder))
        return dict(LmEval(batch_size=BATCH).evaluate(lm, task, "test", context).metrics)


def _model(layers: int, width: int) -> CausalLM:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate(["<s>", "</s>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary), hidden_size=width, intermediate_size=2 * width,
            num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=4,
            max_position_embeddings=256, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    return CausalLM(model, fast, StudentInfo("llama", "", "random", 0), torch.device("cpu"))


def _task(rows: int) -> TaskData:
    draw = random.Random(0)
    texts = [[" ".join(draw.choices(_WORDS, k=draw.randint(1, 5))) for _ in range(4)]
             for _ in range(rows)]  # fmt: skip
    answers = [draw.randrange(4) for _ in range(rows)]
    questions = [" ".join(draw.choices(_WORDS, k=draw.randint(3, 12))) for _ in range(rows)]
    table = Dataset.from_dict(
        {
            "prompt": [f"Question {n}: {text}?\nAnswer: " for n, text in enumerate(questions)],
            "completion": [choices[a] for choices, a in zip(texts, answers, strict=True)],
            "choices": texts,
            "answer": answers,
        }
    )
    return TaskData(
        name="questions", modality="instruction", version=1, metric="acc_norm",
        input_columns=("prompt", "completion"), label_names=(),
        splits={"train": table.select_columns(["prompt", "completion"]), "validation": table,
                "test": table},
        source=DataSource("package", "this script"), scoring_columns=("choices", "answer"),
    )  # fmt: skip


def _table(seconds: dict[str, list[float]], found: dict[str, Results]) -> str:
    least = {name: min(values) for name, values in seconds.items()}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    lines = ["| | CPU s, median | least | acc | acc_norm |", "| --- | --: | --: | --: | --: |"]
    lines += [
        f"| {name} | {medians[name]:.2f} | {least[name]:.2f} | {found[name]['acc']!r} |"
        f" {found[name]['acc_norm']!r} |"
        for name in seconds
    ]
    first, second = seconds
    extra = [100 * (of[second] / of[first] - 1) for of in (medians, least)]
    same = "equal" if found[first] == found[second] else "DIFFERENT"
    lines.append(f"harness over lm-eval: {extra[0]:+.1f} % by median, {extra[1]:+.1f} % by least;"
                 f" results {same}")  # fmt: skip
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
