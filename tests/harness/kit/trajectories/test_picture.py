"""The picture of trajectories: a true projection, drawn with every trajectory and the loss."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.errors import UsageError
from harness.kit.trajectories.picture import (
    DrawnTrajectory,
    png_of,
    principal_plane,
    trajectory_picture,
)
from harness.records.pictures import check_picture


def walk(steps: int, size: int, seed: int) -> Tensor:
    moves = torch.randn(steps, size, generator=torch.Generator().manual_seed(seed))
    return torch.cat([torch.zeros(1, size), moves]).cumsum(0)


def drawn() -> list[DrawnTrajectory]:
    start = torch.zeros(1, 9)
    expert = torch.cat([start, start + torch.linspace(0.1, 1, 6)[:, None]])
    return [
        DrawnTrajectory("expert", "expert", expert),
        DrawnTrajectory("student on the first rows", "student", 0.3 * walk(4, 9, 1)),
        DrawnTrajectory(
            "student on the learned rows", "student", 0.8 * expert[::2] + 0.02 * walk(3, 9, 2)
        ),
    ]


LOSSES = list(enumerate(np.geomspace(0.9, 0.1, 40).tolist(), 1))


class TestPlane:
    def test_places_are_those_of_a_singular_value_decomposition(self) -> None:
        """More coordinates than one block."""
        states = walk(6, 70000, 0)
        plane = principal_plane(states)
        centred = (states - states.mean(0)).double().numpy()
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        for axis in range(2):
            expected = left[:, axis] * values[axis]
            np.testing.assert_allclose(
                plane.places[:, axis], expected * np.sign(expected[-1]), atol=1e-6 * values[0]
            )
        np.testing.assert_allclose(plane.shares, (values**2)[:2] / (values**2).sum(), rtol=1e-6)

    def test_what_lies_in_a_plane_keeps_all_its_distances(self) -> None:
        flat = walk(5, 2, 3)
        basis = torch.linalg.qr(torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))[0]
        places = torch.from_numpy(principal_plane(flat @ basis.T + 7).places)
        torch.testing.assert_close(
            torch.cdist(places, places), torch.cdist(flat, flat).double(), atol=1e-4, rtol=1e-4
        )

    def test_a_straight_line_has_one_component(self) -> None:
        line = torch.arange(5.0)[:, None] * torch.ones(1, 8)
        plane = principal_plane(line)
        assert plane.shares == pytest.approx((1, 0), abs=1e-9)
        assert (np.diff(plane.places[:, 0]) > 0).all()

    def test_states_that_cannot_be_placed_are_refused(self) -> None:
        for wrong in (torch.zeros(1, 3), torch.full((3, 3), torch.nan)):
            with pytest.raises(UsageError, match="two states or more, all finite"):
                principal_plane(wrong)

    def test_states_that_are_all_one_are_one_place(self) -> None:
        plane = principal_plane(torch.ones(3, 4))
        assert not plane.places.any()
        assert plane.shares == (0, 0)


class TestPicture:
    def test_it_carries_every_state_and_both_axes_have_one_scale(self) -> None:
        spec = trajectory_picture(drawn(), LOSSES)
        chart = spec["hconcat"][0]
        points = chart["data"]["values"]
        assert [sum(p["trajectory"] == each.name for p in points) for each in drawn()] == [7, 5, 4]
        assert sum(p["end"] for p in points) == 3
        widths = [
            np.subtract(*chart["layer"][0]["encoding"][axis]["scale"]["domain"][::-1])
            for axis in "xy"
        ]
        assert widths[0] == pytest.approx(widths[1])

    def test_losses_stand_at_their_steps(self) -> None:
        losses = [(1, 1.0), (3, 0.5)]
        values = trajectory_picture(drawn(), losses)["hconcat"][1]["layer"][1]["data"]["values"]
        assert [(p["step"], p["loss"]) for p in values] == [(1, 1), (3, 0.5)]

    @pytest.mark.parametrize(
        ("values", "scale"), [([1.0, 0.1], "log"), ([1.0, 0.0], "linear"), ([], "linear")]
    )
    def test_a_loss_of_zero_has_no_place_on_a_logarithmic_axis(
        self, values: Sequence[float], scale: str
    ) -> None:
        chart = trajectory_picture(drawn(), list(enumerate(values)))["hconcat"][1]["layer"][1]
        assert chart["encoding"]["y"]["scale"]["type"] == scale

    def test_it_is_drawn_with_every_name(self) -> None:
        convert = pytest.importorskip("vl_convert")
        spec = trajectory_picture(drawn(), LOSSES)
        png = png_of(spec)
        assert png is not None
        check_picture("trajectories", png)
        svg = convert.vegalite_to_svg(spec)
        for name in [
            *(each.name for each in drawn()),
            "matching loss",
            "first principal component",
        ]:
            assert name in svg

    def test_without_the_extra_there_is_no_picture_and_no_error(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known = builtins.__import__

        def without(name: str, *rest: Any) -> Any:
            if name == "vl_convert":
                raise ImportError(name)
            return known(name, *rest)

        monkeypatch.setattr(builtins, "__import__", without)
        assert png_of(trajectory_picture(drawn(), LOSSES)) is None

    def test_trajectories_that_do_not_belong_together_are_refused(self) -> None:
        one = DrawnTrajectory("a", "expert", torch.randn(2, 3))
        for wrong in ([], [one, one], [one, DrawnTrajectory("b", "student", torch.randn(2, 4))]):
            with pytest.raises(UsageError, match="trajectories of one model"):
                trajectory_picture(wrong, LOSSES)
