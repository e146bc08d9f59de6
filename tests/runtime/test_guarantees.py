from __future__ import annotations

import pytest

from pfedge_runtime import Bundle
from pfedge_runtime.bank import GUARANTEES, Guarantee, guarantee, read_bank
from pfedge_runtime.bank.guarantees import BANKS
from pfedge_runtime.errors import UsageError
from support.paths import GOLDEN

FOLDERS = {"shared": GOLDEN, "isolated": GOLDEN / "isolated", "exact": GOLDEN / "exact"}


@pytest.fixture(params=GUARANTEES.values(), ids=GUARANTEES)
def promised(request) -> Guarantee:
    return request.param


@pytest.fixture
def bundle(promised) -> Bundle:
    """The golden bundle of a guarantee."""
    return Bundle.open(FOLDERS[promised.name] / "bundle")


def test_every_guarantee_has_a_golden_bundle():
    assert set(FOLDERS) == set(GUARANTEES)


def test_a_bundle_has_the_bank_that_its_guarantee_says(promised, bundle):
    assert guarantee(bundle.manifest.guarantee) is promised
    stored = read_bank(bundle.bank_path.read_bytes(), source="bank")
    assert type(stored) is promised.bank
    assert stored.digest() == bundle.bank().digest()


def test_a_graph_has_the_signature_that_its_guarantee_says(promised, bundle):
    inputs = {name: about["shape"] for name, about in bundle.manifest.inputs.items()}
    del inputs[bundle.manifest.preprocess.input_name]
    assert {name: shape[0] for name, shape in inputs.items()} == promised.graph.rows
    outputs = {name: about["shape"] for name, about in bundle.manifest.outputs.items()}
    symbols = {name: tuple(dim for dim in shape if isinstance(dim, str)) for name, shape in outputs.items()}
    assert symbols == promised.graph.outputs


def test_a_graph_takes_what_the_bank_gives(promised, bundle):
    bank = bundle.bank()
    assert list(bank.graph_inputs()) == list(promised.graph.rows) == list(bank.row_shapes())
    for name, value in bank.graph_inputs().items():
        assert value.shape == (len(bank), *bank.row_shapes()[name])


def test_parity_was_judged_as_the_guarantee_says(promised, bundle):
    assert bundle.manifest.parity.get("relative", False) is promised.relative


@pytest.mark.parametrize("name", ["", "Shared", "fourth"])
def test_an_unknown_guarantee_is_refused_by_name(name):
    with pytest.raises(UsageError, match=f"unknown guarantee {name!r}; this version knows shared, isolated, exact"):
        guarantee(name)


def test_every_format_has_one_reader():
    assert sorted(BANKS) == ["pfedge-bank/1", "pfedge-statistics/1"]


@pytest.mark.parametrize(
    ("name", "sealed", "dry_run", "said"),
    [
        ("shared", False, False, "the rows are gone; weights that all classes share (LoRA) stay as they are"),
        ("shared", True, True, "the rows would be gone; weights that all classes share (LoRA) would stay as they are"),
        ("isolated", False, False, ""),
        ("isolated", True, True, ""),
        ("exact", False, False, "the bank is now, byte for byte, the one that was never given them"),
        ("exact", False, True, "the bank would be, byte for byte, the one that was never given them"),
        (
            "exact",
            True,
            False,
            "the rows left are, once decrypted, byte for byte those of the bank that was never given the others",
        ),
        (
            "exact",
            True,
            True,
            "the rows left would be, once decrypted, byte for byte those of the bank that was never given the others",
        ),
    ],
)
def test_what_a_forget_did_is_said_in_words(name, sealed, dry_run, said):
    assert guarantee(name).describe_outcome(sealed=sealed, dry_run=dry_run) == said
