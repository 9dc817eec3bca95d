"""Device and threads of a run."""

from __future__ import annotations

from harness.errors import UsageError


def resolve_device(name: str) -> str:
    """A torch device string; `auto` takes the accelerator when there is one.

    Raises:
        UsageError: the device is unknown or not on this machine.
    """
    import torch

    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return str(found) if found is not None else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device '{name}' cannot be used: {reason}") from error
    return name


def set_threads(count: int) -> None:
    """Limits torch's threads inside one operation; 0 leaves torch's own choice.

    Raises:
        UsageError: the count is negative.
    """
    import torch

    if count < 0:
        raise UsageError(f"--threads cannot be negative, got {count}")
    if count:
        torch.set_num_threads(count)
