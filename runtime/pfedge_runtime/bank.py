"""The prompt bank: everything a model learned of each class, one removable row per class.

bank = PromptBank.load(Path("bundle/bank.safetensors"))
smaller = bank.drop({3})          # a new bank; `bank` is unchanged
smaller.class_ids                 # (0, 1, 2, 4, 5, 6, 7)
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from pfedge_runtime.errors import AlreadyForgottenError, BankError, LastRowError

FORMAT = "pfedge-bank/1"
PARTS = ("head_bias", "head_weight", "prompts", "threshold")

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PromptBank:
    """The R rows that a model still has, in class-id order. Immutable.

    Attributes:
        class_ids: the R class ids, strictly increasing.
        prompts: float32 `[R, T, D]`, the prompt tokens.
        head_weight: float32 `[R, F]`, the head vectors.
        head_bias: float32 `[R]`.
        threshold: float32 `[R]`, the score (logit) from which a row accepts an input; `-inf` accepts all.
    """

    class_ids: tuple[int, ...]
    prompts: Floats
    head_weight: Floats
    head_bias: Floats
    threshold: Floats

    def __post_init__(self) -> None:
        """Check shapes, order and values, and make the arrays read-only.

        Raises:
            BankError: the parts do not fit each other, or hold NaN.
        """
        rows = len(self.class_ids)
        if list(self.class_ids) != sorted(set(self.class_ids)) or rows == 0 or self.class_ids[0] < 0:
            message = f"a bank's class ids must be distinct, increasing and not empty, got {self.class_ids}"
            raise BankError(message)
        for name, dimensions in (("prompts", 3), ("head_weight", 2), ("head_bias", 1), ("threshold", 1)):
            array = getattr(self, name)
            if array.ndim != dimensions or len(array) != rows or array.dtype != np.float32:
                message = (
                    f"bank part {name} has shape {array.shape} and dtype {array.dtype}, "
                    f"expected float32 with {dimensions} dimensions and {rows} rows"
                )
                raise BankError(message)
            if np.isnan(array).any() or (name != "threshold" and np.isinf(array).any()):
                message = f"bank part {name} holds values that are not finite"
                raise BankError(message)
            frozen = np.ascontiguousarray(array).view()
            frozen.flags.writeable = False
            object.__setattr__(self, name, frozen)

    def __len__(self) -> int:
        """Return R, the number of rows."""
        return len(self.class_ids)

    def select(self, class_ids: Iterable[int]) -> PromptBank:
        """Return the bank that has only these rows, still in class-id order.

        Raises:
            AlreadyForgottenError: one of them is not in this bank.
            LastRowError: none is asked for.
        """
        wanted = set(class_ids)
        require_known(wanted, self.class_ids)
        if not wanted:
            message = "a bank must keep at least one row; to forget everything, remove the bundle"
            raise LastRowError(message)
        index = [position for position, class_id in enumerate(self.class_ids) if class_id in wanted]
        return PromptBank(
            class_ids=tuple(self.class_ids[position] for position in index),
            prompts=self.prompts[index],
            head_weight=self.head_weight[index],
            head_bias=self.head_bias[index],
            threshold=self.threshold[index],
        )

    def drop(self, class_ids: Iterable[int]) -> PromptBank:
        """Return the bank without these rows.

        Raises:
            AlreadyForgottenError: one of them is not in this bank.
            LastRowError: no row would be left.
        """
        unwanted = set(class_ids)
        require_known(unwanted, self.class_ids)
        return self.select(set(self.class_ids) - unwanted)

    def graph_inputs(self) -> dict[str, Floats]:
        """Return what the graph takes."""
        return {"prompts": self.prompts, "head_weight": self.head_weight, "head_bias": self.head_bias}

    def accepts(
        self, winner: NDArray[np.int64], logits: Floats, embedding: Floats | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return score and threshold `[B]` of each input's winning row; it is accepted where the score reaches it.

        Args:
            winner: positions `[B]` in the bank.
            logits: float32 `[B, R]`.
            embedding: not used.
        """
        del embedding
        score = np.take_along_axis(logits, winner[:, None], axis=1)[:, 0]
        return score.astype(np.float64), self.threshold[winner].astype(np.float64)

    def row(self, class_id: int) -> dict[str, Floats]:
        """Return one row's parts by name: prompts `[T, D]`, head_weight `[F]`, head_bias `[]`, threshold `[]`."""
        position = self.class_ids.index(class_id)
        return {part: getattr(self, part)[position] for part in PARTS}

    def row_digest(self, class_id: int) -> str:
        """Return the SHA-256 that identifies one row's content, whatever bank it stands in."""
        digest = hashlib.sha256(b"pfedge-row/1")
        for part, array in self.row(class_id).items():
            digest.update(f"|{part}:{array.shape}|".encode())
            digest.update(np.asarray(array, dtype="<f4").tobytes())
        return digest.hexdigest()

    def row_digests(self) -> dict[tuple[int, str], str]:
        """Return the digest of each row, by class id and source; no row of this kind is of a source."""
        return {(class_id, ""): self.row_digest(class_id) for class_id in self.class_ids}

    def digest(self) -> str:
        """Return the SHA-256 of the bank: its class ids and the digests of their rows."""
        digest = hashlib.sha256(b"pfedge-bank/1")
        for class_id in self.class_ids:
            digest.update(f"|{class_id}:{self.row_digest(class_id)}".encode())
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """Return the safetensors encoding, with tensors `rows.<class id>.<part>`."""
        tensors = {
            f"rows.{class_id}.{part}": np.array(array, dtype=np.float32)
            for class_id in self.class_ids
            for part, array in self.row(class_id).items()
        }
        return safetensors.numpy.save(tensors, metadata={"format": FORMAT})

    @classmethod
    def from_bytes(cls, data: bytes, *, source: str = "bank") -> PromptBank:
        """Read a bank back; `source` names it in errors.

        Raises:
            BankError: the bytes are not a whole bank of this format.
        """
        tensors, form = read_tensors(data, source)
        if form != FORMAT:
            message = f"{source} is not a bank of format {FORMAT}: its format is {form}"
            raise BankError(message)
        return _assemble(tensors, source)

    @classmethod
    def load(cls, path: Path) -> PromptBank:
        """Read a bank file.

        Raises:
            BankError: the file is missing, cannot be read, or is not a whole bank.
        """
        return cls.from_bytes(read_bank_file(path), source=str(path))


def read_bank_file(path: Path) -> bytes:
    """Return the bytes of a bank file.

    Raises:
        BankError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"cannot read the bank {path}: {error.strerror}"
        raise BankError(message) from error


def read_tensors(data: bytes, source: str) -> tuple[dict[str, NDArray[np.generic]], str]:
    """Return the tensors of a bank's bytes, and its metadata entry `format`; `source` names it in errors.

    Raises:
        BankError: the bytes are not a whole safetensors file with that entry and no other.
    """
    try:
        tensors = safetensors.numpy.load(data)
        about = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]]).get("__metadata__")
    except (SafetensorError, KeyError, ValueError, struct.error) as error:
        message = f"{source} is damaged or not a bank: {error}"
        raise BankError(message) from error
    if not isinstance(about, dict) or set(about) != {"format"}:
        message = f"{source} is not a bank: its metadata is {about}"
        raise BankError(message)
    return tensors, about["format"]


def require_known(class_ids: set[int], known: Iterable[int]) -> None:
    """Check that a bank has rows for classes.

    Raises:
        AlreadyForgottenError: it has none for one of them.
    """
    missing = class_ids - set(known)
    if missing:
        message = f"the bank has no row for class {sorted(missing)}; it has {sorted(known)}"
        raise AlreadyForgottenError(message)


def _assemble(tensors: dict[str, NDArray[np.generic]], source: str) -> PromptBank:
    rows: dict[int, dict[str, NDArray[np.generic]]] = {}
    for name, tensor in tensors.items():
        prefix, _, rest = name.partition(".")
        class_id, _, part = rest.partition(".")
        if prefix != "rows" or not class_id.isdecimal() or str(int(class_id)) != class_id or part not in PARTS:
            message = f"{source} holds a tensor {name!r} that is no part of a row"
            raise BankError(message)
        rows.setdefault(int(class_id), {})[part] = tensor
    class_ids = tuple(sorted(rows))
    incomplete = [class_id for class_id in class_ids if set(rows[class_id]) != set(PARTS)]
    if incomplete or not rows:
        message = f"{source} has incomplete rows {incomplete}" if rows else f"{source} has no rows"
        raise BankError(message)
    stacked = {}
    for part in PARTS:
        arrays = [rows[class_id][part] for class_id in class_ids]
        shapes = {array.shape for array in arrays} | {(str(array.dtype),) for array in arrays}
        if len(shapes) != 2 or arrays[0].dtype != np.float32:  # noqa: PLR2004 -- one shape and one dtype
            message = f"{source} has rows whose {part} differ in shape or dtype: {sorted(map(str, shapes))}"
            raise BankError(message)
        stacked[part] = np.stack(arrays).astype(np.float32, copy=False)
    try:
        return PromptBank(class_ids=class_ids, **stacked)
    except BankError as error:
        message = f"{source} is damaged: {error}"
        raise BankError(message) from error
