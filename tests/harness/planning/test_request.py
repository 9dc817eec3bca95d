"""Which suite runs when none is named: the one for what the named parts are for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.errors import UsageError
from harness.planning.request import Request, default_suite
from harness.plugins import PluginHost


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost.discover()


@pytest.mark.parametrize(
    ("students", "name"),
    [
        ((), "quickstart"),
        (("bert",), "quickstart"),
        (("bert:minilm", "roberta"), "quickstart"),
        (("llama",), "quickstart-instruct"),
        (("smollm2:135m-gguf", "gpt2"), "quickstart-instruct"),
        (("clip",), "quickstart-clip"),
    ],
)
def test_students_bring_the_quickstart_of_their_modality(
    host: PluginHost, students: Sequence[str], name: str
) -> None:
    assert default_suite(Request(students=students), host).name == name


@pytest.mark.parametrize(
    ("distillers", "name"),
    [
        (("random", "dilm"), "quickstart"),
        (("less", "random"), "quickstart-instruct"),
        (("tinyclip", "lightclip", "clip-kd"), "quickstart-clip"),
    ],
)
def test_so_do_methods(host: PluginHost, distillers: Sequence[str], name: str) -> None:
    assert default_suite(Request(distillers=distillers), host).name == name


def test_an_evaluator_alone_is_enough(host: PluginHost) -> None:
    assert default_suite(Request(evaluators=["retrieval"]), host).name == "quickstart-clip"


def test_parts_that_have_nothing_in_common_leave_the_first_quickstart_to_refuse_them(
    host: PluginHost,
) -> None:
    assert default_suite(Request(students=["clip", "llama"]), host).name == "quickstart"


def test_an_unknown_name_is_an_error_here_already(host: PluginHost) -> None:
    with pytest.raises(UsageError, match="unknown student 'berd'"):
        default_suite(Request(students=["berd"]), host)


def test_every_modality_has_one_default(host: PluginHost) -> None:
    from harness.suite import load_suite

    declared = [load_suite(path).default_for for path in host.registry.suites.values()]
    defaults = sorted(filter(None, declared))
    assert defaults == ["image-text", "instruction", "text-classification"]
