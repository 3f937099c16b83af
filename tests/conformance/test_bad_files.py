"""Hostile and broken models, manifests, disks, ports and flags: each is named, and what is good serves."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess

import numpy as np
import pytest
from onnx import TensorProto, helper

from daemon import BINARY, environment, run_cli
from demo import FOLDER, check, draw, engine_cache, folder_of, oracle, serving  # noqa: F401


def small_model(location: str | None = None, length: int = 64, offset: int = 0) -> bytes:
    """y = x @ w with w in an external file, or inside."""
    w = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4])
    if location is None:
        w.raw_data = np.eye(4, dtype=np.float32).tobytes()
    else:
        w.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            w.external_data.add(key=key, value=str(value))
    row = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])  # noqa: E731
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [row("x")], [row("y")], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


def index_of(daemon) -> dict[str, dict]:
    return {entry["name"]: entry for entry in daemon.json("POST", "/v2/repository/index", {})}


def check_good_digits(daemon) -> None:
    inputs = draw("digits", 2)
    answer = daemon.infer("digits", [{"name": "x", "datatype": "FP32", "shape": [2, 64], "data": inputs["x"].tolist()}])
    check(np.array(answer["outputs"][0]["data"], np.float32).reshape(2, 10), oracle("digits", inputs))


# Models


def hostile_models(folder: pathlib.Path) -> dict[str, list[str]]:
    """Writes broken models into `folder`; name -> words that the reason must have."""
    secret = folder.parent / "secret.bin"
    secret.write_bytes(bytes(64))
    whole = (FOLDER / "digits" / "model.onnx").read_bytes()
    files: dict[str, tuple[bytes, list[str]]] = {
        "empty": (b"", ["empty"]),
        "zeros": (bytes(4096), ["onnx"]),
        "text": (b"this is no model\n" * 100, ["onnx"]),
        "up": (small_model("../secret.bin"), ["..", "external data"]),
        "upup": (small_model("w/../../../secret.bin"), ["..", "external data"]),
        "absolute": (small_model(str(secret)), ["external data"]),
        "passwd": (small_model("/etc/passwd"), ["external data", "/etc/passwd"]),
        "link": (small_model("link.bin"), ["external data", "link.bin"]),
        "directory": (small_model("inner"), ["external data", "inner"]),
        "missing": (small_model("none.bin"), ["external data", "none.bin"]),
        "short": (small_model("short.bin"), ["external data"]),
        "past": (small_model("w.bin", offset=32), ["external data"]),
        "far": (small_model("w.bin", offset=2**63 - 1), ["external data"]),
        "negative": (small_model("w.bin", offset=-8), ["external data"]),
        "length": (small_model("w.bin", length=2**64), ["external data"]),
        "no-location": (small_model(""), ["external data"]),
    }
    for at in (1, 2, 10, 100, 5_000, len(whole) // 2, len(whole) - 1):
        files[f"cut-{at}"] = (whole[:at], [])
    for at in (20, 300, 2_000):
        flipped = bytearray(whole)
        flipped[at : at + 8] = b"\xff" * 8
        files[f"flipped-{at}"] = (bytes(flipped), [])
    for name, (data, _) in files.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "model.onnx").write_bytes(data)
        (folder / name / "w.bin").write_bytes(np.eye(4, dtype=np.float32).tobytes())
        (folder / name / "short.bin").write_bytes(bytes(8))
        (folder / name / "inner").mkdir()
    (folder / "link" / "link.bin").symlink_to(secret)
    (folder / "model-link.onnx").symlink_to(FOLDER.resolve() / "digits" / "model.onnx")
    return {name: words for name, (_, words) in files.items()}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, engine_cache):
    folder = tmp_path_factory.mktemp("hostile")
    words = hostile_models(folder / "models")
    good = {"inside/model.onnx": small_model(), "beside/model.onnx": small_model("w.bin"),
            "beside/w.bin": np.eye(4, dtype=np.float32).tobytes(), **folder_of("digits")}
    with serving(folder, good, engine_cache) as daemon:
        yield daemon, words


def test_broken_models_are_named_and_the_others_serve(hostile):
    daemon, words = hostile
    index = index_of(daemon)
    for name, wanted in words.items():
        if name.startswith("flipped"):  # may be harmless: weights are any bytes
            assert name in index
            continue
        assert index[name]["state"] == "UNAVAILABLE", name
        for word in wanted:
            assert word in index[name]["reason"], (name, index[name]["reason"])
        assert index[name]["reason"]
    assert index["model-link"]["state"] == "UNAVAILABLE", "a link out of the models folder was followed"
    for name in ("digits", "inside", "beside"):
        assert index[name]["state"] == "READY", index[name]
    for name in ("inside", "beside"):
        answer = daemon.infer(name, [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}])
        assert answer["outputs"][0]["data"] == [1, 2, 3, 4]
    check_good_digits(daemon)
    assert daemon.request("GET", "/v2/health/ready")[0] == 200


def test_a_model_that_lacks_a_file_is_named_too(tmp_path, engine_cache):
    """What is not found is no reason to forget the model that wants it."""
    with serving(tmp_path, {"half.xml": "<net name=\"half\"></net>", **folder_of("digits")}, engine_cache) as daemon:
        entry = index_of(daemon)["half"]
        assert entry["state"] == "UNAVAILABLE" and "half.bin" in entry["reason"], entry
        assert daemon.request("POST", "/v2/repository/models/nothing/load", {})[0] == 404
        assert "nothing" not in index_of(daemon)
        check_good_digits(daemon)


def test_broken_models_answer_503_and_loading_them_says_why(hostile):
    daemon, words = hostile
    for name in ("empty", "up", "passwd", "link", "cut-5000"):
        x = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
        status, _, text = daemon.request("POST", f"/v2/models/{name}/infer", {"inputs": [x]})
        assert status == 503 and name.encode() in text, (name, status, text)
        status, _, text = daemon.request("POST", f"/v2/repository/models/{name}/load", {})
        assert 400 <= status < 500, (name, status, text)
        for word in words[name]:
            assert word.encode() in text, (name, text)
    check_good_digits(daemon)


def test_a_model_that_breaks_on_disk_goes_on_serving_and_its_reload_fails(tmp_path, engine_cache):
    with serving(tmp_path, folder_of("digits"), engine_cache) as daemon:
        path = daemon.models / "digits" / "model.onnx"
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3])
        status, _, text = daemon.request("POST", "/v2/repository/models/digits/load", {})
        assert 400 <= status < 500 and b"digits" in text, (status, text)
        path.write_bytes(whole)
        check_good_digits(daemon)
        daemon.json("POST", "/v2/repository/models/digits/load", {})
        check_good_digits(daemon)


# Manifests


# Text, the line that the message names, and words of it.
MANIFESTS = [
    ("max_batch: many\n", 1, ["max_batch", "many"]),
    ("# fine\nmax_batch: -1\n", 2, ["max_batch", "-1"]),
    ("max_batch: 99999999999999999999\n", 1, ["max_batch"]),
    ("max_batsh: 4\n", 1, ["max_batsh", "max_batch"]),
    ("max_batch: 4\nmax_batch: 8\n", 2, ["max_batch"]),
    ("batching:\n  policy: lazy\n", 2, ["policy", "lazy", "greedy"]),
    ("batching:\n  policy: fixed\n  max_delay: 5\n", 3, ["max_delay"]),
    ("inputs:\n  - name: x\n    range: [9, 0]\n", 3, ["range"]),
    ("inputs:\n  - name: x\n    shape: [-1, 0.5]\n", 3, ["shape"]),
    ("inputs: 5\n", 1, ["inputs"]),
    ("outputs:\n  - name: y\n    labels: ../../secret.txt\n", 3, ["labels"]),
    ("file: ../other/model.onnx\n", 1, ["file"]),
    ("name: other\n", 1, ["name", "other", "digits"]),
    ("engine: abacus\n", 1, ["engine", "abacus"]),
    ("precision: f64\n", 1, ["precision", "f64"]),
    ("a: [1, 2\nb: 3\n", None, []),
    ("\tmax_batch: 4\n", None, []),
    ("max_batch: &a 4\nthreads: *a\n", None, []),
    ("x: " + "[" * 2000 + "]" * 2000 + "\n", None, []),
    ("max_batch: 4\0\n", None, []),
    ("- max_batch: 4\n", 1, []),
    ("inputs:\n  - name: zz\n", None, ["zz"]),
]


@pytest.fixture(scope="module")
def bad_manifests(tmp_path_factory, engine_cache):
    folder = tmp_path_factory.mktemp("manifests")
    model = (FOLDER / "digits" / "model.onnx").read_bytes()
    files, names = folder_of("digits"), {}
    for i, (text, _, _) in enumerate(MANIFESTS):
        names[text] = f"bad{i}"
        files |= {f"bad{i}/model.onnx": model, f"bad{i}/evenkeel.yaml": text.encode()}
    with serving(folder, files, engine_cache) as daemon:
        check_good_digits(daemon)
        yield daemon, names
        check_good_digits(daemon)


@pytest.mark.parametrize("text, line, words", MANIFESTS, ids=lambda value: repr(value[:25]) if isinstance(value, str) else "")
def test_bad_manifests(bad_manifests, text, line, words):
    daemon, names = bad_manifests
    reason = index_of(daemon)[names[text]]["reason"]
    assert index_of(daemon)[names[text]]["state"] == "UNAVAILABLE"
    assert "evenkeel.yaml" + (f":{line}:" if line else "") in reason or (line is None and words and words[0] in reason), reason
    for word in words:
        assert word.replace("digits", names[text]) in reason, reason


# Text of a config.pbtxt, and words of the message.
TRITON_CONFIGURATIONS = [
    ('name: "NAME"\nmax_batch_size: "many"\n', ["config.pbtxt:2", "max_batch_size"]),
    ('name: "NAME"\nmax_batch_sise: 4\n', ["config.pbtxt:2", "max_batch_sise"]),
    ('name: "NAME"\ninput [ { name: "x" dims: [ 4 \n', ["config.pbtxt"]),
    ('name: "NAME"\nplatform: "tensorrt_plan"\n', ["tensorrt_plan"]),
]


@pytest.fixture(scope="module")
def bad_triton_configurations(tmp_path_factory, engine_cache):
    files, names = folder_of("digits"), {}
    for i, (text, _) in enumerate(TRITON_CONFIGURATIONS):
        names[text] = f"m{i}"
        files |= {f"m{i}/config.pbtxt": text.replace("NAME", f"m{i}"), f"m{i}/1/model.onnx": small_model()}
    with serving(tmp_path_factory.mktemp("configurations"), files, engine_cache) as daemon:
        yield daemon, names


@pytest.mark.parametrize("text, words", TRITON_CONFIGURATIONS)
def test_bad_triton_configurations(bad_triton_configurations, text, words):
    daemon, names = bad_triton_configurations
    entry = index_of(daemon)[names[text]]
    assert entry["state"] == "UNAVAILABLE"
    for word in words:
        assert word in entry["reason"], entry["reason"]
    check_good_digits(daemon)


# The disk


@contextlib.contextmanager
def tiny_disk(folder: pathlib.Path, kib: int):
    if os.geteuid() != 0:
        pytest.skip("a file system of its own needs root")
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def send_digits(daemon, rows: int) -> None:
    inputs = draw("digits", rows)
    daemon.infer("digits", [{"name": "x", "datatype": "FP32", "shape": [rows, 64], "data": inputs["x"].tolist()}])


def test_a_disk_that_is_full_of_samples_costs_a_warning(tmp_path, engine_cache):
    with tiny_disk(tmp_path / "state", 64):
        flags = [*engine_cache, "--samples-mode", "disk", "--samples-items", "10000"]
        with serving(tmp_path, folder_of("digits"), flags) as daemon:
            for _ in range(20):
                send_digits(daemon, 60)
            assert daemon.stop() == 0  # what is written is written now at the latest
            daemon.ended = True
            assert "No space left" in daemon.log()
        left = list((tmp_path / "state").rglob("*.tmp*"))
        assert not left, "half a file stayed behind"


def test_a_disk_that_is_full_from_the_start(tmp_path, engine_cache):
    """No room for anything, compiled models included: serving needs no disk."""
    with tiny_disk(tmp_path / "full", 64) as full:
        for name in ("state", "cache"):
            (full / name).mkdir()
        with contextlib.suppress(OSError), (full / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        flags = ["--state", str(full / "state"), "--cache", str(full / "cache"), "--samples-mode", "disk"]
        with serving(tmp_path / "daemon", folder_of("digits"), flags) as daemon:
            check_good_digits(daemon)
            send_digits(daemon, 60)


# Ports, folders and flags


def start(folder: pathlib.Path, *flags: str) -> subprocess.CompletedProcess:
    for name in ("models", "state", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    given = [f for name in ("models", "state", "cache") if f"--{name}" not in flags for f in (f"--{name}", str(folder / name))]
    ports = [f for name in ("http", "grpc", "metrics") if f"--{name}-port" not in flags for f in (f"--{name}-port", "0")]
    return subprocess.run([str(BINARY), "serve", *given, *ports, *flags], capture_output=True, text=True, timeout=30,
                          env=environment(folder), check=False)


@pytest.mark.parametrize("which", ["http", "grpc", "metrics"])
def test_a_port_in_use(tmp_path, which):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = start(tmp_path, f"--{which}-port", port)
    assert result.returncode == 1, result
    assert f"127.0.0.1:{port}" in result.stderr and "in use" in result.stderr
    assert start(tmp_path, f"--{which}-port", "99999").returncode == 2  # the lock is free again: usage, not state


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--http-port", "http"], ["http-port", "http"]),
        (["--threads", "-1"], ["threads", "-1"]),
        (["--max-body", "lots"], ["max-body", "lots"]),
        (["--request-timeout", "soon"], ["request-timeout", "soon"]),
        (["--http-address", "0.0.0.0"], ["--insecure"]),
        (["--http-address", "not an address"], ["not an address"]),
        (["--models", "/etc/passwd"], ["/etc/passwd"]),
        (["--log-level", "loud"], ["log-level", "loud"]),
        (["--no-such-flag"], ["--no-such-flag"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_bad_flags(tmp_path, flags, words):
    result = start(tmp_path, *flags)
    assert result.returncode in (1, 2), result
    for word in words:
        assert word in result.stderr, result.stderr
    assert "terminate" not in result.stderr and len(result.stderr) < 2000


def test_a_state_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    result = start(tmp_path, "--state", str(tmp_path / "file" / "state"))
    assert result.returncode == 1 and str(tmp_path / "file") in result.stderr


def test_run_cli_reports_a_model_that_does_not_load(tmp_path, engine_cache):
    with serving(tmp_path, {"broken.onnx": b"", **folder_of("digits")}, engine_cache) as daemon:
        result = run_cli("load", "broken", folder=tmp_path, env={"EVENKEEL_SERVER": daemon.http_url})
        assert result.returncode == 1 and "empty" in result.stderr
        assert run_cli("load", "digits", folder=tmp_path, env={"EVENKEEL_SERVER": daemon.http_url}).returncode == 0
