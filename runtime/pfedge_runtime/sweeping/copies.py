"""Sweeping folders for copies of rows that were forgotten: in other bundles, loose banks, archives, any file.

    trace = Trace.of(bundle, [RowKey(3)])              # before the row is dropped
    forget(bundle.path, ["3"])
    for finding in sweep(trace, [Path("/backup")], bundle.state):
        print(finding.describe())

Banks are made smaller: those of bundles as `forget` does, with receipts; loose ones by writing them anew. Everything
else is only looked at, and named. Links are not followed, and the device's own state is left out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pfedge_runtime.arguments import Paths, as_paths
from pfedge_runtime.bank import RowKey, StoredBank, bank_format, read_bank, read_zeroized
from pfedge_runtime.bundle import BANK, MANIFEST, Bundle
from pfedge_runtime.device import LEDGER, DeviceState, RowId
from pfedge_runtime.errors import PfedgeError
from pfedge_runtime.files import replace_erasing, require_sole_copy, staged_file
from pfedge_runtime.forgetting import forget, plan_forget
from pfedge_runtime.sweeping.archives import HEAD, Readable, archive_kind, look_into
from pfedge_runtime.sweeping.traces import Mark, Trace

DROPPED, ERASED, NOT_REACHED, NAMES_IT = "dropped", "erased", "not reached", "names it"
NAMING = {MANIFEST, LEDGER}  # files whose purpose it is to name rows by their digest


@dataclass(frozen=True)
class Finding:
    """What was found in one file, and what was done about it.

    Attributes:
        path: the file.
        what: `row`, `bytes`, `sealed bytes`, `key`, `digest`, or `unknown` where a file cannot be looked into.
        row: the row found; None where that is not known.
        action: `dropped`, `erased`, `not reached` or `names it`.
        reason: how, why not, or what to do.
        member: of an archive.
    """

    path: Path
    what: str
    row: RowId | None
    action: str
    reason: str
    member: str = ""

    def describe(self) -> str:
        """Return one line."""
        where = f"{self.path} > {self.member}" if self.member else str(self.path)
        what = f"{self.what} of {self.row.describe()}: " if self.row else ""
        return f"{where}: {what}{self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        row = self.row.to_json() if self.row else None
        return {**vars(self), "path": str(self.path), "row": row}


Others = Callable[[Sequence[Path], Trace, bool], Iterable[Finding]]


def sweep(
    trace: Trace,
    folders: Paths,
    state: DeviceState,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    others: Others | None = None,
    dry_run: bool = False,
) -> tuple[Finding, ...]:
    """Search folders for the rows of a trace, drop them where that can be done, and return what was found.

    Args:
        trace: what to search for.
        folders: where.
        state: the device's; its folder is left out.
        on_progress: is told how many files are done, and of how many.
        others: takes files, trace and `dry_run`, and does the same for files of kinds that only it knows.
        dry_run: change nothing; findings then say what would be done.
    """
    files, findings = _walk(as_paths(folders), state)
    sweeper = _Sweeper(trace, state, dry_run)
    findings += [finding for path in files for finding in sweeper.bank(path)]
    if others is not None:
        findings += others(files, trace, dry_run)
    told = {finding.path for finding in findings if dry_run or finding.action == NOT_REACHED}
    for number, path in enumerate(files, start=1):
        if path not in told and not (dry_run and sweeper.is_home(path)):
            findings += sweeper.look(path)
        if on_progress:
            on_progress(number, len(files))
    return tuple(sorted(findings, key=lambda finding: (finding.path, finding.member)))


@dataclass(frozen=True)
class _Sweeper:
    """One sweep.

    Attributes:
        trace: what is searched for.
        state: the device's.
        dry_run: change nothing.
    """

    trace: Trace
    state: DeviceState
    dry_run: bool

    def is_home(self, path: Path) -> bool:
        """Return whether this is the bank that the rows were dropped from, or are about to be."""
        return path == (self.trace.home / BANK).resolve()

    def bank(self, path: Path) -> Iterator[Finding]:
        """Drop the rows from a bank, alone or in its bundle."""
        if self.is_home(path) or not is_bank(path):
            return
        try:
            if path.name == BANK and (path.parent / MANIFEST).is_file():
                opened = self._open(path.parent)
                if opened is not None:
                    yield from self._bundle(*opened)
                    return
            stored = read_bank(read_zeroized(path), source=str(path))
        except PfedgeError:  # it is damaged: what is in it is found by its bytes
            return
        yield from self._loose(path, stored)

    def _open(self, folder: Path) -> tuple[Bundle, StoredBank, dict[RowKey, RowId]] | None:
        """Return a bundle, its bank and the rows found in it; None where it is no bundle that this device opens."""
        try:
            bundle = Bundle.open(folder, read_bank=False, state=self.state)
            stored = bundle.stored_bank()
            digests = {row.key: row.digest for row in bundle.row_ids(stored.row_keys)}
        except PfedgeError:
            return None
        return bundle, stored, self.trace.rows_in(stored, digests)

    def _bundle(self, bundle: Bundle, stored: StoredBank, held: dict[RowKey, RowId]) -> Iterator[Finding]:
        """Forget rows in another bundle, which then has a receipt of its own."""
        staying = [key for key in stored.row_keys if key not in held]
        classes = set(stored.class_ids) - {key.class_id for key in staying}
        left = {key.source for key in held if key.class_id not in classes}
        sources = left - {key.source for key in staying} - {""}
        reached = {key for key in held if key.class_id in classes or key.source in sources}
        done = self._forget(bundle, sorted(classes), sorted(sources)) if reached else (NOT_REACHED, "")
        for key, row in held.items():
            action, reason = done if key in reached else (NOT_REACHED, "others of its class and of its source stay")
            yield Finding(bundle.bank_path, "row", row, action, reason)

    def _forget(self, bundle: Bundle, class_ids: Sequence[int], sources: Sequence[str]) -> tuple[str, str]:
        """Return what was done, and how or why not."""
        classes = [str(class_id) for class_id in class_ids]
        try:
            if self.dry_run:
                plan_forget(bundle, classes, sources=sources)
                return DROPPED, "forgotten in this bundle"
            receipt = forget(bundle, classes, sources=sources).receipt
        except PfedgeError as error:
            return NOT_REACHED, str(error)
        return DROPPED, f"forgotten in this bundle, receipt {receipt}"

    def _loose(self, path: Path, stored: StoredBank) -> Iterator[Finding]:
        """Write a bank anew without rows."""
        held = self.trace.rows_in(stored)
        if not held:
            return
        try:
            require_sole_copy(path)
            smaller = stored.without(held)
            if not self.dry_run:
                with staged_file(path, smaller.to_bytes()) as new:
                    replace_erasing(new, path)
            action, reason = DROPPED, f"the bank was written anew; {len(smaller.row_keys)} rows are left"
        except PfedgeError as error:
            action, reason = NOT_REACHED, f"{error}; delete this file"
        for row in held.values():
            yield Finding(path, "row", row, action, reason)

    def look(self, path: Path) -> Iterator[Finding]:
        """Search a file, and the members of an archive; nothing is changed."""
        try:
            with open_file(path) as file:
                head = file.read(HEAD)
                file.seek(0)
                found = list(self._members(path, file)) if archive_kind(head) else []
                if all(finding.row is None for finding in found):
                    file.seek(0)
                    found += self._findings(path, "", self.trace.search(file))
                yield from found
        except FileNotFoundError:  # it went while its bundle forgot
            return
        except OSError as error:
            yield unreadable(path, error)

    def _members(self, path: Path, file: IO[bytes]) -> Iterator[Finding]:
        found: list[Finding] = []

        def search(member: str, source: Readable) -> None:
            found.extend(self._findings(path, member, self.trace.search(source)))

        for problem in look_into(file, search):
            reason = f"{problem.why}: look into it by hand"
            found.append(Finding(path, "unknown", None, NOT_REACHED, reason, problem.member))
        yield from found

    def _findings(self, path: Path, member: str, marks: Iterable[Mark]) -> Iterator[Finding]:
        """Return what marks in a file or in a member say."""
        todo = "delete the archive, or pack it anew without this member" if member else "delete this file"
        naming = Path(member or path).name in NAMING
        for mark in sorted(marks, key=lambda mark: (mark.row, mark.what)):
            row = self.trace.rows[mark.row]
            if mark.what != "digest":
                yield Finding(path, mark.what, row, NOT_REACHED, todo, member)
            elif not naming:
                yield Finding(path, mark.what, row, NAMES_IT, "nothing of what was learned", member)


def is_bank(path: Path) -> bool:
    """Return whether a file says that it is a bank, whatever its name; not where it cannot be read."""
    try:
        with open_file(path) as file:
            return bank_format(file.read(HEAD)) is not None
    except OSError:
        return False


def open_file(path: Path) -> IO[bytes]:
    """Open a file for reading, but no link, and nothing that is no file.

    Raises:
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    return os.fdopen(descriptor, "rb")


def unreadable(path: Path, error: OSError) -> Finding:
    """Return the finding that a file or folder cannot be read."""
    reason = f"it cannot be read ({error.strerror or error}): look into it by hand"
    return Finding(path, "unknown", None, NOT_REACHED, reason)


def _walk(folders: Iterable[Path], state: DeviceState) -> tuple[list[Path], list[Finding]]:
    """Return each file once, in order, and what cannot be read: no links, nothing of the device's own state."""
    files: dict[Path, None] = {}
    problems: list[Finding] = []
    own = state.path.resolve()

    def tell(error: OSError) -> None:
        problems.append(unreadable(Path(error.filename), error))

    for folder in folders:
        for name, inner, names in os.walk(folder.resolve(), onerror=tell):
            parent = Path(name)
            if parent == own or own in parent.parents:
                inner.clear()
                continue
            inner.sort()
            files |= dict.fromkeys(path for path in map(parent.joinpath, sorted(names)) if _is_file(path))
    return list(files), problems


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:  # it went meanwhile
        return False
