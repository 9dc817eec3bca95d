"""Provenance: what a record says of the command that made it."""

from __future__ import annotations

import pytest

from harness.machine.provenance import shown_command


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["/srv/lab/bin/harness", "bench", "glue"], "harness bench glue"),
        (["harness", "bench", "-o", "/srv/lab/runs/x"], "harness bench -o x"),
        (["harness", "bench", "--output=/srv/lab/runs/x"], "harness bench --output=x"),
        (["harness", "-t", "jsonl:/data/mine/a.jsonl"], "harness -t jsonl:a.jsonl"),
        (["harness", "-d", "random,file:/a/b.csv"], "harness -d random,file:b.csv"),
        (["harness", "--set", "task.path=/a/b/c"], "harness --set task.path=c"),
        (["harness", "-o", "/srv/lab/runs/x/"], "harness -o x/"),
        (["harness", "-o", "runs/x"], "harness -o runs/x"),
        (["harness", "--budget", "20/class,5/class"], "harness --budget 20/class,5/class"),
        (["harness", "-d", "file:hf:owner/name"], "harness -d file:hf:owner/name"),
        (["harness", "-x", "https://a.org/b/c"], "harness -x https://a.org/b/c"),
        (["harness", "-d", "file:sets/a b.csv"], "harness -d 'file:sets/a b.csv'"),
    ],
)
def test_the_command_names_no_folder_of_the_machine(given: list[str], shown: str) -> None:
    assert shown_command(given) == shown
