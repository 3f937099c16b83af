"""Many sequences of one language model at once: nobody sees another's text, every schema is kept, and cancelled ones leave nothing behind."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import random
import socket
import time

import pytest

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", pathlib.Path(__file__).resolve().parents[2] / "build" / "demo-models"))
SMOLLM2 = MODELS / "smollm2"
pytestmark = pytest.mark.skipif(not SMOLLM2.exists(), reason="no language model: make models")


@pytest.fixture
def daemon(serve):
    return serve(models={"smollm2": SMOLLM2})


def complete(daemon, prompt: str, tokens: int, **more) -> dict:
    return daemon.json("POST", "/v1/completions", {"model": "smollm2", "prompt": prompt, "max_tokens": tokens, "temperature": 0, **more})


def model_of(daemon) -> dict:
    return next(one for one in daemon.json("GET", "/v2/evenkeel/models")["models"] if one["name"] == "smollm2")


# Beginnings that are used again


def canary(number: int) -> str:
    return f"{random.Random(number).randint(10_000_000, 99_999_999)}"


def secret_prompt(number: int) -> str:
    # The beginning is everybody's, the secret is one's own, the end is everybody's again.
    return ("This is the protocol of the night watch. Each guard writes down a code at the gate, and reads it out twice at the end of the shift. "
            f"The code of tonight is {canary(number)}. The guard read it out: the code of tonight is")


def test_a_used_beginning_tells_nothing_of_who_used_it(daemon):
    count, rounds = 24, 2
    canaries = [canary(i) for i in range(count)]
    assert len(set(canaries)) == count
    own, cached = 0, 0
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        for _ in range(rounds):
            answers = list(pool.map(lambda i: complete(daemon, secret_prompt(i), 12), range(count)))
            for i, answer in enumerate(answers):
                text = answer["choices"][0]["text"]
                own += canaries[i] in text
                cached += answer["usage"]["prompt_tokens_details"]["cached_tokens"]
                others = [other for j, other in enumerate(canaries) if j != i and other in text]
                assert not others, f"the answer to {canaries[i]} says {others}: {text!r}"
    # The model does repeat what it is told, and beginnings were used again: else this would show nothing.
    assert own > rounds * count / 2, own
    assert cached > rounds * count * 5, cached


# Schemas


class Schemas:
    """Random schemas, each with the check of what it promises."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)

    def draw(self, depth: int = 2):
        """(schema, check): check(value) says whether the value is one of the schema."""
        kinds = ["string", "integer", "boolean", "enum", "null"] + (["object", "array"] * 2 if depth > 0 else [])
        return getattr(self, self.rng.choice(kinds) + "_")(depth)

    def string_(self, _):
        most = self.rng.randint(1, 12)
        return {"type": "string", "maxLength": most}, lambda v: isinstance(v, str) and len(v) <= most

    def integer_(self, _):
        low = self.rng.randint(-20, 20)
        high = low + self.rng.randint(0, 100)
        return {"type": "integer", "minimum": low, "maximum": high}, lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high

    def boolean_(self, _):
        return {"type": "boolean"}, lambda v: isinstance(v, bool)

    def null_(self, _):
        return {"type": "null"}, lambda v: v is None

    def enum_(self, _):
        choices = self.rng.sample(["red", "green", "blue", "a b", "ü", "\"", "1"], self.rng.randint(1, 4))
        return {"enum": choices}, lambda v: v in choices

    def object_(self, depth):
        names = self.rng.sample(["name", "age", "tags", "a b", "ü", "x1", "id"], self.rng.randint(1, 3))
        parts = {name: self.draw(depth - 1) for name in names}
        schema = {"type": "object", "properties": {name: part[0] for name, part in parts.items()}, "required": names, "additionalProperties": False}
        return schema, lambda v: isinstance(v, dict) and set(v) == set(names) and all(check(v[name]) for name, (_, check) in parts.items())

    def array_(self, depth):
        item, check = self.draw(depth - 1)
        low = self.rng.randint(0, 1)
        high = low + self.rng.randint(1, 2)
        return {"type": "array", "items": item, "minItems": low, "maxItems": high}, lambda v: isinstance(v, list) and low <= len(v) <= high and all(map(check, v))


def check_schemas(daemon, numbers) -> None:
    def one(number: int) -> str | None:
        schema, check = Schemas(number).object_(2)
        body = {"model": "smollm2", "messages": [{"role": "user", "content": "Fill in the form."}], "max_tokens": 600, "seed": number,
                "response_format": {"type": "json_schema", "json_schema": {"name": "form", "schema": schema}}}
        choice = daemon.json("POST", "/v1/chat/completions", body)["choices"][0]
        text = choice["message"]["content"]
        try:
            return None if choice["finish_reason"] == "stop" and check(json.loads(text)) else f"{schema}: {choice}"
        except ValueError:
            return f"{schema}: no JSON: {choice}"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        wrong = [found for found in pool.map(one, numbers) if found]
    assert not wrong, "\n".join(wrong[:5])


def test_random_schemas_are_kept(daemon):
    check_schemas(daemon, range(30))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_five_hundred_random_schemas_are_kept(daemon):
    check_schemas(daemon, range(1000, 1500))


# Cancelled ones


def resident_mib(pid: int) -> float:
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1]) / 1024


def play_sequences(daemon, count: int, seed: int) -> tuple[int, int]:
    """`count` streams of random length, half of them left at a random moment; (left, whole)."""
    host, port = daemon.http_address.split(":")

    def one(number: int) -> bool:
        rng = random.Random(seed * 1_000_003 + number)
        tokens = rng.randint(1, 24)
        body = json.dumps({"model": "smollm2", "prompt": f"{rng.random()} and then " * rng.randint(1, 12), "max_tokens": tokens, "stream": True, "seed": number, "ignore_eos": True}).encode()
        leaves = rng.random() < 0.5
        with socket.create_connection((host, int(port)), timeout=120) as stream:
            stream.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)
            if leaves:
                stream.settimeout(rng.random() * 0.3 + 0.001)
                try:
                    while stream.recv(4096):
                        pass
                except TimeoutError:
                    return False
                return True
            got = b""
            while piece := stream.recv(65536):
                got += piece
        if b" 429 " in got[:20] or b" 503 " in got[:20]:
            return True
        assert b"[DONE]" in got, got[-300:]
        return True

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        whole = sum(pool.map(one, range(count)))
    return count - whole, whole


def at_rest(daemon, seconds: float = 20) -> dict:
    """The worker's figures once nothing runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # A step more: a worker that has nothing to do says nothing of itself.
        complete(daemon, "x", 1)
        language = model_of(daemon)["language"]
        if language["running"] == 0 and language["waiting"] == 0:
            return language
        time.sleep(0.1)
    raise AssertionError(f"something still runs: {language}")


def check_nothing_is_left(daemon, count: int, growth_mib: float) -> None:
    play_sequences(daemon, count // 4, seed=1)  # caches and pools fill up
    at_rest(daemon)
    pid = model_of(daemon)["instances"][0]["pid"]
    before = resident_mib(pid)
    left, whole = play_sequences(daemon, count, seed=2)
    assert left > count // 10 and whole > count // 10, (left, whole)
    language = at_rest(daemon)
    assert language["cells_booked"] == language["cells_held"], language
    assert model_of(daemon)["instances"][0]["pid"] == pid, "the worker was restarted"
    assert resident_mib(pid) - before < growth_mib


def test_sequences_that_are_left_leave_nothing(daemon):
    check_nothing_is_left(daemon, 60, growth_mib=16)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_thousand_sequences_with_random_cancels_leave_nothing(daemon):
    check_nothing_is_left(daemon, 2000, growth_mib=16)
