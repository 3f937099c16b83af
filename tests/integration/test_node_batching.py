"""Models of one node share its cores under one policy, and say why they batch as they do."""

from __future__ import annotations

import pathlib
import re
import sys
import time
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from load import Load  # noqa: E402

SLOW = "delay_us: {fixed: 4000, per_row: 50}\n"


def metric(daemon, name: str, model: str) -> float:
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    found = re.search(rf'^{name}\{{model="{model}",version="1"[^}}]*\}} (\S+)$', text, re.M)
    assert found, f"no {name} of {model}"
    return float(found[1])


def compute_seconds(daemon) -> float:
    return sum(metric(daemon, "evenkeel_compute_seconds_sum", model) for model in ("a", "b"))


def busy_share(daemon, seconds: float = 2.0) -> float:
    """Seconds of compute a second of wall time while both models have more to do than they can."""
    loads = [Load(daemon.http_address, model=model, threads=4).start() for model in ("a", "b")]
    time.sleep(0.3)
    begin, before = time.monotonic(), compute_seconds(daemon)  # the looks themselves are part of the time
    time.sleep(seconds)
    share = (compute_seconds(daemon) - before) / (time.monotonic() - begin)
    for load in loads:
        load.stop()
        assert load.unanswered == 0 and load.wrong == 0 and set(load.statuses) == {200}, load.summary()
    return share


@pytest.mark.parametrize("policy", ["auto", "gated-greedy"])
def test_batches_never_take_more_cores_than_there_are(serve, policy):
    daemon = serve(models={"a.fake": SLOW, "b.fake": SLOW}, flags=["--worker-cpus", "0", "--batching", policy])
    assert busy_share(daemon) <= 1.02


@pytest.mark.parametrize("policy", ["greedy", "none"])
def test_without_the_gate_every_worker_runs_at_will(serve, policy):
    daemon = serve(models={"a.fake": SLOW, "b.fake": SLOW}, flags=["--worker-cpus", "0", "--batching", policy])
    assert busy_share(daemon) > 1.2


def test_fixed_for_a_node_is_for_the_models_that_do_not_say(serve):
    models = {"a.fake": SLOW, "b/model.fake": SLOW, "b/evenkeel.yaml": "batching:\n  policy: greedy\n"}
    daemon = serve(models=models, flags=["--batching", "fixed", "--batch-delay", "60ms"])
    pages, took = {}, {}
    for model in ("a", "b"):
        begin = time.monotonic()
        load = Load(daemon.http_address, model=model, threads=1).start()
        time.sleep(1)
        load.stop()
        took[model] = time.monotonic() - begin
        assert set(load.statuses) == {200}, load.summary()
        pages[model] = daemon.json("GET", f"/v2/models/{model}/batching")
    assert pages["a"]["policy"] == "fixed" and pages["a"]["parameters"]["max_delay_ms"] == 60
    assert pages["b"]["policy"] == "greedy"
    # One client: a row waits for others until its delay is over, or goes at once.
    assert 1 <= pages["a"]["closed"]["deadline"] == sum(pages["a"]["closed"].values()) <= took["a"] / 0.06 + 1
    assert pages["b"]["closed"]["idle"] == sum(pages["b"]["closed"].values()) > pages["a"]["closed"]["deadline"]


@pytest.mark.parametrize("policy", ["auto", "method"])
def test_the_page_of_a_models_batching_says_what_was_decided(serve, policy):
    daemon = serve(models={"a.fake": SLOW, "b.fake": SLOW}, flags=["--batching", policy])
    load = Load(daemon.http_address, model="a", threads=6).start()
    time.sleep(2)
    page = daemon.json("GET", "/v2/models/a/batching")
    load.stop()
    assert page["policy"] == policy
    assert 4 <= page["batch_time_ms"]["1"] < 50
    assert sum(page["closed"].values()) > 50
    assert 1 <= len(page["recent_batches"]) <= 100
    assert all(batch["reason"] in page["closed"] for batch in page["recent_batches"])
    intervals = [one["interval_ms"] for one in page["forecast"]]
    assert len(intervals) == 4 and intervals[0] >= 1
    assert all(b == pytest.approx(8 * a) for a, b in zip(intervals, intervals[1:]))
    assert page["forecast"][1]["next_rows"] > 0
    if policy == "auto":
        assert page["window"]["knee_rows"] >= 1
        assert page["window"]["rate_rows_per_s"] > 10
        assert metric(daemon, "evenkeel_window_knee_rows", "a") == page["window"]["knee_rows"]
        assert metric(daemon, "evenkeel_forecast_rows_per_second", "a") >= 0
    assert page["window"]["right_rows"] >= 1 and page["window"]["left_age_ms"] >= 0
    assert metric(daemon, "evenkeel_window_right_rows", "a") >= 1
    assert metric(daemon, "evenkeel_window_left_age_seconds", "a") >= 0
    if policy == "method":
        # An interval is T(Y) or a millisecond, whichever is longer; the oldest row came in it.
        assert 0 < page["window"]["right_ms"] <= page["forecast"][0]["interval_ms"]
        assert 0 < metric(daemon, "evenkeel_window_right_seconds", "a") <= 1


def wait_for(condition, what: str, seconds: float = 30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def test_errors_of_the_forecast_are_a_histogram_that_grows(serve):
    daemon = serve(models={"a.fake": SLOW})
    load = Load(daemon.http_address, model="a", threads=2).start()
    name = "evenkeel_forecast_error_rows_per_second_count"
    # An interval is half a second to four, by T(n); what nothing was forecast of has no error.
    for least in (2, 4):
        wait_for(lambda: metric(daemon, name, "a") >= least, f"{least} errors of the forecast")
    assert metric(daemon, "evenkeel_forecast_error_rows_per_second_sum", "a") > 0
    load.stop()


def node_metric(daemon, name: str) -> float:
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    return float(re.search(rf"^evenkeel_node_{name} (\S+)$", text, re.M)[1])


def test_the_nodes_load_stands_beside_its_capacity(serve):
    daemon = serve(models={"a.fake": SLOW}, flags=["--worker-cpus", "0"])
    assert node_metric(daemon, "cores") == 1, "those that workers may use"
    assert daemon.json("GET", "/v2/evenkeel/models")["node"]["cores"] == 1
    wait_for(lambda: node_metric(daemon, "busy_cores") == 0, "the end of the warm-ups")
    assert node_metric(daemon, "forecast_cores") == 0
    assert 0 < node_metric(daemon, "memory_free_bytes") < node_metric(daemon, "memory_bytes")
    load = Load(daemon.http_address, model="a", threads=4).start()
    time.sleep(2)
    seen = [(node_metric(daemon, "busy_cores"), node_metric(daemon, "forecast_cores")) for _ in range(20) if not time.sleep(0.05)]
    load.stop()
    assert max(busy for busy, _ in seen) == 1, seen
    # Batches that are aimed at are larger than those that four clients fill: a part of the core would do.
    assert all(0.01 < forecast <= 1 for _, forecast in seen), seen


def test_a_model_with_a_policy_of_its_own_keeps_it(serve):
    own = {"model.fake": SLOW, "evenkeel.yaml": "batching: {policy: none}\n"}
    daemon = serve(models={"a.fake": SLOW, **{f"b/{name}": text for name, text in own.items()}})
    assert daemon.json("GET", "/v2/models/a/batching")["policy"] == "auto"
    page = daemon.json("GET", "/v2/models/b/batching")
    assert page["policy"] == "none" and "window" not in page
    load = Load(daemon.http_address, model="b", threads=4).start()
    time.sleep(0.5)
    load.stop()
    assert load.wrong == 0 and load.unanswered == 0
    page = daemon.json("GET", "/v2/models/b/batching")
    assert all(batch["requests"] == 1 for batch in page["recent_batches"])


def test_unknown_models_and_policies_are_clear_errors(serve, cli):
    daemon = serve()
    status, _, body = daemon.request("GET", "/v2/models/nobody/batching")
    assert status == 404 and b"nobody" in body
    assert daemon.request("POST", "/v2/models/echo/batching")[0] == 405
    run = cli("serve", "--batching", "clever")
    assert run.returncode == 2 and "clever" in run.stderr and "auto" in run.stderr
