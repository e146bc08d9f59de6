"""Taking a bundle into use on a device, and the keys of its sealed rows with it.

    write_keys(Path("bundle.keys.json"), model_id, keys)         # at export
    adopt(Bundle.open("bundle", read_bank=False), Path("bundle.keys.json"))

Keys of rows that were forgotten on this device are not taken: forgetting destroyed them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pfedge_runtime.bank import KEY_BYTES, RowKey
from pfedge_runtime.bundle import Bundle
from pfedge_runtime.device import Entry, RowId, Writer
from pfedge_runtime.errors import SealError, UsageError
from pfedge_runtime.files import canonical_json, erase, make_folder, parse_json, read_file, safe_reason, write_secret

SCHEMA = "pfedge-keys/1"


def write_keys(path: Path, model_id: str, keys: Mapping[RowKey, bytes]) -> None:
    """Write the keys of sealed rows to a new file that only its owner may read.

    Raises:
        StorageError: the file is there already, or cannot be written.
    """
    named = {str(row): key.hex() for row, key in keys.items()}
    write_secret(path, canonical_json({"schema": SCHEMA, "model_id": model_id, "keys": named}))


def read_keys(path: Path, model_id: str) -> dict[RowKey, bytes]:
    """Read a key file back.

    Raises:
        SealError: it is none, or of another model.
    """
    value = parse_json(read_file(path, SealError), str(path), SealError)
    try:
        if value["schema"] != SCHEMA:
            message = f"{path} has schema {value['schema']!r}; this version of pfedge reads {SCHEMA!r}"
            raise SealError(message)
        if value["model_id"] != model_id:
            message = f"{path} has the keys of model {value['model_id']}, not of {model_id}"
            raise SealError(message)
        keys = {RowKey.parse(name): bytes.fromhex(text) for name, text in value["keys"].items()}
        if any(len(key) != KEY_BYTES for key in keys.values()):
            message = f"{path} is damaged: a key has {KEY_BYTES} bytes"
            raise SealError(message)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"{path} is not a key file of pfedge: {safe_reason(error)}"
        raise SealError(message) from error
    return keys


def adopt(bundle: Bundle, keys: Path | None = None) -> tuple[tuple[RowId, ...], tuple[RowId, ...]]:
    """Record that this device uses a bundle, and take over the keys of its sealed rows.

    Returns:
        The rows whose keys were taken, and those whose keys were refused because they were forgotten here.

    Raises:
        UsageError: the bundle is not sealed and a key file was given.
        SealError: the keys are another model's, one does not open its row, or the device has others; nothing was taken.
        TombstoneError: it is not sealed, and brings back a row that was forgotten here.
        StorageError: the device's state cannot be written.
    """
    stored = bundle.stored_bank()
    if not bundle.manifest.sealed:
        if keys is not None:
            message = f"{bundle.path} is not sealed: it needs no keys"
            raise UsageError(message)
        bundle.bank()  # refused if it brings a forgotten row back
    found = read_keys(keys, bundle.manifest.model_id) if keys else {}
    with bundle.state.writing() as writer:
        model_id = bundle.manifest.model_id
        rows = bundle.row_ids(stored.row_keys)
        dead = {row for row in rows if writer.ledger.tombstones.find(model_id, row)}
        taken = tuple(row for row in rows if row not in dead and row.key in found)
        if taken:  # each must open its row before any is kept
            stored.keep(row.key for row in taken).unsealed(found, {row.key: row.digest for row in taken})
        _keep(writer, bundle, {row.key: found[row.key] for row in taken})
        guarantee = bundle.manifest.guarantee
        writer.append(Entry.adopt(model_id=model_id, guarantee=guarantee, rows=taken, bank=stored.digest()))
        writer.raise_floor()
    return taken, tuple(sorted((row for row in dead if row.key in found), key=str))


def _keep(writer: Writer, bundle: Bundle, keys: Mapping[RowKey, bytes]) -> None:
    paths = {row: writer.state.row_key_path(bundle.manifest.model_id, row) for row in keys}
    for row, path in paths.items():
        if path.exists() and path.stat().st_size == KEY_BYTES and path.read_bytes() != keys[row]:
            message = (
                f"this device has another key of row {row} of this model, of another sealed export of it: "
                "nothing was taken; use one of the two bundles"
            )
            raise SealError(message)
    for row, key in keys.items():
        path = paths[row]
        if path.exists() and path.stat().st_size != KEY_BYTES:
            erase(path)  # cut short when an adoption was killed
        if not path.exists():
            make_folder(path.parent, mode=0o700)
            write_secret(path, key)
