"""A Triton repository, unchanged: config.pbtxt, version folders, several versions at once; asked with unmodified tritonclient.

Version k of a model computes y = k * x, so that each answer says which version gave it.
"""

from __future__ import annotations

import collections
import http.client
import json
import shutil
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http_client
from tritonclient.utils import InferenceServerException

from demo import client_inputs, engine_cache, serving  # noqa: F401
from model_files import scaled_onnx

PLAIN = """\
name: "NAME"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
# Model -> what its config.pbtxt has besides, and the versions that it serves of 1, 2, 3.
MODELS = {
    "latest": ("", ["3"]),
    "latest-two": ("version_policy { latest { num_versions: 2 } }\n", ["2", "3"]),
    "every": ("version_policy: { all: {} }\n", ["1", "2", "3"]),
    "some": ("version_policy { specific { versions: [ 1, 3 ] } }\n", ["1", "3"]),
    "one": ("version_policy { specific { versions: 2 } }\n", ["2"]),
    "delayed": ("dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 300 }\n", ["3"]),
    "batched": ("dynamic_batching { }\n", ["3"]),
    "two-instances": ("instance_group [ { count: 2 kind: KIND_CPU } ]\n", ["3"]),
    "three-instances": ("instance_group [ { count: 1 kind: KIND_CPU }, { name: \"more\" count: 2 kind: KIND_CPU } ]\n", ["3"]),
    "any-kind": ("instance_group { kind: KIND_AUTO }\n", ["3"]),
}


def repository(models: dict[str, str], versions=(1, 2, 3)) -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for name, more in models.items():
        files[f"{name}/config.pbtxt"] = PLAIN.replace("NAME", name) + more
        files |= {f"{name}/{version}/model.onnx": scaled_onnx(version) for version in versions}
    return files


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, engine_cache):
    models = repository({name: more for name, (more, _) in MODELS.items()})
    # What a repository has lying about besides.
    models["every/labels.txt"] = "a\nb\n"
    models["every/README.md"] = "a model\n"
    models["every/0007/model.onnx"] = b"no version: it has leading zeros"
    with serving(tmp_path_factory.mktemp("repository"), models, engine_cache) as daemon:
        yield daemon


@pytest.fixture(scope="module", params=["http", "grpc"])
def client(request, daemon):
    """(tritonclient's module, a client of it)"""
    module = http_client if request.param == "http" else grpc
    address = daemon.http_address if request.param == "http" else daemon.grpc_address
    with module.InferenceServerClient(address) as client:
        yield module, client


def more(module) -> dict:
    """The HTTP client's answers are dicts; the gRPC client's are when asked."""
    return {"as_json": True} if module is grpc else {}


def scale_of(client, model: str, version: str = "", rows: int = 2) -> float:
    """The k of the version that answered; every element must agree."""
    module, one = client
    x = np.arange(1, 4 * rows + 1, dtype=np.float32).reshape(rows, 4)
    y = one.infer(model, client_inputs(module, {"x": x}), model_version=version).as_numpy("y")
    k = y[0, 0] / x[0, 0]
    np.testing.assert_array_equal(y, k * x)
    return float(k)


NOT_FOUND = ("404", "StatusCode.NOT_FOUND")
MALFORMED = ("400", "StatusCode.INVALID_ARGUMENT")


def refused(call, statuses=NOT_FOUND) -> str:
    with pytest.raises(InferenceServerException) as caught:
        call()
    assert caught.value.status() in statuses, caught.value
    return caught.value.message()


# What config.pbtxt says


@pytest.mark.parametrize("model", MODELS)
def test_the_version_policy_says_what_serves(client, model):
    module, one = client
    served = MODELS[model][1]
    assert one.get_model_metadata(model, **more(module))["versions"] == served
    for version in ("1", "2", "3"):
        assert one.is_model_ready(model, version) == (version in served), version
        if version in served:
            assert scale_of(client, model, version) == float(version)
            assert version in one.get_model_metadata(model, version, **more(module))["versions"]
        else:
            message = refused(lambda v=version: scale_of(client, model, v))
            assert model in message and version in message
    assert scale_of(client, model) == float(served[-1]), "the newest version answers those who name none"


@pytest.mark.parametrize("version, statuses", [("4", NOT_FOUND), ("0", MALFORMED), ("99999999999999999999", MALFORMED), ("one", MALFORMED)])
def test_a_version_that_is_not_there_is_refused_everywhere(client, version, statuses):
    module, one = client
    for call in (one.infer, one.get_model_metadata, one.get_model_config, one.get_inference_statistics):
        arguments = [client_inputs(module, {"x": np.ones((1, 4), np.float32)})] if call == one.infer else []
        message = refused(lambda c=call, a=arguments: c("every", *a, model_version=version), statuses)
        assert "every" in message and version in message
    if statuses is NOT_FOUND:
        assert not one.is_model_ready("every", version)


def test_the_index_has_a_line_a_version(client):
    module, one = client
    index = one.get_model_repository_index(**more(module))
    lines = collections.defaultdict(list)
    for entry in index if module is http_client else index["models"]:
        assert entry["state"] == "READY", entry
        lines[entry["name"]].append(entry["version"])
    assert {name: sorted(versions) for name, versions in lines.items()} == {name: served for name, (_, served) in MODELS.items()}


def test_the_configuration_is_given_back(client):
    module, one = client

    def config(model: str, version: str = "") -> dict:
        answer = one.get_model_config(model, version, **more(module))
        return answer["config"] if module is grpc else answer

    for model in MODELS:
        got = config(model)
        assert got["name"] == model and got["platform"] == "onnxruntime_onnx" and got["max_batch_size"] == 8
        for side, name in (("input", "x"), ("output", "y")):
            (tensor,) = got[side]
            assert (tensor["name"], tensor["data_type"], [int(d) for d in tensor["dims"]]) == (name, "TYPE_FP32", [4])
    delayed = config("delayed")["dynamic_batching"]
    assert [int(size) for size in delayed["preferred_batch_size"]] == [4, 8]
    assert int(delayed["max_queue_delay_microseconds"]) == 300
    assert config("two-instances")["instance_group"][0]["count"] == 2
    assert config("two-instances")["instance_group"][0]["kind"] == "KIND_CPU"
    assert sum(int(group["count"]) for group in config("three-instances")["instance_group"]) == 3


def test_instance_groups_become_worker_processes(daemon):
    workers = {model["name"]: [one["pid"] for one in model["instances"]] for model in daemon.json("GET", "/v2/evenkeel/models")["models"]
               if model["version"] == "3"}
    for name, count in (("latest", 1), ("two-instances", 2), ("three-instances", 3), ("any-kind", 1)):
        assert len(set(workers[name])) == count, (name, workers[name])


def test_statistics_are_kept_by_version(client):
    module, one = client

    def answered() -> dict[str, int]:
        stats = one.get_inference_statistics("every", **more(module))["model_stats"]
        return {entry["version"]: int(entry["inference_stats"].get("success", {}).get("count", 0)) for entry in stats}

    before = answered()
    assert set(before) == {"1", "2", "3"}
    for version, times in (("1", 3), ("2", 1)):
        for _ in range(times):
            scale_of(client, "every", version)
    after = answered()
    assert {version: after[version] - before[version] for version in after} == {"1": 3, "2": 1, "3": 0}
    (only,) = one.get_inference_statistics("every", "1", **more(module))["model_stats"]
    assert only["version"] == "1"


def test_more_rows_than_max_batch_size_are_split_and_joined(client):
    for model in ("every", "delayed", "batched"):
        assert scale_of(client, model, rows=20) == 3.0


REFUSED = {
    "gpu-only": ("instance_group [ { kind: KIND_GPU } ]\n", ["gpu"]),
    "wrong-name": ("", ["x2"]),
    "none-there": ("version_policy { specific { versions: [ 7 ] } }\n", ["version_policy"]),
    "no-file": ("", ["no model file", "model.onnx"]),
    "no-version": ("", ["no version folders"]),
}


def test_what_cannot_be_served_says_why(tmp_path, engine_cache):
    files = repository({name: more for name, (more, _) in REFUSED.items()} | {"good": ""}, versions=(1,))
    files["no-file/1/other.txt"] = files.pop("no-file/1/model.onnx")
    del files["no-version/1/model.onnx"]
    files["wrong-name/config.pbtxt"] = str(files["wrong-name/config.pbtxt"]).replace('name: "x"', 'name: "x2"')
    with serving(tmp_path, files, engine_cache) as daemon:
        index = {entry["name"]: entry for entry in daemon.json("POST", "/v2/repository/index", {})}
        assert index["good"]["state"] == "READY"
        for name, (_, words) in REFUSED.items():
            assert index[name]["state"] == "UNAVAILABLE"
            for word in words:
                assert word in index[name]["reason"].lower(), index[name]


# Versions that come and go


class Asking:
    """Threads that ask one version each ("" is the newest) and count what came: status, and the k of the answer."""

    def __init__(self, address: str, versions=("", "", "1", "2")):
        self.address = address
        self.seen: dict[str, collections.Counter] = {version: collections.Counter() for version in versions}
        self.lost = 0
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(version,)) for version in versions]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request was never answered"

    def wait(self, version: str, outcome, count: int = 20) -> None:
        """Until `count` more requests for `version` came out so."""
        start, end = self.seen[version][outcome], time.monotonic() + 30
        while self.seen[version][outcome] < start + count:
            assert time.monotonic() < end, (version, outcome, self.seen)
            time.sleep(0.01)

    def _run(self, version: str) -> None:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        path = f"/v2/models/m{f'/versions/{version}' if version else ''}/infer"
        body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 10, 100, 1000]}]})
        while not self._stop.is_set():
            try:
                connection.request("POST", path, body)
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self.lost += 1
                connection.close()
                continue
            outcome = answer.status
            if answer.status == 200:
                data = json.loads(text)["outputs"][0]["data"]
                outcome = data[0] if data == [data[0] * d for d in (1, 10, 100, 1000)] else "wrong"
            with self._lock:
                self.seen[version][outcome] += 1


def test_versions_come_and_go_under_load_without_a_lost_request(tmp_path, engine_cache):
    files = repository({"m": "version_policy { all { } }\n"}, versions=(1, 2))
    with serving(tmp_path, files, engine_cache) as daemon, Asking(daemon.http_address) as asking:
        def reload():
            daemon.json("POST", "/v2/repository/models/m/load", {})

        def ready(version: str) -> bool:
            return daemon.request("GET", f"/v2/models/m/versions/{version}/ready")[0] == 200

        for version, k in (("", 2.0), ("1", 1.0), ("2", 2.0)):
            asking.wait(version, k)
        # A third one is there once it is loaded, not before.
        place = daemon.models / "m"
        (place / "3").mkdir()
        (place / "3" / "model.onnx").write_bytes(scaled_onnx(3))
        assert not ready("3")
        reload()
        assert ready("3") and daemon.json("GET", "/v2/models/m")["versions"] == ["1", "2", "3"]
        for version, k in (("", 3.0), ("1", 1.0), ("2", 2.0)):
            asking.wait(version, k)
        # One that is removed answers until the reload, then it is not there.
        shutil.rmtree(place / "2")
        asking.wait("2", 2.0)
        reload()
        assert not ready("2") and daemon.json("GET", "/v2/models/m")["versions"] == ["1", "3"]
        asking.wait("2", 404)
        for version, k in (("", 3.0), ("1", 1.0)):
            asking.wait(version, k)
        # The newest may be removed, too: the one below answers.
        shutil.rmtree(place / "3")
        reload()
        asking.wait("", 1.0)
    assert asking.lost == 0
    assert set(asking.seen[""]) == {1.0, 2.0, 3.0}, asking.seen
    assert set(asking.seen["1"]) == {1.0} and set(asking.seen["2"]) == {2.0, 404}, asking.seen


def test_a_version_that_breaks_keeps_the_others_as_they_were(tmp_path, engine_cache):
    files = repository({"m": "version_policy { all { } }\n"}, versions=(1, 2))
    with serving(tmp_path, files, engine_cache) as daemon, Asking(daemon.http_address) as asking:
        asking.wait("", 2.0)
        (daemon.models / "m" / "3").mkdir()
        (daemon.models / "m" / "3" / "model.onnx").write_bytes(scaled_onnx(3)[:60])
        status, _, text = daemon.request("POST", "/v2/repository/models/m/load", {})
        assert status == 400 and b"3/model.onnx" in text, (status, text)
        for version, k in (("", 2.0), ("1", 1.0), ("2", 2.0)):
            asking.wait(version, k)
    assert asking.lost == 0 and set(asking.seen[""]) == {2.0} and set(asking.seen["1"]) == {1.0}, asking.seen
