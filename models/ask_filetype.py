#!/usr/bin/env python3
"""Asks a server's file-type model what a file is. Needs nothing but Python's standard library.

    models/ask_filetype.py README.md
    models/ask_filetype.py --server http://127.0.0.1:8000 --json build/evenkeel

The model sees 2,048 numbers: the first and the last 1,024 bytes of the file, white space at its ends left out, 256 where
there is no byte. make_from_wheels.py checks that the model agrees with the figures below.
"""

import argparse
import http.client
import json
import os
import string
import struct
import sys
import time
import urllib.parse

END_BYTES = 1024  # taken from each end of the file
BLOCK_BYTES = 4096  # looked at, at each end, to find them
NO_BYTE = 256
LEAST_BYTES = 8  # with fewer, the model has nothing to go by
WHITE_SPACE = string.whitespace.encode()
TENSOR = {"name": "bytes", "datatype": "INT32", "shape": [1, 2 * END_BYTES]}


class AskError(Exception):
    """What went wrong, in words for the user."""


def features(file):
    """The model's 2,048 numbers for a file open for reading bytes; None if it is too short to be told apart."""
    size = file.seek(0, os.SEEK_END)
    block = min(size, BLOCK_BYTES)
    file.seek(0)
    head = file.read(block).lstrip(WHITE_SPACE)[:END_BYTES]
    file.seek(size - block)
    tail = file.read(block).rstrip(WHITE_SPACE)[-END_BYTES:]
    if len(head) < LEAST_BYTES:
        return None
    return [*head, *[NO_BYTE] * (END_BYTES - len(head)), *[NO_BYTE] * (END_BYTES - len(tail)), *tail]


def request_body(numbers, best, as_json):
    """(headers, body) of an inference request that asks for the `best` likeliest labels."""
    outputs = [{"name": "target_label", "parameters": {"classification": best, "binary_data": False}}]
    if as_json:
        body = json.dumps({"inputs": [{**TENSOR, "data": numbers}], "outputs": outputs}).encode()
        return {"Content-Type": "application/json"}, body
    raw = struct.pack(f"<{len(numbers)}i", *numbers)
    head = json.dumps(
        {"inputs": [{**TENSOR, "parameters": {"binary_data_size": len(raw)}}], "outputs": outputs}
    ).encode()
    return {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }, head + raw


def read_answer(body):
    """[(label, score)], best first, from the server's answer: strings "score:index:label"."""
    try:
        output = next(o for o in json.loads(body)["outputs"] if o["name"] == "target_label")
        answer = []
        for entry in output["data"]:
            score, index, *label = entry.split(":", 2)
            answer.append((label[0] if label else f"class {index}", float(score)))
        return answer
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise AskError(f"the server's answer is not understood ({error!r}): {body[:200]!r}") from error


class Client:
    """One connection to a server."""

    def __init__(self, url, timeout=30):
        parts = urllib.parse.urlsplit(url if "//" in url else "//" + url)
        if parts.scheme not in ("", "http") or not parts.hostname:
            raise AskError(f"expected a server as in http://127.0.0.1:8000, got '{url}'")
        self.place = f"{parts.hostname}:{parts.port or 8000}"
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port or 8000, timeout=timeout)

    def call(self, method, path, body=None, headers=None):
        """(status, headers, body)"""
        try:
            self.connection.request(method, path, body, headers or {})
            response = self.connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise AskError(f"no answer from {self.place}: {error}") from error

    def wait_ready(self, seconds):
        """Returns once the model can be asked."""
        end = time.monotonic() + seconds
        while True:
            try:
                status, _, body = self.call("GET", "/v2/models/filetype/ready")
                if status == 200:
                    return
                reason = f"status {status} {body[:200].decode(errors='replace')}"
            except AskError as error:
                reason = str(error)
            if time.monotonic() > end:
                raise AskError(f"the model 'filetype' is not ready after {seconds:g} s: {reason}")
            time.sleep(0.02)

    def ask(self, numbers, best, as_json):
        """(answer, milliseconds, Server-Timing)"""
        headers, body = request_body(numbers, best, as_json)
        self.connection.connect()  # not part of the time that is shown
        start = time.perf_counter()
        status, answer_headers, answer = self.call("POST", "/v2/models/filetype/infer", body, headers)
        milliseconds = (time.perf_counter() - start) * 1e3
        if status != 200:
            raise AskError(f"the server refused: {status} {answer[:500].decode(errors='replace')}")
        return read_answer(answer), milliseconds, answer_headers.get("Server-Timing")


def main():
    parser = argparse.ArgumentParser(description="Asks a server's file-type model what a file is.")
    parser.add_argument("file")
    parser.add_argument("--server", default="http://127.0.0.1:8000", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="send the numbers as JSON, not as binary data")
    parser.add_argument("--best", type=int, default=3, help="how many labels to show (default: %(default)s)")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="first wait until the model is ready")
    options = parser.parse_args()
    try:
        with open(options.file, "rb") as file:
            numbers = features(file)
        if numbers is None:
            raise AskError(f"{options.file}: fewer than {LEAST_BYTES} bytes to go by")
        client = Client(options.server)
        if options.wait is not None:
            client.wait_ready(options.wait)
        answer, milliseconds, timing = client.ask(numbers, options.best, options.json)
    except (AskError, OSError) as error:
        print(f"ask_filetype: {error}", file=sys.stderr)
        return 1
    print(f"{options.file}: {answer[0][0]} ({answer[0][1]:.1%})")
    for label, score in answer[1:]:
        print(f"  or {label} ({score:.1%})")
    print(f"client  {milliseconds:.2f} ms")
    print(f"server  {timing or '(no Server-Timing header)'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
