"""The console script `pfedge`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import pfedge
from pfedge.cli.device import adopt, bench, device, forget, inspect, predict, verify
from pfedge.cli.hush import hush_libraries
from pfedge.cli.output import escape_unknown_signs, say, set_quiet
from pfedge.cli.panels import PanelCommand
from pfedge.cli.proof import authorize, fleet, keygen, ledger, receipt, restore
from pfedge.cli.training import audit, demo, evaluate, export, import_reference, train
from pfedge_runtime.errors import PfedgeError

app = typer.Typer(
    name="pfedge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),  # --batch_size is --batch-size
    },
)
app.command("train", cls=PanelCommand)(train.train)
app.command("eval", cls=PanelCommand)(evaluate.evaluate)
app.command("audit", cls=PanelCommand)(audit.audit)
app.command("export", cls=PanelCommand)(export.export)
app.command("predict")(predict.predict)
app.command("forget")(forget.forget)
app.command("inspect")(inspect.inspect)
app.command("bench")(bench.bench)
app.command("import-reference", cls=PanelCommand)(import_reference.import_reference)
app.command("demo")(demo.demo)
app.command("verify")(verify.verify)
app.command("adopt")(adopt.adopt)
app.command("device")(device.device)
app.command("keygen")(keygen.keygen)
app.command("authorize")(authorize.authorize)
app.command("restore")(restore.restore)
app.add_typer(ledger.app, name="ledger")
app.add_typer(receipt.app, name="receipt")
app.add_typer(fleet.app, name="fleet")


def _version(value: bool) -> None:  # noqa: FBT001 -- typer's callback signature
    if value:
        say(f"pfedge {pfedge.__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[  # noqa: ARG001 -- its callback has done it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", envvar="PFEDGE_QUIET", help="No summaries and no next command on stderr.")
    ] = False,
) -> None:
    """Vision models that can forget a class by dropping one row.

    \b
    pfedge train --dataset bloodmnist     train one removable row per class on a frozen backbone
    pfedge eval RUN                       accuracy in every prompt mode, and after forgetting every subset
    pfedge audit RUN --forget 3           attack what is left, and compare with a model that never knew the class
    pfedge import-reference CKPT.pt       a checkpoint of the paper's published code, as a run
    pfedge export RUN                     an ONNX bundle whose rows are a run-time input
    pfedge predict cell.png               on the device, without PyTorch
    pfedge forget --class 3               drop a row: no data, no training, no re-export
    pfedge verify BUNDLE --selftest       digests, signature, tombstones, and the device's own arithmetic
    pfedge receipt verify FILE --key PUB  what a device says it forgot, and what that proves
    pfedge ledger show                    what this device did to its banks
    pfedge fleet status DIR --expect FILE which devices have forgotten, and which are overdue
    pfedge bench                          how fast a bundle is on this machine, and what forgetting takes

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 a fleet not done, an audit not passed or a receipt
    reversed, 130 interrupted.
    """
    set_quiet(quiet)


def main() -> None:
    """Run the command line; print a pfedge error as one line and exit with its code."""
    hush_libraries()
    escape_unknown_signs()
    try:
        app()
    except PfedgeError as error:
        say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # no permission, a file where a folder should be, a disk that is full
        say(f"error: {error.filename or 'the system'}: {error.strerror or error}", err=True)
        sys.exit(1)
