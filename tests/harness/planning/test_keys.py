"""Stage keys stay what they are: by them, results that were published are found again."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.planning.request import Request
from stage_keys import stage_keys

GOLDEN = Path(__file__).parent / "golden_keys"
TEXT = (
    "random", "full", "k-center", "k-means", "herding", "facility-location", "el2n", "forgetting",
    "moderate", "dilm", "vanilla-lm", "trajectory", "trajectory-vectors", "tdd", "tdd-tokens",
)  # fmt: skip
CLIP = (
    "base", "clip-contrastive", "clip-distill", "clip-kd", "clip-reinforce", "clip-score",
    "lightclip", "teacher", "tinyclip",
)  # fmt: skip


@pytest.mark.parametrize("pool", ["0.8", "1"])
@pytest.mark.parametrize(("suite", "methods"), [("quickstart", TEXT), ("quickstart-clip", CLIP)])
def test_every_key_of_a_quickstart_is_the_one_it_was(
    suite: str, methods: tuple[str, ...], pool: str, tmp_path: Path
) -> None:
    """A key that changes makes every record of it a stranger: raise a version, or find out why.

    Where the change is meant, write the file anew with what `stage_keys` gives.
    """
    request = Request(
        suite, distillers=methods, seeds=[0], data_dir=tmp_path, settings=[f"seeds.pool={pool}"]
    )
    found = list(stage_keys(request))
    assert found == (GOLDEN / f"{suite}-pool-{pool}.txt").read_text(encoding="utf-8").splitlines()
