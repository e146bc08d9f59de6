"""Run a pfedge bundle and forget classes on the device, without PyTorch.

    from pathlib import Path
    from pfedge_runtime import Classifier, forget

    classifier = Classifier.open("bundle")                       # digests checked
    print(next(classifier.predict_files([Path("cell.png")])))
    forget("bundle", ["3"])                                      # milliseconds, no data, no training
    print(next(classifier.predict_files([Path("cell.png")])))    # class 3 is no longer among the answers

Names are imported when first used, so that a command line that only shows its help does not wait for NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pfedge_runtime.privacy import forbid

if TYPE_CHECKING:
    from pfedge_runtime.bank import PromptBank, StatisticsBank
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.classifier import Classifier, Prediction
    from pfedge_runtime.errors import PfedgeError
    from pfedge_runtime.forgetting import Forgetting, forget, plan_forget
    from pfedge_runtime.inputs import AudioPreprocess, ImagePreprocess, read_image, read_sound

__version__ = "0.1.0"

forbid()  # before any library is imported that would call its maker

__all__ = [
    "AudioPreprocess",
    "Bundle",
    "Classifier",
    "Forgetting",
    "ImagePreprocess",
    "PfedgeError",
    "Prediction",
    "PromptBank",
    "StatisticsBank",
    "forget",
    "plan_forget",
    "read_image",
    "read_sound",
]

_HOMES = {
    "AudioPreprocess": "inputs",
    "Bundle": "bundle",
    "Classifier": "classifier",
    "Forgetting": "forgetting",
    "ImagePreprocess": "inputs",
    "PfedgeError": "errors",
    "Prediction": "classifier",
    "PromptBank": "bank",
    "StatisticsBank": "bank",
    "forget": "forgetting",
    "plan_forget": "forgetting",
    "read_image": "inputs",
    "read_sound": "inputs",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 -- PEP 562
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
