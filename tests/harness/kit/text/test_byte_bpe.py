"""A vocabulary is the same in every process, bounded, and writes any text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.kit.text.byte_bpe import learn_bpe


def test_it_is_the_same_in_every_process() -> None:
    """Ties between equally frequent pairs must not be broken by a process's hash seed."""
    code = (
        "from harness.kit.text.byte_bpe import learn_bpe\n"
        "texts = ['ab cd ef gh ij kl mn op', 'abcd efgh ijkl mnop', 'dcba hgfe'] * 4\n"
        "print(learn_bpe(texts, 330, ['<s>', '</s>'], min_frequency=2).to_str())"
    )
    learnt = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in range(3)
    }
    assert len(learnt) == 1
    (content,) = learnt
    assert '"ab"' in content


@pytest.mark.parametrize("min_frequency", [0, 2])
def test_it_is_bounded_and_writes_any_text(min_frequency: int) -> None:
    texts = ["plain words"] * 2
    tokenizer = learn_bpe(texts, 260, ["<end>"], min_frequency=min_frequency)
    assert 257 < tokenizer.get_vocab_size() <= 260
    text = "Ünïcode\n\t漢字 and plain words"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode(" plain words").ids) < len("plain words")
