"""Dropping forgotten rows from run folders and checkpoints, without torch: a part of `pfedge forget --sweep`.

    findings = sweep_runs(files, trace, dry_run=False)

A run that holds a forgotten row loses that class in every file: in the model and in checkpoints of other epochs, whose
rows of it are of other bytes. What `--resume` would go on from is erased whole: Adam's moments remember rows too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pfedge_runtime.bank import (
    PROMPT_FORMAT,
    RowKey,
    StoredBank,
    ZeroizedBytes,
    decode,
    encode,
    read_bank,
    read_zeroized,
)
from pfedge_runtime.device import RowId
from pfedge_runtime.errors import BankError, LastRowError, PfedgeError
from pfedge_runtime.files import erase, replace_erasing, require_sole_copy, staged_file, write_atomic
from pfedge_runtime.sweeping import DROPPED, ERASED, NOT_REACHED, Finding, Trace, open_file

FORMAT, ENTRY, CONFIG = "pfedge-run/1", "pfedge", "config.json"  # as in `pfedge.runs.run`, which needs torch
OPENING = b'{"__metadata__":{"pfedge":'


@dataclass(frozen=True, eq=False)
class RunFile:
    """A file written by `pfedge.runs.run`: a model, a checkpoint, or the state to resume from.

    Attributes:
        path: the file.
        about: its metadata: the run's configuration, and of statistics the bank's settings.
        tensors: by name.
    """

    path: Path
    about: dict[str, Any]
    tensors: dict[str, NDArray[Any]]

    @classmethod
    def read(cls, path: Path) -> RunFile | None:
        """Read a file; None where it is something else, or damaged."""
        try:
            with open_file(path) as file:
                if file.read(8 + len(OPENING))[8:] != OPENING:
                    return None
            tensors, text = decode(read_zeroized(path), str(path), entry=ENTRY)
            about = json.loads(text)
            whole = about["format"] == FORMAT and isinstance(about["config"]["train"], dict)
            return cls(path, about, tensors) if whole else None
        except (OSError, PfedgeError, ValueError, TypeError, KeyError):
            return None

    @property
    def run(self) -> str:
        """What all files of a run have in common."""
        config = self.about["config"]
        return json.dumps([config["train"], config.get("backbone_digest")], sort_keys=True)

    @property
    def resumable(self) -> bool:
        """Whether it is the state to resume from."""
        return "state" in self.about or "next" in self.about

    def bank(self) -> StoredBank:
        """Return the rows.

        Raises:
            BankError: they are damaged.
        """
        rows = {name.removeprefix("model."): array for name, array in self.tensors.items()}
        rows = {name: array for name, array in rows.items() if name.startswith("rows.")}
        form = json.dumps(self.about["bank"]) if "bank" in self.about else PROMPT_FORMAT
        return read_bank(encode(rows, form), source=str(self.path))

    def without(self, keys: set[RowKey]) -> ZeroizedBytes:
        """Return the file's bytes without rows.

        Raises:
            BankError: the rows are damaged.
            LastRowError: none would be left.
        """
        smaller = self.bank().without(keys)
        gone = set(map(str, keys))
        left = {name: array for name, array in self.tensors.items() if _key(name) not in gone}
        about = {**self.about, "config": {**self.about["config"], "class_ids": list(smaller.class_ids)}}
        return encode(left, json.dumps(about), entry=ENTRY)


def sweep_runs(paths: Sequence[Path], trace: Trace, dry_run: bool) -> Iterator[Finding]:  # noqa: FBT001 -- `sweep.Others`
    """Drop the rows of a trace from the runs among these files, and say so.

    Args:
        paths: any files.
        trace: the rows.
        dry_run: change nothing.
    """
    held: dict[str, dict[RowKey, RowId]] = {}
    found: list[Path] = []
    for path in paths:
        file = RunFile.read(path)
        if file is not None:
            found.append(path)
            held.setdefault(file.run, {}).update(_held(file, trace))
    for path in found:
        file = RunFile.read(path)
        if file is not None:
            yield from _drop(file, held[file.run], trace, dry_run=dry_run)


def _held(file: RunFile, trace: Trace) -> dict[RowKey, RowId]:
    try:
        return trace.rows_in(file.bank())
    except BankError:
        return {}


def _drop(file: RunFile, held: dict[RowKey, RowId], trace: Trace, *, dry_run: bool) -> Iterator[Finding]:
    """Drop the rows that a run holds from one of its files."""
    try:
        bank = file.bank()
    except BankError:
        return
    own = trace.rows_in(bank)
    rows = {key: row for key, row in held.items() if key in bank.row_keys}
    if not rows:
        return
    try:
        require_sole_copy(file.path)
        if file.resumable:
            action, reason = ERASED, "the whole state went, with the optimizer's moments: this run cannot be resumed"
            if not dry_run:
                erase(file.path)
        else:
            action, reason = DROPPED, f"the run's file was written anew; {len(bank) - len(rows)} rows are left"
            smaller = file.without(set(rows))
            if not dry_run:
                with staged_file(file.path, smaller) as new:
                    replace_erasing(new, file.path)
                _adjust_config(file)
    except LastRowError:
        action, reason = NOT_REACHED, "it is the run's only row: remove the run folder"
    except (PfedgeError, OSError) as error:
        action, reason = NOT_REACHED, f"{error}; remove the run folder"
    for key, row in rows.items():
        yield Finding(file.path, "row" if key in own else "row of another epoch", row, action, reason)


def _adjust_config(file: RunFile) -> None:
    """Bring the `config.json` for people into line with the run's model."""
    path = file.path.with_name(CONFIG)
    changed = RunFile.read(file.path)
    try:
        config = json.loads(path.read_bytes())
        same = config["train"] == file.about["config"]["train"]
    except (OSError, ValueError, TypeError, KeyError):  # it is for people; the model file has the same
        return
    if same and changed is not None:
        config["class_ids"] = changed.about["config"]["class_ids"]
        write_atomic(path, (json.dumps(config, indent=2) + "\n").encode())


def _key(name: str) -> str:
    """Return the row that a tensor is a part of, `3` or `3@clinic-7`; empty for others."""
    prefix, _, rest = name.partition(".")
    return rest.rpartition(".")[0] if prefix == "rows" else ""
