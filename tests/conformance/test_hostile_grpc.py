"""Bytes on the gRPC port that no client library would send: every one ends in an error of that call or connection, and others are served.

Frames are written by hand (RFC 9113, RFC 7541 without compression). Bad messages in good frames: test_bad_input.py.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct

import grpc
import pytest

DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_STREAM, END_HEADERS = 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
METHOD = "/inference.GRPCInferenceService/ModelInfer"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack(">I", len(payload) if length is None else length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def field(name: str, value: str) -> bytes:
    return b"".join([b"\x00", bytes([len(name)]), name.encode(), bytes([len(value)]), value.encode()])


def head(**more: str) -> bytes:
    fields = {":method": "POST", ":scheme": "http", ":path": METHOD, ":authority": "localhost",
              "content-type": "application/grpc", "te": "trailers", **{k.replace("_", "-"): v for k, v in more.items()}}
    return b"".join(field(name, value) for name, value in fields.items())


def message(data: bytes, flag: int = 0, length: int | None = None) -> bytes:
    return struct.pack(">BI", flag, len(data) if length is None else length) + data


def call(stream: int, data: bytes, **more: str) -> bytes:
    return frame(HEADERS, END_HEADERS, stream, head(**more)) + frame(DATA, END_STREAM, stream, data)


OPEN = PREFACE + frame(SETTINGS, 0, 0)
HOSTILE = {
    "nothing but the preface": PREFACE,
    "not HTTP/2": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "zeros": bytes(10_000),
    "settings of a wrong size": PREFACE + frame(SETTINGS, 0, 0, b"12345"),
    "data before a head": OPEN + frame(DATA, END_STREAM, 1, message(b"")),
    "an even stream": OPEN + call(2, message(b"")),
    "stream 0": OPEN + frame(HEADERS, END_HEADERS | END_STREAM, 0, head()),
    "a stream again": OPEN + call(3, message(b"")) + call(1, message(b"")),
    "a frame of 16 MiB": OPEN + frame(DATA, 0, 1, b"x" * 1000, length=(1 << 24) - 1),
    "a continuation of nothing": OPEN + frame(CONTINUATION, END_HEADERS, 1, head()),
    "heads without an end": OPEN + frame(HEADERS, 0, 1, head()) + frame(CONTINUATION, 0, 1, field("a", "b" * 100)) * 2000,
    "a broken head": OPEN + frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff" * 50),
    "an index far out of the table": OPEN + frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\x0f"),
    "a window past its limit": OPEN + frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "a ping of a wrong size": OPEN + frame(PING, 0, 0, b"1"),
    "a thousand pings": OPEN + frame(PING, 0, 0, bytes(8)) * 1000,
    "streams that are reset at once": OPEN + b"".join(
        frame(HEADERS, END_HEADERS, 2 * i + 1, head()) + frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", 8)) for i in range(2000)),
    "a message that ends early": OPEN + call(1, message(b"abc", length=1000)),
    "a message of 4 GiB": OPEN + call(1, message(b"abc", length=0xFFFFFFFF)),
    "two messages in a unary call": OPEN + call(1, message(b"") * 2),
    "half a length": OPEN + call(1, b"\x00\x00"),
    "an unknown flag": OPEN + call(1, message(b"abc", flag=0x7E)),
    "compressed without saying how": OPEN + call(1, message(gzip.compress(b"abc"), flag=1)),
    "compressed in an unknown way": OPEN + call(1, message(b"abc", flag=1), grpc_encoding="br"),
    "broken compression": OPEN + call(1, message(b"\x1f\x8bgarbage", flag=1), grpc_encoding="gzip"),
    "a cut compression": OPEN + call(1, message(gzip.compress(bytes(10_000))[:20], flag=1), grpc_encoding="gzip"),
    "a timeout that is none": OPEN + call(1, message(b""), grpc_timeout="99999999999S"),
    "another content type": OPEN + frame(HEADERS, END_HEADERS | END_STREAM, 1, head(content_type="text/html")),
}


def exchange(address: str, data: bytes) -> bytes:
    """What comes back until the server closes, or is silent for a moment after our half-close."""
    host, port = address.split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=2) as client, contextlib.suppress(OSError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while part := client.recv(65536):
            answer += part
    return answer


def alive(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
        return ask(b"", timeout=10) == b"\x08\x01"


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    from demo import serving

    echo = "inputs: [{name: x, dtype: FP32, shape: [-1, 4]}]\noutputs: [{name: y, dtype: FP32, shape: [-1, 4], function: echo}]\n"
    with serving(tmp_path_factory.mktemp("hostile"), {"echo.fake": echo}, []) as daemon:
        yield daemon


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bytes_cost_their_own_connection_at_most(one, data):
    answer = exchange(one.grpc_address, data)
    assert b"grpc-status\x010" not in answer
    assert alive(one.grpc_address)


def test_connections_cut_in_the_middle_of_anything(one):
    data = OPEN + call(1, message(gzip.compress(bytes(1000)), flag=1), grpc_encoding="gzip")
    for end in range(0, len(data), 7):
        host, port = one.grpc_address.split(":")
        with socket.create_connection((host, int(port)), timeout=2) as client:
            client.sendall(data[:end])
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert alive(one.grpc_address)
