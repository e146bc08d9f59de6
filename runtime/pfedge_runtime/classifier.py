"""The classifier that a device runs.

    classifier = Classifier.open("bundle")
    for prediction in classifier.predict_files([Path("cell.png"), Path("folder")]):
        print(prediction.source, prediction.name, prediction.probability, prediction.abstained)

It looks at the bank file before every batch: once a row is forgotten, by whatever process, the next batch
is predicted without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.bank import PromptBank
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.decision import decide
from pfedge_runtime.engine import Engine, OnnxRuntimeEngine
from pfedge_runtime.errors import InputError, MissingExtraError, PfedgeError, UsageError
from pfedge_runtime.preprocess import Pixels, find_images, read_image

T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one input.

    Attributes:
        source: the file it came from; None for an array.
        class_id: the class whose row scores highest.
        name: that class's name.
        probability: its softmax probability among the rows that are left.
        abstained: True where no decision should be made of it.
        reason: why it was abstained on; empty otherwise.
        coverage: the class ids that were in the bank, in bank order.
        scores: one logit per class in the coverage.
        probabilities: one softmax probability per class in the coverage.
    """

    source: str | None
    class_id: int
    name: str
    probability: float
    abstained: bool
    reason: str
    coverage: tuple[int, ...]
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `class` and `name` are null where the input was abstained on."""
        return {
            "source": self.source,
            "class": None if self.abstained else self.class_id,
            "name": None if self.abstained else self.name,
            "abstained": self.abstained,
            "reason": self.reason,
            "best": {"class": self.class_id, "name": self.name, "probability": self.probability},
            "rows": [
                {"class": class_id, "score": score, "probability": probability}
                for class_id, score, probability in zip(self.coverage, self.scores, self.probabilities, strict=True)
            ],
        }


class Classifier:
    """Predicts with whatever rows the bundle's bank has at that moment."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        batch_size: int = 32,
        min_probability: float = 0.0,
        use_thresholds: bool = True,
    ) -> None:
        """Classify with `bundle` through `engine`.

        Args:
            bundle: an opened bundle.
            engine: what evaluates its graph.
            batch_size: images per call of the engine.
            min_probability: abstain below this probability, whatever the rows' thresholds say.
            use_thresholds: False ignores the rows' own acceptance thresholds.

        Raises:
            UsageError: `batch_size` or `min_probability` is out of range.
            BankError: the bank cannot be read.
        """
        if batch_size < 1 or not 0 <= min_probability <= 1:
            message = f"batch size must be at least 1 and a probability in 0..1, got {batch_size}, {min_probability}"
            raise UsageError(message)
        self.bundle = bundle
        self._engine = engine
        self._batch_size = batch_size
        self._min_probability = min_probability
        self._use_thresholds = use_thresholds
        self._stamp = bundle.bank_stamp()
        self._bank = bundle.bank()

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, device: str = "cpu", threads: int = 0, **options: Any) -> Classifier:  # noqa: ANN401 -- passed on
        """Open a bundle on a device; `options` are those of the constructor.

        Raises:
            PfedgeError: the bundle or the device cannot be used; see `Bundle.open`, `OnnxRuntimeEngine`.
        """
        bundle = Bundle.open(path)
        return cls(bundle, OnnxRuntimeEngine(bundle.graph_path, device=device, threads=threads), **options)

    @property
    def bank(self) -> PromptBank:
        """The bank as it is on disk now."""
        stamp = self.bundle.bank_stamp()
        if stamp != self._stamp:
            self._bank, self._stamp = self.bundle.bank(), stamp
        return self._bank

    def logits(self, images: NDArray[np.uint8]) -> tuple[PromptBank, NDArray[np.float32]]:
        """Return the bank used and the logits `[B, R]` of uint8 images `[B, H, W, 3]` of the graph's size.

        Raises:
            InputError: the array has another shape or dtype.
        """
        size = (self.bundle.manifest.preprocess.height, self.bundle.manifest.preprocess.width, 3)
        if images.ndim != 4 or images.shape[1:] != size or images.dtype != np.uint8:  # noqa: PLR2004 -- NHWC
            message = f"images must be uint8 {['B', *size]}, got {images.dtype} {list(images.shape)}"
            raise InputError(message)
        bank = self.bank
        chunks = [self._engine.run(np.ascontiguousarray(chunk), bank) for chunk in self._batches(images)]
        return bank, np.concatenate(chunks) if chunks else np.zeros((0, len(bank)), dtype=np.float32)

    def predict(self, images: NDArray[np.uint8], *, sources: Sequence[str] | None = None) -> list[Prediction]:
        """Predict uint8 images `[B, H, W, 3]` that already have the graph's size; `sources` name them.

        Raises:
            InputError: the array has another shape or dtype.
        """
        names = sources if sources is not None else [None] * len(images)
        predictions: list[Prediction] = []
        for chunk in self._batches(images):
            predictions += self._predict_batch(chunk, names[len(predictions) : len(predictions) + len(chunk)])
        return predictions

    def predict_files(
        self, paths: Iterable[Path], *, on_error: Callable[[PfedgeError], None] | None = None
    ) -> Iterator[Prediction]:
        """Predict image files and all images below folders, batch by batch, in order.

        Args:
            paths: files and folders.
            on_error: called for each path or file that cannot be read, which is then left out; None raises.

        Raises:
            InputError: a path is missing or a file cannot be read, and `on_error` is None.
            MissingExtraError: a DICOM file without the extra `dicom`, and `on_error` is None.
        """

        def attempt(read: Callable[[Path], T], path: Path) -> T | None:
            try:
                return read(path)
            except (InputError, MissingExtraError) as error:
                if on_error is None:
                    raise
                on_error(error)
                return None

        def readable() -> Iterator[tuple[str, Pixels]]:
            for path in paths:
                for file in attempt(find_images, Path(path)) or ():
                    image = attempt(read_image, file)
                    if image is not None:
                        yield str(file), self.bundle.manifest.preprocess(image)

        inputs = readable()
        while batch := list(islice(inputs, self._batch_size)):
            sources, images = zip(*batch, strict=True)
            yield from self.predict(np.stack(images), sources=sources)

    def _batches(self, images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(images), self._batch_size):
            yield images[start : start + self._batch_size]

    def _predict_batch(self, images: NDArray[np.uint8], sources: Sequence[str | None]) -> list[Prediction]:
        bank, logits = self.logits(images)
        threshold = bank.threshold if self._use_thresholds else np.full_like(bank.threshold, -np.inf)
        decisions = decide(logits, threshold, min_probability=self._min_probability)
        predictions = []
        for position, source in enumerate(sources):
            winner = int(decisions.winner[position])
            probability = float(decisions.probability[position, winner])
            class_id, score = bank.class_ids[winner], float(logits[position, winner])
            name = self.bundle.manifest.class_name(class_id)
            reason = ""
            if score < threshold[winner]:
                reason = f"score {score:.2f} of {name} is below its row's threshold {threshold[winner]:.2f}"
            elif not decisions.accepted[position]:
                reason = f"probability {probability:.3f} of {name} is below {self._min_probability}"
            predictions.append(
                Prediction(
                    source=source,
                    class_id=class_id,
                    name=name,
                    probability=probability,
                    abstained=bool(reason),
                    reason=reason,
                    coverage=bank.class_ids,
                    scores=tuple(logits[position].tolist()),
                    probabilities=tuple(decisions.probability[position].tolist()),
                )
            )
        return predictions
