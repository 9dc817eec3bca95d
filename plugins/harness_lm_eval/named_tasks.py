"""lm-eval's own tasks, by name or as YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, MissingDependencyError, UsageError, did_you_mean

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

TaskDict = dict[str, Any]
"""What `TaskManager.load` returns: `tasks`, `groups` and `group_map`, by name."""
_ENDINGS = (".yaml", ".yml")


def load_named(text: str) -> TaskDict:
    """The task or group that a name, a YAML file or a folder with one stands for, with its data.

    Only a name makes lm-eval read the index of all its files, once in a process.

    Raises:
        UsageError: there is no such task, its YAML is broken, or it cannot run here.
        MissingDependencyError: its data is neither here nor to be had.
    """
    manager, spec = _of_path(text) if _is_path(text) else _of_name(text)
    try:
        loaded: TaskDict = manager.load([spec])
    except HarnessError:
        raise
    except Exception as error:
        raise _load_error(text, error) from error
    if not loaded["tasks"]:
        raise UsageError(f"lm-eval task '{text}' holds no task")
    if not loaded["groups"] and len(loaded["tasks"]) > 1:
        names = ", ".join(sorted(loaded["tasks"]))
        raise UsageError(
            f"'{text}' is a tag of several lm-eval tasks, which have no score in common",
            hint=f"Name one of them: {names}.",
        )
    for name, task in loaded["tasks"].items():
        _require_runnable(name, task)
    return loaded


def score_validation(name: str, task: Any) -> None:
    """Makes a task score its validation split instead of its test split.

    Raises:
        UsageError: it has only one of them, so lm-eval reports the one that it has.
    """
    from lm_eval.api.task import ConfigurableTask

    # A class of its own may take its documents from elsewhere than its settings say.
    follows_settings = type(task) is ConfigurableTask
    if not (follows_settings and task.has_test_docs() and task.has_validation_docs()):
        raise UsageError(
            f"lm-eval task '{name}' has no validation split besides the one it reports, so"
            " nothing can be chosen on it",
            hint="Give one learning rate (recipe.learning_rate), or put another evaluator first.",
        )
    task.set_config("test_split", task.get_config("validation_split"))


def set_examples(name: str, task: Any, asked: int | None, seed: int) -> None:
    """Sets how many examples stand in front of a question, and the seed that draws them.

    asked: None for the task's own number.

    Raises:
        UsageError: the task's YAML forbids them, there are too few, or a question could be an
            example of itself.
    """
    own = task.get_config("num_fewshot")
    if asked is not None and own == 0 and asked:
        raise UsageError(
            f"lm-eval task '{name}' fixes num_fewshot at 0, which lm-eval does not override",
            hint="Leave num_fewshot out, or take a copy of its YAML without that line.",
        )
    count = asked if asked is not None else (own or 0)
    task.set_config("num_fewshot", count)
    task.set_fewshot_seed(seed)
    if count and hasattr(task, "fewshot_cfg"):
        _require_examples(name, task, count)


def _require_examples(name: str, task: Any, count: int) -> None:
    scored = task.get_config("test_split") or task.get_config("validation_split")
    named = task.fewshot_cfg.split
    if named is None and task.fewshot_cfg.samples is None:
        source = task.get_config("training_split") or task.get_config("validation_split") or scored
        if source == scored:
            raise UsageError(
                f"lm-eval task '{name}' names no fewshot_split, so a question could be an example"
                " of itself, with its answer",
                hint=f"Add `fewshot_split: {scored}` or another split to its YAML.",
            )
    # Where examples are drawn from what is scored, the question itself is not one of them.
    there = len(task.sampler.df) - (named is not None and named == scored)
    if count > there:
        raise UsageError(f"num_fewshot = {count}, but lm-eval task '{name}' has {there} examples")


def _is_path(text: str) -> bool:
    return "/" in text or "\\" in text or text.endswith(_ENDINGS)


def _of_name(name: str) -> tuple[TaskManager, str]:
    manager = _all_tasks()
    if name not in manager.task_index:
        raise UsageError(
            f"lm-eval has no task '{name}'",
            hint=did_you_mean(name, manager.all_tasks)
            if _has_close(name, manager.all_tasks)
            else "`lm-eval ls tasks` lists them all; a path has a slash: lm-eval:./my-task.yaml",
        )
    return manager, name


def _has_close(name: str, known: list[str]) -> bool:
    return did_you_mean(name, known).startswith("Did you mean")


@lru_cache(maxsize=1)
def _all_tasks() -> TaskManager:
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _of_path(text: str) -> tuple[TaskManager, str]:
    from lm_eval.tasks import TaskManager

    path = Path(text).expanduser()
    if not path.exists():
        raise UsageError(f"there is no YAML file or folder '{text}'")
    if path.is_dir():
        path = _only_task(path)
    settings = _settings(path)
    if not _is_described(settings):
        raise UsageError(f"'{path}' describes no lm-eval task: it has neither `task` nor `group`")
    if "group" not in settings:
        return TaskManager(include_defaults=False), str(path)
    # lm-eval loads groups by name alone; their members are looked for in the same folder.
    around = TaskManager(include_defaults=False, include_path=str(path.parent))
    return around, str(settings["group"])


def _only_task(folder: Path) -> Path:
    described = [path for path in _yaml_files(folder) if _is_described(_settings(path))]
    if len(described) == 1:
        return described[0]
    if not described:
        raise UsageError(f"folder '{folder}' holds no YAML file with an lm-eval task")
    raise UsageError(
        f"folder '{folder}' holds {len(described)} lm-eval tasks",
        hint=f"Name one of them: {', '.join(str(path) for path in described)}.",
    )


def _yaml_files(folder: Path) -> Iterator[Path]:
    yield from sorted(p for p in folder.iterdir() if p.suffix in _ENDINGS and p.is_file())


def _is_described(settings: Mapping[str, Any]) -> bool:
    """Whether they are those of a task or group, not of a file that others include."""
    return "task" in settings or "group" in settings


def _settings(path: Path) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        return load_yaml(path, resolve_func=False)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"'{path}' is no YAML that lm-eval can read: {reason}") from error


def _require_runnable(name: str, task: Any) -> None:
    reason = ""
    if getattr(task, "UNSAFE_CODE", False):
        reason = "runs code that a model wrote"
    elif getattr(task, "MULTIMODAL", False):
        reason = "asks about images or sound"
    if reason:
        raise UsageError(f"lm-eval task '{name}' {reason}, and cannot be used here")


def _load_error(text: str, error: Exception) -> HarnessError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if any(_is_absence(cause) for cause in _causes(error)):
        return MissingDependencyError(
            f"lm-eval task '{text}' cannot read its data: {reason}",
            hint="Run once with the network and without HF_HUB_OFFLINE, so that the data is"
            " downloaded, or use a YAML file with local data.",
        )
    hint = "The split that it scores may be empty." if isinstance(error, IndexError) else ""
    return UsageError(f"lm-eval task '{text}' cannot be loaded: {reason}", hint=hint)


def _is_absence(error: BaseException) -> bool:
    """Whether it speaks of files or connections; httpx has errors of its own."""
    return isinstance(error, OSError) or type(error).__module__.startswith(("httpx", "httpcore"))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
