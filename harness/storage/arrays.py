"""The cache of arrays that stages share, with their seconds charged to every user."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from harness.context import Arrays
from harness.data.array_files import serialised
from harness.errors import ComputedElsewhere
from harness.fingerprint import stage_key
from harness.storage.atomic import atomic_folder, pretty_json
from harness.storage.store import Store

_ARRAYS_FORMAT = 2
"""Raised when shared arrays that lie in stores are not to be found again: of the first format, some
were written with other numbers than they had."""


@dataclass
class StoredArrays:
    """Arrays that stages share; each is computed once, and its time is charged to every user.

    A method must not look cheap because another one computed its embeddings first, so the
    seconds of every array that was found instead of computed are added up in `found_seconds`,
    once however often the stage asks. Nor may it look dear because it had to wait for the other
    one: that is added up in `waited_seconds`.

    patient: waits for an array that another process is computing, or raises ComputedElsewhere.
    """

    store: Store
    patient: bool = True
    found_seconds: float = field(default=0.0)
    waited_seconds: float = field(default=0.0)
    charged: set[str] = field(default_factory=set)

    @property
    def extra_seconds(self) -> float:
        """What the stage is to be charged besides the time that went by, which may be less."""
        return self.found_seconds - self.waited_seconds

    def arrays(self, name: str, inputs: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """See `harness.context.ArrayCache`."""
        from safetensors.numpy import load_file

        key = stage_key(f"arrays:{name}", {**inputs, "format": _ARRAYS_FORMAT})
        folder = self.store.artifacts / "arrays" / key
        asked = time.monotonic()
        with self._lock(f"arrays-{key}"):
            self.waited_seconds += time.monotonic() - asked
            if folder.is_dir():
                meta = json.loads((folder / "meta.json").read_bytes())
                self.found_seconds += 0.0 if key in self.charged else meta["seconds"]
                self.charged.add(key)
                return load_file(folder / "arrays.safetensors")
            extra_before = self.extra_seconds
            started = time.monotonic()
            arrays = dict(compute())
            seconds = time.monotonic() - started + self.extra_seconds - extra_before
            self.charged.add(key)
            with atomic_folder(folder) as partial:
                (partial / "arrays.safetensors").write_bytes(serialised(arrays))
                meta = {"name": name, "inputs": dict(inputs), "seconds": seconds}
                (partial / "meta.json").write_bytes(pretty_json(meta))
            return arrays

    def _lock(self, key: str) -> AbstractContextManager[Any]:
        from filelock import Timeout

        lock = self.store.lock(key)
        if self.patient:
            return lock
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            raise ComputedElsewhere(key) from None
