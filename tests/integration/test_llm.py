"""A language model in the daemon: found, shown, reloaded, unloaded, and what is not for it is refused."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time

from daemon import run_cli

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", pathlib.Path(__file__).resolve().parents[2] / "build" / "demo-models"))
SMOLLM2 = MODELS / "smollm2"


def describe(daemon, name="smollm2"):
    return next(m for m in daemon.json("GET", "/v2/evenkeel/models")["models"] if m["name"] == name)


def wait_until(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_a_gguf_is_a_language_model(serve):
    daemon = serve(models={"smollm2": SMOLLM2, "echo.fake": "inputs: [{name: x, dtype: FP32, shape: [-1, 4]}]\n"
                           "outputs: [{name: y, dtype: FP32, shape: [-1, 4], function: echo}]\n"})
    index = {m["name"]: m["state"] for m in daemon.json("POST", "/v2/repository/index")}
    assert index == {"echo": "READY", "smollm2": "READY"}
    model = describe(daemon)
    assert model["engine"] == "llamacpp" and model["kind"] == "language"
    assert model["language"]["context"] == 8192 and model["language"]["chat_template"]
    assert model["engine_info"]["architecture"] == "llama" and model["engine_info"]["quantisation"].startswith("Q4_1")
    assert model["instances"][0]["pid"] > 0 and model["language"]["prompt_process"]["pid"] > 0
    shown = daemon.json("GET", "/v2/evenkeel/models/smollm2")
    assert shown["schema"] == "evenkeel.model/v1" and shown["language"]["vocabulary"] == 49152
    assert daemon.request("GET", "/v2/models/smollm2/ready")[0] == 200
    assert daemon.json("GET", "/v2/models/smollm2")["platform"] == "llama_cpp"
    # Tensors are not for it; the other model does not notice.
    status, _, text = daemon.request("POST", "/v2/models/smollm2/infer", {"inputs": []})
    assert status == 400 and b"language model" in text, (status, text)
    for page in ("/v2/models/smollm2/config", "/v2/models/smollm2/stats"):
        assert daemon.request("GET", page)[0] in (200, 400)
    inputs = [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
    assert daemon.infer("echo", inputs)["outputs"][0]["data"] == [1, 2, 3, 4]
    assert daemon.request("GET", "/metrics")[0] in (200, 404)
    for verb in (["ls"], ["ps"], ["show", "smollm2"], ["top", "--once"]):
        shown = run_cli(*verb, "--server", daemon.http_url, folder=daemon.folder)
        if verb[0] == "top" and "unknown" in shown.stderr:
            continue
        assert shown.returncode == 0 and "smollm2" in shown.stdout, (verb, shown.stderr, shown.stdout)


def test_it_is_reloaded_and_unloaded_and_its_processes_go(serve):
    daemon = serve(models={"smollm2": SMOLLM2})
    first = describe(daemon)
    daemon.json("POST", "/v2/repository/models/smollm2/load")
    wait_until(lambda: describe(daemon)["instances"][0]["pid"] not in (0, first["instances"][0]["pid"]))
    old = (first["instances"][0]["pid"], first["language"]["prompt_process"]["pid"])
    wait_until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in old))
    second = describe(daemon)
    daemon.json("POST", "/v2/repository/models/smollm2/unload")
    assert describe(daemon)["state"] == "UNAVAILABLE"
    assert daemon.request("GET", "/v2/models/smollm2/ready")[0] in (400, 404, 503)
    assert not pathlib.Path(f"/proc/{second['instances'][0]['pid']}").exists()
    daemon.json("POST", "/v2/repository/models/smollm2/load")
    assert describe(daemon)["state"] == "READY"


def test_its_worker_comes_back(serve):
    daemon = serve(models={"smollm2": SMOLLM2})
    before = describe(daemon)["instances"][0]
    os.kill(before["pid"], signal.SIGKILL)
    wait_until(lambda: describe(daemon)["instances"][0]["state"] == "ready"
               and describe(daemon)["instances"][0]["pid"] != before["pid"])
    after = describe(daemon)["instances"][0]
    assert after["restarts"] == 1 and "signal 9" in after["last_end"]


def test_a_file_that_is_none_is_refused_and_the_others_serve(serve):
    whole = (SMOLLM2 / "model.gguf").read_bytes()[: 1 << 20]
    daemon = serve(models={"cut/model.gguf": whole, "none/model.gguf": b"GGUF" + b"\x7f" * 100, "smollm2": SMOLLM2})
    states = {m["name"]: (m["state"], m.get("reason", "")) for m in daemon.json("POST", "/v2/repository/index")}
    assert states["smollm2"][0] == "READY"
    for name in ("cut", "none"):
        assert states[name][0] == "UNAVAILABLE" and states[name][1], states
    assert json.loads(run_cli("ls", "-o", "json", "--server", daemon.http_url, folder=daemon.folder).stdout)


def test_bench_measures_it(serve):
    daemon = serve(models={"smollm2": SMOLLM2})
    for api in ("completions", "chat"):
        run = run_cli("bench", "smollm2", "--llm", "--api", api, "--url", daemon.http_url, "-n", "4", "-c", "2", "--warm-up", "0s", "--prompt-tokens", "24",
                      "--output-tokens", "12", "-o", "json", folder=daemon.folder)
        assert run.returncode == 0, run.stderr
        tokens = json.loads(run.stdout)["total"]["tokens"]
        # A common word is a token of this vocabulary; a chat adds its template.
        assert tokens["output"] == 4 * 12 and (tokens["prompt"] == 4 * 24 if api == "completions" else tokens["prompt"] > 4 * 24)
        assert tokens["first_ms"]["min"] > 0 and tokens["inter_ms"]["p50"] > 0 and tokens["output_per_s"] > 0
