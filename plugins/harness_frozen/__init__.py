"""Students that leave pre-trained weights as they are."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import Register

HARNESS_API = 1


@hookimpl
def harness_register_students(register: Register) -> None:
    register(
        "in-context",
        "harness_frozen.in_context:InContext",
        summary="an untrained language model that reads the rows as examples: in-context:STUDENT",
        version="1",
        argument="model",
    )
    register(
        "probe",
        "harness_frozen.probe:Probe",
        summary="a linear classifier on what another student makes of texts: probe:STUDENT",
        version="1",
        argument="model",
    )
    register(
        "static",
        "harness_frozen.static_vectors:Static",
        summary="a linear classifier on means of pre-trained token vectors: static:wordllama",
        version="1",
        argument="variant",
    )
