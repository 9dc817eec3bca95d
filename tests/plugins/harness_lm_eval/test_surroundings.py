"""Nothing is left changed behind an evaluation: generators, modes, settings, bars, weights."""

from __future__ import annotations

import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from causal_models import byte_tokenizer, make_lm
from harness.context import SilentProgress
from harness.testing.instruction import toy_instruction_task
from harness.testing.text import toy_context
from harness_lm_eval.evaluator import LmEval
from harness_lm_eval.surroundings import undisturbed

WriteTask = Callable[..., Path]


def states() -> tuple[object, ...]:
    name, keys, *rest = np.random.get_state()
    return (random.getstate(), torch.get_rng_state().tolist(), name, keys.tolist(), rest)


@pytest.mark.parametrize("own", [True, False])
def test_the_global_generators_go_on_as_if_nothing_had_been(
    own: bool, write_task: WriteTask, tmp_path: Path
) -> None:
    evaluator = LmEval(num_fewshot=1) if own else LmEval(task=str(write_task()), num_fewshot=1)
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = states()
    evaluator.evaluate(make_lm(), toy_instruction_task(), "test", toy_context(tmp_path))
    assert states() == before
    evaluator.fingerprint()
    assert states() == before


def test_each_module_keeps_its_mode_and_dropout_is_off(tmp_path: Path) -> None:
    lm, task = make_lm("gpt2"), toy_instruction_task()
    for module in lm.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    quiet = LmEval().evaluate(lm, task, "test", toy_context(tmp_path))
    lm.model.train()
    lm.model.lm_head.eval()
    modes = [module.training for module in lm.model.modules()]
    for _ in range(2):
        score = LmEval().evaluate(lm, task, "test", toy_context(tmp_path))
        assert score.metrics == quiet.metrics
        assert score.items["prediction"].tolist() == quiet.items["prediction"].tolist()
    assert [module.training for module in lm.model.modules()] == modes
    assert len(set(modes)) == 2


def test_tokenizer_and_weights_stay_as_they_were(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    assert tokenizer.pad_token is None
    lm = make_lm(tokenizer=tokenizer)
    weights = {name: w.clone() for name, w in lm.model.state_dict().items()}
    devices = {w.device for w in lm.model.parameters()}
    LmEval().evaluate(lm, toy_instruction_task(), "test", toy_context(tmp_path))
    assert tokenizer.pad_token is None
    assert lm.model.config.pad_token_id is None
    after = lm.model.state_dict()
    assert all(torch.equal(after[name], w) for name, w in weights.items())
    assert {w.device for w in lm.model.parameters()} == devices


def test_nothing_is_drawn_or_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], write_task: WriteTask
) -> None:
    for evaluator in (LmEval(), LmEval(task=str(write_task()))):
        evaluator.evaluate(make_lm(), toy_instruction_task(), "test", toy_context(tmp_path))
    assert capfd.readouterr() == ("", "")


class Listening(SilentProgress):
    """Writes down how many items of what it was told to expect came by."""

    def __init__(self) -> None:
        self.seen: dict[str, list[int | None]] = {}

    def track(self, items: Iterable[Any], description: str, total: int | None = None) -> Any:
        entry = self.seen.setdefault(description, [total, 0])
        for item in items:
            yield item
            entry[1] = (entry[1] or 0) + 1
        entry.append(-1)


def test_scoring_is_shown_request_by_request_until_it_ends(tmp_path: Path) -> None:
    listening, task = Listening(), toy_instruction_task()
    context = replace(toy_context(tmp_path), progress=listening)
    LmEval().evaluate(make_lm(), task, "test", context)
    requests = sum(map(len, task.test["choices"]))
    assert listening.seen["scoring"] == [requests, requests, -1]
    assert listening.seen["writing prompts"][1] == len(task.test)


def test_texts_are_shown_as_they_are_written(tmp_path: Path, write_task: WriteTask) -> None:
    listening = Listening()
    context = replace(toy_context(tmp_path), progress=listening)
    path = write_task(
        output_type="generate_until",
        test_rows=4,
        doc_to_target="{{choices[label]}}",
        doc_to_choice=None,
        generation_kwargs={"max_gen_toks": 2, "until": ["\n"], "do_sample": False},
        metric_list=[{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    )
    LmEval(task=str(path)).evaluate(make_lm(), toy_instruction_task(), "test", context)
    assert listening.seen["generating"] == [4, 4, -1]


def test_settings_come_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import lm_eval.api.task as task_module

    monkeypatch.setenv("KEPT", "before")
    import lm_eval.models.huggingface as model_module

    logger, bars = logging.getLogger("lm_eval"), (task_module.tqdm, model_module.tqdm)
    level = logger.level
    datasets.enable_progress_bars()

    def fail() -> None:
        with undisturbed():
            os.environ["KEPT"] = "changed"
            os.environ["ADDED_INSIDE"] = "1"
            assert datasets.are_progress_bars_disabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.environ["KEPT"] == "before"
    assert "ADDED_INSIDE" not in os.environ
    assert logger.level == level
    assert (task_module.tqdm, model_module.tqdm) == bars
    assert not datasets.are_progress_bars_disabled()


def test_its_own_questions_need_neither_index_nor_network() -> None:
    """In a process of its own: no file of lm-eval's index is read, no socket is opened."""
    code = (
        "import sys, tempfile\n"
        "from pathlib import Path\n"
        "def audit(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo'): raise SystemExit(event)\n"
        "    if event == 'open' and str(args[0]).endswith('.yaml'): raise SystemExit(str(args))\n"
        "sys.addaudithook(audit)\n"
        "from causal_models import make_lm\n"
        "from harness.testing.text import toy_context\n"
        "from harness.testing.instruction import toy_instruction_task\n"
        "from harness_lm_eval.evaluator import LmEval\n"
        "context = toy_context(Path(tempfile.mkdtemp()))\n"
        "print(LmEval().evaluate(make_lm(), toy_instruction_task(), 'test', context).value)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 0 <= float(done.stdout) <= 1
