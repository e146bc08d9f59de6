from __future__ import annotations

import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import Entry, Ledger, RowId, Tombstones
from pfedge_runtime.device.entry import ACTS, EMPTY
from pfedge_runtime.errors import KeyFileError, LedgerError
from pfedge_runtime.files import canonical_json
from pfedge_runtime.signing import PrivateKey

KEY, STRANGER = (PrivateKey(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)) for seed in (0, 1))
ROWS = (RowId(RowKey(3), "monocyte", "d3"), RowId(RowKey(3, "clinic-7"), "monocyte", "d37"))


def act(name, request="", rows=(), model="m", **about):
    return Entry(
        time="2026-01-31T12:00:00Z",
        act=name,
        request=request,
        model_id=model,
        guarantee="shared",
        rows=tuple(rows),
        bank_before="b0",
        bank_after="b1",
        about=about,
    )


def grown(*entries, key=KEY):
    """Return a ledger of these acts."""
    ledger = Ledger((), key.public)
    for entry in entries:
        ledger = dataclasses.replace(ledger, entries=(*ledger.entries, ledger.append(key, entry)))
    return ledger


def file_of(lines):
    return b"".join(line + b"\n" for line in lines)


def read(data, key=KEY):
    return Ledger.from_bytes(data, key.public)


LEDGER = grown(
    act("adopt", rows=ROWS),
    act("forget", "r1", ROWS[:1], bundle="/b"),
    act("forgotten", "r1", ROWS[:1], graph="g"),
    act("refuse", "r1", ROWS[:1]),
)
LINES = [entry.line() for entry in LEDGER.entries]
FILE = file_of(LINES)


def test_lines_are_numbered_chained_signed_and_read_back():
    ledger = read(FILE)
    ledger.verify()
    assert ledger == LEDGER
    assert [entry.sequence for entry in ledger.entries] == [1, 2, 3, 4]
    assert [entry.previous for entry in ledger.entries] == [EMPTY, *(entry.digest() for entry in ledger.entries[:-1])]
    assert {entry.key for entry in ledger.entries} == {KEY.public.id}
    assert ledger.head == ledger.entries[-1].digest()
    for line in LINES:
        assert canonical_json(json.loads(line)) == line


def test_a_ledger_without_lines():
    ledger = read(b"")
    ledger.verify()
    assert (ledger.entries, ledger.head, ledger.pending(), ledger.authority()) == ((), EMPTY, (), None)


def test_appending_leaves_the_ledger_as_it_was():
    before = LEDGER.entries
    line = LEDGER.append(KEY, act("adopt"))
    assert LEDGER.entries == before
    assert (line.sequence, line.previous) == (5, LEDGER.head)
    read(FILE + line.line() + b"\n").verify()


JSON = st.none() | st.booleans() | st.integers(-9, 9) | st.text("abc0", max_size=3) | st.just([]) | st.just({"a": "b"})


@settings(max_examples=300)
@given(index=st.integers(0, 3), name=st.sampled_from(sorted(LEDGER.entries[0].to_json())), value=JSON)
def test_an_edited_field_is_refused(index, name, value):
    line = json.loads(LINES[index])
    assume(type(line[name]) is not type(value) or line[name] != value)
    edited = [*LINES]
    edited[index] = canonical_json({**line, name: value})
    with pytest.raises(LedgerError):
        read(file_of(edited))


@given(index=st.integers(0, 3), name=st.sampled_from(["class", "name", "source", "digest"]), value=JSON)
def test_an_edited_row_is_refused(index, name, value):
    line = json.loads(LINES[index])
    assume(type(line["rows"][0][name]) is not type(value) or line["rows"][0][name] != value)
    line["rows"][0][name] = value
    with pytest.raises(LedgerError):
        read(file_of([*LINES[:index], canonical_json(line), *LINES[index + 1 :]]))


@settings(max_examples=300)
@given(st.integers(0, len(FILE) - 1), st.integers(0, 255))
def test_a_changed_byte_is_refused_or_cuts_off_the_last_line(place, value):
    changed = bytearray(FILE)
    assume(changed[place] != value)
    changed[place] = value
    try:
        ledger = read(bytes(changed))
    except LedgerError:
        return
    assert place == len(FILE) - 1
    assert ledger.entries == LEDGER.entries[:-1]
    assert ledger.torn == len(LINES[-1]) + 1


@settings(max_examples=200)
@given(st.lists(st.integers(0, 3), max_size=6))
def test_removed_moved_and_repeated_lines_are_refused(order):
    data = file_of(LINES[index] for index in order)
    if order == list(range(len(order))):  # what is missing at the end, the floor tells
        assert read(data).entries == LEDGER.entries[: len(order)]
    else:
        with pytest.raises(LedgerError, match="does not follow the one before"):
            read(data)


@given(index=st.integers(0, 3), key=st.sampled_from([KEY, STRANGER]), name=st.sampled_from(sorted(ACTS)))
def test_an_inserted_line_is_refused_even_if_it_is_signed_and_chained(index, key, name):
    before = Ledger(LEDGER.entries[:index], KEY.public)
    line = before.append(key, act(name, "r1", key="k")).line()
    with pytest.raises(LedgerError):
        read(file_of([*LINES[:index], line, *LINES[index:]]))


def test_a_line_that_a_stranger_appends_is_refused():
    line = LEDGER.append(STRANGER, act("restore", "r1"))
    own = dataclasses.replace(line, key=KEY.public.id)
    with pytest.raises(LedgerError, match="line 5 of the ledger is of another device"):
        read(FILE + line.line() + b"\n")
    with pytest.raises(LedgerError, match="line 5 of the ledger was edited: its signature does not verify"):
        read(FILE + own.line() + b"\n")


def test_another_devices_ledger_is_refused():
    with pytest.raises(LedgerError, match="is of another device"):
        read(FILE, STRANGER)


def test_the_head_vouches_for_all_lines_and_verify_looks_at_each():
    first, *_ = LEDGER.entries
    forged = Ledger((dataclasses.replace(first, signature="00" * 64),), KEY.public)
    forged = dataclasses.replace(forged, entries=(*forged.entries, forged.append(KEY, act("adopt"))))
    ledger = read(file_of(entry.line() for entry in forged.entries))
    with pytest.raises(LedgerError, match="line 1 of the ledger was edited"):
        ledger.verify()


@given(st.integers(0, len(FILE)))
def test_what_is_left_of_a_ledger_cut_off_anywhere_is_its_whole_lines(size):
    ledger = read(FILE[:size])
    whole = FILE[:size].count(b"\n")
    assert ledger.entries == LEDGER.entries[:whole]
    assert ledger.torn == size - len(file_of(LINES[:whole]))
    ledger.verify()


@given(st.binary(max_size=30).filter(lambda rest: b"\n" not in rest))
def test_a_torn_last_line_counts_for_nothing(rest):
    assert read(FILE + rest) == dataclasses.replace(LEDGER, torn=len(rest))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: b" " + line, "not canonical"),
        (lambda line: line.replace(b'{"about"', b'{"about":{},"about"'), "not canonical"),
        (lambda line: json.dumps(json.loads(line)).encode(), "not canonical"),
        (lambda line: canonical_json({**json.loads(line), "more": ""}), "unexpected keyword"),
        (lambda line: canonical_json({**json.loads(line), "act": "pardon"}), "a field is of another type"),
        (lambda line: canonical_json({**json.loads(line), "act": "trust", "about": {}}), "a field is of another type"),
        (lambda line: canonical_json({**json.loads(line), "sequence": True}), "a field is of another type"),
        (lambda line: canonical_json({**json.loads(line), "about": {"a": 1}}), "a field is of another type"),
        (lambda _: b"[]", ""),
        (lambda _: b"", "not JSON"),
        (lambda _: b"\xff", "not JSON"),
    ],
)
def test_a_line_has_one_form(change, words):
    with pytest.raises(LedgerError, match=f"line 1 of the ledger is damaged.*{words}"):
        read(change(LINES[0]) + b"\n")


def test_a_ledger_that_cannot_be_read_is_reported(tmp_path):
    with pytest.raises(LedgerError, match="cannot read"):
        Ledger.read(tmp_path / "missing", KEY.public)
    (tmp_path / "ledger").write_bytes(FILE)
    assert Ledger.read(tmp_path / "ledger", KEY.public) == LEDGER


def test_a_forget_is_pending_until_it_is_finished():
    started = (act("forget", "r1", ROWS[:1]), act("forget", "r2", ROWS[1:]))
    assert [entry.request for entry in grown(*started).pending()] == ["r1", "r2"]
    assert [entry.request for entry in grown(*started, act("forgotten", "r1", ROWS[:1])).pending()] == ["r2"]
    assert grown(*started).find("r2", "forget").rows == ROWS[1:]
    assert grown(*started).find("r2", "forgotten") is None


def test_the_first_authority_stays():
    first, second = (key.public.to_pem().decode() for key in (KEY, STRANGER))
    assert grown(act("trust", key=first), act("trust", key=second)).authority() == KEY.public
    with pytest.raises(KeyFileError, match="the authority's key in the ledger"):
        grown(act("trust", key="no key")).authority()


def test_a_decided_forget_forbids_its_rows_by_key_and_by_content():
    tombstones = Tombstones.of(grown(act("adopt", rows=ROWS), act("forget", "r1", ROWS[:1])))
    assert tombstones.find("m", RowId(RowKey(3), "", "another content")).request == "r1"
    assert tombstones.find("another model", RowId(RowKey(9, "x"), "", "d3")).request == "r1"
    assert tombstones.find("m", ROWS[1]) is None
    assert tombstones.find("another model", RowId(RowKey(3), "", "d4")) is None


def test_a_restoration_lifts_the_tombstones_of_its_request_only():
    forgets = (act("forget", "r1", ROWS), act("forget", "r2", [RowId(RowKey(4), "x", "d4")]))
    lifted = (*forgets, act("restore", "r1", ROWS))
    tombstones = Tombstones.of(grown(*lifted))
    assert tombstones.find("m", ROWS[0]) is None
    assert tombstones.find("m", RowId(RowKey(4), "", "d4")).request == "r2"
    again = Tombstones.of(grown(*lifted, act("forget", "r3", ROWS[:1])))
    assert again.find("m", ROWS[0]).request == "r3"
    assert again.find("m", ROWS[1]) is None


REQUESTS = st.sampled_from(["r1", "r2", "r3"])


@given(
    st.lists(st.tuples(st.sampled_from(["forget", "forgotten", "refuse", "restore", "adopt"]), REQUESTS), max_size=9)
)
def test_tombstones_are_the_forgets_that_were_not_undone(acts):
    ledger = grown(*(act(name, request, [RowId(RowKey(int(request[1])), "", request)]) for name, request in acts))
    undone = {request for name, request in acts if name == "restore"}
    forgotten = {request for name, request in acts if name == "forget"}
    assert set(Tombstones.of(ledger).digests) == forgotten - undone
