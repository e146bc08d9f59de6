from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import Entry, ForgetAbout, ForgottenAbout, RestoreAbout, RowId
from pfedge_runtime.device.entry import ACTS
from pfedge_runtime.signing import PublicKey
from support.paths import GOLDEN

ROWS = (RowId(RowKey(3), "monocyte", "d3"), RowId(RowKey(3, "clinic-7"), "monocyte", "d37"))
LINES = (GOLDEN / "device" / "ledger.jsonl").read_bytes().splitlines()
ENTRIES = {entry.act: entry for entry in (Entry.parse(line, number) for number, line in enumerate(LINES, start=1))}


def made_again(golden):
    """Return what the constructor of the golden entry's act makes of its content."""
    forget, bank = ENTRIES["forget"], {"model_id": golden.model_id, "rows": golden.rows, "bank": golden.bank_before}
    banks = {"bank_before": golden.bank_before, "bank_after": golden.bank_after}
    return {
        "trust": lambda: Entry.trust(PublicKey.from_pem(golden.about["key"].encode())),
        "adopt": lambda: Entry.adopt(guarantee=golden.guarantee, **bank),
        "forget": lambda: Entry.forget(
            request=golden.request,
            model_id=golden.model_id,
            guarantee=golden.guarantee,
            rows=golden.rows,
            **banks,
            about=ForgetAbout.of(golden),
        ),
        "forgotten": lambda: Entry.forgotten(forget, bank_after=golden.bank_after, about=ForgottenAbout.of(golden)),
        "refuse": lambda: Entry.refuse(forget, **bank),
        "restore": lambda: Entry.restore(forget, about=RestoreAbout(golden.about["authority"])),
    }[golden.act]()


@pytest.mark.parametrize("act", ACTS)
def test_each_act_gives_the_golden_line_byte_for_byte(act):
    golden = ENTRIES[act]
    place = {name: getattr(golden, name) for name in ("sequence", "time", "previous", "key", "signature")}
    again = dataclasses.replace(made_again(golden), **place)
    assert again.line() == LINES[golden.sequence - 1]


@pytest.mark.parametrize("act", ACTS)
def test_an_act_has_no_place_and_no_signature_before_it_is_appended(act):
    entry = made_again(ENTRIES[act])
    assert (entry.sequence, set(entry.previous), entry.key, entry.signature) == (0, {"0"}, "", "")
    assert entry.time > ENTRIES[act].time


def test_what_was_forgotten_is_read_back():
    about = ForgottenAbout("f", "g", audit="a b", engines={"trt-01234567": "e"})
    assert about.to_json() == {"bank_file": "f", "graph": "g", "audit": "a b", "engine:trt-01234567": "e"}
    assert ForgottenAbout.of(Entry(act="forgotten", about=about.to_json())) == about


@given(st.integers(-(2**40), 2**40), st.text(st.characters(exclude_categories=["Cs"])), st.text("ab@-", max_size=5))
def test_a_row_is_read_back(class_id, name, source):
    row = RowId(RowKey(class_id, source), name, "d")
    assert RowId.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_a_row_is_described():
    assert [str(row) for row in ROWS] == ["3", "3@clinic-7"]
    assert [row.describe() for row in ROWS] == ["class 3 (monocyte)", "class 3 (monocyte) of clinic-7"]
