"""Prompts of labelled rows, as text and as tokens.

A prompt is made of pieces, each tokenised by itself as the continuation of what precedes it, so
that all queries behind the same demonstrations begin with the same tokens, and an answer with the
same token everywhere. These are the tokens of the whole text, unless the tokenizer joins the end
of an answer with the separator.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.errors import UsageError
from harness.kit.language.encoding import InstructionEncoder
from harness.kit.text.templates import Template
from harness.types import TaskData

ANSWER = "label"
_PLACE = f"{{{ANSWER}}}"


@dataclass(frozen=True)
class PromptFormat:
    """How a row reads.

    template: fields in braces for the row's texts, and `{label}` at its end. Blanks in front of
    `{label}` belong to the label's word, as tokenizers of subwords have it.
    fields: what the template calls the texts, in the order of the task's columns.
    words: what stands for each class.
    separator: what stands between two rows.
    """

    template: str
    fields: tuple[str, ...]
    words: tuple[str, ...]
    separator: str

    @classmethod
    def of(
        cls, task: TaskData, template: str, words: tuple[str, ...], separator: str
    ) -> PromptFormat:
        """The format for a task, with its own column and class names where nothing is given.

        A column whose name is no plain word is called `text1` or `text2` in the template.

        Raises:
            UsageError: a template without `{label}` at its end, without a text, or with a field
                that the task has not; or words that are not one for each class, or empty.
        """
        columns = task.input_columns
        fields = tuple(
            column if column.isidentifier() else f"text{n}" for n, column in enumerate(columns, 1)
        )
        chosen = template or _default_template(columns, fields)
        _check_template(chosen, fields, task)
        _check_words(words, task)
        return cls(chosen, fields, words or task.label_names, separator)

    def query(self, texts: Sequence[str]) -> str:
        """The row up to the place where its label's word follows."""
        values = {**dict(zip(self.fields, texts, strict=True)), ANSWER: ""}
        return Template(self.template).fill(values).rstrip(" ")

    def answer(self, label: int) -> str:
        """A class's word, with the blanks that stand in front of it."""
        before = self.template[: -len(_PLACE)]
        return before[len(before.rstrip(" ")) :] + self.words[label].strip()

    @property
    def cue(self) -> str:
        """What precedes the word in every row: the last line of one without texts."""
        return self.query([""] * len(self.fields)).rpartition("\n")[2]


@dataclass(frozen=True)
class PromptTokens:
    """The same in tokens.

    limit: the most tokens of a prompt.
    """

    form: PromptFormat
    encoder: InstructionEncoder
    limit: int

    def __post_init__(self) -> None:
        """Raises UsageError when two words cannot be told apart by their first tokens."""
        by_token: dict[int, list[str]] = defaultdict(list)
        for word, tokens in zip(self.form.words, self.answers, strict=True):
            if not tokens:
                raise UsageError(f"the label word '{word}' has no token")
            by_token[tokens[0]].append(f"'{word}'")
        for token, alike in by_token.items():
            if len(alike) > 1:
                shown = self.encoder.tokenizer.decode([token])
                raise UsageError(
                    f"the label words {' and '.join(alike)} begin with the same token {shown!r},"
                    " by which the model's answer is read",
                    hint="Set label_words to one word for each class, in the order of the labels.",
                )

    @property
    def start(self) -> list[int]:
        """What the tokenizer puts in front of any text."""
        return self.encoder.start_ids

    @cached_property
    def answers(self) -> tuple[list[int], ...]:
        """The tokens of each class's word, as they follow a query."""
        form = self.form
        return tuple(
            self.encoder.continued(form.answer(label), form.cue) for label in range(len(form.words))
        )

    @property
    def first_tokens(self) -> list[int]:
        """By which token each class is known."""
        return [tokens[0] for tokens in self.answers]

    def query(self, texts: Sequence[str], *, opens: bool) -> list[int]:
        """A row without its answer; `opens`: as the prompt's first piece, else behind others."""
        text = self.form.query(texts)
        if opens:
            return self.encoder.opening(text)
        return self.encoder.continued(self.form.separator + text, self.form.answer(0))

    def demonstration(self, texts: Sequence[str], label: int, *, opens: bool) -> list[int]:
        """A row with its answer."""
        return [*self.query(texts, opens=opens), *self.answers[label]]

    def alone(self, texts: Sequence[str]) -> tuple[list[int], bool]:
        """A query that no demonstration precedes, and whether its texts had to be shortened.

        Texts lose their last tokens, the longest first, until the whole prompt keeps the limit.

        Raises:
            UsageError: the template itself is too long.
        """
        room = self.limit - len(self.start)
        kept = list(texts)
        tokens = self.query(kept, opens=True)
        while len(tokens) > room:
            longest = max(range(len(kept)), key=lambda place: len(kept[place]))
            if not kept[longest]:
                raise UsageError(
                    f"the template takes {len(tokens)} tokens without any text, and"
                    f" max_length allows {self.limit}"
                )
            kept[longest] = self._without_last(kept[longest], len(tokens) - room)
            tokens = self.query(kept, opens=True)
        return tokens, kept != list(texts)

    def _without_last(self, text: str, tokens: int) -> str:
        """The text less about so many tokens, and always less at least one character."""
        spans = self.encoder.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        end = spans[-tokens][0] if tokens <= len(spans) else 0
        return text[: min(end, len(text) - 1)].rstrip()


def _default_template(columns: Sequence[str], fields: Sequence[str]) -> str:
    """`column: text` on a line each, then `label: word` (as in DiLM's in-context evaluation)."""
    names = (column.replace("{", "{{").replace("}", "}}") for column in columns)
    lines = [f"{name}: {{{field}}}" for name, field in zip(names, fields, strict=True)]
    return "\n".join([*lines, f"{ANSWER}: {_PLACE}"])


def _check_template(text: str, fields: Sequence[str], task: TaskData) -> None:
    template = Template(text)
    template.check((*fields, ANSWER), f"task '{task.name}'")
    if template.fields.count(ANSWER) != 1 or not text.endswith(_PLACE):
        raise UsageError(
            f"template {text!r} should end with {_PLACE}, and have it once",
            hint="What follows the label's place is not read; the separator is an option.",
        )
    if len(template.fields) == 1:
        raise UsageError(
            f"template {text!r} shows no text of a row", hint=f"Fields: {', '.join(fields)}."
        )


def _check_words(words: Sequence[str], task: TaskData) -> None:
    classes = len(task.label_names)
    if words and len(words) != classes:
        raise UsageError(
            f"label_words has {len(words)} words, and task '{task.name}' has {classes} classes:"
            f" {', '.join(task.label_names)}"
        )
    for name, word in zip(task.label_names, words or task.label_names, strict=True):
        if not word.strip():
            raise UsageError(
                f"the label word of class '{name}' is empty", hint="Set label_words to others."
            )
