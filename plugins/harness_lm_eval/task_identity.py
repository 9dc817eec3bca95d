"""The identity of a named lm-eval task: a hash of what can change a score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_PLACES = ("dataset_path", "dataset_kwargs", "custom_dataset")


def identity_of(tasks: Mapping[str, Any]) -> str:
    """A hash of the tasks' settings, functions, and documents, wherever the YAML lies.

    Functions count by their source, and so do the Python files next to a YAML.
    """
    state = hashlib.sha256()
    for name, task in sorted(tasks.items()):
        # Where the documents lie is left out: they count by their content.
        config = {k: v for k, v in task.dump_config().items() if k not in _PLACES}
        metadata = dict(config.pop("metadata", None) or {})
        source = Path(str(metadata.pop("config_source", "")))
        state.update(_encoded([name, str(task.VERSION), config, metadata]))
        if source.is_file():
            for module in sorted(source.parent.glob("*.py")):
                state.update(module.read_bytes())
        _add_all(state, task.eval_docs)
        if task.get_config("num_fewshot"):
            _add_all(state, task.fewshot_docs())
    return state.hexdigest()


def _add_all(state: hashlib._Hash, documents: Iterable[Any]) -> None:
    for document in documents:
        encoded = _encoded(document)
        state.update(len(encoded).to_bytes(8, "big"))
        state.update(encoded)


def _encoded(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain).encode()


def _plain(value: Any) -> str:
    """What stands for a value that JSON has no form for: no text with an address in memory."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    return str(value)
