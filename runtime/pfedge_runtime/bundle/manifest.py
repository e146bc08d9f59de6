"""The manifest of a bundle: what the files are, what they must hash to, and how to use them.

`manifest.json` is canonical JSON (RFC 8785) that carries the SHA-256 of its own other fields, so that a
single flipped bit anywhere in it is noticed. Everything in it is fixed at export; what a device can still
recognise follows from the bank, which holds the rows that are left.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfedge_runtime._compat import cached_property
from pfedge_runtime.arguments import Texts, as_texts
from pfedge_runtime.bank import RowKey, guarantee
from pfedge_runtime.errors import BundleError, UnknownClassError, UsageError
from pfedge_runtime.files import canonical_json, parse_json, read_file, safe_reason
from pfedge_runtime.inputs import Preprocess, preprocess_from_json, preprocess_to_json
from pfedge_runtime.spelling import composed

SCHEMA = "pfedge-bundle/1"
PRECISIONS = ("fp32", "fp16", "int8")
MODEL_ID = re.compile("[0-9a-f]{32}")
SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ClassEntry:
    """One class of the model.

    Attributes:
        id: the class id.
        name: its name.
        row: the digest of the row it had at export, of no source; None if it had none.
        sources: the digests of its rows at export, by source, where rows are kept apart by source.
    """

    id: int
    name: str
    row: str | None
    sources: dict[str, str] = field(default_factory=dict, hash=False)

    @property
    def rows(self) -> dict[str, str]:
        """Source -> digest of each row it had at export; the source of a row of the whole class is empty."""
        return ({"": self.row} if self.row else {}) | self.sources

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"id": self.id, "name": self.name, "row": self.row} | ({"sources": self.sources} if self.sources else {})


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        model_id: identifies the exported model, 32 hexadecimal digits.
        guarantee: the name of what forgetting promises; one of `pfedge_runtime.bank.GUARANTEES`.
        dataset: the name of what it was trained on.
        classes: all classes the model ever knew of, in id order.
        preprocess: how a file becomes a graph input.
        inputs: name -> dtype and shape of each graph input; symbolic dimensions are strings.
        outputs: likewise.
        opset: ONNX opset of the graph.
        files: name -> sha256 and size in bytes of every immutable file.
        reach: trained parameters in rows, and those that forgetting cannot reach.
        parity: the report of the comparison made at export.
        made_by: versions of what made the bundle.
        precision: what the graph computes in: `fp32`, `fp16` or `int8`.
        gate: the report of the comparison of that precision with float32; empty for `fp32`.
        sealed: whether the bank's rows are encrypted.
        audits: class id, as text -> SHA-256 of the report of the audit of forgetting that class.
    """

    model_id: str
    guarantee: str
    dataset: str
    classes: tuple[ClassEntry, ...]
    preprocess: Preprocess
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    opset: int
    files: dict[str, dict[str, Any]]
    reach: dict[str, int]
    parity: dict[str, Any]
    made_by: dict[str, str]
    precision: str = "fp32"
    gate: dict[str, Any] = field(default_factory=dict, hash=False)
    sealed: bool = False
    audits: dict[str, str] = field(default_factory=dict, hash=False)

    @cached_property
    def rows(self) -> dict[RowKey, str]:
        """The digest of each row at export."""
        return {RowKey(entry.id, source): row for entry in self.classes for source, row in entry.rows.items()}

    def find_class(self, text: str) -> ClassEntry:
        """Return the class with this id or name.

        Raises:
            UnknownClassError: the model never had it, or the text is one class's id and another's name.
        """
        return self.classes[find_class([entry.name for entry in self.classes], text)]

    def class_name(self, class_id: int) -> str:
        """Return the name of a class id.

        Raises:
            IndexError: the model never had it.
        """
        return self.classes[class_id].name

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON values, without its own digest."""
        return {
            "schema": SCHEMA,
            "model_id": self.model_id,
            "guarantee": self.guarantee,
            "dataset": self.dataset,
            "classes": [entry.to_json() for entry in self.classes],
            "preprocess": preprocess_to_json(self.preprocess),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "opset": self.opset,
            "files": self.files,
            "reach": self.reach,
            "parity": self.parity,
            "made_by": self.made_by,
            **({"precision": self.precision, "gate": self.gate} if self.precision != "fp32" else {}),
            **({"sealed": True} if self.sealed else {}),
            **({"audits": self.audits} if self.audits else {}),
        }

    def to_bytes(self) -> bytes:
        """Return the canonical encoding, digest included."""
        body = self.to_json()
        return canonical_json({**body, "digest": hashlib.sha256(canonical_json(body)).hexdigest()})

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read and check a manifest.

        Raises:
            BundleError: it is missing, damaged, or of a schema version that this package does not read.
        """
        if not path.is_file() and not path.is_symlink():
            message = f"{path.parent} is not a bundle: it has no {path.name}"
            raise BundleError(message)
        data = read_file(path, BundleError)
        value = parse_json(data, str(path), BundleError)
        try:
            schema = value["schema"]
        except (TypeError, KeyError) as error:
            message = f"{path} is damaged: it is not the JSON of a manifest ({error})"
            raise BundleError(message) from error
        if schema != SCHEMA:
            message = f"{path} has schema {schema!r}; this version of pfedge reads {SCHEMA!r}"
            raise BundleError(message)
        digest = value.pop("digest", None)
        genuine = digest == hashlib.sha256(canonical_json(value)).hexdigest()
        if not genuine or canonical_json({**value, "digest": digest}) != data:
            message = f"{path} is damaged or was edited: it does not match its own digest"
            raise BundleError(message)
        try:
            return _from_json(value)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            message = f"{path} lacks or misstates a field: {safe_reason(error)}"
            raise BundleError(message) from error


def find_class(names: Texts, text: str) -> int:
    """Return the class id that `text` means, an id or a name, where ids are positions in `names`.

    Names are compared in one Unicode spelling.

    >>> find_class(["cat", "dog"], "dog"), find_class(["cat", "dog"], "0")
    (1, 0)

    Raises:
        UnknownClassError: it means none, or, where names are numbers or repeat, more than one.
    """
    names = as_texts(names)
    asked = composed(text)
    meant = {class_id for class_id, name in enumerate(names) if asked in {str(class_id), composed(name)}}
    known = ", ".join(f"{class_id} {name}" for class_id, name in enumerate(names))
    if not meant:
        message = f"unknown class {text!r}; known are: {known}"
        raise UnknownClassError(message)
    if len(meant) > 1:
        message = f"class {text!r} is ambiguous, it is the id or name of {sorted(meant)}; known are: {known}"
        raise UnknownClassError(message)
    return meant.pop()


def class_text(names: Texts, class_id: int) -> str:
    """Return the id or name by which `find_class` finds a class; its id where neither will do.

    >>> class_text(["1", "0", "dog"], 2), class_text(["1", "2", "3"], 2)
    ('2', '3')
    """
    names = as_texts(names)
    for text in (str(class_id), names[class_id]):
        if [composed(text) in {str(other), composed(name)} for other, name in enumerate(names)].count(True) == 1:
            return text
    return str(class_id)


def _from_json(value: dict[str, Any]) -> Manifest:
    try:
        guarantee(value["guarantee"])
    except UsageError as error:
        raise BundleError(str(error)) from error
    if [entry["id"] for entry in value["classes"]] != list(range(len(value["classes"]))):
        message = "the classes of a manifest must be numbered 0, 1, 2, ..."
        raise BundleError(message)
    manifest = Manifest(
        model_id=value["model_id"],
        guarantee=value["guarantee"],
        dataset=value["dataset"],
        classes=tuple(
            ClassEntry(entry["id"], entry["name"], entry["row"], dict(entry.get("sources", {})))
            for entry in value["classes"]
        ),
        preprocess=preprocess_from_json(value["preprocess"]),
        inputs={name: {"dtype": entry["dtype"], "shape": entry["shape"]} for name, entry in value["inputs"].items()},
        outputs={name: {"dtype": entry["dtype"], "shape": entry["shape"]} for name, entry in value["outputs"].items()},
        opset=value["opset"],
        files={name: {"sha256": entry["sha256"], "bytes": entry["bytes"]} for name, entry in value["files"].items()},
        reach=dict(value["reach"]),
        parity=dict(value["parity"]),
        made_by=dict(value["made_by"]),
        precision=value.get("precision", "fp32"),
        gate=dict(value.get("gate", {})),
        sealed=value.get("sealed", False) is True,
        audits=dict(value.get("audits", {})),
    )
    if not _well_typed(manifest):
        message = "a field of a manifest is of another type, or out of range"
        raise TypeError(message)
    return manifest


def _well_typed(manifest: Manifest) -> bool:
    texts = [manifest.dataset, *manifest.made_by, *manifest.made_by.values()]
    numbers = [manifest.opset, *manifest.reach.values()]
    for one in manifest.classes:
        texts += [one.name, *one.sources.values(), *([] if one.row is None else [one.row])]
        numbers.append(one.id)
    for file in manifest.files.values():
        texts.append(file["sha256"])
        numbers.append(file["bytes"])
    arrays = (*manifest.inputs.values(), *manifest.outputs.values())
    for array in arrays:
        texts.append(array["dtype"])
        numbers += [dim for dim in array["shape"] if not isinstance(dim, str)]
    symbols = {dim for array in manifest.inputs.values() for dim in array["shape"] if isinstance(dim, str)}
    return (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int and number >= 0 for number in numbers)
        and all(isinstance(array["shape"], list) for array in arrays)
        and MODEL_ID.fullmatch(manifest.model_id) is not None
        and manifest.precision in PRECISIONS
        and set(manifest.audits) <= {str(one.id) for one in manifest.classes}
        and all(isinstance(text, str) and SHA256.fullmatch(text) for text in manifest.audits.values())
        and symbols <= {"B", "P", "R"}
        and {manifest.preprocess.input_name, *guarantee(manifest.guarantee).graph.rows} <= set(manifest.inputs)
        and set(manifest.reach) == {"rows", "shared"}
        and manifest.reach["rows"] > 0
    )
