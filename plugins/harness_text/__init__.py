"""Text classification: tasks, students and the evaluator."""

from __future__ import annotations

from harness import hookimpl
from harness.hookspecs import Register

HARNESS_API = 1

_STUDENTS = "harness_text.students"
_TASKS = "harness_text.tasks"
_FILES = "harness_text.files"


@hookimpl
def harness_register_tasks(register: Register) -> None:
    register(
        "rotten-tomatoes",
        f"{_TASKS}:RottenTomatoes",
        summary="film review sentences, 2 classes; comes by pip",
        version="1",
    )
    register(
        "imdb",
        f"{_TASKS}:Imdb",
        summary="whole film reviews, 2 classes; comes by pip",
        version="1",
    )
    register(
        "sst2",
        f"{_TASKS}:Sst2",
        summary="GLUE's film review phrases, 2 classes",
        version="1",
    )
    register(
        "qqp",
        f"{_TASKS}:Qqp",
        summary="GLUE's pairs of questions, duplicate or not",
        version="1",
    )
    register(
        "mnli",
        f"{_TASKS}:Mnli",
        summary="GLUE's pairs of sentences, 3 classes of inference, matched",
        version="1",
    )
    register(
        "ag-news",
        f"{_TASKS}:AgNews",
        summary="news items, 4 topics",
        version="1",
    )
    register(
        "csv",
        f"{_FILES}:CsvTask",
        summary="your own CSV file: csv:PATH",
        version="1",
        argument="path",
    )
    register(
        "jsonl",
        f"{_FILES}:JsonlTask",
        summary="your own JSONL file: jsonl:PATH",
        version="1",
        argument="path",
    )
    register(
        "hf",
        f"{_FILES}:HubTask",
        summary="any labelled text data set of the hub: hf:OWNER/NAME",
        version="1",
        argument="dataset",
    )


@hookimpl
def harness_register_students(register: Register) -> None:
    register(
        "bert",
        f"{_STUDENTS}:Bert",
        summary="BERT: base and large, a 6-layer MiniLM that comes by pip, and a tiny random one",
        version="1",
        argument="variant",
        variants=("base", "large", "minilm", "tiny"),
    )
    register(
        "roberta",
        f"{_STUDENTS}:Roberta",
        summary="RoBERTa",
        version="1",
        argument="variant",
        variants=("base", "large"),
    )
    register(
        "distilbert",
        f"{_STUDENTS}:DistilBert",
        summary="DistilBERT, uncased",
        version="1",
        argument="variant",
        variants=("base",),
    )
    register(
        "xlnet",
        f"{_STUDENTS}:XLNet",
        summary="XLNet, cased",
        version="1",
        argument="variant",
        variants=("base",),
    )
    register(
        "deberta",
        f"{_STUDENTS}:Deberta",
        summary="DeBERTa version 3",
        version="1",
        argument="variant",
        variants=("base",),
    )
    register(
        "hf",
        f"{_STUDENTS}:AnyClassifier",
        summary="any sequence classifier of transformers: hf:MODEL_ID or hf:FOLDER",
        version="1",
        argument="model",
    )


@hookimpl
def harness_register_evaluators(register: Register) -> None:
    register(
        "classification",
        "harness_text.evaluator:ClassificationEvaluator",
        summary="accuracy, macro F1 and, for two classes, F1 and its mean with accuracy",
        version="1",
    )
