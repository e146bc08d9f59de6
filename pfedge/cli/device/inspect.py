"""`pfedge inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pfedge.cli.options import BundleArgument, BundleOption, DeviceOption, choose_bundle
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.recovery import finish_decided

if TYPE_CHECKING:
    from pfedge_runtime.bundle import Manifest


def inspect(
    argument: BundleArgument = None,
    *,
    bundle: BundleOption = None,
    selftest: Annotated[bool, typer.Option("--selftest", help="Run the self-test vectors on this device.")] = False,
    device: DeviceOption = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest and the coverage as JSON.")] = False,
) -> None:
    """Check a bundle's files and show what it can still recognise."""
    from pfedge_runtime.bundle import Bundle

    bundle = choose_bundle(argument, bundle)
    finish_decided(bundle)
    opened = Bundle.open(bundle, read_bank=False)
    manifest, bank = opened.manifest, opened.bank()
    result: dict[str, Any] = {"path": str(opened.path), "coverage": list(bank.class_ids), "bank": bank.digest()}
    if selftest:
        from pfedge_runtime.engines import ExecutionDevice, open_engine, run_selftest

        outcome = run_selftest(opened, open_engine(opened, device), precision=ExecutionDevice.parse(device).precision)
        result["selftest"] = {**vars(outcome), "passed": outcome.passed}
    if as_json:
        print_json("inspect", {**result, "manifest": manifest.to_json()})
    else:
        say(f"model      {manifest.model_id} trained on {manifest.dataset}")
        say(f"guarantee  {manifest.guarantee}; forgetting does not reach: {_does_not_reach(manifest)}")
        say(f"input      {manifest.preprocess.describe()}, opset {manifest.opset}, {manifest.precision}")
        say(f"coverage   {len(bank)} of {sum(bool(entry.rows) for entry in manifest.classes)} rows")
        if bank.sources:
            say(f"sources    {', '.join(bank.sources)}")
        for entry in manifest.classes:
            state = "row" if entry.id in bank.class_ids else "forgotten" if entry.rows else "never had a row"
            say(f"  {entry.id:>3}  {entry.name:<40} {state}")
        say("files      all match the manifest")
        if selftest:
            say(
                f"self-test  {'passed' if outcome.passed else 'FAILED'}: {outcome.cases} cases, "
                f"{outcome.skipped} skipped (forgotten rows), largest difference {outcome.largest_difference:.1e}"
            )
        suggest("predict FILE --bundle", bundle)
    if selftest and not outcome.passed:
        raise typer.Exit(1)


def _does_not_reach(manifest: Manifest) -> str:
    """Return what the receipt of a forget will say, and how much of what was trained lies outside of the rows."""
    from pfedge_runtime.bank import guarantee

    rows, shared = manifest.reach["rows"], manifest.reach["shared"]
    said = guarantee(manifest.guarantee).does_not_reach
    return f"{said} ({shared / (rows + shared):.1%} of what was trained)" if shared else said
