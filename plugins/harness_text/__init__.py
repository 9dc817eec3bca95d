"""Text classification: tasks, students and the evaluator."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import Register

HARNESS_API = 1

_STUDENTS = "harness_text.students"


@hookimpl
def harness_register_students(register: Register) -> None:
    register(
        "bert",
        f"{_STUDENTS}:Bert",
        summary="BERT: base and large, a 6-layer MiniLM that comes by pip, and a tiny random one",
        argument="variant",
        variants=("base", "large", "minilm", "tiny"),
    )
    register(
        "roberta",
        f"{_STUDENTS}:Roberta",
        summary="RoBERTa",
        argument="variant",
        variants=("base", "large"),
    )
    register(
        "distilbert",
        f"{_STUDENTS}:DistilBert",
        summary="DistilBERT, uncased",
        argument="variant",
        variants=("base",),
    )
    register(
        "xlnet",
        f"{_STUDENTS}:XLNet",
        summary="XLNet, cased",
        argument="variant",
        variants=("base",),
    )
    register(
        "deberta",
        f"{_STUDENTS}:Deberta",
        summary="DeBERTa version 3",
        argument="variant",
        variants=("base",),
    )
    register(
        "hf",
        f"{_STUDENTS}:AnyPretrained",
        summary="any sequence classifier of transformers: hf:MODEL_ID or hf:FOLDER",
        argument="model",
    )


@hookimpl
def harness_register_evaluators(register: Register) -> None:
    register(
        "classification",
        "harness_text.evaluator:ClassificationEvaluator",
        summary="accuracy, macro F1 and, for two classes, F1 and its mean with accuracy",
    )
