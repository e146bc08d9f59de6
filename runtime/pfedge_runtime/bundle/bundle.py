"""The folder that goes to a device: graph, bank, manifest, self-test.

    bundle = Bundle.open("bundle")
    bundle.bank().class_ids          # (0, 1, 2, 3, 4, 5, 6, 7)

Every file but the bank is immutable and its digest stands in the manifest. The bank may only shrink: each
of its rows must hash to what the manifest says that row was at export, and none may have been forgotten on this
device: what the device remembers stands outside of every bundle (`pfedge_runtime.device.state`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pfedge_runtime.bank import Bank, RowKey, SealedBank, StoredBank, guarantee, read_zeroized
from pfedge_runtime.bundle.manifest import Manifest
from pfedge_runtime.device import DeviceState, ForgetAbout, Ledger, LedgerStamp, RowId, record_refusal, require_allowed
from pfedge_runtime.errors import BankError, BundleError, KeyFileError, SealError, SignatureError, TombstoneError
from pfedge_runtime.files import read_file, sha256_file, write_atomic
from pfedge_runtime.signing import PrivateKey, PublicKey, sign_statement, verify_statement

MANIFEST = "manifest.json"
BANK = "bank.safetensors"
GRAPH = "graph.onnx"
STATIC_GRAPH = "graph.static.onnx"
SELFTEST = "selftest.npz"
SIGNATURE = "signature.json"
SIGNED = "pfedge/bundle/v1"
TRUSTED_KEYS = "PFEDGE_TRUSTED_KEYS"
RETRIES = 20
NAME_BYTES = 255  # what file systems take

BankStamp = tuple[int, int, int, LedgerStamp | None]  # inode, nanoseconds of its last change, bytes, the ledger's


@dataclass(frozen=True)
class Bundle:
    """An opened and checked bundle.

    Attributes:
        path: the folder.
        manifest: its manifest.
        state: what the device remembers.
    """

    path: Path
    manifest: Manifest
    state: DeviceState = field(default_factory=DeviceState.at, compare=False, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_bank: bool = True, state: DeviceState | None = None) -> Bundle:
        """Open a bundle and check every file in it; without `read_bank` the bank is left for later.

        `state` is what the device remembers; by default what `DeviceState.at` finds.

        Raises:
            BundleError: it is not a bundle, or a file is missing, damaged or of another schema version.
            SignatureError: PFEDGE_TRUSTED_KEYS names keys, and none of them signed it.
            BankError: the bank is damaged or does not belong to this bundle.
            TombstoneError: a row was forgotten on this device, and is back.
            SealError: a row is sealed, and this device has no key for it.
            LedgerError, StateError: what the device remembers cannot be trusted.
        """
        folder = Path(path)
        if not folder.is_dir():
            message = f"no bundle at {folder}: give --bundle or set PFEDGE_BUNDLE"
            raise BundleError(message)
        bundle = cls(folder, Manifest.load(folder / MANIFEST), state or DeviceState.at())
        trusted = trusted_keys()
        if trusted:
            bundle.require_signature(trusted)
        bundle.verify_files()
        if read_bank:
            bundle.bank()
        return bundle

    @property
    def bank_path(self) -> Path:
        """Where the bank lies."""
        return self.path / BANK

    @property
    def graph_path(self) -> Path:
        """Where the graph lies."""
        return self.path / GRAPH

    @property
    def static_graph_path(self) -> Path:
        """Where the graph with fixed shapes lies.

        Raises:
            BundleError: the bundle was exported without one.
        """
        if STATIC_GRAPH not in self.manifest.files:
            message = f"{self.path} has no graph with fixed shapes: export it with --static-batch"
            raise BundleError(message)
        return self.path / STATIC_GRAPH

    def verify_files(self) -> None:
        """Compare every immutable file with the manifest.

        Raises:
            BundleError: one is missing or differs, or is not inside the bundle; the message names it.
        """
        for name, entry in self.manifest.files.items():
            file = self.path / name
            own = Path(name).name == name and len(name.encode()) <= NAME_BYTES
            if not own or name in {MANIFEST, BANK, SIGNATURE, "", ".", ".."}:
                message = f"{self.path / MANIFEST} names a file {name!r} that is not one of a bundle's own"
                raise BundleError(message)
            if file.is_symlink():
                message = f"{file} is a link: a bundle's files lie in its own folder"
                raise BundleError(message)
            if not file.is_file():
                message = f"{file} is missing"
                raise BundleError(message)
            if file.stat().st_size != entry["bytes"] or sha256_file(file) != entry["sha256"]:
                message = f"{file} is damaged: it does not match the digest in {MANIFEST}"
                raise BundleError(message)
        if GRAPH not in self.manifest.files:
            message = f"{self.path / MANIFEST} names no {GRAPH}"
            raise BundleError(message)

    def require_signature(self, keys: list[PublicKey]) -> str:
        """Check that one of these keys signed this bundle's manifest, and return that key's id.

        Raises:
            SignatureError: none did, or the bundle is not signed.
        """
        path = self.path / SIGNATURE
        if not path.is_file():
            message = f"{self.path} is not signed, and only bundles signed by a trusted key are accepted"
            raise SignatureError(message)
        data = read_file(path, SignatureError)
        statement, signer = verify_statement(data, keys, SIGNED, source=str(path))
        if statement.get("subject") != self._subject():
            message = f"{path} signs another bundle: its digest is not that of {MANIFEST}"
            raise SignatureError(message)
        return signer

    def sign(self, key: PrivateKey) -> None:
        """Sign the manifest, and with it every file and every row at export; forgetting leaves it valid.

        Raises:
            StorageError: the signature cannot be written.
        """
        data = sign_statement(self._subject(), SIGNED, {"model_id": self.manifest.model_id}, key)
        write_atomic(self.path / SIGNATURE, data)

    def _subject(self) -> list[dict[str, Any]]:
        return [{"name": MANIFEST, "digest": {"sha256": sha256_file(self.path / MANIFEST)}}]

    def bank(self) -> Bank:
        """Read the bank as it is on disk now, and check it against the manifest and the device's tombstones.

        Raises:
            BankError: it is damaged, has a row that this bundle never had, or does not fit the graph.
            TombstoneError: a row was forgotten on this device; the refusal is recorded in its ledger.
            SealError, LedgerError, StateError: see `open`.
        """
        for _ in range(RETRIES):  # a bank that is replaced while it is read is read again
            stamp = self.bank_stamp()
            try:
                return self._read_bank()
            except (BankError, SealError, TombstoneError) as error:
                if self.bank_stamp() == stamp:
                    if isinstance(error, TombstoneError):
                        self._record_refusal()
                    raise
        return self._read_bank()

    def _record_refusal(self) -> None:
        stored = self.stored_bank()
        record_refusal(self.state, self.manifest.model_id, self.row_ids(stored.row_keys), stored.digest())

    def _read_bank(self) -> Bank:
        stored = self.stored_bank()
        ledger = self.state.ledger()  # after the bank: rows whose forget was decided meanwhile are out
        stored = stored.without(self._being_forgotten(ledger))
        require_allowed(ledger.tombstones, self.manifest.model_id, self.row_ids(stored.row_keys), where=self.path)
        bank = self._unsealed(stored) if self.manifest.sealed else stored.unsealed({}, {})
        self._require_fit(bank)
        return bank

    def _being_forgotten(self, ledger: Ledger) -> set[RowKey]:
        """Return rows of this very bundle whose forget is decided and not finished: they are out from then on."""
        here = str(self.path.resolve())
        return {
            row.key
            for forget in ledger.pending()
            if forget.model_id == self.manifest.model_id and ForgetAbout.of(forget).bundle == here
            for row in forget.rows
        }

    def stored_bank(self) -> StoredBank:
        """Read the bank as it is stored: checked against the manifest, but neither decrypted nor refused.

        Raises:
            BankError: it is damaged, or has a row that this bundle never had.
        """
        kind: type[StoredBank] = SealedBank if self.manifest.sealed else guarantee(self.manifest.guarantee).bank
        stored = kind.from_bytes(read_zeroized(self.bank_path), source=str(self.bank_path))
        self._require_rows(stored)
        self.row_ids(stored.row_keys)
        return stored

    def row_ids(self, keys: Iterable[RowKey]) -> tuple[RowId, ...]:
        """Return what the manifest says of rows.

        Raises:
            BankError: this bundle never had one of them.
        """
        known = self.manifest.rows
        names = {entry.id: entry.name for entry in self.manifest.classes}
        found = []
        for key in keys:
            if key not in known:
                message = f"{self.bank_path} is damaged: its row {key.class_id} is not one that was exported"
                raise BankError(message)
            found.append(RowId(key, names[key.class_id], known[key]))
        return tuple(found)

    def bank_stamp(self) -> BankStamp:
        """Return what changes whenever the bank file is replaced or the device's ledger grows.

        Raises:
            BankError: the bank is gone.
        """
        try:
            status = self.bank_path.stat()
        except OSError as error:
            message = f"cannot read the bank {self.bank_path}: {error.strerror}"
            raise BankError(message) from error
        return status.st_ino, status.st_mtime_ns, status.st_size, self.state.stamp()

    def _require_rows(self, bank: StoredBank) -> None:
        """Compare the content of each row that can be read with what it was at export."""
        known = self.manifest.rows
        for key, digest in bank.row_digests().items():
            if known.get(key) != digest:
                message = f"{self.bank_path} is damaged: its row {key} is not the one that was exported"
                raise BankError(message)

    def _unsealed(self, sealed: StoredBank) -> Bank:
        keys = self.state.read_row_keys(self.manifest.model_id, sealed.row_keys)
        bank = sealed.unsealed(keys, self.manifest.rows)
        self._require_rows(bank)
        return bank

    def _require_fit(self, bank: Bank) -> None:
        """Compare the bank's fixed dimensions with the graph's inputs."""
        for name, actual in bank.row_shapes().items():
            expected = self.manifest.inputs[name]["shape"][1:]
            if list(actual) != expected:
                message = (
                    f"{self.bank_path} does not fit the graph: {name} rows are {list(actual)}, expected {expected}"
                )
                raise BankError(message)


def trusted_keys() -> list[PublicKey]:
    """Return the keys that PFEDGE_TRUSTED_KEYS names: files, or folders of `*.pub`; none if it is not set.

    Raises:
        KeyFileError: one cannot be read, or a folder holds none.
    """
    keys = []
    for name in filter(None, os.environ.get(TRUSTED_KEYS, "").split(os.pathsep)):
        path = Path(name)
        files = sorted(path.glob("*.pub")) if path.is_dir() else [path]
        if not files:
            message = f"{TRUSTED_KEYS}: {path} holds no *.pub"
            raise KeyFileError(message)
        keys += [PublicKey.load(file) for file in files]
    return keys
