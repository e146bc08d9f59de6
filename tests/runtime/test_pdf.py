from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path

import pytest

from pfedge_runtime import forget
from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import Entry, RowId
from pfedge_runtime.errors import MissingExtraError, SignatureError
from pfedge_runtime.receipts import PageContext, Receipt, receipt_pdf
from pfedge_runtime.signing import PrivateKey

HEX = [f"{number:064x}" for number in range(0x1000, 0x1010)]
RECEIPT = Receipt(
    request="case-2026-17",
    time="2026-01-31T12:00:00Z",
    model_id="0123456789abcdef",
    guarantee="isolated",
    rows=(RowId(RowKey(3), "monocyte (large)", HEX[0]),),
    bank_before=HEX[1],
    bank_after=HEX[2],
    bank_file=HEX[3],
    graph=HEX[4],
    engines={"sm_90-1234abcd": HEX[5]},
    audit=HEX[6],
    ledger_lines=7,
    ledger_head=HEX[7],
    device="",
)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    return PrivateKey.create(tmp_path_factory.mktemp("key") / "device.pem")


def page_of(key, **changes):
    """Return the text of a receipt's page, line by line, and check that there is one page."""
    receipt = dataclasses.replace(RECEIPT, device=key.public.id, **changes)
    data = receipt_pdf(receipt.sign(key), [key.public], source="inbox/receipt.json")
    assert data.startswith(b"%PDF-")
    assert data.count(b"/Type /Page\n") == 1
    baselines = [float(y) for y in re.findall(rb"BT [\d.]+ ([\d.]+) Td", data)]
    assert min(baselines) > 45  # points above the lower edge
    lines = re.findall(rb"\(((?:\\.|[^\\)])*)\) Tj", data, re.DOTALL)
    return "\n".join(re.sub(rb"\\([\\()])", rb"\1", line).decode("latin-1") for line in lines)


def test_the_page_says_what_was_forgotten_by_whom_and_how_to_check_it(key):
    text = page_of(key)
    for part in ("class 3 (monocyte (large))", "case-2026-17", "2026-01-31T12:00:00Z", "0123456789abcdef", "isolated"):
        assert part in text
    for digest in (*HEX[:8], key.public.id):
        assert digest in text.splitlines()
    for heading in ("Verified", "Stated by the device", "Not proved", "How to check it"):
        assert heading in text.splitlines()
    assert "pfedge receipt verify receipt.json --key device.pub" in text
    assert "served as a negative example" in text
    assert "more rows" not in text


def test_the_same_receipt_gives_the_same_bytes(key):
    data = dataclasses.replace(RECEIPT, device=key.public.id).sign(key)
    assert receipt_pdf(data, [key.public]) == receipt_pdf(data, [key.public])
    assert b"D:20260131120000" in receipt_pdf(data, [key.public])


@pytest.mark.parametrize("name", ["Müller", "单核细胞", "€ \N{SOFT HYPHEN}\n\t\0", "{nb}", "a\\b)(", "🩸" * 500, ""])
def test_a_class_may_have_any_name(key, name):
    text = page_of(key, rows=(RowId(RowKey(3), name, HEX[0]),))
    plain = {"Müller": "Müller", "单核细胞": r"\u5355\u6838", "{nb}": "{nb}", "a\\b)(": "a\\b)("}.get(name, "")
    assert f"class 3 ({plain}" in text


@pytest.mark.parametrize("name", ["monocyte", "a very long name of a class " * 10, "单核细胞" * 60])
@pytest.mark.parametrize("count", [2, 20, 500])
def test_many_rows_stay_on_one_page_which_says_how_many_more_there_are(key, name, count):
    rows = tuple(RowId(RowKey(number, "clinic-7"), name, f"{number:064x}") for number in range(count))
    text = page_of(key, rows=rows)
    listed = sum(row.digest in text for row in rows)
    assert 1 <= listed <= count
    assert (f"and {count - listed} more rows" in text) == (listed < count)
    assert f"Forgotten: {count} rows" in text.splitlines()


def test_nothing_that_a_receipt_says_needs_a_second_page(key):
    long = dict.fromkeys(("request", "model_id", "guarantee", "audit", "graph", "bank_before"), "ß\u2028" * 4000)
    rows = tuple(RowId(RowKey(number, "y" * 999), "x" * 999, "z" * 999) for number in range(40))
    page_of(key, **long, rows=rows, engines={f"{number}" * 300: "e" * 999 for number in range(40)})


def test_only_a_receipt_that_verifies_gets_a_page(key, tmp_path):
    other = PrivateKey.create(tmp_path / "other.pem")
    data = dataclasses.replace(RECEIPT, device=key.public.id).sign(key)
    with pytest.raises(SignatureError, match="not signed by a key given for it"):
        receipt_pdf(data, [other.public])
    with pytest.raises(SignatureError, match="a time that is none"):
        page_of(key, time="yesterday")


def test_without_the_extra_it_is_named(key, monkeypatch):
    monkeypatch.setitem(sys.modules, "fpdf", None)
    with pytest.raises(MissingExtraError, match=r"pfedge\[pdf\]"):
        page_of(key)


def test_the_command_writes_the_page_of_a_forget(cli, bundle_path, device_state, tmp_path):
    receipt = forget(bundle_path, ["3"], request="case-1").receipt
    said = cli("receipt", "pdf", receipt, "--key", device_state / "device.pub", "--out", "page.pdf").stdout
    assert "page.pdf: the signature of" in said
    assert b"case-1" in (tmp_path / "page.pdf").read_bytes()
    PrivateKey.create(tmp_path / "other.pem")
    refused = cli("receipt", "pdf", receipt, "--key", "other.pub", "--out", "other.pdf", check=False)
    assert refused.returncode == 1
    assert "not signed by a key given for it" in refused.stderr
    assert not Path(tmp_path / "other.pdf").exists()


def test_a_page_names_data_set_and_organisation_and_that_a_forget_was_undone(key):
    restored = Entry(act="restore", time="2026-02-01T08:00:00Z", request=RECEIPT.request, rows=RECEIPT.rows)
    context = PageContext("bloodmnist", "Clinic Seven", restored, 9)
    data = dataclasses.replace(RECEIPT, device=key.public.id).sign(key)
    text = receipt_pdf(data, [key.public], context=context).decode("latin-1")
    for part in ("bloodmnist", "Clinic Seven", "REVERSED on 2026-02-01T08:00:00Z", "ledger of 9 lines"):
        assert part in text
    assert "REVERSED" not in page_of(key)
