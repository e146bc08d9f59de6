"""A receipt as one A4 page for people: what was forgotten, what that proves, and how to check it.

    data = Path("receipt.json").read_bytes()
    Path("receipt.pdf").write_bytes(receipt_pdf(data, [PublicKey.load(Path("device.pub"))], source="receipt.json"))

The page proves nothing by itself: it names the signed receipt by its SHA-256. The same receipt gives the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import Entry, RowId
from pfedge_runtime.errors import MissingExtraError, SignatureError
from pfedge_runtime.receipts.history import describe_restoration
from pfedge_runtime.receipts.receipt import Receipt
from pfedge_runtime.signing import PublicKey

if TYPE_CHECKING:
    from fpdf import FPDF

LISTED = (20, 16, 12, 8, 6, 4, 3, 2, 1)  # how many rows and engines are listed: the most that fit on the page
IN_SENTENCE = 3  # how many of them a sentence names
NAME_LENGTH = 60  # characters of a class name, a source or an engine
TEXT_LENGTH = 80  # characters of any other text
DIGITS = 64  # of a digest
MARGIN, LABEL, LINE = 18, 36, 4.2  # millimetres
LATIN = 0x100  # the core fonts have the characters below


@dataclass(frozen=True)
class PageContext:
    """What a page says beside the receipt, which has none of it.

    Attributes:
        data_set: what the model was trained on, as its bundle says; empty where none was given.
        organisation: for whom the page is made; empty where nobody was named.
        restoration: the entry by which the forget was undone, as the device's ledger says.
        ledger_lines: how many lines that ledger has; 0 where none was given.
    """

    data_set: str = ""
    organisation: str = ""
    restoration: Entry | None = None
    ledger_lines: int = 0


def receipt_pdf(
    data: bytes, keys: list[PublicKey], *, source: str = "receipt.json", context: PageContext | None = None
) -> bytes:
    """Return the page of a receipt that one of these keys signed, as an uncompressed PDF.

    Args:
        data: the receipt's bytes.
        keys: the public keys that count.
        source: the receipt's file, which the page and errors name.
        context: what is known beside it.

    Raises:
        MissingExtraError: the extra `pdf` is not installed.
        SignatureError: it is no receipt, none of the keys signed it, or its time is none.
    """
    receipt = Receipt.verify(data, keys, source=source)
    try:
        created = datetime.strptime(receipt.time, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError as error:
        message = f"{source} has a time that is none: {receipt.time!r}"
        raise SignatureError(message) from error
    file = _tame(PurePath(source).name, NAME_LENGTH)
    for listed in LISTED:
        pdf = _new_page(created)
        _write_receipt(pdf, _tamed(receipt), context or PageContext(), listed)
        _write_check(pdf, file, hashlib.sha256(data).hexdigest())
        if pdf.get_y() <= pdf.h - MARGIN:
            break
    return bytes(pdf.output())


def _new_page(created: datetime) -> FPDF:
    try:
        from fpdf import FPDF
    except ImportError as error:
        what = "writing a receipt as PDF"
        raise MissingExtraError(what, "pdf") from error
    pdf = FPDF(format="A4")
    pdf.set_creation_date(created)
    pdf.set_compression(False)
    pdf.str_alias_nb_pages = ""  # a class may be called what the library replaces with the number of pages
    pdf.set_title("Receipt of forgetting")
    pdf.set_lang("en")
    pdf.set_margin(MARGIN)
    pdf.set_auto_page_break(False)
    pdf.add_page()
    return pdf


def _write_receipt(pdf: FPDF, receipt: Receipt, context: PageContext, listed: int) -> None:
    pdf.set_font("Helvetica", "B", 16)
    _write(pdf, "Receipt of forgetting", height=8)
    if context.restoration is not None:
        _head(pdf, _tame(describe_restoration(context.restoration), 2 * TEXT_LENGTH))
    _head(pdf, f"Forgotten: {len(receipt.rows)} {'row' if len(receipt.rows) == 1 else 'rows'}")
    for row in receipt.rows[:listed]:
        pdf.set_font("Helvetica", "", 8.5)
        _write(pdf, row.describe())
        _field(pdf, "SHA-256 of the row", row.digest)
    _say_more(pdf, len(receipt.rows) - listed, "rows")
    _head(pdf, "When, by which device, of which model")
    _field(pdf, "finished (UTC)", receipt.time)
    _field(pdf, "request", receipt.request)
    _field(pdf, "key of the device", receipt.device)
    _field(pdf, "model", receipt.model_id)
    _field(pdf, "data set", _tame(context.data_set, NAME_LENGTH) or "not named in a receipt")
    _field(pdf, "organisation", _tame(context.organisation, NAME_LENGTH) or "not named in a receipt")
    _field(pdf, "guarantee", receipt.guarantee)
    _field(pdf, "does not reach", receipt.does_not_reach or "unknown", font="Helvetica")
    _head(pdf, "Digests (SHA-256)")
    _field(pdf, "bank before", receipt.bank_before)
    _field(pdf, "bank after", receipt.bank_after)
    _field(pdf, "bank's file after", receipt.bank_file)
    _field(pdf, "graph", receipt.graph)
    _field(pdf, "audit report", receipt.audit or "none")
    _field(pdf, f"ledger, line {receipt.ledger_lines}", receipt.ledger_head)
    for name, digest in list(receipt.engines.items())[:listed]:
        _field(pdf, _tame(f"engine {name}", NAME_LENGTH), _tame(digest, DIGITS))
    _say_more(pdf, len(receipt.engines) - listed, "engines")
    named = min(listed, IN_SENTENCE)
    forgot, *others = replace(receipt, rows=receipt.rows[:named]).stated()
    more = len(receipt.rows) - named
    checked = receipt.verified()
    if context.ledger_lines:
        undone = "undone" if context.restoration else "not undone"
        checked.append(f"the device's ledger of {context.ledger_lines} lines: in it this forget is {undone}")
    _list(pdf, "Verified", checked)
    _list(pdf, "Stated by the device", [forgot + (f" and {more} more" if more > 0 else ""), *others])
    _list(pdf, "Not proved", receipt.not_proved())


def _write_check(pdf: FPDF, file: str, digest: str) -> None:
    _head(pdf, "How to check it")
    pdf.set_font("Helvetica", "", 8.5)
    _write(pdf, "This page proves nothing by itself: the signed file does, which was verified when the page was made.")
    _field(pdf, "signed file", file)
    _field(pdf, "its SHA-256", digest)
    _field(pdf, "command", f"pfedge receipt verify {file} --key device.pub")
    pdf.set_font("Helvetica", "", 8.5)
    _write(pdf, "Take device.pub from whoever is responsible for the device, not from whoever sent the receipt.")


def _head(pdf: FPDF, text: str) -> None:
    pdf.ln(2)
    pdf.set_font("Helvetica", "B", 10)
    _write(pdf, text, height=5)


def _field(pdf: FPDF, label: str, text: str, *, font: str = "Courier") -> None:
    """Write a label and, beside it, a text; under it where the label is long."""
    pdf.set_font("Helvetica", "", 8.5)
    if pdf.get_string_width(label) < LABEL - 2:
        pdf.cell(LABEL, LINE, label)
    else:
        _write(pdf, label)
    pdf.set_font(font, "", 8)
    _write(pdf, text, indent=LABEL)


def _list(pdf: FPDF, title: str, lines: list[str]) -> None:
    _head(pdf, title)
    pdf.set_font("Helvetica", "", 8.5)
    for line in lines:
        _write(pdf, f"- {line}")


def _say_more(pdf: FPDF, more: int, what: str) -> None:
    if more > 0:
        pdf.set_font("Helvetica", "I", 8.5)
        _write(pdf, f"and {more} more {what}, which the signed file lists")


def _write(pdf: FPDF, text: str, *, indent: float = 0, height: float = LINE) -> None:
    pdf.set_x(pdf.l_margin + indent)
    pdf.multi_cell(0, height, text, align="L", new_x="LMARGIN", new_y="NEXT")


def _tamed(receipt: Receipt) -> Receipt:
    """Return the receipt with texts that the core fonts can write, none longer than there is room for."""
    texts: dict[str, Any] = {
        name: _tame(value, TEXT_LENGTH) for name, value in vars(receipt).items() if isinstance(value, str)
    }
    rows = tuple(
        RowId(
            RowKey(row.class_id, _tame(row.source, NAME_LENGTH)),
            _tame(row.name, NAME_LENGTH),
            _tame(row.digest, DIGITS),
        )
        for row in receipt.rows
    )
    return replace(receipt, rows=rows, **texts)


def _tame(text: str, length: int) -> str:
    """Escape what the core fonts lack, and cut what is too long."""
    plain = "".join(
        sign if sign.isprintable() and ord(sign) < LATIN else sign.encode("unicode_escape").decode() for sign in text
    )
    return plain if len(plain) <= length else f"{plain[: length - 3]}..."
