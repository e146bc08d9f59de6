"""Fuzzing of all that reads what a stranger may have written: nothing but a `PfedgeError` may escape.

    python tests/attacks/fuzz_readers.py ledger --seconds 600        # guided by coverage; `make fuzz` runs every reader

An input is one byte, which picks a mode of the reader, and a document. In the first mode the document is read as it
stands. Digests and signatures would end most of that at the door, so in the other modes the harness digests, frames,
seals or signs the document itself, as a stranger with a key of his own may. `test_fuzz.py` does the same without
atheris.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import copy
import hashlib
import json
import math
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

if __name__ == "__main__":
    import atheris

    watched = atheris.instrument_imports(include=["pfedge_runtime"])
else:
    watched = contextlib.nullcontext()

with watched:
    from pfedge_runtime.bank import (
        PROMPT_FORMAT,
        STATISTICS_FORMAT,
        PromptBank,
        RowKey,
        SealedBank,
        StatisticsBank,
        seal,
    )
    from pfedge_runtime.bank.sealed_bank import _context
    from pfedge_runtime.bundle import Bundle, Manifest
    from pfedge_runtime.device import (
        DeviceState,
        Entry,
        FileFloor,
        ForgetAbout,
        ForgottenAbout,
        Ledger,
        RestoreAbout,
        RowId,
        Tombstones,
    )
    from pfedge_runtime.engines import Profile
    from pfedge_runtime.errors import PfedgeError
    from pfedge_runtime.files import canonical_json
    from pfedge_runtime.forgetting import write_keys
    from pfedge_runtime.forgetting.adoption import read_keys
    from pfedge_runtime.receipts import Receipt, authorize
    from pfedge_runtime.receipts.restoration import PREDICATE as RESTORE
    from pfedge_runtime.receipts.restoration import _forget_of
    from pfedge_runtime.signing import PrivateKey, PublicKey, verify_statement
    from pfedge_runtime.signing.envelope import PAYLOAD, STATEMENT

GOLDEN = Path(__file__).parents[1] / "formats" / "v1"
MODEL = "0123456789abcdef" * 2
ROW = RowKey(3)
ROW_KEY, NONCE = bytes(32), bytes(12)
LARGEST_INPUT = 1 << 16
ITEM_BYTES = {"F32": 4, "I64": 8, "U8": 1}

Mode = Callable[[bytes], None]


@dataclass(frozen=True)
class Harness:
    """A reader: inputs to start from, and what is done with an input in each of its modes."""

    seeds: list[bytes]
    modes: tuple[Mode, ...]

    def __call__(self, data: bytes) -> None:
        """Read an input. Whatever escapes is a fault of the reader."""
        if data:
            with contextlib.suppress(PfedgeError), np.errstate(all="ignore"):
                self.modes[data[0] % len(self.modes)](data[1:])


def signing_key(seed):
    return PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


DEVICE, AUTHORITY = signing_key(1), signing_key(2)


def in_modes(modes, *documents):
    return [bytes([mode]) + bytes(document) for mode in modes for document in documents]


def manifest(folder):
    state = DeviceState(folder / "state", FileFloor(folder / "floor"))
    folders = {name: folder / name for name in ("bundle", "exact", "sealed")}
    shutil.copytree(GOLDEN / "bundle", folders["bundle"])
    shutil.copytree(GOLDEN / "exact" / "bundle", folders["exact"])
    shutil.copytree(GOLDEN / "bundle", folders["sealed"])
    opened = Manifest.load(GOLDEN / "bundle" / "manifest.json")
    sealed, keys = seal(PromptBank.load(GOLDEN / "bundle" / "bank.safetensors"))
    (folders["sealed"] / "bank.safetensors").write_bytes(sealed.to_bytes())
    for row, key in keys.items():
        path = state.row_key_path(opened.model_id, row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(key)
    of_sources = opened.to_json()
    of_sources["classes"][1] |= {"row": None, "sources": {"clinic": "0" * 64}}

    def use(path):
        found = Manifest.load(path / "manifest.json")
        bundle = Bundle(path, found, state)
        json.dumps(found.to_json())
        for entry in found.classes:
            f"{entry.id:>3} {entry.name:<40} {entry.rows}"
        found.preprocess.describe()
        Profile.of(found.inputs, max_batch=2, max_rows=max(1, len(found.classes)))
        found.reach["shared"] / (found.reach["rows"] + found.reach["shared"])
        with contextlib.suppress(PfedgeError):
            found.find_class("3")
        with contextlib.suppress(PfedgeError):
            bundle.bank()
        bundle.verify_files()
        found.files["graph.onnx"]

    def raw(data):
        (folders["bundle"] / "manifest.json").write_bytes(data)
        use(folders["bundle"])

    def digested(name):
        def read(data):
            value = parsed(data)
            if isinstance(value, dict):
                value.pop("digest", None)
                with contextlib.suppress(ValueError, RecursionError):  # of what canonical JSON cannot hold
                    value["digest"] = hashlib.sha256(canonical_json(value)).hexdigest()
                    data = canonical_json(value)
            (folders[name] / "manifest.json").write_bytes(data)
            use(folders[name])

        return read

    bodies = [
        (GOLDEN / "bundle" / "manifest.json").read_bytes(),
        (GOLDEN / "isolated" / "bundle" / "manifest.json").read_bytes(),
        (GOLDEN / "exact" / "bundle" / "manifest.json").read_bytes(),
        json.dumps(of_sources).encode(),
        replace(opened, precision="int8", gate={"passed": True}).to_bytes(),
    ]
    sealed_body = replace(opened, sealed=True).to_bytes()
    seeds = in_modes([0, 1], *bodies) + in_modes([2], bodies[2]) + in_modes([3], sealed_body)
    return Harness(seeds, (raw, digested("bundle"), digested("exact"), digested("sealed")))


def small_prompts():
    ones = np.ones((2, 1, 3), np.float32)
    return PromptBank((0, 3), ones, ones[:, 0], ones[:, 0, 0], np.array([-np.inf, 1], np.float32))


def small_statistics():
    found = StatisticsBank.load(GOLDEN / "exact" / "bundle" / "bank.safetensors")
    rows = {key: row for key, row in found.rows.items() if key.class_id < 2}
    return StatisticsBank(rows | {RowKey(3, "clinic"): found.rows[RowKey(3)]}, found.scale_bits, found.shrinkage)


def bank(folder):
    def read(data):
        found = PromptBank.from_bytes(data)
        again = PromptBank.from_bytes(bytes(found.to_bytes()))
        assert again.digest() == found.digest()
        found.select(found.class_ids[:1]).to_bytes()
        found.accepts(np.zeros(1, np.int64), np.zeros((1, len(found)), np.float32), None)

    golden = [(GOLDEN / name / "bank.safetensors").read_bytes() for name in ("bundle", "isolated/bundle")]
    small = bytes(small_prompts().to_bytes())
    seeds = in_modes([0], *golden, small) + in_modes([1, 2], *map(unframed, [*golden, small]))
    return Harness(seeds, (read, lambda data: read(framed(data)), lambda data: read(framed(laid_out(data)))))


def statistics(folder):
    def read(data):
        found = StatisticsBank.from_bytes(data)
        again = StatisticsBank.from_bytes(bytes(found.to_bytes()))
        assert again.digest() == found.digest()
        found.keep(list(found.rows)[:1]).to_bytes()
        with contextlib.suppress(PfedgeError):
            found.head()
        logits, embedding = np.zeros((1, len(found)), np.float32), np.ones((1, found.width), np.float32)
        found.accepts(np.zeros(1, np.int64), logits, embedding)

    golden = (GOLDEN / "exact" / "bundle" / "bank.safetensors").read_bytes()
    small = bytes(small_statistics().to_bytes())
    seeds = in_modes([0], golden, small) + in_modes([1, 2], unframed(golden), unframed(small))
    return Harness(seeds, (read, lambda data: read(framed(data)), lambda data: read(framed(laid_out(data)))))


def sealed(folder):
    prompts, sums = small_prompts().select({3}), small_statistics()
    banks = [seal(prompts), seal(sums)]
    keys = {place: key for _, found in banks for place, key in found.items()}
    digests = prompts.row_digests() | sums.row_digests()
    inner = {PROMPT_FORMAT: prompts, STATISTICS_FORMAT: sums.keep([RowKey(0)])}

    def read(data):
        found = SealedBank.from_bytes(data, source="bank")
        again = SealedBank.from_bytes(bytes(found.to_bytes()), source="bank")
        assert again.digest() == found.digest()
        found.unsealed(dict.fromkeys(found.row_keys, ROW_KEY) | keys, digests)

    def opened(data):
        row = NONCE + AESGCM(ROW_KEY).encrypt(NONCE, bytes(data), _context(ROW, ""))
        for of in inner:
            with contextlib.suppress(PfedgeError):
                SealedBank({ROW: row}, of).unsealed({ROW: ROW_KEY}, {})

    outer = [bytes(found.to_bytes()) for found, _ in banks]
    plain = [bytes(found.to_bytes()) for found in inner.values()]
    modes = (
        read,
        lambda data: read(framed(data)),
        lambda data: read(framed(laid_out(data))),
        opened,
        lambda data: opened(framed(laid_out(data))),
    )
    seeds = [
        *in_modes([0], *outer),
        *in_modes([1, 2], *map(unframed, outer)),
        *in_modes([3], *plain),
        *in_modes([4], *map(unframed, plain)),
    ]
    return Harness(seeds, modes)


def small_ledger():
    ledger = Ledger((), DEVICE.public)
    rows = (RowId(RowKey(3), "three", "a" * 64), RowId(RowKey(4, "clinic-7"), "four", "b" * 64))
    done = ForgottenAbout("e" * 64, "f" * 64, engines={"cpu-1": "1" * 64})

    def decision(request, rows):
        banks = {"bank_before": "c" * 64, "bank_after": "d" * 64}
        about = ForgetAbout("/bundle")
        return Entry.forget(request=request, model_id=MODEL, guarantee="exact", rows=rows, **banks, about=about)

    first, second = decision("r1", rows), decision("r2", rows[:1])
    for entry in (
        Entry.trust(AUTHORITY.public),
        Entry.adopt(model_id=MODEL, guarantee="exact", rows=rows, bank="c" * 64),
        first,
        Entry.forgotten(first, bank_after="d" * 64, about=done),
        Entry.restore(first, about=RestoreAbout(AUTHORITY.public.id)),
        second,
    ):
        timed = replace(entry, time="2026-01-31T12:00:00Z")  # the same seed every time
        ledger = Ledger((*ledger.entries, ledger.append(DEVICE, timed)), DEVICE.public)
    return ledger


def ledger(folder):
    def read(data):
        found = Ledger.from_bytes(data, DEVICE.public)
        found.verify()
        found.authority()
        Tombstones.of(found).find(MODEL, RowId(RowKey(3), "", ""))
        for entry in (*found.pending(), *(entry for entry in found.entries if entry.act == "forgotten")):
            Receipt.of(entry).sign(DEVICE)
            [row.describe() for row in entry.rows]

    def chained(data):
        lines, previous = [], "0" * 64
        value = parsed(data)
        for number, entry in enumerate(value if isinstance(value, list) else [], start=1):
            if isinstance(entry, dict):
                entry |= {"sequence": number, "previous": previous, "key": DEVICE.public.id}
                entry.pop("signature", None)
                entry["signature"] = DEVICE.sign(encoded(entry)).hex()
            lines.append(encoded(entry))
            previous = hashlib.sha256(lines[-1]).hexdigest()
        read(b"".join(line + b"\n" for line in lines))

    def floor(data):
        (folder / "floor").write_bytes(data)
        FileFloor(folder / "floor").read()

    entries = [entry.to_json() for entry in small_ledger().entries]
    seeds = [
        *in_modes([0], b"".join(entry.line() + b"\n" for entry in small_ledger().entries)),
        *in_modes([1], *(json.dumps(some).encode() for some in (entries, entries[:1], entries[2:4]))),
        *in_modes([2], canonical_json({"key": DEVICE.public.id, "lines": 6})),
    ]
    return Harness(seeds, (read, chained, floor))


def receipt(folder):
    entries = small_ledger().entries
    genuine = Receipt.of(entries[3])
    signers = {
        key: CryptoSigner(key.key, SSlibKey.from_crypto(key.public.key, keyid=key.public.id))
        for key in (DEVICE, AUTHORITY)
    }

    def read(data):
        with contextlib.suppress(PfedgeError):
            authorize(Receipt.read_unverified(data), AUTHORITY)
        found = Receipt.verify(data, [AUTHORITY.public, DEVICE.public])
        [*found.verified(), *found.stated(), *found.not_proved()]
        found.sign(DEVICE)

    def signed(data, key):
        envelope = Envelope(bytes(data), PAYLOAD, {})
        envelope.sign(signers[key])
        return canonical_json(envelope.to_dict())

    def restored(data):
        statement, _ = verify_statement(signed(data, AUTHORITY), [AUTHORITY.public], RESTORE, source="statement")
        _forget_of(statement, DEVICE.public.id, entries, "statement")

    envelope = genuine.sign(DEVICE)
    allowed = authorize(genuine, AUTHORITY)
    seeds = [
        *in_modes([0], envelope, allowed),
        *in_modes([1], base64.b64decode(json.loads(envelope)["payload"]), json.dumps({"_type": STATEMENT}).encode()),
        *in_modes([2], base64.b64decode(json.loads(allowed)["payload"])),
    ]
    return Harness(seeds, (read, lambda data: read(signed(data, DEVICE)), restored))


def keys(folder):
    state = DeviceState(folder / "state", FileFloor(folder / "floor"))
    write_keys(folder / "real.json", MODEL, {ROW: ROW_KEY, RowKey(4, "clinic-7"): ROW_KEY})
    (folder / "key.pem").touch(mode=0o600)

    def key_file(data):
        (folder / "keys.json").write_bytes(data)
        for place in read_keys(folder / "keys.json", MODEL):
            state.row_key_path(MODEL, place)

    def public(data):
        PublicKey.from_pem(bytes(data)).to_pem()

    def private(data):
        (folder / "key.pem").write_bytes(data)
        PrivateKey.load(folder / "key.pem").sign(b"")

    def armoured(data, label):
        return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label, base64.encodebytes(data), label)

    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    plain, info = serialization.PrivateFormat.PKCS8, serialization.PublicFormat.SubjectPublicKeyInfo
    others = (DEVICE.key, ec.generate_private_key(ec.SECP256R1()))
    secrets = [
        *(key.private_bytes(pem, plain, serialization.NoEncryption()) for key in others),
        DEVICE.key.private_bytes(pem, plain, serialization.BestAvailableEncryption(b"x")),
        DEVICE.key.private_bytes(pem, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()),
        others[1].private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()),
    ]
    seeds = [
        *in_modes([0], (folder / "real.json").read_bytes()),
        *in_modes([1], *(key.public_key().public_bytes(pem, info) for key in others)),
        *in_modes([2], *secrets),
        *in_modes([3], *(key.public_key().public_bytes(der, info) for key in others)),
        *in_modes([4], *(key.private_bytes(der, plain, serialization.NoEncryption()) for key in others)),
    ]
    modes = (
        key_file,
        public,
        private,
        lambda data: public(armoured(data, b"PUBLIC KEY")),
        lambda data: private(armoured(data, b"PRIVATE KEY")),
    )
    return Harness(seeds, modes)


HARNESSES: dict[str, Callable[[Path], Harness]] = {
    make.__name__: make for make in (manifest, bank, statistics, sealed, ledger, receipt, keys)
}


def parsed(data):
    """The JSON value of a document; None where it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def encoded(value):
    """The canonical JSON of a value, or what a stranger would write instead."""
    for encode in (canonical_json, lambda value: json.dumps(value).encode()):
        with contextlib.suppress(ValueError, RecursionError):
            return encode(value)
    return b"[" * 10_000


def split(data):
    """The JSON value that a document starts with, how long it is, and the rest; None where it is none."""
    try:
        value, end = json.JSONDecoder().raw_decode(data.decode("latin-1"))
    except (ValueError, RecursionError):
        return None
    return value, end, data[end:]


def unframed(data):
    """A safetensors file as a document: its header, without what pads it, and its data."""
    end = 8 + int.from_bytes(data[:8], "little")
    return data[8:end].rstrip() + data[end:]


def framed(data):
    """The safetensors file of such a document."""
    found = split(data)
    end = found[1] if found else len(data)
    return end.to_bytes(8, "little") + data


def laid_out(data):
    """Such a document with offsets that fit the shapes, and as much data as they ask for."""
    found = split(data)
    if not found or not isinstance(found[0], dict):
        return data
    header, _, tail = found
    at = 0
    for name, entry in header.items():
        if name == "__metadata__" or not isinstance(entry, dict):
            continue
        shape, item = entry.get("shape"), ITEM_BYTES.get(str(entry.get("dtype")))
        if item and isinstance(shape, list) and all(type(size) is int and 0 <= size < 1 << 64 for size in shape):
            size = math.prod(shape[:100]) * item
            if size <= LARGEST_INPUT:
                entry["data_offsets"] = [at, at + size]
                at += size
    return encoded(header) + tail[:at].ljust(at, b"\0")


STRANGE = (
    *(None, True, False, [], {}, [0], [[]], {"": 0}, float("inf"), float("nan"), 0.5, -0.0, 1e308, 5e-324),
    *(0, 1, -1, 2, 64, 2**31, 2**53, 2**61, 2**63, 2**64, -(2**63), 10**40),
    *("", "0", "-1", "3", "\ud800", "\0", "\n", '"', "\\", "é", "a" * 300, "9" * 5000),
    *("../x", "rows.7.prompts", "rows.3@x.sum", "rows.3@.sum", "\u0661", "Infinity", "1e999"),
)
DEEP, LONG = "@deep@", "@long@"


def dumped(value, depth=1000):
    """The JSON of a value, with the two marks for what Python's encoder cannot write."""
    text = json.dumps(value, ensure_ascii=True)
    deep = "[" * depth + "]" * depth
    return text.replace(f'"{DEEP}"', deep).replace(DEEP, deep).replace(f'"{LONG}"', "9" * 5000).encode()


def places(root):
    """All places in a JSON value: what holds them, and the key there."""
    found, left = [], [root]
    while left:
        holder = left.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        found += [(holder, key) for key in keys]
        left += [holder[key] for key in keys if isinstance(holder[key], (dict, list))]
    return found


def mutated_json(value, rng):
    """The value with one place of it changed; text that is JSON itself is changed inside."""
    root = [value]
    slots = places(root)
    holder, key = rng.choice(slots)
    old = holder[key]
    inside = parsed(old) if isinstance(old, str) and old.startswith("{") else None
    if inside is not None and rng.random() < 0.8:
        holder[key] = dumped(mutated_json(inside, rng), rng.randint(1, 2000)).decode()
        return root[0]
    kind = rng.randrange(7)
    if kind == 0 and holder is not root:
        del holder[key]
    elif kind == 1:
        holder[key] = json.loads(json.dumps(rng.choice(slots)[0]))
    elif kind == 2:
        other, place = rng.choice(slots)
        holder[key] = json.loads(json.dumps(other[place]))
    elif kind == 3 and isinstance(holder, dict):
        other = rng.choice([*map(str, rng.choice(slots)[0]), *(text for text in STRANGE if isinstance(text, str))])
        holder[other] = holder.pop(key) if rng.random() < 0.5 else json.loads(json.dumps(old))
    elif kind == 4 and isinstance(old, list):
        old *= 2
    elif kind == 5 and isinstance(old, int):
        holder[key] = old + rng.choice((-1, 1, 7, 1 << rng.randrange(70)))
    elif kind == 5 and isinstance(old, str):
        at = rng.randrange(len(old) + 1)
        holder[key] = old[:at] + str(rng.choice(("", "\ud800", "\0", '"', "@", "é", ".", "9" * 4400))) + old[at + 1 :]
    else:
        holder[key] = copy.deepcopy(rng.choice((*STRANGE, DEEP, LONG)))
    return root[0]


def mutated_bytes(data, rng):
    """The bytes with a few of them changed, taken out or put in."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 64))
        new = rng.choice((b"", b"\xff", rng.randbytes(length), bytes(data[:length])))
        data[at : at + rng.choice((0, length))] = new
    return bytes(data)


def mutated(data, rng, of_bytes=mutated_bytes):
    """An input with its document changed: as JSON where it is JSON, or as bytes."""
    found = split(data[1:]) if rng.random() < 0.6 else None
    if not found:
        return of_bytes(data, rng)
    value, _, tail = found
    depth = rng.choice((50, 500, rng.randint(900, 1000), 5000))
    with contextlib.suppress(ValueError, RecursionError):  # nested more deeply than Python's encoder goes
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            value = mutated_json(value, rng)
        return data[:1] + dumped(value, depth) + tail
    return of_bytes(data, rng)


def fuzz(name, seconds, corpus):
    """Fuzz a reader until the time is over; return 0 if nothing escaped. libFuzzer ends its process: it has its own."""
    context = multiprocessing.get_context("fork")
    executions, start = context.RawValue("Q"), time.monotonic()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:  # noqa: S108
        process = context.Process(target=_fuzz, args=(name, seconds, Path(folder), corpus, executions))
        process.start()
        process.join()
    print(f"{name}: {executions.value} executions in {time.monotonic() - start:.0f} s")  # noqa: T201
    return process.exitcode


def _fuzz(name, seconds, folder, corpus, executions):
    harness = HARNESSES[name](folder)
    corpus = corpus or folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in harness.seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)

    def read(data):
        executions.value += 1
        harness(data)

    def mutate(data, size, seed):
        return mutated(data, random.Random(seed), lambda data, _: atheris.Mutate(data, size))[:size]

    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=20", f"-max_len={LARGEST_INPUT}"]
    quiet = ["-verbosity=0", f"-artifact_prefix={tempfile.gettempdir()}/fuzz-{name}-"]
    atheris.Setup([sys.argv[0], *limits, *quiet, str(corpus)], read, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fuzz one reader; exit 0 only if nothing but a PfedgeError escaped.")
    parser.add_argument("reader", choices=HARNESSES)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="folder of inputs to start from, and for new ones")
    arguments = parser.parse_args()
    sys.exit(fuzz(arguments.reader, arguments.seconds, arguments.corpus))
