"""Instances come and go with the load: none at rest, the first request held while one starts, more when the forecast needs them."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import sys
import time
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from load import Load  # noqa: E402

ECHO = "delay_us: {fixed: 300, per_row: 20}\n"
RESTS = "min_instances: 0\nkeep_alive: 300ms\n"


def resting(model: str = ECHO, settings: str = RESTS) -> dict[str, str]:
    return {"echo/model.fake": model, "echo/evenkeel.yaml": settings}


def described(daemon, model: str = "echo") -> dict:
    return next(m for m in daemon.json("GET", "/v2/evenkeel/models")["models"] if m["name"] == model)


def scale(daemon, model: str = "echo") -> dict:
    return daemon.json("GET", f"/v2/models/{model}/batching")["instances"]


def until(what, seconds: float = 20.0, message: str = "it never came to be"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := what():
            return value
        time.sleep(0.02)
    pytest.fail(message)


def await_rest(daemon, model: str = "echo") -> None:
    until(lambda: not described(daemon, model)["instances"] and described(daemon, model)["at_rest"])


def metric(daemon, name: str) -> dict[str, float]:
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    return {labels: float(value) for labels, value in re.findall(rf"^{name}\{{([^}}]*)\}} (\S+)$", text, re.M)}


def row(value: float) -> dict:
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [value, 1.0, 2.0, 3.0]}]}


def infer(daemon, value: float, headers: dict | None = None):
    return daemon.request("POST", "/v2/models/echo/infer", row(value), headers)


def test_to_zero_and_back_with_every_request_answered_once(serve):
    daemon = serve(models=resting())
    for _ in range(3):
        load = Load(daemon.http_address, threads=6).start()
        time.sleep(0.7)
        load.stop()
        assert load.statuses.keys() == {200} and load.wrong == 0 and load.unanswered == 0, load.summary()
        await_rest(daemon)
    state = scale(daemon)
    assert state["starts"] == 3 and state["restarts"] == 0, state  # the first load met the one that had shown that it loads
    assert state["wanted"] == 0 and state["up"] == 0 and "no request for" in state["why"], state
    assert state["start_up_ms"] > 0


def test_at_rest_a_model_is_ready_and_says_so(serve, cli):
    daemon = serve(models={**resting(), "other.fake": ECHO})
    await_rest(daemon)
    status, _, text = daemon.request("GET", "/readyz?verbose")
    assert status == 200 and b"idle (0 instances)" in text, text
    assert daemon.request("GET", "/v2/models/echo/ready")[0] == 200
    assert daemon.request("GET", "/v2/models/echo")[0] == 200
    index = daemon.json("POST", "/v2/repository/index", {})
    assert {m["name"]: m["state"] for m in index} == {"echo": "READY", "other": "READY"}
    for verb in ("ls", "ps"):
        line = next(one for one in cli(verb, server=daemon).stdout.splitlines() if one.startswith("echo"))
        assert "idle (0 instances)" in line, line
    assert "0 up, 0 wanted" in cli("show", "echo", server=daemon).stdout
    instances = metric(daemon, "evenkeel_instances")
    assert [v for labels, v in instances.items() if 'model="echo"' in labels] == [0.0], instances
    assert all("shape=" in labels for labels in instances)
    memory = metric(daemon, "evenkeel_instance_memory_bytes")
    assert [v > 1e5 for labels, v in memory.items() if 'model="other"' in labels] == [True], memory
    # Loading it again, or unloading it, at rest.
    daemon.json("POST", "/v2/repository/models/echo/load", {})
    assert infer(daemon, 5.0)[0] == 200
    await_rest(daemon)
    daemon.json("POST", "/v2/repository/models/echo/unload", {})
    assert infer(daemon, 5.0)[0] == 503


def test_many_first_requests_start_one_instance(serve):
    daemon = serve(models=resting(ECHO + "slow_load_ms: 300\n"))
    await_rest(daemon)
    starts = scale(daemon)["starts"]
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda i: (i, infer(daemon, float(i))), range(50)))
    for i, (status, _, text) in answers:
        assert status == 200 and json.loads(text)["outputs"][0]["data"][0] == float(i), text
    assert scale(daemon)["starts"] == starts + 1


def test_deadlines_act_while_the_first_instance_starts(serve):
    daemon = serve(models=resting(ECHO + "slow_load_ms: 1500\n"))
    await_rest(daemon)
    begin = time.monotonic()
    status, _, text = infer(daemon, 1.0, {"X-Request-Timeout-Ms": "200"})
    assert status == 504 and time.monotonic() - begin < 1.2, (status, text)
    # The instance comes up all the same, and serves.
    assert infer(daemon, 2.0)[0] == 200


def test_sigterm_while_the_first_instance_starts_loses_nothing(serve):
    daemon = serve(models=resting(ECHO + "slow_load_ms: 2000\n"))
    await_rest(daemon)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(infer, daemon, float(i)) for i in range(4)]
        until(lambda: sum(metric(daemon, "evenkeel_queue_rows").values()) >= 4)  # nothing runs while it starts
        assert daemon.stop() == 0
        daemon.ended = True
        assert [a.result()[0] for a in answers] == [200] * 4


def test_the_first_instance_is_killed_while_it_starts(serve):
    daemon = serve(models=resting(ECHO + "slow_load_ms: 400\n"))
    await_rest(daemon)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(infer, daemon, float(i)) for i in range(8)]
        instance = until(lambda: next((i for i in described(daemon)["instances"] if i["pid"] > 0), None))
        os.kill(instance["pid"], signal.SIGKILL)
        assert [a.result()[0] for a in answers] == [200] * 8
    assert scale(daemon)["restarts"] == 1


# One instance manages 400 rows a second: 2 ms a row, busy to four fifths.
SLOW = "delay_us: {fixed: 100, per_row: 1900}\n"
SCALES = "max_batch: 1\nthreads: 1\nobjective: 500ms\n"


def test_more_instances_when_the_forecast_needs_them_and_a_kill_on_the_way(serve):
    daemon = serve(models=resting(SLOW + "slow_load_ms: 1500\n", SCALES), flags=["--worker-cpus", "0-1"])
    assert scale(daemon)["wanted"] == 1
    load = Load(daemon.http_address, threads=8).start()
    until(lambda: len(described(daemon)["instances"]) == 2, message=str(scale(daemon)))
    second = until(lambda: next((i for i in described(daemon)["instances"] if i["state"] == "starting" and i["pid"] > 0), None))
    os.kill(second["pid"], signal.SIGKILL)
    until(lambda: scale(daemon)["up"] == 2, message=str(scale(daemon)))
    state = scale(daemon)
    assert state["restarts"] == 1 and state["wanted"] == 2, state
    assert "fit 2 cores" in state["why"] or "rows/s need" in state["why"], state
    time.sleep(0.5)
    load.stop()
    assert load.statuses.keys() == {200} and load.wrong == 0, load.summary()


@pytest.mark.long
def test_rate_steps_up_and_down(serve, cli):
    daemon = serve(models=resting(SLOW, SCALES), flags=["--worker-cpus", "0-1"])

    def drive(rate: int, seconds: int) -> None:
        run = cli(
            "bench", "--url", daemon.http_url, "--model", "echo", "--rate", str(rate), "--duration", f"{seconds}s",
            "--warm-up", "0s", "-o", "json", timeout=seconds + 60,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr

    drive(1, 3)
    assert scale(daemon)["wanted"] == 1
    drive(1000, 6)
    assert scale(daemon)["wanted"] == 2, scale(daemon)
    # A minute later the peak is forgotten.
    begin = time.monotonic()
    drive(1, 20)
    assert scale(daemon)["wanted"] == 2, scale(daemon)
    until(lambda: scale(daemon)["wanted"] == 1 and len(described(daemon)["instances"]) == 1, seconds=90)
    assert time.monotonic() - begin > 30
    metrics = metric(daemon, "evenkeel_requests_total")
    lost = sum(v for labels, v in metrics.items() if 'code="ok"' not in labels and 'code="overloaded"' not in labels)
    assert lost == 0, metrics


def test_where_memory_is_short_what_rests_goes_and_requests_are_refused_with_the_reason(serve):
    models = {f"{name}.fake": ECHO for name in ("a", "b")}
    daemon = serve(models=models, flags=["--memory-headroom", "1TiB"])
    # In spite of the default of one instance.
    until(lambda: not described(daemon, "a")["instances"] and not described(daemon, "b")["instances"])
    status, headers, text = daemon.request("POST", "/v2/models/a/infer", row(1.0))
    assert status == 503 and b"no memory" in text and b"headroom" in text, text


def test_settings_of_instances_are_checked(serve, cli):
    bad = "threads: 1\ninstances: 2\nmin_instances: 3\n"
    daemon = serve(models={"good.fake": ECHO, "bad/model.fake": ECHO, "bad/evenkeel.yaml": bad})
    reason = next(m["reason"] for m in daemon.json("POST", "/v2/repository/index", {}) if m["name"] == "bad")
    assert "evenkeel.yaml:3" in reason and "min_instances" in reason, reason
    for flag, value in (("--min-instances", "65"), ("--keep-alive", "-1s"), ("--memory-headroom", "much")):
        run = cli("serve", flag, value)
        assert run.returncode == 2 and value in run.stderr, run.stderr
