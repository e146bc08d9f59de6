"""The classifier that a device runs.

    classifier = Classifier.open("bundle")
    for prediction in classifier.predict_files([Path("cell.png"), Path("folder")]):
        print(prediction.source, prediction.name, prediction.probability, prediction.abstained)

It looks at the bank file before every batch: once a row is forgotten, by whatever process, the next batch
is predicted without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pfedge_runtime.arguments import Paths, Texts, as_paths, as_texts
from pfedge_runtime.bank import Bank, decide
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.device import DeviceState
from pfedge_runtime.engines import Engine, Outputs, open_engine
from pfedge_runtime.errors import InputError, PfedgeError, ProviderError, UsageError
from pfedge_runtime.forgetting import recover_or_say
from pfedge_runtime.inputs import Frame, LeftOut, read_files

BATCH_SIZE = 32


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one input.

    Attributes:
        source: the file it came from; None for an array.
        class_id: the class whose row scores highest.
        name: that class's name.
        probability: its softmax share among the rows that are left; not calibrated: it says nothing of classes that
            have no row, and an input of a forgotten class may have a share of 1.
        abstained: True where no decision should be made of it.
        reason: why it was abstained on; empty otherwise.
        coverage: the class ids that were in the bank, in bank order.
        scores: one logit per class in the coverage.
        probabilities: one softmax probability per class in the coverage.
        epoch: how many of the exported rows were gone from the bank that was used: it only grows.
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
    epoch: int

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `class` and `name` are null where the input was abstained on."""
        return {
            "source": self.source,
            "class": None if self.abstained else self.class_id,
            "name": None if self.abstained else self.name,
            "abstained": self.abstained,
            "reason": self.reason,
            "epoch": self.epoch,
            "best": {"class": self.class_id, "name": self.name, "probability": self.probability},
            "rows": [
                {"class": class_id, "score": score, "probability": probability}
                for class_id, score, probability in zip(self.coverage, self.scores, self.probabilities, strict=True)
            ],
        }


class LiveBank:
    """The bank of a bundle as it is now: read again whenever its file or the device's ledger has changed.

    Each bank that it gives is a snapshot, which never changes: a batch is computed, decided and reported with one.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        # the stamp before the bank: a change while that is read makes it be read again
        self._seen = bundle.bank_stamp(), bundle.bank()

    def snapshot(self) -> Bank:
        """Return the bank as it is on disk now.

        Raises:
            PfedgeError: it cannot be read, or brings a forgotten row back; see `Bundle.bank`.
        """
        stamp, bank = self._seen  # one look: another thread may put a newer pair there meanwhile
        now = self._bundle.bank_stamp()
        if now != stamp:
            bank = self._bundle.bank()
            self._seen = now, bank
        return bank


class Classifier:
    """Predicts with whatever rows the bundle's bank has at that moment.

    `Classifier.open` finishes forgets that were decided and killed, checks every file of the bundle and loads its
    graph, once. Before every batch it looks whether bank or ledger have changed, and reads the bank again if so; that
    snapshot is bound to the engine, and the batch's answers name its rows. A row that any process forgets is therefore
    out of the next batch, without a new session. A bundle that brings a forgotten row back makes the next batch raise,
    and never answer. Nothing needs to be closed.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        batch_size: int = BATCH_SIZE,
        min_probability: float = 0.0,
        use_thresholds: bool = True,
        bank: LiveBank | None = None,
    ) -> None:
        """Classify with `bundle` through `engine`.

        Args:
            bundle: an opened bundle.
            engine: what evaluates its graph.
            batch_size: inputs per call of the engine.
            min_probability: abstain below this probability, whatever the rows' thresholds say.
            use_thresholds: False ignores the rows' own acceptance thresholds.
            bank: the bundle's, where it has been read already.

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
        self._exported = sum(len(entry.rows) for entry in bundle.manifest.classes)
        self._live = bank or LiveBank(bundle)
        self._opened: Callable[[], Classifier] | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "cpu",
        threads: int = 0,
        state: DeviceState | None = None,
        on_unfinished: Callable[[str], None] = lambda _: None,
        **options: Any,  # noqa: ANN401 -- passed on
    ) -> Classifier:
        """Open a bundle on a device.

        A forget that was killed on this device is finished first, where that can be done.

        Args:
            path: the bundle.
            device: as `open_engine` takes it.
            threads: of the CPU; 0 lets the back end choose.
            state: what the device remembers; by default what `DeviceState.at` finds.
            on_unfinished: told of each forget that cannot be finished, in words; its rows are refused all the same.
            options: those of the constructor.

        Raises:
            PfedgeError: the bundle or the device cannot be used; see `Bundle.open`, `open_engine`.
        """
        state = state or DeviceState.at()
        for problem in recover_or_say(state, at=Path(path)):
            on_unfinished(problem)
        bundle = Bundle.open(path, read_bank=False, state=state)
        bank = LiveBank(bundle)  # before the graph: a bundle that is refused need not be waited for
        max_batch = options.get("batch_size", BATCH_SIZE)
        engine = open_engine(bundle, device, threads=threads, max_batch=max_batch)
        classifier = cls(bundle, engine, bank=bank, **options)
        again = partial(cls.open, Path(path).absolute(), device=device, threads=threads, state=state, **options)
        classifier._opened = again
        return classifier

    def __reduce__(self) -> tuple[Callable[[], Classifier], tuple[()]]:
        """Pickle how it was opened, and none of its rows: whoever unpickles it opens the bundle as it is by then.

        Raises:
            UsageError: it was not opened by `open`.
        """
        if self._opened is None:
            message = "only what Classifier.open gave can go to another process: call Classifier.open there"
            raise UsageError(message)
        return self._opened, ()

    @property
    def bank(self) -> Bank:
        """The bank as it is on disk now."""
        return self._live.snapshot()

    def logits(self, inputs: NDArray[Any]) -> tuple[Bank, NDArray[np.float32]]:
        """Return the bank used and the logits `[B, R]` of inputs; see `outputs`."""
        bank, outputs = self.outputs(inputs)
        return bank, outputs.logits

    def outputs(self, inputs: NDArray[Any]) -> tuple[Bank, Outputs]:
        """Return the bank used and the graph's outputs on inputs that already have its size.

        Args:
            inputs: images uint8 `[B, H, W, 3]`, or for an audio bundle features float32 `[B, frames, mels]`.

        Raises:
            InputError: the array has another shape or dtype.
            ProviderError: the engine gave another number of scores than the bank has rows.
        """
        expected = self.bundle.manifest.preprocess
        if inputs.shape[1:] != expected.shape or inputs.dtype != expected.dtype:
            message = (
                f"{expected.input_name} must be {expected.dtype} {['B', *expected.shape]}, "
                f"got {inputs.dtype} {list(inputs.shape)}"
            )
            raise InputError(message)
        bank = self.bank
        chunks = [self._engine.run(np.ascontiguousarray(chunk), bank) for chunk in self._batches(inputs)]
        if not chunks:
            return bank, Outputs(np.zeros((0, len(bank)), dtype=np.float32))
        embeddings = [chunk.embedding for chunk in chunks if chunk.embedding is not None]
        logits = np.concatenate([chunk.logits for chunk in chunks])
        if logits.shape != (len(inputs), len(bank)):
            message = f"the engine gave scores {list(logits.shape)} for {len(inputs)} inputs and {len(bank)} rows"
            raise ProviderError(message)
        return bank, Outputs(logits, np.concatenate(embeddings) if embeddings else None)

    def predict(
        self, inputs: NDArray[Any] | Sequence[NDArray[Any]], *, sources: Texts | None = None
    ) -> list[Prediction]:
        """Predict arrays.

        Args:
            inputs: one array that already has the graph's size, as `outputs` takes it; or a list of images uint8
                `[h, w, 3]` of any sizes, which are resized as files are, or of features of the graph's size.
            sources: names of the inputs, one each.

        Raises:
            InputError: an array has another shape or dtype.
            UsageError: there are more or fewer names than inputs.
        """
        names: Sequence[str | None] = [None] * len(inputs) if sources is None else as_texts(sources)
        if len(names) != len(inputs):
            message = f"{len(inputs)} inputs and {len(names)} sources: each input has one name"
            raise UsageError(message)
        predictions: list[Prediction] = []
        for chunk in self._batches(inputs):
            batch = chunk if isinstance(chunk, np.ndarray) else self._stacked(chunk, first=len(predictions))
            predictions += self._predict_batch(batch, names[len(predictions) : len(predictions) + len(chunk)])
        return predictions

    def predict_files(
        self,
        paths: Paths,
        *,
        frame: Frame = None,
        max_pixels: int | None = None,
        on_error: Callable[[PfedgeError], None] | None = None,
        on_left_out: Callable[[LeftOut], None] = lambda _: None,
    ) -> Iterator[Prediction]:
        """Predict files (images, or sounds for an audio bundle) and all of them below folders, in batches, in order.

        Args:
            paths: files and folders; or a single one.
            frame: of files with several frames or pages, which one, from 1; `all` gives one prediction a frame. Their
                sources then end in `#frame`.
            max_pixels: refuse an image of more; None is Pillow's limit, 89 million.
            on_error: called for each path or file that cannot be read, the error's `source`, which is then left out;
                None raises.
            on_left_out: called for each folder, with what it holds besides data.

        Raises:
            UsageError: `frame` is neither a number from 1 nor `all`.
            InputError: a path is missing or a file cannot be read, and `on_error` is None.
            MissingExtraError: a DICOM file without the extra `dicom`, a sound without `audio`, and `on_error` is None.
        """
        preprocess = self.bundle.manifest.preprocess
        found = read_files(
            as_paths(paths), preprocess, frame=frame, max_pixels=max_pixels, on_error=on_error, on_left_out=on_left_out
        )
        while batch := list(islice(found, self._batch_size)):
            sources, inputs = zip(*batch, strict=True)
            yield from self.predict(np.stack(inputs), sources=sources)

    def _stacked(self, arrays: Sequence[NDArray[Any]], *, first: int) -> NDArray[Any]:
        """Return arrays of any sizes as one batch; an error names the position of the array, counted from `first`."""
        batch = []
        for position, array in enumerate(arrays, start=first):
            try:
                batch.append(self.bundle.manifest.preprocess(np.asarray(array)))
            except InputError as error:
                message = f"input {position}: {error}"
                raise InputError(message) from error
        return np.stack(batch)

    def _batches(self, inputs: NDArray[Any] | Sequence[Any]) -> Iterator[Any]:
        for start in range(0, len(inputs), self._batch_size):
            yield inputs[start : start + self._batch_size]

    def _predict_batch(self, inputs: NDArray[Any], sources: Sequence[str | None]) -> list[Prediction]:
        bank, (logits, embedding) = self.outputs(inputs)
        decisions = decide(
            bank,
            logits,
            embedding,
            min_probability=self._min_probability,
            use_thresholds=self._use_thresholds,
        )
        epoch = self._exported - len(bank.row_keys)
        predictions = []
        for position, source in enumerate(sources):
            winner = int(decisions.winner[position])
            probability = float(decisions.probability[position, winner])
            class_id = bank.class_ids[winner]
            score, threshold = decisions.score[position], decisions.threshold[position]
            name = self.bundle.manifest.class_name(class_id)
            reason = ""
            if score < threshold:
                reason = f"score {score:.2f} of {name} is below its row's threshold {threshold:.2f}"
            elif not decisions.accepted[position]:
                reason = f"share {probability:.3f} of {name} among the rows left is below {self._min_probability}"
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
                    epoch=epoch,
                )
            )
        return predictions
