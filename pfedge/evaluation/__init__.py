"""Measuring a model: its accuracy, and what forgetting every subset of classes does, as a run and as deployed.

    evaluation = evaluate_run(path, EvalSettings(limit=500), console)
    evaluation.show(console)

It may import `pfedge.import_reference`, `pfedge.guarantees` and what lies below; it attacks nothing.
"""

from pfedge.evaluation.by_mode import Evaluation
from pfedge.evaluation.evaluate import evaluate_run
from pfedge.evaluation.every_subset import SubsetEvaluation, evaluate_every_subset
from pfedge.evaluation.forgetting import evaluate_forgetting
from pfedge.evaluation.on_device import BundleEvaluation, evaluate_bundle
from pfedge.evaluation.one_pass import OnePassEvaluation
from pfedge.evaluation.plots import plot_bench
from pfedge.evaluation.settings import EvalSettings

__all__ = [
    "BundleEvaluation",
    "EvalSettings",
    "Evaluation",
    "OnePassEvaluation",
    "SubsetEvaluation",
    "evaluate_bundle",
    "evaluate_every_subset",
    "evaluate_forgetting",
    "evaluate_run",
    "plot_bench",
]
