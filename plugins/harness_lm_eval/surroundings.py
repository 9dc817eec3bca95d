"""Global state that lm-eval changes, put back afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from harness.randomness import seeded
from harness_lm_eval.bars import Track, lm_evals_bars

if TYPE_CHECKING:
    from torch import nn

_SEED = 0


@contextmanager
def undisturbed(track: Track | None = None) -> Iterator[None]:
    """No log lines, the same seeds every time; everything is as before on the way out.

    track: what shows lm-eval's loops, such as `StageContext.track`; nothing does without it.

    A task may shuffle its documents or choices while it is loaded. With one seed for all runs
    they are the same documents, so that runs can be paired.

    Python's, NumPy's and torch's generators, the environment, the log level of `lm_eval` and the
    progress bars of `datasets` are restored.
    """
    import datasets

    environment = dict(os.environ)
    logger = logging.getLogger("lm_eval")
    level = logger.level
    bars = not datasets.are_progress_bars_disabled()
    try:
        with ExitStack() as stack:
            stack.enter_context(seeded(_SEED))
            logger.setLevel(logging.ERROR)
            datasets.disable_progress_bars()
            stack.enter_context(lm_evals_bars(track))
            yield
    finally:
        logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
        _restore(environment)


def _restore(environment: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)


@contextmanager
def same_modes(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; each module's own training mode comes back after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
