"""`pfedge forget`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pfedge.cli.options import BundleArgument, BundleOption, choose_bundle
from pfedge.cli.output import print_json, printable, remark, say, suggest
from pfedge.cli.recovery import finish_decided
from pfedge_runtime.errors import UsageError

if TYPE_CHECKING:
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.forgetting import ForgetRequest, Forgetting
    from pfedge_runtime.sweeping import Finding, Trace


def forget(
    argument: BundleArgument = None,
    *,
    classes: Annotated[
        list[str] | None, typer.Option("--class", "-c", help="Class id or name; repeatable.", show_default=False)
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option("--source", help="Every row of this source (trained with --source-column); repeatable."),
    ] = None,
    bundle: BundleOption = None,
    request: Annotated[
        str, typer.Option(help="Names it in ledger and receipt; nothing about a patient.", show_default="made up")
    ] = "",
    sweep: Annotated[
        list[Path] | None,
        typer.Option(
            help="Search this folder for copies of the rows, and drop them where that can be done; repeatable.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and change nothing.")] = False,
    if_present: Annotated[
        bool, typer.Option("--if-present", help="What is forgotten already is no error: for fleets, which ask again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Forget classes: drop their rows from the bundle's bank, for good.

    No data, no training, no re-export: the graph stays as it is. The bank file is replaced atomically; every
    later prediction of every process that uses this bundle is made without the rows. The device refuses them from then
    on, whatever bundle brings them back, and gives a signed receipt. There is no undo without an authority's signature.

    With --sweep, other bundles, loose banks and run folders in those folders lose the rows too; engines, archives and
    other files are searched, and named if they hold them. It may be run again for what is forgotten already, but what
    the bundle no longer holds can be found by its digest only. Exit code 1: something was found and not reached.

    \b
    pfedge forget --class 3
    pfedge forget --class basophil --class 5 --bundle /opt/pfedge/blood --yes
    pfedge forget --class 3 --sweep /opt/pfedge --sweep /mnt/backup --dry-run
    """
    from pfedge_runtime.bundle import Bundle
    from pfedge_runtime.forgetting import ForgetRequest, plan_forget
    from pfedge_runtime.forgetting import forget as forget_rows

    bundle = choose_bundle(argument, bundle)
    finish_decided(bundle)
    opened = Bundle.open(bundle, read_bank=False)
    asked = ForgetRequest.of(opened, classes or [], sources or [], again=bool(sweep) or if_present)
    plan = None
    if not asked.done and (dry_run or not yes):  # to be shown, or asked about; `forget` makes its own
        plan = plan_forget(opened, asked.classes, sources=asked.sources, request=request)
    trace = _trace(opened, asked) if sweep else None
    if not dry_run:
        if not yes and not (asked.done and not sweep):
            _confirm(plan, [bundle, *(sweep or [])], sealed=opened.manifest.sealed)
        if not asked.done:
            plan = forget_rows(opened, asked.classes, sources=asked.sources, request=request)
    if not as_json:
        _print_outcome(plan, dry_run=dry_run, sealed=opened.manifest.sealed)
    findings = _sweep(opened, trace, sweep or [], dry_run=dry_run) if trace else ()
    if as_json:
        print_json("forget", _outcome_to_json(plan, trace, findings, dry_run=dry_run))
    else:
        if trace:
            _print_findings(findings, trace, dry_run=dry_run)
        _suggest_next(opened, plan, dry_run=dry_run)
    if any(finding.action == "not reached" for finding in findings):
        raise typer.Exit(1)


def _confirm(plan: Forgetting | None, where: Sequence[Path], *, sealed: bool) -> None:
    """Say on a terminal what would be done, what it promises and what it does not reach; then ask.

    Raises:
        UsageError: there is no terminal to ask on.
        click.Abort: the answer was no.
    """
    if not sys.stdin.isatty():
        message = "forgetting asks for confirmation on a terminal; elsewhere pass --yes"
        raise UsageError(message)
    if plan is not None:
        for line in _describe_promise(plan, dry_run=True, sealed=sealed):
            say(line, err=True)
        say("no undo without an authority's signature", err=True)
    what = plan.describe() if plan else "what is forgotten already"
    question = f"Forget {what} in {', '.join(map(str, where))} for good?"
    typer.confirm(printable(question), abort=True, err=True)


def _describe_promise(plan: Forgetting, *, dry_run: bool, sealed: bool) -> list[str]:
    """Return what the guarantee promises of a forget and, before it is done, what it does not reach."""
    from pfedge_runtime.bank import guarantee

    known = guarantee(plan.guarantee)
    said = known.describe_outcome(sealed=sealed, dry_run=dry_run)
    lines = [f"guarantee {plan.guarantee}: {said}"] if said else []
    if dry_run:
        lines += [
            f"does not reach: {known.does_not_reach}",
            "does not reach: copies of the bundle on other devices and media; the training data",
        ]
    return lines


def _suggest_next(bundle: Bundle, outcome: Forgetting | None, *, dry_run: bool) -> None:
    from pfedge_runtime.device import PUBLIC_KEY

    if dry_run:
        remark("next: the same command without --dry-run")
    elif outcome is None:
        suggest("inspect --bundle", bundle.path)
    else:
        suggest("receipt verify", Path(outcome.receipt), "--key", bundle.state.path / PUBLIC_KEY)


def _print_outcome(outcome: Forgetting | None, *, dry_run: bool, sealed: bool) -> None:
    if outcome is None:
        say("forgotten in this bundle already; nothing was done there")
        return
    left = len(outcome.coverage)
    if dry_run:
        say(f"would forget {outcome.describe()}; {left} classes would be left; nothing was changed")
    else:
        say(f"forgot {outcome.describe()} in {outcome.milliseconds:.1f} ms; {left} classes are left")
        say(f"receipt {outcome.receipt}")
    if outcome.also:
        say(f"with them {', '.join(outcome.also)}: forgotten on this device before")
    for line in _describe_promise(outcome, dry_run=dry_run, sealed=sealed):
        say(line)


def _outcome_to_json(
    outcome: Forgetting | None, trace: Trace | None, findings: Sequence[Finding], *, dry_run: bool
) -> dict[str, Any]:
    """Return JSON values of what was done, and of what the sweep found, where there was one."""
    report = {"dry_run": dry_run, **(outcome.to_json() if outcome else {"forgotten": []})}
    swept = {"findings": [one.to_json() for one in findings], "bytes_unknown": _unknown(trace)} if trace else {}
    return report | swept


def _trace(bundle: Bundle, asked: ForgetRequest) -> Trace:
    from pfedge_runtime.sweeping import Trace

    return Trace.of(bundle, asked.rows)


def _sweep(bundle: Bundle, trace: Trace, folders: Sequence[Path], *, dry_run: bool) -> tuple[Finding, ...]:
    from rich.console import Console

    from pfedge.progress import bars
    from pfedge.runs import sweep_runs
    from pfedge_runtime.sweeping import sweep

    with bars(Console(stderr=True)) as progress:
        bar = progress.add_task("sweeping", total=None)

        def move(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        return sweep(trace, folders, bundle.state, on_progress=move, others=sweep_runs, dry_run=dry_run)


def _unknown(trace: Trace) -> list[str]:
    return [row.describe() for row in trace.unknown]


def _print_findings(findings: Sequence[Finding], trace: Trace, *, dry_run: bool) -> None:
    for finding in findings:
        would = "would be " if dry_run and finding.action in {"dropped", "erased"} else ""
        say(f"{would}{finding.action}", finding.describe())
    if unknown := _unknown(trace):
        say(
            f"of {', '.join(unknown)} the bytes are not known, being forgotten already: only banks, runs and text with "
            "the digest were found"
        )
    counts = Counter(finding.action for finding in findings)
    said = ", ".join(f"{number} {action}" for action, number in sorted(counts.items()))
    say(f"sweep: {said or 'nothing was found'}")
