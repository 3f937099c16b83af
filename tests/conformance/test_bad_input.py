"""Bad requests over HTTP and gRPC: the right status, a message that says what was expected and what came, and nothing lost.

Files and settings that are bad: test_bad_files.py. Rows that break an engine: ../integration/test_faults.py.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import struct
import time

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from demo import check, draw, engine_cache, folder_of, oracle, serving  # noqa: F401

INFER = "/v2/models/digits/infer"
ZEROS = [0.0] * 64


@pytest.fixture(scope="module")
def pair(tmp_path_factory, engine_cache):
    """digits and textcnn, and limits that a test can reach."""
    models = {**folder_of("digits"), **folder_of("textcnn")}
    flags = [*engine_cache, "--max-body", "1MiB", "--request-timeout", "1s"]
    with serving(tmp_path_factory.mktemp("bad"), models, flags) as daemon:
        yield daemon


@pytest.fixture
def daemon(pair):
    """`pair`; what a test leaves behind must be a server that answers good requests as before."""
    yield pair
    for model in ("digits", "textcnn"):
        (name, value), = draw(model, 2).items()
        kind = "FP32" if model == "digits" else "INT64"
        answer = pair.infer(model, [{"name": name, "datatype": kind, "shape": list(value.shape), "data": value.tolist()}])
        check(np.array(answer["outputs"][0]["data"], np.float32).reshape(2, 10), oracle(model, {name: value}))


def x(**changes):
    """One input of digits with some fields changed; None removes a field."""
    fields = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": ZEROS, **changes}
    return {key: value for key, value in fields.items() if value is not None}


def body(*inputs, **fields) -> bytes:
    return json.dumps({"inputs": list(inputs), **fields}).encode()


GOOD = body(x())


def raw(daemon, data: bytes, end: bool = False, timeout: float = 20):
    """(status, headers, body text) of the answer to these very bytes; `end`: then the client says it will send no more."""
    host, port = daemon.http_address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer may come before all is sent
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def head(daemon, length: int, *more: str, path: str = INFER, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {daemon.http_address}", f"Content-Length: {length}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


def expect(answer, status: int, *words: str) -> None:
    got, text = answer[0], answer[-1]
    text = text.decode() if isinstance(text, bytes) else text
    assert got == status, (got, text)
    message = json.loads(text)["error"]
    for word in words:
        assert word in message, message
    assert len(message) < 1000 and "Traceback" not in message


# JSON


@pytest.mark.parametrize(
    "text, words",
    [
        (GOOD[:-9], ["JSON"]),
        (GOOD[: len(GOOD) // 2], ["JSON"]),
        (b"", ["digits", "no JSON"]),
        (b"   ", ["digits", "no JSON"]),
        (b"[]", ["expected a JSON object"]),
        (b"null", ["expected a JSON object"]),
        (GOOD + b"x", ["JSON"]),
        (GOOD + GOOD, ["JSON"]),
        (b"\xef\xbb\xbf" * 2 + GOOD, ["JSON"]),
        (b'{"id": "\xff", "inputs": []}', ["JSON"]),
        (b'{"id": "\\ud800", "inputs": []}', ["JSON"]),
        (GOOD.replace(b"0.0", b"NaN", 1), ["JSON"]),
        (GOOD.replace(b"0.0", b"1e999", 1), []),
        (GOOD.replace(b"0.0", b"1e39", 1), ["digits", "'x'", "1e+39", "FP32"]),
        (GOOD.replace(b'"shape"', b'"shape": [1, 64], "shape"', 1), ["shape", "twice"]),
        (GOOD.replace(b'{"inputs"', b'{"inputs": [], "inputs"', 1), ["inputs", "twice"]),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ["nested deeper"]),
        (b'{"inputs":[' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"]}", ["nested deeper"]),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
def test_malformed_json(daemon, text, words):
    expect(daemon.request("POST", INFER, text), 400, *words)


@pytest.mark.parametrize(
    "document, words",
    [
        ({}, ["digits", "inputs"]),
        ({"inputs": None}, ["inputs"]),
        ({"inputs": []}, ["digits", "'x'", "missing", "FP32 [-1,64]"]),
        ({"inputs": [3]}, ["input", "object"]),
        ({"inputs": [x(), x()]}, ["digits", "'x'", "twice"]),
        ({"inputs": [x(name="zz")]}, ["digits", "'zz'"]),
        ({"inputs": [x(name=None)]}, ["digits", "name"]),
        ({"inputs": [x(name=7)]}, ["digits", "name", "string"]),
        ({"inputs": [x(datatype="FP64")]}, ["digits", "'x'", "FP32 [-1,64]", "FP64 [1,64]"]),
        ({"inputs": [x(datatype="INT64", data=[1] * 64)]}, ["digits", "'x'", "FP32 [-1,64]", "INT64 [1,64]"]),
        ({"inputs": [x(datatype="FLOAT")]}, ["digits", "'x'", "FLOAT"]),
        ({"inputs": [x(datatype=None)]}, ["digits", "'x'", "datatype"]),
        ({"inputs": [x(shape=[1, 63], data=[0.0] * 63)]}, ["digits", "'x'", "FP32 [-1,64]", "FP32 [1,63]"]),
        ({"inputs": [x(shape=[64])]}, ["digits", "'x'", "FP32 [-1,64]", "FP32 [64]"]),
        ({"inputs": [x(shape=[1, 1, 64])]}, ["digits", "'x'", "FP32 [-1,64]", "FP32 [1,1,64]"]),
        ({"inputs": [x(shape=[0, 64], data=[])]}, ["digits", "'x'", "at least one row", "[0,64]"]),
        ({"inputs": [x(shape=[1, 64], data=[0.0] * 63)]}, ["digits", "'x'", "64", "63"]),
        ({"inputs": [x(shape=[1, 64], data=[0.0] * 65)]}, ["digits", "'x'", "64", "65"]),
        ({"inputs": [x(shape=[-1, 64])]}, ["digits", "'x'", "shape", "-1"]),
        ({"inputs": [x(shape=[1.5, 64])]}, ["digits", "'x'", "shape"]),
        ({"inputs": [x(shape=None)]}, ["digits", "'x'", "shape"]),
        ({"inputs": [x(shape=[1] * 100)]}, ["digits", "'x'", "shape"]),
        ({"inputs": [x(shape=[2**32, 2**32])]}, ["digits", "'x'", "too large"]),
        ({"inputs": [x(shape=[2**62, 2, 2])]}, ["digits", "'x'", "too large"]),
        ({"inputs": [x(shape=[2**63, 64])]}, ["digits", "'x'", "shape"]),
        ({"inputs": [x(shape=[2**61, 4])]}, ["digits", "'x'"]),
        ({"inputs": [x(shape=[2**50, 64])]}, ["digits", "'x'"]),
        ({"inputs": [x(data=None)]}, ["digits", "'x'", "data"]),
        ({"inputs": [x(data="0" * 64)]}, ["digits", "'x'", "data"]),
        ({"inputs": [x(data=["a"] * 64)]}, ["digits", "'x'", "FP32", "a string"]),
        ({"inputs": [x(data=[None] * 64)]}, ["digits", "'x'", "FP32", "null"]),
        ({"inputs": [x(data=[[0.0] * 32, [0.0] * 31])]}, ["digits", "'x'"]),
        ({"inputs": [x(parameters={"binary_data_size": 256})]}, ["digits", "'x'", "both"]),
        ({"inputs": [x(data=None, parameters={"binary_data_size": 256})]}, ["digits", "'x'", "256", "0 bytes"]),
        ({"inputs": [x(data=None, parameters={"binary_data_size": -1})]}, ["digits", "'x'", "binary_data_size"]),
        ({"inputs": [x(data=None, parameters={"binary_data_size": 2**64 - 1})]}, ["digits", "'x'", "binary_data_size"]),
        ({"inputs": [x()], "outputs": [{"name": "zz"}]}, ["digits", "'zz'"]),
        ({"inputs": [x()], "outputs": [{"name": "y"}, {"name": "y"}]}, ["digits", "'y'", "twice"]),
        ({"inputs": [x()], "outputs": [{"name": "y", "parameters": {"classification": -1}}]}, ["digits", "'y'", "classification"]),
        ({"inputs": [x()], "id": 5}, ["id", "string"]),
        ({"inputs": [x()], "parameters": {"priority": 99}}, ["priority", "16", "99"]),
        ({"inputs": [x()], "parameters": {"timeout": "soon"}}, ["timeout"]),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_requests_that_do_not_fit_the_model(daemon, document, words):
    expect(daemon.request("POST", INFER, document), 400, *words)


@pytest.mark.parametrize("bad", [-20_001, 20_000, 999_999, 2**31, 2**32 + 5, 2**63 - 1, -(2**63)])
def test_ids_out_of_range(daemon, bad):
    """An engine would answer with zeros, or with another row's embedding where it cuts the number to 32 bits."""
    data = [1] * 64
    data[40] = bad
    ids = {"name": "ids", "datatype": "INT64", "shape": [1, 64], "data": data}
    answer = daemon.request("POST", "/v2/models/textcnn/infer", {"inputs": [ids]})
    expect(answer, 400, "textcnn", "'ids'", "[-20000, 19999]", str(bad))


def test_ids_that_count_from_the_end(daemon):
    """ONNX's Gather takes them: they are answered, and rightly."""
    ids = np.arange(-64, 0).reshape(1, 64)
    ids[0, :2] = -20_000, 19_999
    answer = daemon.infer("textcnn", [{"name": "ids", "datatype": "INT64", "shape": [1, 64], "data": ids.ravel().tolist()}])
    check(np.array(answer["outputs"][0]["data"], np.float32).reshape(1, 10), oracle("textcnn", {"ids": ids}))


def test_integers_that_do_not_fit_or_are_none(daemon):
    for bad in (2**63, 1.5, "7", True):
        ids = {"name": "ids", "datatype": "INT64", "shape": [1, 64], "data": [bad] + [1] * 63}
        expect(daemon.request("POST", "/v2/models/textcnn/infer", {"inputs": [ids]}), 400, "textcnn", "'ids'", "INT64")


# Binary


def binary(daemon, tensor: bytes, size: int | None = None, json_size: int | None = None, **changes):
    fields = x(data=None, parameters={"binary_data_size": len(tensor) if size is None else size}, **changes)
    text = body(fields)
    return daemon.request("POST", INFER, text + tensor, {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(text) if json_size is None else json_size)})


def test_a_good_binary_request_is_answered(daemon):
    assert binary(daemon, bytes(256))[0] == 200


@pytest.mark.parametrize("size", [0, 1, 248, 255, 257, 512])
def test_binary_tensors_of_another_size(daemon, size):
    expect(binary(daemon, bytes(size)), 400, "digits", "'x'", "256", str(size))


def test_binary_data_size_that_lies(daemon):
    expect(binary(daemon, bytes(256), size=255), 400, "digits", "'x'", "256", "255")
    expect(binary(daemon, bytes(256), size=257), 400, "digits", "'x'", "257", "256")
    expect(binary(daemon, bytes(260), size=256), 400, "digits", "4 bytes")


@pytest.mark.parametrize("json_size", ["0", "1", "5", "100000", "18446744073709551615", "18446744073709551616", "-1", "many", ""])
def test_a_header_length_that_lies(daemon, json_size):
    text = body(x(data=None, parameters={"binary_data_size": 256}))
    answer = daemon.request("POST", INFER, text + bytes(256), {"Inference-Header-Content-Length": json_size})
    expect(answer, 400)


def test_a_raw_binary_request_that_does_not_fit(daemon):
    """Inference-Header-Content-Length 0: the body is the only input's data, and the batch is one row."""
    raw = {"Inference-Header-Content-Length": "0"}
    assert daemon.request("POST", INFER, bytes(256), raw)[0] == 200
    for size in (0, 255, 257, 512):
        expect(daemon.request("POST", INFER, bytes(size), raw), 400, "digits", "'x'", "FP32 [1,64] takes 256", str(size))


def test_a_header_length_too_long_by_some_tensor_bytes(daemon):
    text = body(x(data=None, parameters={"binary_data_size": 256}))
    expect(binary(daemon, bytes(256), json_size=len(text) + 8), 400, "JSON")
    expect(binary(daemon, bytes(256), json_size=len(text) - 1), 400, "JSON")
    expect(binary(daemon, bytes(256), json_size=len(text) + 257), 400, "Inference-Header-Content-Length", str(len(text) + 256))


def test_binary_shapes_past_2_to_the_63(daemon):
    for shape in ([2**63 - 1, 64], [2**32, 2**32], [2**61, 1], [2**58, 64]):
        expect(binary(daemon, bytes(256), shape=shape), 400, "digits", "'x'")


def test_bytes_elements_whose_lengths_lie(serve):
    server = serve(models={"words.fake": "inputs: [{name: w, dtype: BYTES, shape: [-1, 1]}]\n"
                                         "outputs: [{name: y, dtype: BYTES, shape: [-1, 1], function: echo}]\n"})
    for tensor in (b"", b"\x05", b"\x05\0\0\0ab", b"\xff\xff\xff\xffab", b"\1\0\0\0a\1"):
        fields = {"name": "w", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(tensor)}}
        text = body(fields)
        answer = server.request("POST", "/v2/models/words/infer", text + tensor,
                                {"Inference-Header-Content-Length": str(len(text))})
        expect(answer, 400, "words", "'w'")
    assert server.infer("words", [{"name": "w", "datatype": "BYTES", "shape": [1, 1], "data": ["hello"]}])["outputs"][0]["data"] == ["hello"]


def test_not_a_number_in_and_out(server):
    """Binary NaN is a number like others; as JSON it cannot be written, so null and a warning."""
    tensor = struct.pack("<4f", float("nan"), float("inf"), float("-inf"), 1.5)
    fields = {"name": "x", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}}
    for binary_data in (False, True):
        text = body(fields, outputs=[{"name": "y", "parameters": {"binary_data": binary_data}}])
        status, headers, answer = server.request(
            "POST", "/v2/models/echo/infer", text + tensor, {"Inference-Header-Content-Length": str(len(text))})
        assert status == 200
        if binary_data:
            assert answer.endswith(tensor) and "X-Evenkeel-Warning" not in headers
        else:
            assert json.loads(answer)["outputs"][0]["data"] == [None, None, None, 1.5]
            assert "y" in headers["X-Evenkeel-Warning"]


# Where to, and how


def test_unknown_model_version_and_path(daemon):
    expect(daemon.request("POST", "/v2/models/nope/infer", GOOD), 404, "nope")
    expect(daemon.request("POST", "/v2/models/digits/versions/7/infer", GOOD), 404, "digits", "7")
    for version in ("seven", "-1", "0", "99999999999999999999"):
        expect(daemon.request("POST", f"/v2/models/digits/versions/{version}/infer", GOOD), 400, "digits", version)
    for path in ("/v2/models/digits/inferr", "/v2/modells", "/v3", "/v2/models/%2e%2e%2fdigits/infer", "/v2/models/..%2Fx/infer"):
        status = daemon.request("POST", path, GOOD)[0]
        assert status in (400, 404), (path, status)
    expect(daemon.request("POST", "/v2/repository/models/nope/load", b""), 404, "nope")
    expect(daemon.request("POST", "/v2/repository/models/..%2f..%2fetc/load", b""), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "BREW"])
def test_wrong_method(daemon, method):
    status, headers, text = raw(daemon, head(daemon, len(GOOD), method=method) + GOOD)
    expect((status, text), 405, method, "POST")
    assert headers["Allow"] == "POST"
    expect(daemon.request("POST", "/v2/models/digits", GOOD), 405, "POST", "GET")


@pytest.mark.parametrize("kind", ["text/html", "image/png", "multipart/form-data", "application/x-protobuf", "nonsense"])
def test_wrong_content_type(daemon, kind):
    expect(daemon.request("POST", INFER, GOOD, {"Content-Type": kind}), 415, kind, "application/json")


def test_wrong_content_encoding(daemon):
    expect(daemon.request("POST", INFER, GOOD, {"Content-Encoding": "br"}), 415, "gzip")
    expect(daemon.request("POST", INFER, GOOD, {"Content-Encoding": "gzip"}), 400)
    packed = gzip.compress(GOOD)
    expect(daemon.request("POST", INFER, packed[:-9], {"Content-Encoding": "gzip"}), 400)
    expect(daemon.request("POST", INFER, packed + b"more", {"Content-Encoding": "gzip"}), 400)
    assert daemon.request("POST", INFER, packed, {"Content-Encoding": "gzip"})[0] == 200


def test_oversized_bodies(daemon):
    limit = 1 << 20
    expect(raw(daemon, head(daemon, limit + 1)), 413, str(limit))  # refused by its announcement
    expect(raw(daemon, head(daemon, 2**63)), 413)
    expect(raw(daemon, head(daemon, limit + 1) + b" " * 4096), 413)
    chunked = (f"POST {INFER} HTTP/1.1\r\nHost: {daemon.http_address}\r\nTransfer-Encoding: chunked\r\n\r\n").encode()
    expect(raw(daemon, chunked + b"40000\r\n" + b" " * 0x40000 + b"\r\n" + b"f0000\r\n" + b" " * 0xF0000 + b"\r\n"), 413)
    bomb = gzip.compress(b" " * (50 << 20))
    expect(daemon.request("POST", INFER, bomb, {"Content-Encoding": "gzip"}), 413)


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "5, 6", "", "99999999999999999999999"])
def test_malformed_content_length(daemon, length):
    data = f"POST {INFER} HTTP/1.1\r\nHost: {daemon.http_address}\r\nContent-Length: {length}\r\n\r\n".encode()
    assert raw(daemon, data, end=True)[0] in (400, 413)


def test_length_and_chunks_together_are_refused(daemon):
    """Two ideas of where a request ends are how requests are smuggled past proxies."""
    for more in ("Transfer-Encoding: chunked", "Content-Length: 7"):
        expect(raw(daemon, head(daemon, 5, more) + b"0\r\n\r\n"), 400)


@pytest.mark.parametrize(
    "data",
    [b"\0" * 64, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
     b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
     b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n"],
    ids=range(8),
)
def test_bytes_that_are_no_request(daemon, data):
    assert raw(daemon, data, end=True)[0] in (400, 505)


def test_a_hundred_thousand_headers(daemon):
    lines = "".join(f"X-{i}: {i}\r\n" for i in range(100_000))
    begin = time.monotonic()
    expect(raw(daemon, f"POST {INFER} HTTP/1.1\r\nHost: {daemon.http_address}\r\n{lines}\r\n".encode()), 431, "16384")
    few = "".join(f"X-{i}: {i}\r\n" for i in range(200))
    expect(raw(daemon, f"GET /v2 HTTP/1.1\r\nHost: {daemon.http_address}\r\n{few}\r\n".encode()), 431, "100")
    expect(raw(daemon, f"GET /v2 HTTP/1.1\r\nHost: {daemon.http_address}\r\nA: {'a' * 100_000}\r\n\r\n".encode()), 431)
    expect(raw(daemon, f"GET /{'a' * 100_000} HTTP/1.1\r\nHost: {daemon.http_address}\r\n\r\n".encode()), 431)
    assert time.monotonic() - begin < 5


def test_foreign_host_and_origin(daemon):
    data = f"POST {INFER} HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
    expect(raw(daemon, data), 403, "evil.example")
    expect(daemon.request("POST", INFER, GOOD, {"Origin": "http://evil.example"}), 403)


# Slow and half-closed connections


def test_slow_head_and_slow_body(daemon):
    expect(raw(daemon, head(daemon, len(GOOD))[:-10]), 408, "did not arrive within 1 s", "head")
    expect(raw(daemon, head(daemon, len(GOOD)) + GOOD[:10]), 408, "did not arrive within 1 s", "10 bytes of its body")


def test_one_byte_at_a_time_is_not_refused_within_the_limit(daemon):
    host, port = daemon.http_address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as connection:
        for byte in head(daemon, len(GOOD)) + GOOD:
            connection.sendall(bytes([byte]))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 200


def test_slow_clients_do_not_hold_up_others(daemon):
    host, port = daemon.http_address.rsplit(":", 1)
    slow = [socket.create_connection((host, int(port)), 10) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(head(daemon, len(GOOD))[:40])
        begin = time.monotonic()
        for _ in range(20):
            assert daemon.request("POST", INFER, GOOD)[0] == 200
        assert time.monotonic() - begin < 2
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("kept", [10, -1])
def test_end_of_stream_inside_a_request_is_400(daemon, kept):
    expect(raw(daemon, (head(daemon, len(GOOD)) + GOOD)[:kept], end=True), 400, "ended")
    expect(raw(daemon, head(daemon, len(GOOD)) + GOOD[: len(GOOD) // 2], end=True), 400, "ended")


def test_end_of_stream_after_a_request_cancels_it(serve):
    server = serve(models={"slow.fake": "delay_us: {fixed: 1500000}\n"})
    host, port = server.http_address.rsplit(":", 1)
    text = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}).encode()
    busy, waiting = (socket.create_connection((host, int(port)), 10) for _ in range(2))
    stats = lambda: server.json("GET", "/v2/models/slow/stats")["model_stats"][0]  # noqa: E731
    before = stats()["execution_count"]
    for connection in (busy, waiting):
        connection.sendall(head(server, len(text), path="/v2/models/slow/infer") + text)
        time.sleep(0.4)
    waiting.shutdown(socket.SHUT_WR)
    answer = http.client.HTTPResponse(busy)
    answer.begin()
    assert answer.status == 200
    time.sleep(2)  # longer than what was cancelled would have run
    assert stats()["execution_count"] - before == 1, "what nobody waits for was computed"
    assert stats()["inference_stats"]["cancel"]["count"] == 1
    busy.close()
    waiting.close()


def test_resets_in_the_middle_of_everything(daemon):
    host, port = daemon.http_address.rsplit(":", 1)
    data = head(daemon, len(GOOD)) + GOOD
    for cut in range(1, len(data), 7):
        connection = socket.create_connection((host, int(port)), 10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() resets
        connection.sendall(data[:cut])
        connection.close()


def test_pipelined_requests_keep_their_order_past_bad_ones(daemon):
    host, port = daemon.http_address.rsplit(":", 1)
    bad = body(x(shape=[1, 63]))
    with socket.create_connection((host, int(port)), 10) as connection:
        data = b""
        for i in range(10):
            one = GOOD if i % 3 else bad
            data += head(daemon, len(one), f"X-Request-Id: {i}") + one
        connection.sendall(data)
        file = connection.makefile("rb")
        for i in range(10):
            status = int(file.readline().split()[1])
            fields = {}
            while (line := file.readline().strip()):
                key, value = line.decode().split(": ", 1)
                fields[key.lower()] = value
            file.read(int(fields["content-length"]))
            assert status == (200 if i % 3 else 400)
            assert fields["x-request-id"] == str(i)


# gRPC


@pytest.fixture
def stub(daemon):
    with grpc.insecure_channel(daemon.grpc_address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def grpc_request(model="digits", name="x", datatype="FP32", shape=(1, 64), contents=bytes(256), version=""):
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name=name, datatype=datatype, shape=shape)
    if contents is not None:
        request.raw_input_contents.append(contents)
    return request


def ids_with(bad):
    return np.array([[bad] + [1] * 63], np.int64).tobytes()


@pytest.mark.parametrize(
    "change, code, words",
    [
        ({"model": "nope"}, "NOT_FOUND", ["nope"]),
        ({"version": "7"}, "NOT_FOUND", ["digits", "7"]),
        ({"version": "seven"}, "INVALID_ARGUMENT", ["digits", "seven"]),
        ({"name": "zz"}, "INVALID_ARGUMENT", ["digits", "'zz'"]),
        ({"datatype": "FP64"}, "INVALID_ARGUMENT", ["digits", "'x'", "FP32", "FP64"]),
        ({"datatype": "FLOAT"}, "INVALID_ARGUMENT", ["digits", "'x'", "FLOAT"]),
        ({"shape": (1, 63)}, "INVALID_ARGUMENT", ["digits", "'x'", "63"]),
        ({"shape": (1, 63), "contents": bytes(252)}, "INVALID_ARGUMENT", ["digits", "'x'", "FP32 [-1,64]", "FP32 [1,63]"]),
        ({"shape": (64,)}, "INVALID_ARGUMENT", ["digits", "'x'", "FP32 [-1,64]", "FP32 [64]"]),
        ({"shape": (-1, 64)}, "INVALID_ARGUMENT", ["digits", "'x'", "-1"]),
        ({"shape": (2**62, 64)}, "INVALID_ARGUMENT", ["digits", "'x'"]),
        ({"shape": (2**61, 1)}, "INVALID_ARGUMENT", ["digits", "'x'"]),
        ({"shape": (0, 64), "contents": b""}, "INVALID_ARGUMENT", ["digits", "'x'", "at least one row"]),
        ({"shape": (1,) * 50}, "INVALID_ARGUMENT", ["digits", "'x'"]),
        ({"contents": bytes(255)}, "INVALID_ARGUMENT", ["digits", "'x'", "256", "255"]),
        ({"contents": None}, "INVALID_ARGUMENT", ["digits", "'x'"]),
        ({"contents": bytes(2 << 20)}, "RESOURCE_EXHAUSTED", []),
        ({"model": "textcnn", "name": "ids", "datatype": "INT64", "contents": ids_with(20_000)}, "INVALID_ARGUMENT",
         ["textcnn", "'ids'", "[-20000, 19999]", "20000"]),
        ({"model": "textcnn", "name": "ids", "datatype": "INT64", "contents": ids_with(-(2**40))}, "INVALID_ARGUMENT",
         ["textcnn", "'ids'", "[-20000, 19999]", str(-(2**40))]),
    ],
    ids=lambda value: "",
)
def test_bad_grpc_requests(stub, change, code, words):
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(grpc_request(**change), timeout=20)
    assert caught.value.code().name == code, caught.value.details()
    for word in words:
        assert word in caught.value.details()


def test_grpc_tensors_missing_twice_and_left_over(stub):
    twice = grpc_request()
    twice.inputs.add(name="x", datatype="FP32", shape=(1, 64))
    twice.raw_input_contents.append(bytes(256))
    more = grpc_request()
    more.raw_input_contents.append(bytes(256))
    both = grpc_request()
    both.inputs[0].contents.fp32_contents.extend([0.0] * 64)
    short = grpc_request(contents=None)
    short.inputs[0].contents.fp32_contents.extend([0.0] * 63)
    wrong_kind = grpc_request(contents=None)
    wrong_kind.inputs[0].contents.int64_contents.extend([0] * 64)
    output = grpc_request()
    output.outputs.add(name="zz")
    for request, words in (
        (service_pb2.ModelInferRequest(model_name="digits"), ["'x'", "missing"]), (twice, ["'x'", "twice"]), (more, ["2", "1"]),
        (both, []), (short, ["'x'", "256", "252"]), (wrong_kind, ["'x'"]), (output, ["'zz'"]),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, timeout=20)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, caught.value.details()
        for word in ["digits", *words]:
            assert word in caught.value.details()


def test_bytes_that_are_no_protobuf_and_unknown_methods(daemon):
    with grpc.insecure_channel(daemon.grpc_address) as channel:
        for data in (b"\xff" * 30, b"\x0a\xff\xff\xff\xff\x0f", b"\x2a\x7f"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(data, timeout=20)
            assert caught.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"", timeout=20)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_no_grpc_at_all_on_the_grpc_port(daemon):
    host, port = daemon.grpc_address.rsplit(":", 1)
    for data in (b"\0" * 4096, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 4096):
        with socket.create_connection((host, int(port)), 10) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
                connection.settimeout(0.3)
                connection.recv(4096)


# Bad beside good


def test_no_good_request_fails_beside_bad_ones(daemon):
    """150 good requests among ids out of range, wrong shapes and broken JSON, all at once."""
    import concurrent.futures

    inputs = draw("textcnn", 15, seed=9)
    expected = oracle("textcnn", inputs)

    def send(data):
        return daemon.request("POST", "/v2/models/textcnn/infer", data)

    def ids(values, shape=(1, 64)):
        return body({"name": "ids", "datatype": "INT64", "shape": list(shape), "data": values})

    bad = [ids([999_999] * 64), ids([1] * 63, (1, 63)), ids([1] * 64)[:-5], b""]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        calls = []
        for turn in range(10):
            for i in range(15):
                calls.append((expected[i], pool.submit(send, ids(inputs["ids"][i].tolist()))))
                if i % 4 == turn % 4:
                    calls.append((None, pool.submit(send, bad[turn % 4])))
        for right, call in calls:
            status, _, text = call.result()
            if right is None:
                assert status == 400
            else:
                assert status == 200, text
                check(np.array(json.loads(text)["outputs"][0]["data"], np.float32), right)
