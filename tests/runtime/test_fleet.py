from __future__ import annotations

import dataclasses
import json
import shutil
from datetime import date
from pathlib import Path

import pytest

from pfedge_runtime import forget
from pfedge_runtime.bank import RowKey
from pfedge_runtime.device import Entry, RowId
from pfedge_runtime.errors import UsageError
from pfedge_runtime.receipts import Receipt, fleet_status, read_devices
from pfedge_runtime.signing import PrivateKey

DUE = date(2026, 3, 1)
ROW = RowId(RowKey(3), "monocyte", "d" * 64)
MODEL = "0123456789abcdef"


@dataclasses.dataclass
class Clinic:
    """A device without any state: its key, and the folder of what it exported."""

    key: PrivateKey
    folder: Path
    lines: list[Entry] = dataclasses.field(default_factory=list)

    def append(self, act, request, rows):
        entry = Entry(
            sequence=len(self.lines) + 1,
            time=f"2026-01-{len(self.lines) + 1:02}T00:00:00Z",
            act=act,
            request=request,
            model_id=MODEL,
            guarantee="isolated",
            rows=rows,
            previous=self.lines[-1].digest() if self.lines else "0" * 64,
        ).signed(self.key)
        self.lines.append(entry)
        self.write(len(self.lines))
        return entry

    def write(self, lines):
        self.ledger.write_bytes(b"".join(entry.line() + b"\n" for entry in self.lines[:lines]))

    def forget(self, request="case-1", rows=(ROW,)):
        self.append("forget", request, rows)
        receipt = Receipt.of(self.append("forgotten", request, rows))
        (self.folder / "receipts" / f"{request}.json").write_bytes(receipt.sign(self.key))
        return receipt

    def receipt(self, request="case-1"):
        return self.folder / "receipts" / f"{request}.json"

    @property
    def ledger(self):
        return self.folder / "ledger.jsonl"


@pytest.fixture
def fleet(tmp_path):
    """Make devices, and the list of them, each due on `DUE`."""

    def make(*names):
        clinics = []
        for name in names:
            folder = tmp_path / "exports" / name
            (folder / "receipts").mkdir(parents=True)
            clinics.append(Clinic(PrivateKey.create(tmp_path / f"{name}.pem"), folder))
            shutil.copy(tmp_path / f"{name}.pub", folder / "device.pub")
        (tmp_path / "devices.txt").write_text("".join(f"{name} {name}.pub {DUE}\n" for name in names))
        return clinics

    return make


@pytest.fixture
def status(tmp_path):
    def look(*paths, today=DUE, wanted="3", **keywords):
        devices = read_devices(tmp_path / "devices.txt")
        return fleet_status(paths or [tmp_path / "exports"], devices, today=today, wanted=wanted, **keywords)

    return look


def states(result):
    return [one.state for one in result.standings]


def test_who_has_forgotten_who_is_overdue_and_who_has_time(fleet, status):
    fleet("a", "b")[0].forget()
    done, waiting = status().standings
    assert (done.state, done.ledger, waiting.state, waiting.ledger) == (
        "forgotten",
        "verifies",
        "pending",
        "none given",
    )
    assert (done.evidence[0].receipt.time, done.evidence[0].receipt.request) == ("2026-01-02T00:00:00Z", "case-1")
    assert states(status(today=date(2026, 3, 2))) == ["forgotten", "overdue"]
    assert not status().complete


def test_a_fleet_that_has_forgotten_is_complete(fleet, status):
    for clinic in fleet("a", "b"):
        clinic.forget()
    assert status().complete
    assert status(wanted="monocyte").complete
    assert status(wanted="").complete
    assert status(model_id=MODEL).complete
    assert states(status(model_id="another")) == ["pending", "pending"]
    assert states(status(wanted="4")) == ["pending", "pending"]
    json.dumps(status().to_json())


def test_receipts_alone_suffice(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget()
    assert status(clinic.receipt()).complete
    assert status(clinic.receipt()).standings[0].ledger == "none given"


def test_a_number_is_an_id_and_never_a_name(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget(rows=(RowId(RowKey(7), "3", "d" * 64),))
    assert states(status()) == ["pending"]
    assert states(status(wanted="7")) == ["forgotten"]


def test_the_row_of_one_source_is_not_the_class(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget(rows=(dataclasses.replace(ROW, key=RowKey(3, "clinic-7")),))
    assert states(status()) == ["in part"]
    assert not status().complete
    assert states(status(wanted="3@clinic-7")) == states(status(wanted="monocyte@clinic-7")) == ["forgotten"]
    assert states(status(wanted="3@clinic-8")) == ["pending"]


def test_a_key_beside_a_receipt_is_not_trusted(fleet, status, tmp_path):
    a, stranger = fleet("a", "stranger")
    (tmp_path / "devices.txt").write_text("a a.pub\n")
    stranger.forget()
    shutil.copytree(stranger.folder, a.folder, dirs_exist_ok=True)
    result = status(a.folder)
    assert states(result) == ["pending"]
    assert [(one.file, one.kind) for one in result.unexpected] == [(a.ledger, "ledger"), (a.receipt(), "receipt")]
    assert stranger.key.public.id[:16] in result.unexpected[0].reason


@pytest.mark.parametrize("claims", ["expected", "unexpected"])
def test_a_receipt_that_claims_another_device_counts_for_nothing(fleet, status, claims):
    a, b = fleet("a", "b")
    receipt = b.forget()
    named = a.key.public.id if claims == "expected" else "f" * 64
    b.receipt().write_bytes(dataclasses.replace(receipt, device=named).sign(b.key))
    result = status(b.receipt())
    assert states(result) == ["pending", "pending"]
    (problem,) = result.problems
    assert problem.file == b.receipt()
    assert ("not signed by a key" if claims == "expected" else "speaks for another device") in problem.reason


def test_a_damaged_receipt_is_listed_with_its_file(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget()
    data = json.loads(clinic.receipt().read_bytes())
    data["payload"] = data["payload"].replace("A", "B", 1)
    clinic.receipt("case-2").write_text(json.dumps(data))
    clinic.receipt("case-3").write_bytes(clinic.receipt().read_bytes()[:-9])
    clinic.receipt("case-4").write_text("{}")
    result = status()
    assert states(result) == ["forgotten"]
    assert [problem.file.name for problem in result.problems] == ["case-2.json", "case-3.json", "case-4.json"]


def test_an_edited_ledger_does_not_verify(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget()
    clinic.ledger.write_bytes(clinic.ledger.read_bytes().replace(b"monocyte", b"eosinoph", 1))
    (standing,) = status().standings
    assert (standing.state, standing.ledger) == ("forgotten", "DOES NOT VERIFY")
    assert f"{clinic.ledger}: line 2 of the ledger does not follow" in standing.ledger_problem
    assert not status().complete


@pytest.mark.parametrize("content", [b"", b"{}\n", b"no ledger\n", b'{"key":1}\n', b"[1]\n\xff\n"])
def test_a_file_that_is_no_ledger_is_a_problem(fleet, status, content):
    (clinic,) = fleet("a")
    clinic.forget()
    clinic.ledger.write_bytes(content)
    result = status()
    assert "is not a ledger" in result.problems[0].reason
    assert result.standings[0].ledger == "none given"
    assert not result.complete


def test_a_ledger_shorter_than_its_receipts_was_rolled_back(fleet, status):
    (clinic,) = fleet("a")
    clinic.append("adopt", "", ())
    clinic.forget()
    clinic.write(2)
    (standing,) = status().standings
    assert (standing.state, standing.ledger) == ("forgotten", "DOES NOT VERIFY")
    assert "line 3, which receipt case-1 names, does not stand in it" in standing.ledger_problem


def test_a_ledger_that_was_started_anew_contradicts_the_receipt(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget()
    clinic.lines.clear()
    clinic.append("forget", "case-2", (ROW,))
    clinic.append("forgotten", "case-2", (ROW,))
    assert "rolled back, or is another's" in status().standings[0].ledger_problem


def test_an_older_copy_of_the_ledger_does_no_harm_but_another_history_does(fleet, status, tmp_path):
    (clinic,) = fleet("a")
    clinic.forget("case-1")
    older = shutil.copy(clinic.ledger, tmp_path / "older.jsonl")
    clinic.forget("case-2")
    assert status(older, clinic.folder).complete
    assert status(clinic.folder, older).complete
    clinic.lines.clear()
    clinic.append("adopt", "", ())
    result = status(clinic.ledger, older)
    assert "another history" in result.standings[0].ledger_problem


def test_what_was_restored_is_not_forgotten_any_more(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget("case-1")
    clinic.append("restore", "case-1", (ROW,))
    assert states(status()) == states(status(wanted="")) == ["restored"]
    assert states(status(clinic.receipt())) == ["forgotten"]  # the ledger alone knows
    clinic.forget("case-2")
    result = status()
    assert states(result) == ["forgotten"]
    assert [one.restored for one in result.standings[0].evidence] == [True, False]


def test_a_refusal_leaves_what_was_forgotten_forgotten(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget()
    clinic.append("refuse", "case-1", (ROW,))
    assert status().complete


def test_a_file_given_twice_counts_once(fleet, status):
    (clinic,) = fleet("a")
    clinic.forget()
    again = shutil.copy(clinic.receipt(), clinic.folder / "copy.json")
    assert len(status(clinic.folder, clinic.receipt(), again).standings[0].evidence) == 1


def test_a_missing_path_is_wrong_usage(fleet, status, tmp_path):
    fleet("a")
    with pytest.raises(UsageError, match="no file or folder"):
        status(tmp_path / "missing")


def test_the_list_of_devices_may_have_comments_and_blank_lines(fleet, tmp_path):
    fleet("a", "b")
    (tmp_path / "devices.txt").write_text("# all\n\n  a  a.pub   2026-03-01  # the first\nb\tb.pub#2\n")
    (tmp_path / "b.pub").rename(tmp_path / "b.pub#2")
    a, b = read_devices(tmp_path / "devices.txt")
    assert (a.name, a.due, b.name, b.due) == ("a", DUE, "b", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a a.pub\nb\n", "line 2: expected NAME PUBLIC_KEY_FILE"),
        ("a a.pub 2026-03-01 x\n", "line 1: expected NAME"),
        ("\n# x\na a.pub 20260301\n", "line 3: a date is written YYYY-MM-DD"),
        ("a a.pub 2026-02-30\n", "line 1: day is out of range"),
        ("a missing.pub\n", "line 1: cannot read"),
        ("a devices.txt\n", "line 1: .* is not a public key"),
        ("a a.pub\na b.pub\n", "line 2: a has the name or the key"),
        ("a a.pub\nb a.pub\n", "line 2: b has the name or the key"),
        ("# nobody\n", "names no device"),
        ("\udcff", "not a text file"),
    ],
)
def test_a_malformed_list_is_refused_with_the_line(fleet, tmp_path, text, words):
    fleet("a", "b")
    (tmp_path / "devices.txt").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UsageError, match=words):
        read_devices(tmp_path / "devices.txt")


def test_the_command_says_all_of_it(fleet, cli, tmp_path):
    a, b, _ = fleet("a", "b", "c")
    a.forget()
    b.forget("case-2")
    b.write(1)
    (tmp_path / "devices.txt").write_text("a a.pub\nb b.pub\nc c.pub 2020-01-01\n")
    outcome = cli("fleet", "status", "exports", "--expect", "devices.txt", "--class", "3", check=False)
    assert outcome.returncode == 3
    lines = {line.split()[1]: line for line in outcome.stdout.splitlines() if line.startswith("│")}
    assert "forgotten" in lines["a"]
    assert "case-1" in lines["a"]
    assert "verifies" in lines["a"]
    assert "DOES NOT VERIFY: line 2" in " ".join(lines["b"].split())
    assert "overdue" in lines["c"]
    assert "2 of 3 devices have forgotten" in outcome.stdout
    result = json.loads(cli("fleet", "status", "exports", "--expect", "devices.txt", "--json", check=False).stdout)
    assert [one["state"] for one in result["devices"]] == ["forgotten", "forgotten", "overdue"]
    assert result["devices"][0]["receipts"][0]["rows"][0]["class"] == 3
    for arguments in (("missing", "--expect", "devices.txt"), ("exports", "--expect", "missing.txt")):
        wrong = cli("fleet", "status", *arguments, check=False)
        assert wrong.returncode == 2
        assert wrong.stderr.startswith("error: ")


def test_the_command_lists_every_receipt_and_every_file_that_counts_for_nothing(fleet, cli, tmp_path):
    a, b = fleet("a", "b")
    a.forget("case-1")
    a.append("restore", "case-1", (ROW,))
    a.forget("case-2", rows=(RowId(RowKey(4), "[red]\x1b[31m", "e" * 64),))
    a.receipt("case-3").write_text("x")
    b.forget()
    (tmp_path / "devices.txt").write_text("a a.pub\n")
    text = cli("fleet", "status", "exports", "--expect", "devices.txt", check=False).stdout
    assert text.count("\n│ a") == 2
    assert "restored" in text
    assert "\x1b" not in text
    assert "class 4 ([red]\\x1b[31m)" in " ".join(text.split())
    assert "Counts for nothing:\n  receipt exports/a/receipts/case-3.json: " in text
    assert "Not expected:\n  ledger exports/b/ledger.jsonl: " in text


def test_what_real_devices_export_is_understood(bundle_path, cli, tmp_path, device_state):
    forget(bundle_path, ["3"])
    cli("ledger", "export", "out")
    (tmp_path / "devices.txt").write_text("a out/device.pub 2020-01-01\n")
    shutil.move(device_state, tmp_path / "gone")  # the officer has no state, and gets none
    outcome = cli("fleet", "status", "out", "--expect", "devices.txt", "--class", "3")
    assert "1 of 1 devices have forgotten" in outcome.stdout
    assert not device_state.exists()
