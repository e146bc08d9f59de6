"""`pfedge verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pfedge.cli.options import BundleArgument, BundleOption, DeviceOption, choose_bundle
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.recovery import finish_decided


def verify(
    argument: BundleArgument = None,
    *,
    bundle: BundleOption = None,
    key: Annotated[
        Path | None, typer.Option(help="Public key that must have signed it.", show_default="PFEDGE_TRUSTED_KEYS")
    ] = None,
    selftest: Annotated[bool, typer.Option("--selftest", help="Run the self-test vectors on this device.")] = False,
    device: DeviceOption = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Check a bundle before it is used: digests, signature, schema, tombstones, self-test.

    The first thing that is wrong is said, and the exit code is 1.

    \b
    pfedge verify bundle --key signer.pub --selftest
    """
    from pfedge_runtime.bundle import Bundle, trusted_keys
    from pfedge_runtime.errors import PfedgeError
    from pfedge_runtime.signing import PublicKey

    keys = [PublicKey.load(key)] if key else trusted_keys()
    bundle = choose_bundle(argument, bundle)
    finish_decided(bundle)
    opened = Bundle.open(bundle, read_bank=False)
    signer = opened.require_signature(keys) if keys else None
    bank = opened.bank()
    manifest = opened.manifest
    result: dict[str, Any] = {
        "bundle": str(bundle),
        "model_id": manifest.model_id,
        "files": len(manifest.files),
        "signed_by": signer,
        "coverage": list(bank.class_ids),
        "sealed": manifest.sealed,
    }
    if selftest:
        from pfedge_runtime.engines import ExecutionDevice, open_engine, run_selftest

        outcome = run_selftest(opened, open_engine(opened, device), precision=ExecutionDevice.parse(device).precision)
        result["selftest"] = {**vars(outcome), "passed": outcome.passed}
        if not outcome.passed:
            message = (
                f"the self-test failed on {device}: a logit differs by {outcome.largest_difference:.1e}, "
                f"allowed are {outcome.allowed:.1e}"
            )
            raise PfedgeError(message)
    if as_json:
        print_json("verify", result)
        return
    say(f"files      manifest and {len(manifest.files)} files match their digests")
    say(f"signature  {f'key {signer}' if signer else 'not asked for: give --key or set PFEDGE_TRUSTED_KEYS'}")
    say(f"rows       {len(bank)} classes, each as it was exported{', sealed' if manifest.sealed else ''}")
    say(f"device     none of them is forbidden by the state {opened.state.path}")
    if selftest:
        say(f"self-test  {outcome.cases} cases on {device}, largest difference {outcome.largest_difference:.1e}")
    suggest("adopt --bundle", bundle)
