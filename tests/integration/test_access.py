"""API keys at the doors of a running server: every route and method without, with a wrong, an expired, a revoked and a too narrow key."""

from __future__ import annotations

import contextlib
import http.client
import json
import pathlib
import queue
import re
import socket
import time
import urllib.error
import urllib.request

import grpc
import numpy
import openai
import pytest
import tritonclient.grpc
import tritonclient.http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.utils import InferenceServerException

from daemon import ECHO, ROOT, STOP_SECONDS, launch, place_models, run_cli, sanitizer_report, wait_for_announcement

ROUTES_CC = (ROOT / "src" / "frontends" / "routes.cc").read_text()
HTTP_ROUTES = [(pattern, methods.split(), need)
               for pattern, methods, need in re.findall(r'\{"(/[^"]*)", "([A-Z ]+)", k(\w+)\}', ROUTES_CC)]
GRPC_SERVICES = {"EK_INFERENCE": "/inference.GRPCInferenceService/", "EK_HEALTH": "/grpc.health.v1.Health/"}
GRPC_ROUTES = [(GRPC_SERVICES[service] + name, need)
               for service, name, need in re.findall(r'\{(EK_\w+) "(\w+)", k(\w+)\}', ROUTES_CC)]
WRONG = "ek_aaaaaaaa_" + "a" * 52
SCOPES = {
    "echo": ["infer:echo"],
    "all": ["infer:*", "manage", "metrics"],
    "models": ["infer:*"],
    "manage": ["manage"],
    "metrics": ["metrics"],
    "revoked": ["infer:*", "manage", "metrics"],
}
CHAT = [{"role": "user", "content": "hi"}]


def key_verb(folder: pathlib.Path, *arguments: str):
    result = run_cli("key", *arguments, "--state", str(folder / "state"), folder=folder)
    assert result.returncode == 0, result.stderr
    return result


def make_key(folder: pathlib.Path, name: str, scopes: list[str], *more: str) -> str:
    flags = [word for scope in scopes for word in ("--scope", scope)]
    return key_verb(folder, "create", "--name", name, *flags, *more).stdout.strip()


def eventually(condition, seconds: float = 10.0) -> float:
    """The seconds until it was true."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "it did not come about"
        time.sleep(0.02)
    return time.monotonic() - start


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(daemon, keys by name): a server with two models that needs keys."""
    folder = tmp_path_factory.mktemp("access")
    place_models(folder / "models", {"echo.fake": ECHO, "other.fake": ECHO})
    keys = {"expired": make_key(folder, "expired", SCOPES["all"], "--expires", "1s")}
    keys |= {name: make_key(folder, name, scopes) for name, scopes in SCOPES.items()}
    key_verb(folder, "revoke", "revoked")
    states = lambda: {k["name"]: k["state"] for k in json.loads(key_verb(folder, "ls", "-o", "json").stdout)["keys"]}  # noqa: E731
    eventually(lambda: states()["expired"] == "expired")
    daemon = launch(folder, folder / "log", [])
    try:
        wait_for_announcement(daemon)
        yield daemon, keys
        log = daemon.log()
        assert not [name for name, key in keys.items() if key in log], "a key stands in the log"
        assert daemon.stop() == 0, daemon.log()[-4000:]
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait(timeout=STOP_SECONDS)
    assert not sanitizer_report(daemon.log()), daemon.log()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def status_of(daemon, method: str, target: str, key: str = "", body=None) -> int:
    return daemon.request(method, target, body, bearer(key))[0]


def target_of(pattern: str, model: str) -> str:
    return pattern.replace("{model}", model).replace("{version}", "1").replace("...", "status")


def body_of(pattern: str, model: str) -> dict:
    return {
        "/v1/chat/completions": {"model": model, "messages": CHAT},
        "/v1/completions": {"model": model, "prompt": "hi"},
        "/v1/embeddings": {"model": model, "input": "hi"},
        "/v1/rerank": {"model": model, "query": "hi", "documents": ["a"]},
    }.get(pattern, {})


def infer_body() -> dict:
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}


# HTTP


def test_the_table_was_read():
    assert len(HTTP_ROUTES) > 40 and len(GRPC_ROUTES) == 22
    assert {need for _, _, need in HTTP_ROUTES} == {"Nothing", "Key", "SeeModel", "InferModel", "ModelInside", "Manage", "Metrics"}


@pytest.mark.parametrize("pattern, methods, need", HTTP_ROUTES, ids=[r[0] for r in HTTP_ROUTES])
def test_http_route(served, pattern, methods, need):
    daemon, keys = served
    target = target_of(pattern, "echo")
    for method in methods:
        body = body_of(pattern, "echo") if method == "POST" else None
        for key in ("", WRONG, keys["expired"], keys["revoked"]):
            status, headers, answer = daemon.request(method, target, body, bearer(key))
            assert (status == 401) == (need != "Nothing"), (method, target, key, status)
            if need == "Nothing":
                continue
            assert headers["WWW-Authenticate"].startswith("Bearer")
            assert b"echo" not in answer and (not key or key.encode() not in answer)
        narrow = {
            "SeeModel": ["metrics"], "InferModel": ["metrics", "manage"], "ModelInside": ["metrics", "manage"],
            "Manage": ["models", "metrics"], "Metrics": ["models", "manage"],
        }.get(need, [])
        for name in narrow:
            assert status_of(daemon, method, target, keys[name], body) == 403, (method, target, name)
        if need in ("SeeModel", "InferModel", "ModelInside"):
            for model in ("other", "nothere"):  # whether it exists is not said
                other = body_of(pattern, model) if method == "POST" else None
                assert status_of(daemon, method, target_of(pattern, model), keys["echo"], other) == 403
    # What may change something is not done here with a key that may.
    if need != "Manage" or methods == ["GET"]:
        assert status_of(daemon, methods[0], target, keys["all"], body_of(pattern, "echo") if methods[0] == "POST" else None) not in (401, 403)


def test_unknown_paths_are_401_without_a_key_and_404_with_one(served):
    daemon, keys = served
    for target in ("/nothere", "/v2/nothere", "/v1/nothere", "/v2/models/echo/nothere", "/admin"):
        assert status_of(daemon, "GET", target) == 401
        assert status_of(daemon, "GET", target, keys["metrics"]) == 404


def test_the_model_is_still_served_and_nothing_was_loaded_or_removed(served):
    daemon, keys = served
    status, _, answer = daemon.request("POST", "/v2/models/echo/infer", infer_body(), bearer(keys["echo"]))
    assert status == 200 and json.loads(answer)["outputs"][0]["data"] == [1, 2, 3, 4]
    assert "unload of model 'echo'" not in daemon.log()


def test_lists_show_only_what_the_key_may_see(served):
    daemon, keys = served

    def names(method, target, key, at=None):
        document = json.loads(daemon.request(method, target, {} if method == "POST" else None, bearer(keys[key]))[2])
        return sorted(entry["name"] for entry in (document[at] if at else document))

    for method, target, at in (("POST", "/v2/repository/index", None), ("GET", "/v2/evenkeel/models", "models"),
                               ("GET", "/v2/models/stats", "model_stats")):
        assert names(method, target, "echo", at) == ["echo"]
        assert names(method, target, "metrics", at) == []
        assert names(method, target, "manage", at) == names(method, target, "models", at) == ["echo", "other"]


def raw(daemon, head: bytes) -> int:
    host, port = daemon.http_address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(head)
        return int(client.recv(65536).split()[1])


def test_malformed_credentials(served):
    daemon, keys = served
    good = keys["all"].encode()
    for fields in (
        b"Authorization:", b"Authorization: ", b"Authorization: Bearer", b"Authorization: Basic dXNlcjpwYXNz",
        b"Authorization: " + good, b"Authorization: Bearer\t" + good, b"Authorization: Bearer " + good + b" " + good,
        b"Authorization: Bearer " + good + b"\r\nAuthorization: Bearer " + good,
        b"Authorization: \r\nAuthorization: Bearer " + good,
        b"Authorization: Bearer " + b"x" * 10_000, b"Authorization: Bearer " + good + b"x" * 10_000,
        b"Authorization: Bearer \xc3\xa9\xff\xfe", b"Proxy-Authorization: Bearer " + good, b"X-Api-Key: " + good,
        b"Cookie: key=" + good,
    ):
        head = b"GET /v2/models/echo HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\nConnection: close\r\n\r\n"
        assert raw(daemon, head) == 401, fields[:60]
    assert raw(daemon, b"GET /v2/models/echo HTTP/1.1\r\nHost: localhost\r\naUTHORIZATION: bEARER  " + good + b"\r\n\r\n") == 200
    # More than a head may hold is refused as such.
    assert raw(daemon, b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + b"x" * 20_000 + b"\r\n\r\n") == 431
    assert status_of(daemon, "GET", "/livez") == 200


def test_a_large_body_is_not_read_for_who_has_no_key(served):
    daemon, keys = served
    head = b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000000\r\n"
    assert raw(daemon, head + b"\r\n") == 401  # nothing of it was sent
    assert raw(daemon, head + b"Authorization: Bearer " + keys["metrics"].encode() + b"\r\n\r\n") == 403
    assert raw(daemon, b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n") == 401


def test_metrics_port(served):
    daemon, keys = served

    def status(url, key):
        try:
            return urllib.request.urlopen(urllib.request.Request(url, headers=bearer(key)), timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    base = daemon.metrics_url.removesuffix("/metrics")
    assert [status(base + "/metrics", key) for key in ("", WRONG, keys["expired"], keys["revoked"])] == [401] * 4
    assert [status(base + "/metrics", keys[name]) for name in ("models", "manage")] == [403] * 2
    assert status(base + "/metrics", keys["metrics"]) == 200
    assert status(base + "/livez", "") == status(base + "/readyz", "") == 200
    assert status(base + "/readyz?verbose", "") == 401
    assert status(base + "/readyz?verbose", keys["metrics"]) == 200
    assert status(base + "/v2/models/echo", keys["all"]) == 404
    assert status(base + "/v2/models/echo", "") == 401


# gRPC


def call(channel, method: str, key: str, *, field: str = "authorization") -> grpc.StatusCode:
    """The status of any method with one empty message."""
    metadata = [(field, f"Bearer {key}")] if key else []
    answers = channel.stream_stream(method)(iter([b""]), metadata=metadata, timeout=10)
    try:
        for _ in answers:
            if method.endswith("Watch"):
                answers.cancel()
        return answers.code()
    except grpc.RpcError as error:
        return error.code()


@pytest.fixture
def channel(served):
    with grpc.insecure_channel(served[0].grpc_address) as channel:
        yield channel


@pytest.mark.parametrize("method, need", GRPC_ROUTES, ids=[r[0].rsplit("/", 1)[1] for r in GRPC_ROUTES])
def test_grpc_method(served, channel, method, need):
    keys = served[1]
    for key in ("", WRONG, keys["expired"], keys["revoked"]):
        code = call(channel, method, key)
        assert (code == grpc.StatusCode.UNAUTHENTICATED) == (need != "Nothing"), (key, code)
    if need == "Manage":
        assert call(channel, method, keys["models"]) == grpc.StatusCode.PERMISSION_DENIED
    if need != "Nothing":
        assert call(channel, method, keys["all"]) != grpc.StatusCode.UNAUTHENTICATED
        assert call(channel, method, keys["all"], field="x-api-key") == grpc.StatusCode.UNAUTHENTICATED


def test_unknown_methods(served, channel):
    assert call(channel, "/inference.GRPCInferenceService/NotThere", "") == grpc.StatusCode.UNAUTHENTICATED
    assert call(channel, "/not.There/AtAll", served[1]["metrics"]) == grpc.StatusCode.UNIMPLEMENTED


def triton_input(module):
    one = module.InferInput("x", [1, 4], "FP32")
    one.set_data_from_numpy(numpy.array([[1, 2, 3, 4]], numpy.float32))
    return [one]


def grpc_refusal(call_it) -> str:
    with pytest.raises(InferenceServerException) as caught:
        call_it()
    return caught.value.status().removeprefix("StatusCode.")


def test_tritonclient_grpc(served):
    daemon, keys = served
    with tritonclient.grpc.InferenceServerClient(daemon.grpc_address) as client:
        inputs = triton_input(tritonclient.grpc)
        answer = client.infer("echo", inputs, headers={"authorization": f"Bearer {keys['echo']}"})
        assert answer.as_numpy("y").tolist() == [[1, 2, 3, 4]]
        for key in ("", WRONG, keys["expired"], keys["revoked"]):
            headers = {"authorization": f"Bearer {key}"} if key else None
            assert grpc_refusal(lambda h=headers: client.infer("echo", inputs, headers=h)) == "UNAUTHENTICATED"
            assert grpc_refusal(lambda h=headers: client.get_model_metadata("echo", headers=h)) == "UNAUTHENTICATED"
            assert client.is_server_live(headers=headers) and client.is_server_ready(headers=headers)
        narrow = {"authorization": f"Bearer {keys['echo']}"}
        for model in ("other", "nothere"):
            assert grpc_refusal(lambda m=model: client.infer(m, inputs, headers=narrow)) == "PERMISSION_DENIED"
            assert grpc_refusal(lambda m=model: client.get_model_metadata(m, headers=narrow)) == "PERMISSION_DENIED"
        assert grpc_refusal(lambda: client.unload_model("echo", headers=narrow)) == "PERMISSION_DENIED"
        index = client.get_model_repository_index(headers=narrow)
        assert [entry.name for entry in index.models] == ["echo"]


def test_tritonclient_http(served):
    daemon, keys = served
    with tritonclient.http.InferenceServerClient(daemon.http_address) as client:
        inputs = triton_input(tritonclient.http)
        answer = client.infer("echo", inputs, headers=bearer(keys["echo"]))
        assert answer.as_numpy("y").tolist() == [[1, 2, 3, 4]]
        with pytest.raises(InferenceServerException, match="no API key"):
            client.infer("echo", inputs)
        with pytest.raises(InferenceServerException, match="no scope infer: for model 'other'"):
            client.infer("other", inputs, headers=bearer(keys["echo"]))
        assert client.is_server_ready()


def test_grpc_stream(served):
    daemon, keys = served
    inputs = triton_input(tritonclient.grpc)

    def ask(key: str, model: str):
        results: queue.Queue = queue.Queue()
        with tritonclient.grpc.InferenceServerClient(daemon.grpc_address) as client:
            client.start_stream(lambda result, error: results.put((result, error)), headers={"authorization": f"Bearer {key}"})
            with contextlib.suppress(InferenceServerException):  # the refusal may be quicker
                client.async_stream_infer(model, inputs)
            return results.get(timeout=10)

    result, error = ask(keys["echo"], "echo")
    assert error is None and result.as_numpy("y").tolist() == [[1, 2, 3, 4]]
    result, error = ask(keys["echo"], "other")
    assert result is None and "no scope infer: for model 'other'" in error.message()
    for key in (WRONG, keys["expired"], keys["revoked"]):
        result, error = ask(key, "echo")
        assert result is None and error.status() == "StatusCode.UNAUTHENTICATED"


def test_grpc_health(served, channel):
    keys = served[1]
    health = health_pb2_grpc.HealthStub(channel)

    def check(service: str, key: str):
        metadata = [("authorization", f"Bearer {key}")] if key else []
        try:
            return health.Check(health_pb2.HealthCheckRequest(service=service), metadata=metadata, timeout=10).status
        except grpc.RpcError as error:
            return error.code()

    serving = health_pb2.HealthCheckResponse.SERVING
    assert check("", "") == check("inference.GRPCInferenceService", WRONG) == serving
    assert check("echo", "") == check("nothere", "") == grpc.StatusCode.UNAUTHENTICATED
    assert check("other", keys["echo"]) == grpc.StatusCode.PERMISSION_DENIED
    assert check("echo", keys["echo"]) == serving
    assert check("nothere", keys["models"]) == grpc.StatusCode.NOT_FOUND


# OpenAI's clients


@contextlib.contextmanager
def openai_client(daemon, key: str):
    with openai.OpenAI(base_url=daemon.http_url + "/v1", api_key=key, max_retries=0, timeout=30) as client:
        yield client


def test_openai_package(served):
    daemon, keys = served
    with openai_client(daemon, keys["models"]) as client:
        assert client.models.list().data == []
        # The key is good for every model: that there is none of the name is what is wrong.
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="nothere", messages=CHAT)
        assert missing.value.code == "model_not_found"
    for key in ("none", WRONG, keys["expired"], keys["revoked"]):
        with openai_client(daemon, key) as client:
            for stream in (False, True):
                with pytest.raises(openai.AuthenticationError) as refused:
                    client.chat.completions.create(model="nothere", messages=CHAT, stream=stream)
                assert refused.value.code == "invalid_api_key" and refused.value.type == "authentication_error"
                assert key == "none" or key not in str(refused.value)
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
    with openai_client(daemon, keys["echo"]) as client:
        for ask in (
            lambda: client.chat.completions.create(model="nothere", messages=CHAT),
            lambda: client.chat.completions.create(model="nothere", messages=CHAT, stream=True),
            lambda: client.completions.create(model="nothere", prompt="hi"),
            lambda: client.embeddings.create(model="nothere", input="hi"),
            lambda: client.models.retrieve("nothere"),
        ):
            with pytest.raises(openai.PermissionDeniedError) as denied:
                ask()
            assert denied.value.type == "permission_error" and "nothere" in str(denied.value)


# A server that runs


def test_the_first_key_closes_a_running_server_and_its_end_does_not_open_it(serve):
    daemon = serve()
    assert daemon.json("GET", "/v2/models/echo")["name"] == "echo"
    key = make_key(daemon.folder, "ci", ["infer:echo"])
    eventually(lambda: status_of(daemon, "GET", "/v2/models/echo") == 401)
    assert status_of(daemon, "GET", "/v2/models/echo", key) == 200
    key_verb(daemon.folder, "revoke", "ci")
    took = eventually(lambda: status_of(daemon, "GET", "/v2/models/echo", key) == 401)
    assert took < 4  # promised within two seconds, on a machine that has time for it
    assert status_of(daemon, "GET", "/v2/models/echo") == 401
    assert status_of(daemon, "GET", "/livez") == 200
    # Another key, for a server without any that is in force.
    other = make_key(daemon.folder, "ci", ["infer:echo"])
    eventually(lambda: status_of(daemon, "GET", "/v2/models/echo", other) == 200)
    assert key not in daemon.log() and other not in daemon.log()
    assert "an API key was made" in daemon.log()


def test_an_open_connection_and_an_open_stream_notice_a_revoked_key(serve):
    daemon = serve()
    keeper = make_key(daemon.folder, "keeper", ["infer:*"])
    key = make_key(daemon.folder, "ci", ["infer:*"])
    eventually(lambda: status_of(daemon, "GET", "/v2/models/echo", key) == 200 and status_of(daemon, "GET", "/v2/models/echo") == 401)
    connection = http.client.HTTPConnection(daemon.http_address, timeout=10)

    def status(with_key: str) -> int:
        connection.request("GET", "/v2/models/echo", headers=bearer(with_key))
        answer = connection.getresponse()
        answer.read()
        return answer.status

    results: queue.Queue = queue.Queue()
    with tritonclient.grpc.InferenceServerClient(daemon.grpc_address) as client:
        client.start_stream(lambda result, error: results.put(error), headers={"authorization": f"Bearer {key}"})

        def streamed() -> str:
            client.async_stream_infer("echo", triton_input(tritonclient.grpc))
            error = results.get(timeout=10)
            return error.message() if error else ""

        assert status(key) == 200 and streamed() == ""
        key_verb(daemon.folder, "revoke", "ci")
        eventually(lambda: status(key) == 401)
        assert "revoked" in streamed()
        assert status(keeper) == 200  # the same connection
    connection.close()


def test_administrative_calls_name_the_key_in_the_log(serve):
    daemon = serve(models={"echo.fake": ECHO})
    key = make_key(daemon.folder, "operator", ["manage"])
    eventually(lambda: status_of(daemon, "GET", "/v2/models/echo") == 401)
    assert status_of(daemon, "POST", "/v2/repository/models/echo/load", key, {}) == 200
    assert "load of model 'echo' asked for over HTTP by API key 'operator'" in daemon.log()
    assert key not in daemon.log()


def test_required_without_a_key_lets_nobody_in_and_off_everybody(serve):
    required = serve(flags=["--auth", "required"])
    assert "evenkeel key create" in required.log()
    assert status_of(required, "GET", "/v2/models/echo") == 401
    assert status_of(required, "GET", "/readyz") == 200
    key = make_key(required.folder, "ci", ["infer:echo"])
    eventually(lambda: status_of(required, "GET", "/v2/models/echo", key) == 200)
    folder = required.folder.parent / "off"
    folder.mkdir()
    make_key(folder, "ci", ["infer:echo"])
    off = serve(flags=["--auth", "off"], folder=folder)
    assert status_of(off, "GET", "/v2/models/echo") == 200


@pytest.mark.parametrize("damage", ["damaged", "empty", "writable"])
def test_a_server_does_not_start_on_keys_that_it_cannot_trust(serve, tmp_path, damage):
    folder = tmp_path / "bad"
    folder.mkdir()
    make_key(folder, "ci", ["manage"])
    store = folder / "state" / "api_keys.db"
    if damage == "writable":
        store.chmod(0o666)
    else:
        store.write_bytes(b"" if damage == "empty" else b"SQLite format 3\0" + b"x" * 4000)
    daemon = serve(folder=folder, ready=False)
    assert daemon.process.wait(timeout=30) == 1
    daemon.ended = True
    assert str(store) in daemon.log(), daemon.log()


def test_what_is_damaged_while_it_runs_opens_nothing(serve):
    daemon = serve()
    key = make_key(daemon.folder, "ci", ["infer:echo"])
    eventually(lambda: status_of(daemon, "GET", "/v2/models/echo") == 401)
    (daemon.folder / "state" / "api_keys.db").write_bytes(b"damaged")
    eventually(lambda: "api_keys.db" in daemon.log())
    assert status_of(daemon, "GET", "/v2/models/echo") == 401
    assert status_of(daemon, "GET", "/v2/models/echo", key) == 200


@pytest.mark.parametrize("listener", ["http", "grpc", "metrics"])
@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_beyond_loopback_is_refused_without_tls_and_keys(serve, tmp_path, listener, address):
    folder = tmp_path / "outside"
    folder.mkdir()
    for keys in (False, True):
        if keys:
            make_key(folder, "ci", ["manage"])
        daemon = serve(folder=folder, flags=[f"--{listener}-address", address], ready=False)
        assert daemon.process.wait(timeout=30) == 1
        daemon.ended = True
        assert address in daemon.log() and "--insecure" in daemon.log() and "TLS" in daemon.log()
        assert ("evenkeel key create" in daemon.log()) == (not keys)


def test_insecure_is_a_word_that_opens_an_address_and_keys_still_count(serve, tmp_path):
    folder = tmp_path / "insecure"
    folder.mkdir()
    key = make_key(folder, "ci", ["infer:echo"])
    daemon = serve(folder=folder, flags=["--http-address", "0.0.0.0", "--insecure"])
    daemon.http_url = daemon.http_url.replace("0.0.0.0", "127.0.0.1")
    assert status_of(daemon, "GET", "/v2/models/echo") == 401
    assert status_of(daemon, "GET", "/v2/models/echo", key) == 200
