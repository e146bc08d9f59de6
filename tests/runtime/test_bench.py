from __future__ import annotations

import json

import numpy as np
import pytest

from pfedge_runtime import Bundle, forget
from pfedge_runtime.bench import bench, cold_start, real_inputs, time_calls
from pfedge_runtime.engines import open_engine
from pfedge_runtime.errors import PfedgeError, UsageError


def content(folder):
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_everything_is_measured_and_the_bundle_stays_as_it_is(bundle_path):
    before = content(bundle_path)
    report = bench(Bundle.open(bundle_path), batches=(1, 3), rows=(10, 2), seconds=0.01)
    assert content(bundle_path) == before
    assert [file.name for file in bundle_path.parent.iterdir()] == ["bundle"]
    assert [(one.batch, one.rows) for one in report.latency] == [(1, 10), (1, 2), (3, 10), (3, 2)]
    for one in report.latency:
        assert 0 < one.p50 <= one.p95 <= one.p99
        assert one.rounds >= 5
        assert one.throughput == pytest.approx(one.batch / one.p50 * 1000)
    cold = report.cold_start
    assert cold.process_ms > cold.open_ms + cold.first_ms > 0
    assert cold.peak_bytes > 10 * 2**20
    assert report.forget.sessions[0] == report.forget.sessions[1]
    assert 0 < report.forget.in_memory < report.forget.durable
    json.dumps(report.to_json())


def test_rows_default_to_all_half_and_one_of_those_that_are_left(bundle_path):
    forget(bundle_path, ["3", "4"])
    report = bench(Bundle.open(bundle_path), batches=(1,), seconds=0)
    assert [one.rows for one in report.latency] == [8, 4, 1]


def test_a_bundle_of_one_row_has_nothing_to_forget(bundle_path):
    forget(bundle_path, [str(number) for number in range(9)])
    assert bench(Bundle.open(bundle_path), batches=(1,), seconds=0).forget is None


@pytest.mark.parametrize("asked", [{"batches": (0,)}, {"batches": ()}, {"rows": (11,)}, {"rows": (0,)}])
def test_what_cannot_be_measured_is_refused(bundle_path, asked):
    with pytest.raises(UsageError, match="bench takes batches of at least 1 and 1 to 10 rows"):
        bench(Bundle.open(bundle_path), **asked)


def test_inputs_are_real_ones(bundle_path, golden):
    inputs = real_inputs(Bundle.open(bundle_path), 9)
    assert inputs.shape == (9, 14, 14, 3)
    assert inputs.std() > 10
    assert np.array_equal(inputs[0], inputs[4])


def test_a_fresh_process_that_fails_says_why(tmp_path):
    with pytest.raises(PfedgeError, match=r"a fresh process failed: .*no bundle at"):
        cold_start(tmp_path / "none", "cpu")


def test_calls_are_really_made(bundle_path):
    bundle, calls = Bundle.open(bundle_path), []
    engine = open_engine(bundle)

    class Counting:
        def run(self, inputs, bank):
            calls.append(len(inputs))
            return engine.run(inputs, bank)

    assert time_calls(Counting(), real_inputs(bundle, 2), bundle.bank(), 0).rounds == len(calls) - 3 == 5


def test_the_command_line_shows_a_table_json_and_a_plot(cli, bundle_path, tmp_path):
    shown = cli("bench", "--batch", "1,2", "--rows", "10", "--seconds", "0", "--plot", tmp_path / "bench.png")
    assert "fp32 on cpu" in shown.stdout
    assert "durable" in shown.stdout
    assert (tmp_path / "bench.png").stat().st_size > 10_000
    report = json.loads(cli("bench", bundle_path, "--batch", "1", "--seconds", "0", "--json").stdout)
    assert len(report["latency"]) == 3
    assert cli("bench", "--batch", "x", check=False).returncode == 2
