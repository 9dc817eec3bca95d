"""The distillers `vanilla-lm` and `dilm` (with gradient matching)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.budget import Budget
from harness.context import StageContext
from harness.types import DistilledData, TaskData
from harness_dilm.options import LanguageModelOptions, MatchingOptions
from harness_dilm.stages import choose_rows, match_gradients, model_language


@dataclass(frozen=True)
class VanillaLM(LanguageModelOptions):
    """Texts of a class-conditional language model: DiLM's baseline without matching."""

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """Stages 1 and 3."""
        with context.progress.stage("language model"):
            language_model = model_language(self, task, context)
        with context.progress.stage("generation and selection"):
            return choose_rows(language_model, self, task, budget, context)


@dataclass(frozen=True)
class DiLM(MatchingOptions):
    """Dataset distillation into a language model (Maekawa et al. 2024, arXiv 2404.00264)."""

    def distill(self, task: TaskData, budget: Budget, context: StageContext) -> DistilledData:
        """Stages 1 to 3; what stages 1 and 2 learnt survives a kill in the stage's folder."""
        with context.progress.stage("language model"):
            language_model = model_language(self, task, context)
        with context.progress.stage("gradient matching"):
            matched = match_gradients(language_model, self, task, context)
        with context.progress.stage("generation and selection"):
            return choose_rows(matched, self, task, budget, context)
