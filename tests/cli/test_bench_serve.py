"""bench/serve.py: every figure is in the table, measured or failed with the reason; medians of runs; what a figure belongs to."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import types

import pytest

from daemon import BUILD

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import serve as bench_serve  # noqa: E402
import serve_figures  # noqa: E402
import serve_peers  # noqa: E402
import serve_versions  # noqa: E402
from serve_processes import BenchError  # noqa: E402

OPTIONS = types.SimpleNamespace(runs=3, seconds=0.1, requests=10, cycles=1)


def test_the_table_has_the_figures_of_the_issue():
    goals = [goal for function in bench_serve.FIGURES.values() for goal in function.goals]
    assert len({goal.name for goal in goals}) == len(goals) == 22
    assert all(goal.unit and goal.op in ("<=", ">=") and goal.target > 0 for goal in goals)


@pytest.mark.parametrize("name", bench_serve.FIGURES)
def test_a_function_that_fails_leaves_a_failed_row_for_each_of_its_figures(name, monkeypatch):
    def refuse(*_, **__):
        raise BenchError("no such thing here")

    for module in (serve_figures, serve_peers):
        monkeypatch.setattr(module, "Daemon", refuse)
    for variable in ("PEERS", "PEERS_TOOLS"):
        monkeypatch.setenv(variable, "nowhere")
    rows = bench_serve.measure(name, OPTIONS)
    assert [(r["name"], r["unit"], r["op"], r["target"]) for r in rows] == [tuple(goal) for goal in bench_serve.FIGURES[name].goals]
    for row in rows:
        assert row["value"] is None and row["pass"] is False and row["detail"].startswith("not measured: ")
        assert "failed" in bench_serve.row(row) and row["name"] in bench_serve.row(row)


def test_without_peers_each_of_the_eight_comparisons_is_a_failed_row(monkeypatch):
    monkeypatch.delenv("PEERS", raising=False)
    rows = bench_serve.measure("peers", OPTIONS)
    assert len(rows) == 8 and all("set PEERS" in row["detail"] and not row["pass"] for row in rows)
    assert {(row["op"], row["target"]) for row in rows} == {(">=", 3), (">=", 1.3), ("<=", 0.5)}


def test_what_was_measured_before_a_failure_stays(monkeypatch):
    @serve_figures.promises(serve_figures.Goal("first", "x", ">=", 1), serve_figures.Goal("second", "ms", "<=", 2))
    def half(options):
        yield half.goals[0].got(1.5, "fine")
        raise KeyError("gone")

    monkeypatch.setitem(bench_serve.FIGURES, "half", half)
    first, second = bench_serve.measure("half", OPTIONS)
    assert (first["value"], first["pass"], first["detail"]) == (1.5, True, "fine")
    assert (second["name"], second["value"], second["pass"]) == ("second", None, False) and "gone" in second["detail"]


def test_growth_is_the_median_of_its_runs(monkeypatch):
    runs = iter([(20.0, 20.5, 29.0), (20.0, 20.25, 21.0), (20.0, 20.0, 20.0)])
    monkeypatch.setattr(serve_figures, "grow_once", lambda options: next(runs))
    (row,) = bench_serve.measure("growth", OPTIONS)
    assert row["value"] == 1.0 and row["pass"] and "9/1/0" in row["detail"] and "+0.25" in row["detail"]


def test_peers_rows_name_versions_and_show_the_generator(monkeypatch, tmp_path):
    class Nothing:
        url = ""

        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def signal(self, number):
            pass

    for environment, package in serve_versions.PEER_PACKAGES.values():
        (tmp_path / environment / "lib" / "python3.11" / "site-packages" / f"{package}-1.2.3.dist-info").mkdir(parents=True)
    monkeypatch.setenv("PEERS", str(tmp_path))
    monkeypatch.setenv("PEERS_TOOLS", str(tmp_path))
    monkeypatch.setattr(serve_peers, "Daemon", Nothing)
    monkeypatch.setattr(serve_peers, "Peer", Nothing)

    def bench(target, *_, **__):
        ours = target == "digits"
        return {"total": {"requests_per_s": 6000 if ours else 3000, "latency_ms": {"p99": 1 if ours else 4}, "send_lateness_ms": {"p99": 0.02}},
                "client": {"cores_used": 0.625}}

    monkeypatch.setattr(serve_peers, "bench", bench)
    rows = bench_serve.measure("peers", OPTIONS)
    assert len(rows) == 8 and all(row["value"] for row in rows), rows
    for row in rows:
        assert re.search("nvidia-pytriton-1.2.3|mosec-1.2.3", row["detail"]), row
        assert row["detail"].count("generator 0.625/0.625/0.625 of a core, late by p99 0.02 ms") == 2, row


def test_the_machine_line_names_commit_and_versions():
    line = serve_versions.machine()
    assert re.search(r"commit (unknown|[0-9a-f]{10}\+?),", line), line
    if not (BUILD / "CMakeCache.txt").exists():
        pytest.skip("an installed tree does not say what it was built with")
    assert re.search(r"OpenVINO \d+\.\d+\.\d+, gRPC \d+\.\d+", line), line
    assert "evenkeel " in line and "Linux " in line


def test_results_are_written_as_promised(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bench_serve, "RESULT", tmp_path / "bench" / "serve.json")
    monkeypatch.setattr(sys, "argv", ["serve.py", "--only", "peers"])
    monkeypatch.delenv("PEERS", raising=False)
    assert bench_serve.main() == 0
    written = json.loads((tmp_path / "bench" / "serve.json").read_text())
    assert len(written) == 8
    assert all(set(row) == {"name", "value", "unit", "op", "target", "pass", "detail"} and "commit " in row["detail"] for row in written)
    assert capsys.readouterr().out.count("FAIL") == 8
