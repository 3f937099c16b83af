#!/usr/bin/env python3
"""What a language model's server is asked by the careless and the hostile: status and message of each, and what it did to others.

  make llm-bad-input
  python tests/conformance/llm_bad_input.py            (needs make build models, and the packages of tools/requirements-tests.txt)

Prints a line for each case (status, expected, message), then: streams that ran beside all of it and how many of them were not whole, restarts
of the worker and of the prompt process, and how long a killed worker takes to be back. The exit code is 0 only if all is as it should be.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from daemon import STOP_SECONDS, Daemon, launch, place_models, wait_for_announcement  # noqa: E402

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", pathlib.Path(__file__).resolve().parents[2] / "build" / "demo-models"))
MODEL = "smollm2"
GGUF = MODELS / MODEL / "model.gguf"
CHAT, COMPLETIONS, EMBEDDINGS, RERANK = "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"
HELLO = [{"role": "user", "content": "Say hello."}]
ALIVE_S = 20.0  # nobody waits longer than this unheard
GOOD, BAD = (200,), (400,)
NO_MODEL = (400, 413, 501)  # a file that lies, has more than is read, or is of another version


def chat(**fields):
    return {"model": MODEL, "messages": HELLO, "max_tokens": 2, **fields}


def raw(text: str) -> bytes:
    """A chat with `text` in the place of more fields."""
    return f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"x"}}],"max_tokens":2,{text}}}'.encode()


def said(content) -> bytes:
    """A chat whose one message has `content`, a JSON text as it is."""
    return b'{"model":"' + MODEL.encode() + b'","max_tokens":2,"messages":[{"role":"user","content":' + content + b"}]}"


def tool(parameters, name="f"):
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def schema(value):
    return {"type": "json_schema", "json_schema": {"name": "s", "schema": value}}


def nested(depth: int) -> bytes:
    """A chat with a schema so deep; as text, since Python's own encoder gives up before."""
    before, after = b'{"type":"object","required":["a"],"properties":{"a":', b"}}"
    return raw('"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":SCHEMA}}').replace(b"SCHEMA", before * depth + b'{"type":"string"}' + after * depth)


def doubling(begin: str, levels: int = 25) -> str:
    """A grammar with 2^levels ways once `begin` is there."""
    rules = [f'r{i} ::= r{i + 1} "x" | r{i + 1} "y"' for i in range(levels)]
    return "\n".join([f"root ::= {begin} r0", *rules, f'r{levels} ::= "z"'])


NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "min_p", "repeat_penalty")
COUNTS = ("max_tokens", "max_completion_tokens", "n", "top_logprobs", "top_k", "seed")
WRONG_TYPES = {"a text": '"x"', "a list": "[]", "an object": "{}", "true": "true"}
FIELDS_OF_KIND = {"stream": ("5", '"x"', "[]"), "logprobs": ("5", '"x"'), "stop": ("5", "{}", "[5]", '["a",null]'), "messages": ("5", '"x"', "{}", "null"),
                  "tools": ("5", '"x"', "{}", "[5]"), "tool_choice": ("5", "[]"), "response_format": ("5", '"x"', "[]"), "logit_bias": ("5", "[1]", '{"a":1}', '{"1":"x"}', '{"1":500}'),
                  "stream_options": ("5", '"x"'), "user": ("5",), "model": ("5", "null", "[]", "{}"), "grammar": ("5", "{}"), "ignore_eos": ("5", '"x"'), "truncation": ("5", '"sometimes"'),
                  "parallel_tool_calls": ("5", '"x"')}


def cases_of_fields():
    for field in NUMBERS + COUNTS:
        for what, text in WRONG_TYPES.items():
            yield f"{field}: {what}", CHAT, raw(f'"{field}":{text}'), BAD
        for text in ("-1e9", "1e99", "NaN", "Infinity", "1e999"):
            yield f"{field}: {text}", CHAT, raw(f'"{field}":{text}'), BAD
    for field in ("max_tokens", "n", "top_logprobs"):
        yield f"{field}: 1.5", CHAT, raw(f'"{field}":1.5'), BAD
    for field, texts in FIELDS_OF_KIND.items():
        for text in texts:
            # The first one of a name would count: these replace it.
            body = json.loads(raw('"unused":0')) | {field: json.loads(text)}
            yield f"{field}: {text}", CHAT, json.dumps(body).encode(), BAD + (404,)
    yield "temperature twice", CHAT, raw('"temperature":1,"temperature":2'), BAD
    yield "max_tokens beyond the context", CHAT, chat(max_tokens=10_000_000), BAD
    yield "a prompt beyond the context", CHAT, chat(messages=[{"role": "user", "content": "word " * 50_000}]), BAD
    yield "the same, truncated when asked", CHAT, chat(messages=[{"role": "user", "content": "word " * 50_000}], truncation="auto"), GOOD
    yield "10,000 stop texts", CHAT, chat(stop=["a"] * 10_000), BAD
    yield "an empty stop text", CHAT, chat(stop=[""]), BAD
    yield "a token id beyond the vocabulary", COMPLETIONS, {"model": MODEL, "prompt": [99_999_999], "max_tokens": 1}, BAD
    yield "a negative token id", COMPLETIONS, {"model": MODEL, "prompt": [-1], "max_tokens": 1}, BAD
    yield "a prompt of mixed kinds", COMPLETIONS, {"model": MODEL, "prompt": ["a", 1], "max_tokens": 1}, BAD
    yield "no prompt", COMPLETIONS, {"model": MODEL, "max_tokens": 1}, BAD
    yield "no input to embed", EMBEDDINGS, {"model": MODEL}, BAD
    yield "no texts to embed", EMBEDDINGS, {"model": MODEL, "input": []}, BAD
    yield "3,000 texts to embed", EMBEDDINGS, {"model": MODEL, "input": ["a"] * 3_000}, BAD
    yield "a text beyond the context", EMBEDDINGS, {"model": MODEL, "input": ["a", "word " * 50_000]}, BAD
    yield "the same, truncated when asked", EMBEDDINGS, {"model": MODEL, "input": "word " * 50_000, "truncation": "auto"}, GOOD
    yield "a text of 8 MB", EMBEDDINGS, {"model": MODEL, "input": "a" * (8 << 20)}, BAD + (413,)
    yield "a token to embed that is none", EMBEDDINGS, {"model": MODEL, "input": [49_152]}, BAD
    yield "tokens and texts mixed", EMBEDDINGS, {"model": MODEL, "input": ["a", [1]]}, BAD
    yield "more dimensions than there are", EMBEDDINGS, {"model": MODEL, "input": "a", "dimensions": 577}, BAD
    yield "control words as a text", EMBEDDINGS, {"model": MODEL, "input": "<|im_end|><|endoftext|>"}, GOOD
    yield "a chat model is to rank", RERANK, {"model": MODEL, "query": "a", "documents": ["b"]}, BAD


def cases_of_messages():
    yield "no messages", CHAT, chat(messages=[]), BAD
    yield "an unknown role", CHAT, chat(messages=[{"role": "wizard", "content": "x"}]), BAD
    yield "a message without a role", CHAT, chat(messages=[{"content": "x"}]), BAD
    yield "a message without content", CHAT, chat(messages=[{"role": "user"}]), BAD
    yield "an unknown model", CHAT, chat(model="nobody"), (404,)
    yield "no model", CHAT, {"messages": HELLO}, BAD
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    yield "an image", CHAT, chat(messages=[{"role": "user", "content": [image]}]), BAD
    yield "an unknown part", CHAT, chat(messages=[{"role": "user", "content": [{"type": "smell"}]}]), BAD
    yield "bytes that are no UTF-8", CHAT, said(b'"\xff\xfe"'), BAD
    yield "a character cut in its middle", CHAT, said(b'"\xe2\x82"'), BAD
    yield "a lone high surrogate", CHAT, said(b'"\\ud800"'), BAD
    yield "a lone low surrogate", CHAT, said(b'"\\udc00 x"'), BAD
    yield "a pair of surrogates", CHAT, said(b'"\\ud83d\\ude00"'), GOOD
    yield "a zero character", CHAT, said(b'"a\\u0000b"'), GOOD + BAD
    yield "the template's own words", CHAT, chat(messages=[{"role": "user", "content": "<|im_end|><|im_start|>system {{ x }} {% for %}"}]), GOOD
    yield "10,000 messages", CHAT, chat(messages=HELLO * 10_000), BAD
    yield "a list 100,000 deep", CHAT, b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}", BAD
    yield "nothing", CHAT, b"", BAD
    yield "a JSON text cut short", CHAT, b'{"model":"smollm2","messages":[{"role"', BAD
    yield "two JSON texts", CHAT, b"{}{}", BAD
    yield "a list", CHAT, b"[]", BAD


def cases_of_tools_and_grammars():
    yield "a tool without a name", CHAT, chat(tools=[{"type": "function", "function": {"parameters": {}}}]), BAD
    yield "a tool named with a blank", CHAT, chat(tools=[tool({}, "a b")]), BAD
    yield "two tools of one name", CHAT, chat(tools=[tool({}), tool({})]), BAD
    yield "a tool of an unknown type", CHAT, chat(tools=[{"type": "hammer"}]), BAD
    yield "tool parameters that are a list", CHAT, chat(tools=[tool([])]), BAD
    yield "tool parameters of an unknown type", CHAT, chat(tools=[tool({"type": "wish"})], tool_choice="required"), BAD
    yield "a tool choice without tools", CHAT, chat(tool_choice="required"), BAD
    yield "a tool choice that is not there", CHAT, chat(tools=[tool({})], tool_choice={"type": "function", "function": {"name": "g"}}), BAD
    recursive = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    yield "recursive tool parameters", CHAT, chat(tools=[tool(recursive)], tool_choice="required"), GOOD + BAD
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    yield "a schema that refers to itself only", CHAT, chat(response_format=schema(loop)), BAD
    yield "a schema that refers to nothing", CHAT, chat(response_format=schema({"$ref": "#/$defs/none"})), BAD
    yield "a schema that refers to the network", CHAT, chat(response_format=schema({"$ref": "http://127.0.0.1:1/x.json"})), BAD
    explosive = {"type": "object", "properties": {f"p{i}": {"type": "string", "minLength": 1000, "maxLength": 30_000} for i in range(60)}}
    yield "explosive tool parameters", CHAT, chat(tools=[tool(explosive)], tool_choice="required"), GOOD + BAD
    yield "a schema 2,000 deep", CHAT, nested(2_000), GOOD + BAD
    yield "a pattern that explodes", CHAT, chat(response_format=schema({"type": "string", "pattern": "^((((a{1,99}){1,99}){1,99}){1,99})$"})), GOOD + BAD
    yield "a pattern that is none", CHAT, chat(response_format=schema({"type": "string", "pattern": "^((("})), BAD
    yield "an unknown response format", CHAT, chat(response_format={"type": "yaml"}), BAD
    yield "a response format without a schema", CHAT, chat(response_format={"type": "json_schema"}), BAD
    yield "a grammar that is none", CHAT, chat(grammar="root ::= ("), BAD
    yield "a grammar without root", CHAT, chat(grammar='a ::= "b"'), BAD
    yield "a grammar that refers to nothing", CHAT, chat(grammar="root ::= nothing"), BAD
    yield "a left-recursive grammar", CHAT, chat(grammar='root ::= root "a"'), BAD
    yield "a grammar of 20,000 nested parentheses", CHAT, chat(grammar="root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000), BAD
    yield "a grammar that repeats a billion times", CHAT, chat(grammar='root ::= "a"{1000000000}'), BAD
    yield "a grammar with 2^25 ways at once", CHAT, chat(grammar=doubling("")), BAD
    # Behind more letters than a token has it is the worker that meets them.
    yield "a grammar with 2^25 ways after 24 letters", CHAT, chat(grammar=doubling('"qzkvjxwpyfhbdgmcqxzjkvwp"'), max_tokens=60), BAD
    deep = "\n".join(f'd{i} ::= d{i + 1} "x"' for i in range(2_000))
    yield "the same below 2,000 rules", CHAT, chat(grammar=doubling('"qzkvjxwpyfhbdgmcqxzjkvwp"').replace(" r0", " d0", 1) + f"\n{deep}\nd2000 ::= r0", max_tokens=60), BAD
    yield "a grammar and tools", CHAT, chat(grammar='root ::= "a"', tools=[tool({})]), BAD
    yield "a grammar and a schema", CHAT, chat(grammar='root ::= "a"', response_format=schema({})), BAD


def cases():
    """(name, path, body, statuses that are right)."""
    yield from cases_of_fields()
    yield from cases_of_messages()
    yield from cases_of_tools_and_grammars()


# Files


def flipped(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]


def key_at(whole: bytes, key: bytes) -> int:
    """Where the value of `key` begins: behind the key and its type."""
    at = whole.index(struct.pack("<Q", len(key)) + key)
    return at + 8 + len(key) + 4


def with_number(whole: bytes, key: bytes, number: int) -> bytes:
    at = key_at(whole, key)
    return whole[:at] + struct.pack("<I", number) + whole[at + 4 :]


def header_bytes(whole: bytes) -> int:
    """How much lies before the tensors' data: all names of tensors stand there."""
    last = max(whole.rfind(name, 0, 8 << 20) for name in (b"output_norm.weight", b"token_embd.weight", b"ffn_down.weight", b"ffn_norm.weight"))
    return last + 64


def files():
    """(name, bytes): all must be refused."""
    whole = GGUF.read_bytes()
    header = header_bytes(whole)
    yield "empty", b""
    yield "no GGUF", b"this is no model\n" * 100
    for cut in range(4096, header + 4096, 4096):
        yield f"cut at {cut}", whole[:cut]
    yield "cut in the data", whole[: len(whole) - 1]
    for at in (0, 4, 8, 15, 16, 23, 24, 31):
        yield f"byte {at} flipped", flipped(whole, at)
    yield "4e9 tensors", whole[:8] + struct.pack("<Q", 4_000_000_000) + whole[16:]
    yield "4e18 keys", whole[:16] + struct.pack("<Q", 4 * 10**18) + whole[24:]
    yield "a key as long as memory", whole[:24] + struct.pack("<Q", 2**63) + whole[32:]
    for number in (0, 4_000_000_000):
        yield f"{number} blocks", with_number(whole, b"llama.block_count", number)
    yield "context of length 0", with_number(whole, b"llama.context_length", 0)
    yield "0 heads", with_number(whole, b"llama.attention.head_count", 0)
    yield "a last token beyond the vocabulary", with_number(whole, b"tokenizer.ggml.eos_token_id", 4_000_000_000)
    at = whole.index(b"llama", key_at(whole, b"general.architecture"))
    yield "a wrong architecture", whole[:at] + b"lamma" + whole[at + 5 :]
    first = whole.rindex(b"token_embd.weight") + len(b"token_embd.weight")
    yield "a tensor of 2^62 numbers", whole[: first + 4] + struct.pack("<Q", 2**62) + whole[first + 12 :]


def templates():
    """(name, bytes): served for texts, and refused for chats with the reason."""
    whole = GGUF.read_bytes()
    name = b"tokenizer.chat_template"
    at = key_at(whole, name)
    size = struct.unpack("<Q", whole[at : at + 8])[0]

    def with_template(text: str) -> bytes:
        assert len(text) <= size, (len(text), size)
        return whole[: at + 8] + text.ljust(size).encode() + whole[at + 8 + size :]

    yield "no template", whole.replace(name, name[:-1] + b"X", 1)
    yield "a template that is none", with_template("{% for %}{{")
    yield "a template that loops", with_template("{% for a in range(99999) %}{% for b in range(99999) %}{% set x = b %}{% endfor %}{% endfor %}")


@contextlib.contextmanager
def loaded(daemon: Daemon, name: str, content: bytes):
    """(status, text) of loading a model; while this lasts, it is served if it can be."""
    folder = daemon.models / name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (folder / "model.gguf").write_bytes(content)
        status, _, text = daemon.request("POST", f"/v2/repository/models/{name}/load")
        yield status, text.decode(errors="replace")
        if status == 200:
            daemon.json("POST", f"/v2/repository/models/{name}/unload")
    finally:
        shutil.rmtree(folder)  # also where the disk had no room for all of it


def load(daemon: Daemon, name: str, content: bytes) -> tuple[int, str]:
    with loaded(daemon, name, content) as told:
        return told


def play_templates(daemon: Daemon, report: "Report") -> None:
    for name, content in templates():
        with loaded(daemon, "odd", content) as (status, text):
            report.add(f"GGUF with {name}", status, GOOD, text)
            if status != 200:
                continue
            status, _, text = daemon.request("POST", COMPLETIONS, {"model": "odd", "prompt": "One, two,", "max_tokens": 2})
            report.add(f"its completion ({name})", status, GOOD, message_of(text) if status != 200 else "(answered)")
            status, _, text = daemon.request("POST", CHAT, chat(model="odd"))
            report.add(f"its chat ({name})", status, BAD, message_of(text))


# Others


class Bystander:
    """A client whose streams run beside everything, one after the other; each must be whole, and end well."""

    TOKENS = 120

    def __init__(self, daemon: Daemon):
        self.daemon, self.whole, self.broken, self.slowest_s = daemon, 0, [], 0.0
        self.crowded, self.refused = False, 0  # while others fill the queue it may be told so, as they are, and asks again
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopped.is_set():
            begin = time.monotonic()
            try:
                self.one()
            except Exception as error:  # whatever it is, the stream was not whole
                self.broken.append(repr(error)[:300])
                time.sleep(0.2)
            self.slowest_s = max(self.slowest_s, time.monotonic() - begin)

    def one(self):
        body = chat(stream=True, temperature=0, max_tokens=self.TOKENS, ignore_eos=True, stream_options={"include_usage": True})
        crowded = self.crowded
        status, _, text = self.daemon.request("POST", CHAT, body)
        if status == 429 and (crowded or self.crowded):
            self.refused += 1
            time.sleep(0.05)
            return
        events = [line.removeprefix("data: ") for line in text.decode().split("\n\n") if line.startswith("data: ")]
        assert status == 200 and events[-1] == "[DONE]", (status, text[-300:])
        chunks = [json.loads(event) for event in events[:-1]]
        assert not any("error" in chunk for chunk in chunks), chunks[-1]
        assert chunks[-1]["usage"]["completion_tokens"] == self.TOKENS, chunks[-1]
        self.whole += 1

    def stop(self):
        self.stopped.set()
        self.thread.join()


def connect(daemon: Daemon, body: dict) -> socket.socket:
    host, port = daemon.http_address.split(":")
    one = socket.create_connection((host, int(port)))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    text = json.dumps(body).encode()
    one.sendall(b"POST " + CHAT.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " + str(len(text)).encode() + b"\r\n\r\n" + text)
    return one


def vanish(daemon: Daemon, count: int = 30) -> float:
    """Clients that leave in the middle of long answers, streamed and not; returns how long a short answer takes afterwards, s."""
    for i in range(count):
        one = connect(daemon, chat(max_tokens=900, ignore_eos=True, stream=i % 2 == 0))
        if i % 3:
            one.recv(1) if i % 2 == 0 else time.sleep(0.02)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
    begin = time.monotonic()
    assert daemon.request("POST", CHAT, chat())[0] == 200
    return time.monotonic() - begin


def crowd(daemon: Daemon, count: int = 200) -> dict:
    """That many at once: what they were answered, and the longest wait of each kind, s."""
    waits: dict[int, list[float]] = {}
    lock = threading.Lock()

    def one(i):
        begin = time.monotonic()
        status = daemon.request("POST", CHAT, chat(seed=i, max_tokens=4))[0]
        with lock:
            waits.setdefault(status, []).append(time.monotonic() - begin)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(one, range(count)))
    return {status: (len(times), max(times)) for status, times in sorted(waits.items())}


def model_of(daemon: Daemon) -> dict:
    return next(one for one in daemon.json("GET", "/v2/evenkeel/models")["models"] if one["name"] == MODEL)


def abort_worker(daemon: Daemon) -> tuple[float, float]:
    """(seconds until a new worker answers, seconds that loading took at first)."""
    begin = time.monotonic()
    daemon.json("POST", f"/v2/repository/models/{MODEL}/load")
    loading = time.monotonic() - begin
    os.kill(model_of(daemon)["instances"][0]["pid"], signal.SIGABRT)
    begin = time.monotonic()
    assert daemon.request("POST", CHAT, chat())[0] == 200
    return time.monotonic() - begin, loading


def abort_beside_streams(daemon: Daemon) -> Bystander:
    """Whose streams ran while the worker was aborted."""
    beside = Bystander(daemon)
    try:
        end = time.monotonic() + 60
        while model_of(daemon)["language"]["running"] == 0 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(model_of(daemon)["instances"][0]["pid"], signal.SIGABRT)
        assert daemon.request("POST", CHAT, chat())[0] == 200
    finally:
        beside.stop()
    return beside


class Report:
    def __init__(self, show=print):
        self.wrong, self.count, self.show = [], 0, show

    def add(self, name: str, got: int, expected: tuple, message: str):
        self.count += 1
        right = got in expected
        message = " ".join(message.split())[:150]
        self.show(f"{'ok ' if right else 'BAD'} {got} ({'/'.join(map(str, expected))}) {name}: {message}")
        if not right:
            self.wrong.append(f"{name}: {got}, expected {expected}: {message}")

    def check(self, holds: bool, text: str):
        self.count += 1
        self.show(f"{'ok ' if holds else 'BAD'} {text}")
        if not holds:
            self.wrong.append(text)


def message_of(text: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return json.loads(text)["error"]["message"]
    return text.decode(errors="replace")


def place(models: pathlib.Path) -> None:
    """The model, with a context that is soon full."""
    place_models(models, {MODEL: MODELS / MODEL})
    (models / MODEL / "evenkeel.yaml").write_text("language: {context: 1024}\n")


def play(daemon: Daemon, report: Report) -> None:
    """Everything, beside a client that only wants its streams."""
    bystander = Bystander(daemon)
    before = model_of(daemon)
    begin = time.monotonic()
    assert daemon.request("POST", CHAT, chat())[0] == 200
    short = time.monotonic() - begin  # that this machine takes for a short answer beside the bystander's
    try:
        for name, path, body, expected in cases():
            begin = time.monotonic()
            status, _, text = daemon.request("POST", path, body, {"Content-Type": "application/json"})
            report.add(name, status, expected, message_of(text) if status != 200 else "(answered)")
            if time.monotonic() - begin > max(ALIVE_S, 60 * short):
                report.check(False, f"{name}: an answer after {time.monotonic() - begin:.0f} s")
        refused = 0
        for name, content in files():
            status, text = load(daemon, "hostile", content)
            if name.startswith("cut at") and status == 400:
                refused += 1  # hundreds of them: one line
            else:
                report.add(f"GGUF {name}", status, NO_MODEL, text)
        play_templates(daemon, report)
        report.check(refused > 100, f"GGUF cut at each of {refused} places of its header: all 400")
        took = vanish(daemon)
        report.check(took < max(5, 10 * short), f"after 30 clients that vanished a short answer takes {took:.2f} s")
        sleepers = [connect(daemon, chat(max_tokens=900, ignore_eos=True, stream=True)) for _ in range(4)]
        for one in sleepers:
            one.recv(1)  # no more this minute
        begin = time.monotonic()
        bystander.crowded = True
        waits = crowd(daemon)
        bystander.crowded = False
        report.check(set(waits) <= {200, 429, 503} and 200 in waits and sum(n for n, _ in waits.values()) == 200,
                     "200 at once, beside 4 clients that read a byte a minute: " + ", ".join(f"{status}: {n}, the last after {s:.1f} s" for status, (n, s) in waits.items()))
        most = max(ALIVE_S, 60 * short)
        report.check(time.monotonic() - begin < most, f"none of them waited {most:.0f} s unheard")
        while model_of(daemon)["language"]["running"] > 1 and time.monotonic() - begin < 3 * most:
            time.sleep(0.1)
        running = model_of(daemon)["language"]["running"]
        report.check(running <= 1, f"those 4 have no place in the steps any more after {time.monotonic() - begin:.1f} s: {running} run, the bystander's among them")
        for one in sleepers:
            one.close()
    finally:
        bystander.stop()
    after = model_of(daemon)
    report.check(after["instances"][0]["restarts"] == before["instances"][0]["restarts"] and after["instances"][0]["pid"] == before["instances"][0]["pid"],
                 f"the worker was restarted {after['instances'][0]['restarts']} times")
    report.show(f"    the prompt process was restarted {after['language']['prompt_process'].get('restarts', 0)} times")
    report.check(not bystander.broken and bystander.whole > 0,
                 f"{bystander.whole} streams ran beside it ({bystander.refused} times it was told of the crowd and asked again), {len(bystander.broken)} were not whole {bystander.broken[:2]}, "
                 f"the slowest took {bystander.slowest_s:.1f} s")
    back, loading = abort_worker(daemon)
    report.check(back < loading + 1, f"after an abort of the worker the next answer came in {back:.2f} s (loading: {loading:.2f} s)")
    beside = abort_beside_streams(daemon)
    report.check(not beside.broken and beside.whole > 0, f"{beside.whole} streams ran across it, {len(beside.broken)} were not whole {beside.broken[:2]}")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="evenkeel-") as name:
        folder = pathlib.Path(name)
        (folder / "models").mkdir()
        place(folder / "models")
        daemon = launch(folder, folder / "log", [])
        try:
            wait_for_announcement(daemon)
            report = Report()
            play(daemon, report)
            code = daemon.stop()
            report.check(code == 0, f"the server ended with {code}")
        finally:
            if daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait(timeout=STOP_SECONDS)
    print(f"{report.count} cases, {len(report.wrong)} not as they should be")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
