"""Tokens that the vocabularies of student and teacher share."""

from __future__ import annotations

import torch

from harness.kit.clip.tokens import ClipTokenizer, WordTokenizer
from harness_tinyclip.inheritance.inheritance import SharedWords


def shared_words(student: ClipTokenizer, teacher: ClipTokenizer) -> SharedWords | None:
    """The tokens that both have: start, end and pad, and words that are one token of each.

    None where the vocabularies are equal. Two vocabularies of words are compared word by word; a
    word of one of them is looked up in a vocabulary of byte pairs.
    """
    if student.to_json() | {"context_length": 0} == teacher.to_json() | {"context_length": 0}:
        return None
    pairs = {
        student.start_id: teacher.start_id,
        student.end_id: teacher.end_id,
        student.pad_id: teacher.pad_id,
    }
    if student.mask_id is not None and teacher.mask_id is not None:
        pairs[student.mask_id] = teacher.mask_id
    if isinstance(student, WordTokenizer) and isinstance(teacher, WordTokenizer):
        pairs[student.unknown_id] = teacher.unknown_id
    for word in _words(student) or _words(teacher):
        own, others = _one_token(student, word), _one_token(teacher, word)
        if own is not None and others is not None:
            pairs[own] = others
    return SharedWords(
        student=torch.tensor(list(pairs.keys())), teacher=torch.tensor(list(pairs.values()))
    )


def _words(tokenizer: ClipTokenizer) -> tuple[str, ...]:
    return tokenizer.words if isinstance(tokenizer, WordTokenizer) else ()


def _one_token(tokenizer: ClipTokenizer, word: str) -> int | None:
    """The number of a word that is a token by itself; None for one that is not."""
    if isinstance(tokenizer, WordTokenizer) and word not in tokenizer.words:
        return None
    _, token, after, *_ = tokenizer.encode([word])[0].tolist()
    return token if after == tokenizer.end_id else None
