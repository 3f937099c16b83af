"""`evenkeel bench` holds each model to its own objective; the search of bench/batching.py finds what is kept."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import time
import types

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import batching_mixes  # noqa: E402
import batching_search  # noqa: E402
import batching_tables  # noqa: E402
from serve_processes import BenchError  # noqa: E402

FAST = "delay_us: {fixed: 100, per_row: 0}\n"
SLOW = "delay_us: {fixed: 30000, per_row: 0}\n"


def bench_two(cli, daemon, *flags):
    return cli("bench", "--model", "fast", "--model", "slow", "--url", daemon.http_url, "--rate", "40", "-d", "1s", "--warm-up", "0s",
               "-o", "json", *flags)


def test_each_model_is_held_to_its_own_objective(serve, cli):
    daemon = serve(models={"fast.fake": FAST, "slow.fake": SLOW})
    report = json.loads(bench_two(cli, daemon, "--objective", "10s", "--objective", "slow=20ms").stdout)
    assert report["models"]["fast"]["within_objective"] == 1
    assert report["models"]["fast"]["objective_ms"] == 10_000
    assert report["models"]["slow"]["within_objective"] == 0
    assert report["models"]["slow"]["objective_ms"] == 20
    assert "objective_ms" not in report and 0 < report["total"]["within_objective"] < 1


def test_each_model_tells_the_server_its_own_deadline(serve, cli):
    daemon = serve(models={"fast.fake": FAST, "slow.fake": SLOW})
    # The second request that waits for the slow model is too late, or refused because it would be.
    report = json.loads(bench_two(cli, daemon, "--deadline", "slow=35ms").stdout)
    assert report["models"]["fast"]["errors"] == 0
    assert "within_objective" not in report["models"]["fast"]
    assert set(report["models"]["slow"]["errors_by_status"]) & {"429", "504"}, report["models"]["slow"]


@pytest.mark.parametrize("flag", ["--objective", "--deadline"])
@pytest.mark.parametrize("value", ["other=20ms", "fast=never", "-1ms"])
def test_a_wrong_objective_is_refused(serve, cli, flag, value):
    daemon = serve(models={"fast.fake": FAST, "slow.fake": SLOW})
    run = bench_two(cli, daemon, f"{flag}={value}")
    assert run.returncode == 2 and flag in run.stderr, run.stderr


def options(seconds=60.0):
    return types.SimpleNamespace(until=time.monotonic() + seconds)


@pytest.mark.parametrize("limit", [0.003, 0.4, 1.0, 1.19, 7.0, 300.0])
def test_a_search_ends_within_five_percent_below_the_limit(limit):
    search = batching_search.Search("x", lambda factor, seed: 1.0 if factor <= limit else 0.5, guess=0.4)
    batching_search.take_turns([search], options())
    assert search.settled and limit / 1.051 < search.found <= limit, str(search)
    once_more = batching_search.again(search, seed=2)
    batching_search.take_turns([once_more], options())
    assert once_more.probes <= 3 and limit / 1.06 < once_more.found <= limit


def test_a_near_miss_counts_only_when_it_is_repeated():
    seeds = []

    def hiccup(factor, seed):
        seeds.append(seed)
        return 0.5 if factor > 1.1 else 0.97 if seed < 1000 else 1.0

    search = batching_search.Search("x", hiccup, guess=1.0)
    batching_search.take_turns([search], options())
    assert search.found >= 1.0 and max(seeds) > 1000


def test_nothing_kept_is_zero_and_an_error_costs_one_search_only():
    def broken(factor, seed):
        raise BenchError("the daemon ended")

    never = batching_search.Search("never", lambda factor, seed: 0.0, guess=1.0)
    error = batching_search.Search("broken", broken, guess=1.0)
    fine = batching_search.Search("fine", lambda factor, seed: float(factor <= 2), guess=1.0)
    batching_search.take_turns([never, error, fine], options())
    assert never.found == 0 and never.settled
    assert not error.settled and "the daemon ended" in str(error)
    assert fine.settled and 1.9 < fine.found <= 2


def test_a_search_without_time_says_so():
    search = batching_search.Search("x", lambda factor, seed: 1.0, guess=1.0)
    batching_search.take_turns([search], options(seconds=-1))
    assert not search.settled and "time was up" in str(search)


def test_a_comparison_that_an_unfinished_search_could_turn_does_not_pass():
    ours = batching_search.Search("ours", None, guess=1.0)
    ours.kept, ours.missed = 2.0, 2.05
    other = batching_search.Search("other", None, guess=1.0)
    other.kept, other.missed, other.probes = 1.0, 1.8, 2
    good = {"value": 2.0, "op": ">=", "target": 1.2, "pass": True, "detail": ""}
    assert not batching_search.with_doubt(dict(good), ours, [other])["pass"]
    other.missed = 1.5
    assert batching_search.with_doubt(dict(good), ours, [other])["pass"]
    other.missed = None
    assert not batching_search.with_doubt(dict(good), ours, [other])["pass"]
    other.missed = 1.04  # settled
    assert batching_search.with_doubt(dict(good), ours, [other])["pass"]


def race(monkeypatch, limits, seconds):
    """The race of `fixed` settings of which the i-th keeps limits[i]; a probe takes a second of virtual time."""
    clock = [0.0]
    made = []

    class Prober:
        daemon = None

        def __init__(self, limit):
            self.limit = limit

        def __call__(self, factor, seed):
            clock[0] += 1
            return float(factor <= self.limit)

    def started(stack, mix, policy, opts, setting):
        made.append(setting)
        return Prober(limits[len(made) - 1])

    monkeypatch.setattr(batching_mixes, "started", started)
    monkeypatch.setattr(batching_mixes.live, "saturation", lambda *_: 1.0)
    monkeypatch.setattr(batching_search.time, "monotonic", lambda: clock[0])
    settings = [({"ctr": (delay, 8)}, 1.0) for delay in range(len(limits))]
    opts = types.SimpleNamespace(until=seconds, seconds=1)
    with batching_mixes.contextlib.ExitStack() as stack:
        return batching_mixes.race(stack, None, settings, 1.0, opts, reserve_s=2)


def verdict(best, cut, ours=1.5):
    auto = batching_search.Search("auto", None, guess=1.0)
    auto.kept, auto.missed = ours, ours * 1.04
    good = {"value": ours / best.found, "op": ">=", "target": 1.0, "pass": True, "detail": ""}
    return batching_search.with_doubt(good, auto, [best, *cut])


def test_a_race_that_tries_all_settings_leaves_no_doubt(monkeypatch):
    best, _, cut = race(monkeypatch, [1.0, 0.5, 1.3, 0.7, 1.2], seconds=100)
    assert 1.3 / 1.06 < best.found <= 1.3 and cut == []
    assert verdict(best, cut)["pass"]


def test_settings_that_a_race_had_no_time_for_are_a_doubt(monkeypatch):
    best, notes, cut = race(monkeypatch, [1.0, 0.5, 1.3, 0.7, 1.2], seconds=8)
    assert best is not None and cut and any("no time for" in note for note in notes)
    judged = verdict(best, cut)
    assert not judged["pass"] and "ctr 4ms/8" in judged["detail"]


@pytest.mark.parametrize("name", list(batching_tables.CUTS))
def test_a_cut_has_the_rate_and_length_that_were_asked_for(tmp_path, name):
    file = tmp_path / "cut.csv.gz"
    count = batching_tables.write_cut(file, name, rate_rps=2000, seconds=6, seed=1)
    assert count == pytest.approx(12_000, rel=0.05 if name == "ServeGen" else 0.02)  # its clients' gaps are drawn
    times = [float(line) for line in batching_tables.gzip.decompress(file.read_bytes()).decode().split()[1:]]
    assert 5.5 < max(times) <= 6 and min(times) >= 0
    assert batching_tables.peak_over_mean(name, 6) >= 1
    same = tmp_path / "same.csv.gz"
    batching_tables.write_cut(same, name, rate_rps=2000, seconds=6, seed=1)
    assert batching_tables.gzip.decompress(file.read_bytes()) == batching_tables.gzip.decompress(same.read_bytes())


def test_the_figures_are_listed_and_wrong_flags_refused():
    listed = subprocess.run([sys.executable, BENCH / "batching.py", "--list"], capture_output=True, text=True, check=True)
    assert {"mix_a", "overload", "peers"} <= {line.split()[0] for line in listed.stdout.splitlines()}
    wrong = subprocess.run([sys.executable, BENCH / "batching.py", "--only", "nothing"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "nothing" in wrong.stderr
