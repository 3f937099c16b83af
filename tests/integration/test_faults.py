"""Workers are killed, stopped and made to fail under load: every request gets exactly one answer, and no answer is wrong."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import numpy
import pytest
import tritonclient.grpc
from daemon import BINARY, environment

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from load import Load  # noqa: E402

ECHO = "delay_us: {fixed: 300, per_row: 20}\n"


def worker_pid(daemon, model: str = "echo") -> int:
    for one in daemon.json("GET", "/v2/evenkeel/models")["models"]:
        if one["name"] == model and one.get("instances") and one["instances"][0]["state"] == "ready":
            return one["instances"][0]["pid"]
    return 0


def kill_worker(daemon, with_signal: int = signal.SIGKILL) -> bool:
    pid = worker_pid(daemon)
    if pid <= 0:
        return False
    os.kill(pid, with_signal)
    return True


def row(value: float) -> dict:
    data = [value, 1.0, 2.0, 3.0]
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": data}]}


def test_fifty_kills_under_load(serve):
    daemon = serve(models={"echo.fake": ECHO})
    load = Load(daemon.http_address).start()
    kills = 0
    end = time.monotonic() + 200
    while kills < 50 and time.monotonic() < end:
        time.sleep(0.15)
        kills += kill_worker(daemon)
    time.sleep(0.5)
    load.stop()
    assert kills == 50, load.summary()
    assert load.unanswered == 0 and load.wrong == 0, load.summary()
    # A request may be aboard two workers that are killed; that, and nothing else, is a 500.
    assert set(load.statuses) <= {200, 500}, load.summary()
    assert load.statuses[500] <= load.sent * 0.01, load.summary()
    assert daemon.infer("echo", row(7.0)["inputs"])["outputs"][0]["data"][0] == 7.0


def test_a_stopped_worker_is_ended_and_its_requests_run_again(serve):
    daemon = serve(models={"echo/evenkeel.yaml": "hang_timeout: 500ms\nmax_batch: 4\n", "echo/model.fake": ECHO})
    load = Load(daemon.http_address, threads=4).start()
    time.sleep(0.3)
    kill_worker(daemon, signal.SIGSTOP)
    time.sleep(2)
    load.stop()
    assert load.statuses.keys() == {200} and load.wrong == 0, load.summary()
    assert max(load.latencies) > 0.4, "nothing hung"


def test_reload_under_load_drops_nothing(serve):
    daemon = serve(models={"echo.fake": ECHO})
    load = Load(daemon.http_address).start()
    for _ in range(10):
        daemon.json("POST", "/v2/repository/models/echo/load", {})
    load.stop()
    assert load.statuses.keys() == {200} and load.wrong == 0, load.summary()


def test_unload_answers_what_was_accepted(serve):
    daemon = serve(models={"echo/model.fake": "delay_us: {fixed: 500000}\n", "echo/evenkeel.yaml": "max_batch: 1\n"})
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(daemon.request, "POST", "/v2/models/echo/infer", row(i)) for i in range(4)]
        wait_until(lambda: waiting_rows(daemon) >= 2, "the requests did not arrive")  # one runs, one lies in its buffer
        daemon.json("POST", "/v2/repository/models/echo/unload", {})
        assert [a.result()[0] for a in answers] == [200] * 4
    status, _, text = daemon.request("POST", "/v2/models/echo/infer", row(1))
    assert status == 503 and b"echo" in text


def test_sigterm_drains(serve):
    daemon = serve(models={"echo/model.fake": "delay_us: {fixed: 500000}\n", "echo/evenkeel.yaml": "max_batch: 1\n"})
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(daemon.request, "POST", "/v2/models/echo/infer", row(i)) for i in range(6)]
        wait_until(lambda: waiting_rows(daemon) >= 4, "the requests did not arrive")
        assert daemon.stop() == 0
        daemon.ended = True
        assert [a.result()[0] for a in answers] == [200] * 6


def waiting_rows(daemon) -> int:
    with urllib.request.urlopen(daemon.metrics_url, timeout=10) as answer:
        return int(float(re.search(r"^evenkeel_queue_rows\{[^}]*\} (\S+)", answer.read().decode(), re.M)[1]))


def wait_until(condition, otherwise: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def test_a_drain_ends_at_its_limit_and_what_waits_is_answered_503(serve):
    """A batch takes 5 s, the drain may take 1: one runs, the others wait (the next one in its buffer already), nobody gets nothing."""
    models = {"slow/model.fake": "delay_us: {fixed: 5000000}\n", "slow/evenkeel.yaml": "max_batch: 1\n"}
    daemon = serve(models=models, flags=["--drain-timeout", "1s"])
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(daemon.request, "POST", "/v2/models/slow/infer", row(i)) for i in range(5)]
        wait_until(lambda: waiting_rows(daemon) >= 3, "the requests did not arrive")
        begin = time.monotonic()
        assert daemon.stop() == 0
        took = time.monotonic() - begin
        daemon.ended = True
        statuses = [a.result()[0] for a in answers]
    # No answer comes before 5 s are over, so the limit is what ended it.
    assert 1 <= took < 4, took
    assert statuses == [503] * 5, statuses
    assert "drain took longer than 1 s" in daemon.log()


@pytest.mark.parametrize("marker", ["throw_on", "error_on", "abort_on"])
def test_of_150_good_requests_beside_bad_ones_none_fails(serve, marker):
    daemon = serve(models={"echo.fake": f"{marker}: 13\ndelay_us: {{fixed: 2000, per_row: 50}}\n"})
    bad_statuses, messages, good_failed = [], set(), 0
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for _ in range(10):
            calls = [
                (value, pool.submit(daemon.request, "POST", "/v2/models/echo/infer", row(value)))
                for value in [1.0] * 7 + [13.0] + [2.0] * 8
            ]
            for value, call in calls:
                status, _, text = call.result()
                if value == 13.0:
                    bad_statuses.append(status)
                    messages.add(json.loads(text)["error"])
                else:
                    good_failed += status != 200 or json.loads(text)["outputs"][0]["data"][0] != value
    assert good_failed == 0
    assert bad_statuses == [400 if marker == "error_on" else 500] * 10, messages
    assert all("echo" in message for message in messages)


def test_clients_that_leave_cost_nobody_an_answer(serve):
    daemon = serve(models={"echo.fake": ECHO})
    load = Load(daemon.http_address, threads=4).start()
    host, port = daemon.http_address.split(":")
    body = json.dumps(row(5)).encode()
    head = f"POST /v2/models/echo/infer HTTP/1.1\r\nHost: {daemon.http_address}\r\nContent-Length: {len(body)}\r\n\r\n"
    for i in range(200):
        client = socket.create_connection((host, int(port)))
        client.sendall(head.encode() + (body if i % 2 else body[: i % len(body)]))
        client.close()
    load.stop()
    assert load.statuses.keys() == {200} and load.wrong == 0, load.summary()


def test_a_client_that_leaves_is_logged_with_its_model(serve):
    """At debug level alone: that is what 499 means to those who run the server."""
    daemon = serve(models={"slow/model.fake": "delay_us: {fixed: 300000}\n", "slow/evenkeel.yaml": "max_batch: 1\n"},
                   flags=["--log-level", "debug"])
    body = json.dumps(row(5)).encode()
    head = f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: {daemon.http_address}\r\nContent-Length: {len(body)}\r\n\r\n"
    host, port = daemon.http_address.split(":")
    for _ in range(2):
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode() + body)
    with tritonclient.grpc.InferenceServerClient(daemon.grpc_address) as client:
        x = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
        x.set_data_from_numpy(numpy.ones((1, 4), numpy.float32))
        calls = [client.async_infer("slow", [x], callback=lambda result, error: None) for _ in range(3)]
        wait_until(lambda: waiting_rows(daemon) >= 1, "the requests did not arrive")
        for call in calls:
            call.cancel()
    wait_until(lambda: {"HTTP", "gRPC"} <= set(re.findall(r"499 model 'slow' over (\w+)", daemon.log())), "the log does not say so")


def test_a_crash_loop_is_answered_503_and_ends(serve):
    daemon = serve(models={"good.fake": ECHO, "bad.fake": "abort_on: 0\n"})  # the first warm-up row kills it
    assert daemon.request("POST", "/v2/models/bad/infer", row(0))[0] == 503
    assert daemon.infer("good", row(3.0)["inputs"])["outputs"][0]["data"][0] == 3.0
    index = {m["name"]: m for m in daemon.json("POST", "/v2/repository/index", {})}
    assert index["bad"]["state"] == "UNAVAILABLE" and "signal" in index["bad"]["reason"]


def test_one_broken_model_does_not_stop_the_others(serve):
    daemon = serve(models={"good.fake": ECHO, "bad.fake": "fail_load: no such layer\n", "empty.onnx": b""})
    assert daemon.request("GET", "/v2/health/ready")[0] == 200
    index = {m["name"]: m for m in daemon.json("POST", "/v2/repository/index", {})}
    assert index["good"]["state"] == "READY"
    assert "no such layer" in index["bad"]["reason"]
    assert "empty" in index["empty"]["reason"]


def test_two_daemons_on_one_state_folder(serve):
    first = serve(models={"echo.fake": ECHO})
    second = subprocess.run(
        [str(BINARY), "serve", "--models", str(first.models), "--state", str(first.folder / "state"),
         "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"],
        capture_output=True, text=True, timeout=20, env=environment(first.folder), check=False,
    )
    assert second.returncode != 0
    assert "in use by another evenkeel" in second.stderr and str(first.pid) in second.stderr
