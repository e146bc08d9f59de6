"""`pfedge bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pfedge.cli.extras import needs
from pfedge.cli.options import BundleArgument, BundleOption, DeviceOption, choose_bundle
from pfedge.cli.output import print_json, say, suggest
from pfedge.cli.recovery import finish_decided
from pfedge_runtime.errors import UsageError


def bench(
    argument: BundleArgument = None,
    *,
    bundle: BundleOption = None,
    device: DeviceOption = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0: as many as there are cores.")] = 0,
    batch: Annotated[str, typer.Option(help="Inputs a call.")] = "1,8,32",
    rows: Annotated[str, typer.Option(help="Rows in the bank.", show_default="all, half, one")] = "",
    seconds: Annotated[float, typer.Option(min=0, help="How long each pair of these is timed.")] = 2.0,
    plot: Annotated[Path | None, typer.Option(help="Draw latency and throughput into this PNG (extra train).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the measurements as JSON.")] = False,
) -> None:
    """Measure a bundle on this machine: latency, throughput, cold start, memory, and what forgetting takes.

    Inputs are those of the bundle's self-test. Forgetting is measured on a copy beside it; the bundle stays as it is.
    """
    bundle = choose_bundle(argument, bundle)
    finish_decided(bundle)
    from pfedge_runtime.bench import bench as measure
    from pfedge_runtime.bundle import Bundle

    report = measure(
        Bundle.open(bundle, read_bank=False),
        device=device,
        threads=threads,
        batches=_numbers(batch, "--batch"),
        rows=_numbers(rows, "--rows"),
        seconds=seconds,
        on_progress=lambda what: say(f"{what} ...", err=True),
    )
    if plot is not None:
        with needs("train", "bench --plot"):
            from pfedge.evaluation import plot_bench
        plot_bench(plot, report.to_json())
    if as_json:
        print_json("bench", report.to_json())
        return
    about = report.machine
    say(f"{report.precision} on {report.device}: {about['processor']}, {about['cores']} cores")
    say(f"{'inputs':>6} {'rows':>6} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9} {'inputs/s':>9} {'calls':>6}")
    for one in report.latency:
        say(
            f"{one.batch:>6} {one.rows:>6} {one.p50:>9.2f} {one.p95:>9.2f} {one.p99:>9.2f} "
            f"{one.throughput:>9.1f} {one.rounds:>6}"
        )
    cold = report.cold_start
    say(
        f"cold start  {cold.process_ms:.0f} ms a whole process: open {cold.open_ms:.0f}, first prediction "
        f"{cold.first_ms:.0f}; peak memory {cold.peak_bytes / 2**20:.0f} MiB"
    )
    if times := report.forget:
        say(
            f"forget      {times.in_memory:.3f} ms in memory, {times.durable:.1f} ms durable; next prediction "
            f"{times.first_prediction:.1f} ms (usually {times.prediction:.1f}); sessions created: "
            f"{times.sessions[1] - times.sessions[0]}"
        )
    suggest("predict FILE --bundle", bundle)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        message = f"{option} takes numbers such as 1,8,32, not {text!r}"
        raise UsageError(message) from error
