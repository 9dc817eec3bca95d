"""lm-eval's progress bars, shown by the stage's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from harness.context import SilentProgress

Track = Callable[..., Iterator[Any]]
"""`StageContext.track`."""

_NAMES = {
    "": "writing prompts",
    "Tokenizing inputs": "tokenising",
    "Running loglikelihood requests": "scoring",
    "Running generate_until requests": "generating",
}


class Bar:
    """What lm-eval uses of `tqdm`: something to iterate over, or to be told of each step."""

    def __init__(
        self,
        track: Track,
        items: Iterable[Any] | None = None,
        *,
        total: int | None = None,
        desc: str = "",
        disable: bool = False,
    ) -> None:
        del disable
        steps = range(total or 0) if items is None else items
        name = _NAMES.get(desc, desc)
        self._steps = track(steps, name, total)
        if items is None:
            self.update()

    def __iter__(self) -> Iterator[Any]:
        return self._steps

    def update(self, count: int = 1) -> None:
        for _ in range(count):
            next(self._steps, None)

    def close(self) -> None:
        # One step more than there are ends what tracks them.
        self.update()


@contextmanager
def lm_evals_bars(track: Track | None) -> Iterator[None]:
    """Inside, lm-eval's loops over documents and requests are shown by `track`, or by nothing."""
    import lm_eval.api.model
    import lm_eval.api.task
    import lm_eval.models.huggingface

    modules = (lm_eval.api.task, lm_eval.api.model, lm_eval.models.huggingface)
    before = [module.tqdm for module in modules]
    for module in modules:
        module.tqdm = partial(Bar, track or SilentProgress().track)
    try:
        yield
    finally:
        for module, bar in zip(modules, before, strict=True):
            module.tqdm = bar
