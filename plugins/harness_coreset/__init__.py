"""Coresets: train rows chosen by geometry or by short training runs; random rows, all rows."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import RegisterDistiller

HARNESS_API = 1


@hookimpl
def harness_register_distillers(register: RegisterDistiller) -> None:
    register(
        "random",
        "harness_coreset.random_rows:RandomRows",
        summary="rows drawn at random, anew for each seed and budget",
        produces="selection",
        version="1",
    )
    register(
        "full",
        "harness_coreset.random_rows:FullTrain",
        summary="the whole train split",
        produces="selection",
        version="1",
        deterministic=True,
        fixed_budget="100%",
    )
    register(
        "base",
        "harness_coreset.untrained:Untrained",
        summary="the student before any training",
        produces="model",
        version="1",
        fixed_budget="0%",
        reference=True,
    )
    register(
        "k-center",
        "harness_coreset.geometry.k_center:KCenter",
        summary="greedily, the row farthest from those chosen, starting at the centre",
        produces="selection",
        version="1",
        deterministic=True,
    )
    register(
        "k-means",
        "harness_coreset.geometry.k_means:KMeans",
        summary="the row nearest to each k-means centroid (DiLM's paper calls it K-centers)",
        produces="selection",
        version="1",
    )
    register(
        "herding",
        "harness_coreset.geometry.herding:Herding",
        summary="greedily, the row that brings the chosen mean closest to the mean of all",
        produces="selection",
        version="1",
        deterministic=True,
    )
    register(
        "facility-location",
        "harness_coreset.geometry.facility_location:FacilityLocation",
        summary="greedily, the row that makes all rows most similar to some chosen one",
        produces="selection",
        version="1",
        deterministic=True,
    )
    register(
        "moderate",
        "harness_coreset.geometry.moderate:Moderate",
        summary="rows at the median distance from their class's centre",
        produces="selection",
        version="1",
        deterministic=True,
    )
    register(
        "el2n",
        "harness_coreset.scores.el2n:EL2N",
        summary="rows with the largest mean error early in short proxy runs",
        produces="selection",
        version="1",
    )
    register(
        "forgetting",
        "harness_coreset.scores.forgetting:Forgetting",
        summary="rows that a proxy run learns and forgets most often",
        produces="selection",
        version="1",
    )
