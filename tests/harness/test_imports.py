"""Who may import whom, and what `import harness` may cost: the rules of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOST = sorted((ROOT / "harness").rglob("*.py"))
PLUGINS = sorted(p for p in (ROOT / "plugins").iterdir() if p.is_dir() and p.name.isidentifier())
HEAVY = {"torch", "transformers", "datasets", "open_clip", "lm_eval", "sklearn", "scipy", "pandas"}


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    nodes = ast.iter_child_nodes(tree) if top_level_only else ast.walk(tree)
    for node in nodes:
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_there_is_something_to_check() -> None:
    assert len(HOST) > 20
    assert {p.name for p in PLUGINS} >= {"harness_text", "harness_coreset", "harness_dilm"}


@pytest.mark.parametrize("path", HOST, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_host_never_imports_a_plugin(path: Path) -> None:
    names = {p.name for p in PLUGINS} | {"harness_suites"}
    assert not [n for n in imports(path) if n.partition(".")[0] in names]


@pytest.mark.parametrize("path", HOST, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_host_imports_heavy_packages_only_inside_functions(path: Path) -> None:
    if "kit" in path.relative_to(ROOT).parts:
        return
    top = imports(path, top_level_only=True)
    assert not [n for n in top if n.partition(".")[0] in HEAVY]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda p: p.name)
def test_a_plugin_imports_the_host_but_no_other_plugin_and_not_its_machinery(plugin: Path) -> None:
    others = {p.name for p in PLUGINS} - {plugin.name}
    machinery = [f"harness.{m}" for m in ("cli", "store", "plan", "run", "api", "executors")]
    for path in plugin.rglob("*.py"):
        found = list(imports(path))
        assert not [n for n in found if n.partition(".")[0] in others], path
        assert not [n for n in found if any(under(n, m) for m in machinery)], path


def test_the_kit_imports_neither_store_nor_plan() -> None:
    for path in (ROOT / "harness/kit").rglob("*.py"):
        found = list(imports(path))
        assert not [
            n for n in found if under(n, "harness.storage.store") or under(n, "harness.plan")
        ], path


def test_types_and_plan_know_nothing_of_the_command_line() -> None:
    for path in HOST:
        if "cli" not in path.parts and path.name != "__main__.py":
            assert not [n for n in imports(path) if under(n, "harness.cli")], path


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
