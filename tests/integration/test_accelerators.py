"""Accelerators without one: a daemon with an emulated device. Classes are kept, load overflows, and every answer is the processor's."""

from __future__ import annotations

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

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", pathlib.Path(__file__).resolve().parents[2] / "build" / "demo-models"))
GPU = "16c/4GiB,a=2ms,c=0.05ms,m0=100MiB,m1=2MiB"
# 10 ms a row on the processor, nothing of it on the device: there a row takes 4 x (2 + 0.05) ms at a quarter of the cores, serial=0.
SLOW = "delay_us: {fixed: 10000, per_row: 10000, on: cpu}\n"
FAST_GPU = ["--emulated-gpu", "16c/4GiB,a=1ms,c=0.5ms,m0=100MiB,m1=2MiB,serial=0"]


def of_class(name: str, content: str, more: str = "") -> dict:
    return {"m/model.fake": content, "m/evenkeel.yaml": f"class: {name}\n{more}"}


def model_of(daemon, name: str = "m") -> dict:
    return next(one for one in daemon.json("GET", "/v2/evenkeel/models")["models"] if one["name"] == name)


def instances(daemon, device: str, name: str = "m") -> list[dict]:
    return [one for one in model_of(daemon, name)["instances"] if one["device"] == device]


def wait_for(daemon, device: str, count: int = 1, name: str = "m", seconds: float = 30) -> list[dict]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ready = [one for one in instances(daemon, device, name) if one["state"] == "ready"]
        if len(ready) >= count:
            return ready
        time.sleep(0.05)
    raise AssertionError(f"no {count} ready on {device}: {model_of(daemon, name)}\n{daemon.log()[-3000:]}")


def metric(daemon, name: str, device: str, model: str = "m") -> float:
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    found = re.search(rf'^{name}\{{model="{model}",version="1"[^}}]*device="{device}"[^}}]*\}} (\S+)$', text, re.M)
    assert found, f"no {name} of {model} on {device}"
    return float(found[1])


def rows_on(daemon, device: str, model: str = "m") -> float:
    return metric(daemon, "evenkeel_device_rows_total", device, model)


def run(daemon, threads: int, seconds: float) -> Load:
    load = Load(daemon.http_address, model="m", threads=threads).start()
    time.sleep(seconds)
    load.stop()
    assert load.unanswered == 0 and load.wrong == 0, load.summary()
    return load


def test_low_load_stays_on_the_faster_class_and_overload_overflows(serve):
    daemon = serve(models=of_class("auto", SLOW, "objective: 2s\n"), flags=FAST_GPU)
    wait_for(daemon, "EMULATED")
    # While the device still warms sizes that may be wanted, it is busy, and a row may well be done sooner on the processor.
    run(daemon, threads=1, seconds=3.5)
    on_gpu, on_cpu = rows_on(daemon, "EMULATED"), rows_on(daemon, "CPU")
    assert set(run(daemon, threads=1, seconds=1.5).statuses) == {200}
    assert rows_on(daemon, "EMULATED") - on_gpu > 20
    assert rows_on(daemon, "CPU") - on_cpu <= 0.05 * (rows_on(daemon, "EMULATED") - on_gpu)
    on_gpu, on_cpu = rows_on(daemon, "EMULATED"), rows_on(daemon, "CPU")
    # Some 500 rows a second at best on a quarter of the device, and 48 clients that want more.
    load = run(daemon, threads=48, seconds=3)
    assert set(load.statuses) == {200}, load.summary()
    assert rows_on(daemon, "CPU") - on_cpu > 20
    assert rows_on(daemon, "EMULATED") - on_gpu > rows_on(daemon, "CPU") - on_cpu
    page = daemon.json("GET", "/v2/models/m/batching")
    assert page["window"]["device_first"] is True
    assert {batch["device"] for batch in page["recent_batches"]} == {"CPU", "EMULATED"}
    assert metric(daemon, "evenkeel_instances", "EMULATED") == 1
    assert metric(daemon, "evenkeel_instances", "CPU") == 1


def test_class_gpu_never_runs_on_the_processor_and_class_cpu_never_on_the_device(serve):
    models = {**of_class("gpu", SLOW), "c/model.fake": "{}\n", "c/evenkeel.yaml": "class: cpu\n"}
    daemon = serve(models=models, flags=FAST_GPU)
    load = run(daemon, threads=32, seconds=2)
    assert set(load.statuses) <= {200, 429}, load.summary()
    assert rows_on(daemon, "EMULATED") == load.statuses[200] and rows_on(daemon, "CPU") == 0
    assert not instances(daemon, "CPU") and len(instances(daemon, "EMULATED")) == 1
    daemon.infer("c", [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}])
    assert rows_on(daemon, "CPU", "c") == 1 and not instances(daemon, "EMULATED", "c")


@pytest.mark.skipif(not (MODELS / "digits").exists() and not list(MODELS.glob("digits*")), reason="needs the demo models (make models)")
def test_digits_gives_the_processors_answers_whatever_it_ran_on(serve, tmp_path):
    source = next(iter(MODELS.glob("digits*")))
    files = {}
    for name in ("digits", "cpu", "gpu"):
        for file in [source] if source.is_file() else [f for f in source.rglob("*") if f.is_file()]:
            inside = file.name if source.is_file() else str(file.relative_to(source))
            files[f"{name}/{inside}"] = file.read_bytes()
        files[f"{name}/evenkeel.yaml"] = f"class: {'auto' if name == 'digits' else name}\n"
    # One core less for everything but the device: what overflows is real.
    daemon = serve(models=files, flags=["--emulated-gpu", "16c/4GiB,a=0.2ms,c=0.01ms,m0=100MiB,m1=2MiB", "--threads", "1"])
    for name in ("digits", "gpu"):
        wait_for(daemon, "EMULATED", name=name)
    shape = model_of(daemon, "digits")
    assert shape["class"] == "auto"
    rows = [[((i * 7 + j * 3) % 17) / 16 for j in range(64)] for i in range(40)]

    def ask(name: str, batch: list[list[float]]) -> list[float]:
        flat = [value for row in batch for value in row]
        answer = daemon.infer(name, [{"name": "x", "shape": [len(batch), 64], "datatype": "FP32", "data": flat}])
        return next(o for o in answer["outputs"] if o["name"] == "y")["data"]

    expected = ask("cpu", rows)
    wide = len(expected) // len(rows)
    for name in ("gpu", "digits"):
        assert ask(name, rows) == pytest.approx(expected, abs=1e-5)
        for i in range(0, 40, 5):
            assert ask(name, [rows[i]]) == pytest.approx(expected[i * wide : (i + 1) * wide], abs=1e-5)


def test_the_devices_worker_is_killed_under_load(serve):
    daemon = serve(models=of_class("auto", SLOW, "objective: 2s\n"), flags=FAST_GPU)
    wait_for(daemon, "EMULATED")
    load = Load(daemon.http_address, model="m", threads=16).start()
    kills = 0
    for _ in range(4):
        pid = wait_for(daemon, "EMULATED")[0]["pid"]
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        kills += 1
        time.sleep(0.2)
    wait_for(daemon, "EMULATED")
    time.sleep(0.5)
    load.stop()
    assert kills == 4
    assert load.unanswered == 0 and load.wrong == 0, load.summary()
    assert set(load.statuses) <= {200, 500} and load.statuses[500] <= 0.01 * load.sent, load.summary()
    assert rows_on(daemon, "EMULATED") > 0 and rows_on(daemon, "CPU") > 0


def test_shares_of_all_instances_never_exceed_the_device(serve):
    models = {}
    for name in ("a", "b", "c"):
        models[f"{name}/model.fake"] = "{}\n"
        models[f"{name}/evenkeel.yaml"] = "class: gpu\ngpu_shape: 8c/1GiB\n"
    daemon = serve(models=models, flags=["--emulated-gpu", GPU])
    states = {one["name"]: one for one in daemon.json("POST", "/v2/repository/index", {})}
    assert sorted(one["state"] for one in states.values()) == ["READY", "READY", "UNAVAILABLE"]
    refused = next(one for one in states.values() if one["state"] != "READY")
    assert "0c/2GiB left of 16c/4GiB" in refused["reason"]
    # What a model had goes back with it.
    serving = next(name for name, one in states.items() if one["state"] == "READY")
    daemon.json("POST", f"/v2/repository/models/{serving}/unload", {})
    daemon.json("POST", f"/v2/repository/models/{refused['name']}/load", {})
    assert model_of(daemon, refused["name"])["instances"][0]["shape"] == "gpu0:8c/1GiB"


def test_batches_are_as_large_as_the_devices_memory_allows(serve):
    # 100 + 50 n MiB in 256 MiB: three rows.
    daemon = serve(
        models=of_class("gpu", "outputs: [{name: y, dtype: FP32, shape: [-1, 1], function: batch_rows, input: x}]\n", "gpu_shape: 16c/256MiB\n"),
        flags=["--emulated-gpu", "16c/4GiB,a=5ms,c=0.1ms,m0=100MiB,m1=50MiB"])
    data = [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
    assert daemon.infer("m", data)["outputs"][0]["data"] == [1.0]
    many = daemon.infer("m", [{"name": "x", "shape": [10, 4], "datatype": "FP32", "data": [1, 2, 3, 4] * 10}])
    assert max(many["outputs"][0]["data"]) <= 3


def test_a_model_that_does_not_fit_the_device_is_refused_with_the_figures(serve):
    daemon = serve(models=of_class("gpu", "{}\n", "gpu_shape: 4c/64MiB\n"), flags=["--emulated-gpu", GPU])
    entry = next(one for one in daemon.json("POST", "/v2/repository/index", {}) if one["name"] == "m")
    assert entry["state"] == "UNAVAILABLE"
    assert "out of memory of the emulated device: 1 rows take 102MiB, the shape has 64MiB" in entry["reason"]


def test_without_a_device_class_gpu_is_refused_and_class_auto_runs_on_the_processor(serve):
    models = {**of_class("gpu", "{}\n"), "a/model.fake": "{}\n", "a/evenkeel.yaml": "class: auto\n"}
    daemon = serve(models=models)
    entry = next(one for one in daemon.json("POST", "/v2/repository/index", {}) if one["name"] == "m")
    assert entry["state"] == "UNAVAILABLE" and "class gpu" in entry["reason"] and "OpenVINO" in entry["reason"]
    assert [one["device"] for one in model_of(daemon, "a")["instances"]] == ["CPU"]


def test_the_method_fixes_the_class_of_a_model_that_leaves_it_open(serve):
    daemon = serve(models=of_class("auto", SLOW), flags=[*FAST_GPU, "--batching", "method"])
    run(daemon, threads=16, seconds=1)
    assert not instances(daemon, "CPU") and rows_on(daemon, "CPU") == 0 and rows_on(daemon, "EMULATED") > 0


@pytest.mark.parametrize("text, says", [("16", "CORESc/MEMORY"), ("16c/4GiB", "a or c"), ("16c/4GiB,a=2ms,x=1", "serial")])
def test_a_device_that_cannot_be_is_refused_at_start(cli, text, says):
    result = cli("serve", "--emulated-gpu", text)
    assert result.returncode == 2 or result.returncode == 105
    assert "emulated" in result.stderr and says in result.stderr
