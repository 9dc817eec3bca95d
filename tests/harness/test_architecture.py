"""The rules of docs/architecture.md: rooms, levels, imports, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
HOST = sorted((ROOT / "harness").rglob("*.py"))
PLUGINS = sorted(p for p in (ROOT / "plugins").iterdir() if p.is_dir() and p.name.isidentifier())
HEAVY = {"torch", "transformers", "datasets", "open_clip", "lm_eval", "sklearn", "scipy", "pandas"}
MODULES_A_FOLDER, LINES_A_FILE = 12, 400


def block(heading: str) -> list[str]:
    """The lines of the first code block under a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2]
    return section.split("```")[1].rstrip("\n").split("\n")[1:] if section else []


LEVELS = {name: -number for number, line in enumerate(block("Levels")) for name in line.split()}
LENT = {name for line in block("What a plugin may import") for name in line.split()}


def module_name(path: Path) -> str:
    base = ROOT if path.is_relative_to(ROOT / "harness") else ROOT / "plugins"
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in HOST} | {
    module_name(path): path for plugin in PLUGINS for path in plugin.rglob("*.py")
}


@cache
def imports(path: Path) -> frozenset[str]:
    """The modules that a file names in any import: in functions and for annotations, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in below}
    return frozenset(found)


def top_level_imports(path: Path) -> Iterator[str]:
    """The modules that are imported when the file is, however deep in `if` and `try`."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def room(module: str) -> str:
    """The name that a module's level goes by: its room, or itself where it lies in none."""
    parts = module.split(".")
    if parts[0] != "harness" or len(parts) == 1:
        return parts[0]
    if parts[1] == "kit" and len(parts) > 2:
        return ".".join(parts[1:3])
    return parts[1]


def circles(arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """What stays when whatever imports nothing that stays is taken away, again and again."""
    left = {name: set(targets) - {name} for name, targets in arrows.items()}
    while done := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in done}
    return sorted(left)


def test_the_checks_themselves_see_what_they_should(tmp_path: Path) -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    file = tmp_path / "file.py"
    file.write_text(
        "import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n"
        "else:\n    import c\ntry:\n    import d\nexcept ImportError:\n    pass\n"
        "def f():\n    import e\n"
    )
    assert set(top_level_imports(file)) == {"a", "typing", "c", "d"}
    assert imports(file) == {"a", "typing", "b", "c", "d", "e"}
    assert len(HOST) > 100
    assert {p.name for p in PLUGINS} >= {"harness_text", "harness_coreset", "harness_dilm"}


def test_no_module_imports_itself_round_a_circle_not_even_for_annotations() -> None:
    assert circles({name: imports(path) & MODULES.keys() for name, path in MODULES.items()}) == []


def test_every_room_has_a_level_and_no_level_names_a_room_that_is_not() -> None:
    assert {room(module_name(path)) for path in HOST} == set(LEVELS)


@pytest.mark.parametrize("path", HOST, ids=lambda p: str(p.relative_to(ROOT)))
def test_an_import_goes_down(path: Path) -> None:
    own = room(module_name(path))
    found = {room(name) for name in imports(path) if name in MODULES} - {own}
    assert {name for name in found if LEVELS[name] >= LEVELS[own]} == set()


def test_the_page_shows_every_room_and_every_plugin() -> None:
    tree = "\n".join(block("The house"))
    shown = {name.removeprefix("kit.") for name in LEVELS} - {"harness", "__main__"}
    assert {name for name in shown | {p.name for p in PLUGINS} if name not in tree} == set()


@pytest.mark.parametrize("path", HOST, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_host_never_imports_a_plugin(path: Path) -> None:
    names = {p.name for p in PLUGINS} | {"harness_suites"}
    assert not [n for n in imports(path) if n.partition(".")[0] in names]


@pytest.mark.parametrize("path", HOST, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_host_imports_heavy_packages_only_inside_functions(path: Path) -> None:
    if "kit" not in path.relative_to(ROOT).parts:
        assert not [n for n in top_level_imports(path) if n.partition(".")[0] in HEAVY]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda p: p.name)
def test_a_plugin_imports_what_is_lent_and_no_other_plugin(plugin: Path) -> None:
    others = {p.name for p in PLUGINS} - {plugin.name}
    for path in plugin.rglob("*.py"):
        found = imports(path)
        assert not [n for n in found if n.partition(".")[0] in others], path
        assert not [n for n in found if not may_be_imported(n)], path


@pytest.mark.parametrize("path", sorted((ROOT / "harness/executors").glob("[!_]*.py")))
def test_the_hosts_own_executors_import_what_those_of_a_plugin_may(path: Path) -> None:
    assert not [n for n in imports(path) if not may_be_imported(n)]


def may_be_imported(name: str) -> bool:
    """Whether it is no part of the host, or lent: `harness.x`, or all below where `harness.x.*`."""
    first, *below = name.split(".")
    return first != "harness" or not below or name in LENT or f"harness.{below[0]}.*" in LENT


@pytest.mark.parametrize("top", ["harness", "plugins"])
def test_a_folder_has_at_most_a_dozen_modules_and_a_file_at_most_400_lines(top: str) -> None:
    """The root of the host is the exception: what it holds is named one by one in the levels."""
    files = sorted((ROOT / top).rglob("*.py"))
    folders = Counter(path.parent for path in files if path.name != "__init__.py")
    folders.pop(ROOT / "harness", None)
    assert {f: n for f, n in folders.items() if n > MODULES_A_FOLDER} == {}
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files}
    assert {path: n for path, n in lines.items() if n > LINES_A_FILE} == {}


@pytest.mark.parametrize("command", [["--help"], ["ls"], ["plugins"], ["bench", "--help"]])
def test_commands_that_only_look_do_not_import_torch(command: list[str]) -> None:
    code = (
        "import sys\nfrom harness.cli import main\n"
        f"try:\n    main({command!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'transformers', 'datasets', 'scipy', 'sklearn', 'pandas'}\n"
        "sys.stderr.write('HEAVY:' + ','.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.rpartition("HEAVY:")[2] == ""


def test_no_file_has_a_name_that_says_nothing() -> None:
    empty = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
    assert not [p for p in ROOT.rglob("*.py") if p.name in empty and ".venv" not in p.parts]
