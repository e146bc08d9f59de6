"""Run a pfedge bundle and forget classes on the device, without PyTorch.

from pathlib import Path
from pfedge_runtime import Classifier, forget

classifier = Classifier.open("bundle")                       # digests checked
print(next(classifier.predict_files([Path("cell.png")])))
forget("bundle", ["3"])                                      # milliseconds, no data, no training
print(next(classifier.predict_files([Path("cell.png")])))    # class 3 is no longer among the answers
"""

from pfedge_runtime.bank import PromptBank
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.classifier import Classifier, Prediction
from pfedge_runtime.errors import PfedgeError
from pfedge_runtime.forget import Forgetting, forget, plan_forget
from pfedge_runtime.preprocess import ImagePreprocess, read_image

__version__ = "0.1.0"

__all__ = [
    "Bundle",
    "Classifier",
    "Forgetting",
    "ImagePreprocess",
    "PfedgeError",
    "Prediction",
    "PromptBank",
    "forget",
    "plan_forget",
    "read_image",
]
