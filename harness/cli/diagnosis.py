"""The checks of `harness doctor`: packages, device, plugins and the data of each task."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.context import Progress, SilentProgress
from harness.errors import HarnessError, MissingDependencyError
from harness.machine.device import resolve_device
from harness.machine.provenance import PACKAGES
from harness.plugins import PluginHost
from harness.registry.components import resolve


@dataclass(frozen=True)
class Check:
    """One check. `missing` is something optional that is not here; `broken` needs mending."""

    check: str
    state: Literal["ok", "missing", "broken"]
    detail: str


def diagnose(
    host: PluginHost, data_dir: Path | None, progress: Progress | None = None
) -> list[Check]:
    """Runs every check; none of them reaches the network. Tasks are loaded, which takes a while."""
    return [
        Check("python", "ok", platform.python_version()),
        *(_package(name) for name in PACKAGES),
        _device(),
        _torchvision(),
        *(Check(f"plugin {b.name}", "broken", f"{b.reason}. {b.hint}") for b in host.broken),
        *_tasks(host, data_dir, progress or SilentProgress()),
    ]


def _package(name: str) -> Check:
    try:
        return Check(f"package {name}", "ok", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(f"package {name}", "broken", f"not installed: pip install {name}")


def _device() -> Check:
    import torch

    detail = f"{resolve_device('auto')}, {torch.get_num_threads()} threads"
    return Check("device", "ok", detail)


def _torchvision() -> Check:
    """Whether torchvision was made for this torch; one that was not fails when it is imported."""
    import torch

    try:
        version = importlib.import_module("torchvision").__version__
    except ImportError as error:
        return Check("torchvision", "broken", f"{error}: pip install torchvision")
    except Exception as error:
        reason = str(error).partition("\n")[0]
        return Check(
            "torchvision",
            "broken",
            f"{importlib.metadata.version('torchvision')} does not fit torch {torch.__version__}"
            f" ({reason}). Install both from one place, in one command:"
            " pip install --force-reinstall torch torchvision",
        )
    return Check("torchvision", "ok", f"{version}, fits torch {torch.__version__}")


def _tasks(host: PluginHost, data_dir: Path | None, progress: Progress) -> list[Check]:
    from harness.data.sources import DataLocator

    locator = DataLocator.from_environment(data_dir).without_hub()
    findings = []
    named = [task for task in host.registry.of("task").values() if not task.argument]
    for component in progress.track(named, "tasks"):
        try:
            data = resolve(component, "", {}).instance.load(locator)
        except MissingDependencyError as error:
            findings.append(Check(f"task {component.name}", "missing", error.message))
        except HarnessError as error:
            findings.append(Check(f"task {component.name}", "broken", error.message))
        else:
            rows = ", ".join(f"{split} {len(rows)}" for split, rows in data.splits.items())
            findings.append(Check(f"task {component.name}", "ok", f"{data.source.kind}: {rows}"))
    return findings
