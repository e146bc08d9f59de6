"""The folder that goes to a device: graph, bank, manifest, self-test.

    bundle = Bundle.open("bundle")
    bundle.bank().class_ids          # (0, 1, 2, 3, 4, 5, 6, 7)

Every file but the bank is immutable and its digest stands in the manifest. The bank may only shrink: each
of its rows must hash to what the manifest says that row was at export.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pfedge_runtime.bank import PromptBank
from pfedge_runtime.decision import Bank
from pfedge_runtime.errors import BankError, BundleError
from pfedge_runtime.manifest import Manifest
from pfedge_runtime.statistics_bank import StatisticsBank
from pfedge_runtime.storage import sha256_file

MANIFEST = "manifest.json"
BANK = "bank.safetensors"
GRAPH = "graph.onnx"
STATIC_GRAPH = "graph.static.onnx"
SELFTEST = "selftest.npz"


@dataclass(frozen=True)
class Bundle:
    """An opened and checked bundle.

    Attributes:
        path: the folder.
        manifest: its manifest.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, read_bank: bool = True) -> Bundle:
        """Open a bundle and check every file in it; without `read_bank` the bank is left for later.

        Raises:
            BundleError: it is not a bundle, or a file is missing, damaged or of another schema version.
            BankError: the bank is damaged or does not belong to this bundle.
        """
        folder = Path(path)
        if not folder.is_dir():
            message = f"no bundle at {folder}: give --bundle or set PFEDGE_BUNDLE"
            raise BundleError(message)
        bundle = cls(path=folder, manifest=Manifest.load(folder / MANIFEST))
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
            BundleError: one is missing or differs; the message names it.
        """
        for name, entry in self.manifest.files.items():
            file = self.path / name
            if Path(name).name != name or not file.is_file():
                message = f"{file} is missing"
                raise BundleError(message)
            if file.stat().st_size != entry["bytes"] or sha256_file(file) != entry["sha256"]:
                message = f"{file} is damaged: it does not match the digest in {MANIFEST}"
                raise BundleError(message)

    def bank(self) -> Bank:
        """Read the bank as it is on disk now and check it against the manifest.

        Raises:
            BankError: it is damaged, has a row that this bundle never had, or does not fit the graph.
        """
        exact = self.manifest.guarantee == "exact"
        bank: Bank = StatisticsBank.load(self.bank_path) if exact else PromptBank.load(self.bank_path)
        rows = {(entry.id, source): row for entry in self.manifest.classes for source, row in entry.rows.items()}
        for (class_id, source), digest in bank.row_digests().items():
            if rows.get((class_id, source)) != digest:
                name = f"{class_id}@{source}" if source else str(class_id)
                message = f"{self.bank_path} is damaged: its row {name} is not the one that was exported"
                raise BankError(message)
        self._require_fit(bank)
        return bank

    def bank_stamp(self) -> tuple[int, int, int]:
        """Return what changes whenever the bank file is replaced: inode, modification time, size.

        Raises:
            BankError: the bank is gone.
        """
        try:
            status = self.bank_path.stat()
        except OSError as error:
            message = f"cannot read the bank {self.bank_path}: {error.strerror}"
            raise BankError(message) from error
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _require_fit(self, bank: Bank) -> None:
        """Compare the bank's fixed dimensions with the graph's inputs."""
        if isinstance(bank, StatisticsBank):
            shapes: dict[str, list[int]] = {"head_weight": [bank.width]}
        else:
            shapes = {name: list(value.shape[1:]) for name, value in bank.graph_inputs().items()}
        for name, actual in shapes.items():
            expected = self.manifest.inputs[name]["shape"][1:]
            if actual != expected:
                message = f"{self.bank_path} does not fit the graph: {name} rows are {actual}, expected {expected}"
                raise BankError(message)
