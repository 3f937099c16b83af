"""Workers held to the shape that was chosen for them, while they serve: memory, parts of a core, and load that is hostile."""

from __future__ import annotations

import pathlib
import re
import sys
import time
import urllib.request

import pytest
from daemon import need

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from load import Load  # noqa: E402

GROW, RUNAWAY = -17, -18  # no load sends them


def flags(rung: str, shapes: str) -> list[str]:
    return ["--runtime", rung, "--profiling", "auto", "--profile-after", "0s", "--profile-shapes", shapes, "--profile-batches", "1,2"]


def wait_for(what: str, condition, daemon, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    pytest.fail(f"{what} never came to be\n{daemon.log()[-4000:]}")


def instances(daemon, model: str) -> list[dict]:
    models = daemon.json("GET", "/v2/evenkeel/models")["models"]
    return next(one["instances"] for one in models if one["name"] == model)


def wait_for_shape(daemon, model: str, shape: str) -> None:
    def runs() -> bool:
        now = instances(daemon, model)
        return bool(now) and all(one["shape"] == shape and one["state"] == "ready" for one in now)

    wait_for(f"{model} on {shape}", runs, daemon)


def metric(daemon, name: str, model: str) -> float | None:
    """The sum over the model's instances; None where none has it."""
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    found = re.findall(rf'^{name}\{{model="{model}",version="1"[^}}]*\}} (\S+)$', text, re.M)
    return sum(map(float, found)) if found else None


def marked(daemon, model: str, marker: int) -> tuple[int, str]:
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, marker, 0, 0]}]}
    status, _, text = daemon.request("POST", f"/v2/models/{model}/infer", body)
    return status, text.decode()


@pytest.mark.parametrize("rung", ["cgroup", "oci"])
def test_a_worker_that_the_kernel_kills_for_memory_is_no_outage(serve, rungs, rung):
    need(rungs, rung)
    hog = f"{{grow_on: {GROW}, grow_mib: 128, delay_us: {{fixed: 2000}}}}"
    daemon = serve(models={"hog.fake": hog, "other.fake": "delay_us: {fixed: 2000}\n"}, flags=flags(rung, "1c/64MiB,1c/512MiB"))
    for model in ("hog", "other"):
        wait_for_shape(daemon, model, "1c/64MiB")
    loads = [Load(daemon.http_address, model=model, threads=2).start() for model in ("hog", "other")]
    time.sleep(0.5)
    status, text = marked(daemon, "hog", GROW)
    # Run again by itself, it kills a second worker; unless one of a larger shape is up by then.
    assert status in (200, 500), text
    assert status == 200 or "died twice" in text, text
    assert metric(daemon, "evenkeel_worker_out_of_memory_total", "hog") >= 1
    assert "ended (signal 9 (Killed): out of memory, 64MiB allowed)" in daemon.log()
    wait_for_shape(daemon, "hog", "1c/512MiB")
    assert "an instance needed more than 64MiB: shapes with more are chosen from now on" in daemon.log()
    for load in loads:
        load.stop()
        assert load.unanswered == 0 and load.wrong == 0 and set(load.statuses) == {200}, load.summary()
    # What was too much fits now.
    killed = metric(daemon, "evenkeel_worker_out_of_memory_total", "hog")
    assert marked(daemon, "hog", GROW)[0] == 200
    assert metric(daemon, "evenkeel_worker_out_of_memory_total", "hog") == killed
    assert metric(daemon, "evenkeel_worker_restarts_total", "other") == 0
    assert {one["shape"] for one in instances(daemon, "other")} == {"1c/64MiB"}


@pytest.mark.parametrize("rung", ["cgroup", "oci"])
def test_where_no_shape_is_larger_the_model_serves_on(serve, rungs, rung):
    need(rungs, rung)
    daemon = serve(models={"hog.fake": f"{{grow_on: {GROW}, grow_mib: 128}}"}, flags=flags(rung, "1c/64MiB"))
    wait_for_shape(daemon, "hog", "1c/64MiB")
    status, text = marked(daemon, "hog", GROW)
    assert status == 500 and "died twice" in text, text
    wait_for("how it ended", lambda: "out of memory, 64MiB allowed" in instances(daemon, "hog")[0]["last_end"], daemon)
    load = Load(daemon.http_address, model="hog", threads=2).start()
    time.sleep(2)  # the daemon looks for what was killed once a second
    load.stop()
    assert load.unanswered == 0 and load.wrong == 0 and set(load.statuses) == {200}, load.summary()
    assert metric(daemon, "evenkeel_worker_out_of_memory_total", "hog") == 2


@pytest.mark.parametrize("rung", ["cgroup", "oci"])
def test_half_a_core_is_held_to_it_and_says_how_often(serve, rungs, rung):
    need(rungs, rung)
    # Batches of 20 ms of core time: each is held back several times over.
    busy = "delay_us: {fixed: 20000, mode: busy}\n"
    models = {"half/m.fake": busy, "half/evenkeel.yaml": "instances: 1\n"}
    daemon = serve(models=models, flags=flags(rung, "0.5c/256MiB"))
    wait_for_shape(daemon, "half", "0.5c/256MiB")
    names = ("quota_periods_total", "throttled_periods_total", "throttled_seconds_total", "cpu_seconds_total")
    load = Load(daemon.http_address, model="half", threads=4).start()
    time.sleep(0.5)
    look = lambda: [metric(daemon, f"evenkeel_instance_{name}", "half") for name in names]  # noqa: E731
    begin, before = time.monotonic(), look()
    time.sleep(3)
    after, wall = look(), time.monotonic() - begin
    load.stop()
    stale = 1.0  # what a container used is read once in so long at most
    periods, throttled, seconds, cpu = (b - a for a, b in zip(before, after))
    assert 0.5 * (wall - stale) / 0.01 < periods <= (wall + stale) / 0.01, "periods of 10 ms"
    assert 0 < throttled <= periods + 1  # one may have been held back at the first look and counted as a period after it
    assert 0 < seconds <= (wall + stale) * 2
    assert cpu <= 0.5 * (wall + stale) + 0.1


@pytest.mark.parametrize("how", ["manifest", "server", "neither"])
def test_hard_cores_hold_a_runaway_to_whole_cores(serve, rungs, how):
    need(rungs, "cgroup")
    models = {"wild/m.fake": f"{{runaway_on: {RUNAWAY}, delay_us: {{fixed: 1000}}}}"}
    if how == "manifest":
        models["wild/evenkeel.yaml"] = "hard_cores: true\n"
    daemon = serve(models=models, flags=flags("cgroup", "1c/256MiB") + (["--hard-cores"] if how == "server" else []))
    wait_for_shape(daemon, "wild", "1c/256MiB")
    assert marked(daemon, "wild", RUNAWAY)[0] == 200
    begin, before = time.monotonic(), metric(daemon, "evenkeel_instance_cpu_seconds_total", "wild")
    time.sleep(2)
    used = metric(daemon, "evenkeel_instance_cpu_seconds_total", "wild") - before
    cores = used / (time.monotonic() - begin)
    throttled = metric(daemon, "evenkeel_instance_throttled_periods_total", "wild")
    if how == "neither":
        assert not throttled, "whole cores are held by weight alone"
        return
    # Two threads that never rest, on one core's time.
    assert cores <= 1.15
    assert throttled > 0 or cores < 0.9, "a busy machine may leave it less than its core"


def test_a_model_may_be_exempt_from_the_servers_hard_cores(serve, rungs):
    need(rungs, "cgroup")
    models = {"soft/m.fake": f"{{runaway_on: {RUNAWAY}}}", "soft/evenkeel.yaml": "hard_cores: false\n"}
    daemon = serve(models=models, flags=[*flags("cgroup", "1c/256MiB"), "--hard-cores"])
    wait_for_shape(daemon, "soft", "1c/256MiB")
    assert marked(daemon, "soft", RUNAWAY)[0] == 200
    time.sleep(1)
    assert not metric(daemon, "evenkeel_instance_throttled_periods_total", "soft")
