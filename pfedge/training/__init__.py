"""What the trainers of all guarantees share: settings, the session around a training, thresholds, figures.

    session = TrainingSession.open(config, settings, console)      # device, backbone, data set, classes
    run = session.create_run()
    ...                                                            # each guarantee's own training
    return run, session.finish(run, model, predicted, seconds=...)

It may import `pfedge.runs`, `pfedge.backbone`, `pfedge.data` and what lies below. Models come in through the protocol
`Trainable`, scores as arrays: it knows no guarantee.
"""

from pfedge.training.calibration import ACCEPTANCE, calibration_split, set_thresholds
from pfedge.training.metrics import accuracy_of, confusion_matrix
from pfedge.training.plots import count_in_integers, figure_at, plot_confusion, plot_training, shorten
from pfedge.training.session import SAVE_SECONDS, TrainingSession, open_dataset, require_classes, step_seed
from pfedge.training.settings import TrainSettings
from pfedge.training.state import Trainable, TrainState, load_state, save_state

__all__ = [
    "ACCEPTANCE",
    "SAVE_SECONDS",
    "TrainSettings",
    "TrainState",
    "Trainable",
    "TrainingSession",
    "accuracy_of",
    "calibration_split",
    "confusion_matrix",
    "count_in_integers",
    "figure_at",
    "load_state",
    "open_dataset",
    "plot_confusion",
    "plot_training",
    "require_classes",
    "save_state",
    "set_thresholds",
    "shorten",
    "step_seed",
]
