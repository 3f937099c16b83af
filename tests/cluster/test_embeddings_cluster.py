"""Vectors and scores in a cluster: a node without the model has them made by one that has it."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

import tiny_gguf
from daemon import BINARY
from nodes import Nodes

WORKER = BINARY.parent / "libexec" / "evenkeel" / "evenkeel-worker-llamacpp"
pytestmark = pytest.mark.skipif(not WORKER.exists(), reason="no worker for language models was built")

EMBED = tiny_gguf.gguf(tiny_gguf.weights(seed=1), "mean")
RANK = tiny_gguf.gguf(tiny_gguf.weights(seed=2, head=True), "rank")
BOTH = {"embed/model.gguf": EMBED, "rank/model.gguf": RANK}
# Texts of one batch and of another may differ by that (conformance/test_embeddings.py).
CLOSE = 2e-3


TEXTS = ["w1 w2 w3", "w9 w8", "w4 w5 w6 w7"]


def embed(daemon, **more):
    return daemon.request("POST", "/v1/embeddings", {"model": "embed", "input": TEXTS, **more})


def vectors(daemon) -> list[list[float]]:
    status, _, body = embed(daemon)
    assert status == 200, body
    return vectors_in(body)


def vectors_in(body: bytes) -> list[list[float]]:
    answer = json.loads(body)
    assert [one["index"] for one in answer["data"]] == list(range(len(TEXTS)))
    assert answer["usage"]["prompt_tokens"] > 0
    return [one["embedding"] for one in answer["data"]]


def scores(daemon) -> dict[int, float]:
    answer = daemon.json("POST", "/v1/rerank", {"model": "rank", "query": TEXTS[0], "documents": TEXTS})
    assert len(answer["results"]) == len(TEXTS)
    return {one["index"]: one["relevance_score"] for one in answer["results"]}


def close(one, other) -> bool:
    return all(abs(a - b) < CLOSE for row, same in zip(one, other, strict=True) for a, b in zip(row, same, strict=True))


def test_a_node_without_the_models_answers_as_the_one_that_has_them(serve):
    nodes = Nodes(serve, {"a": {}, "b": BOTH})
    for model in ("embed", "rank"):
        nodes.wait_for("a", model, "b")
    before = nodes.view("a")["b"]["sent"]
    there, here = vectors(nodes["a"]), vectors(nodes["b"])
    assert close(there, here)
    far, near = scores(nodes["a"]), scores(nodes["b"])
    assert far.keys() == near.keys() and all(abs(far[i] - near[i]) < CLOSE for i in far)
    assert nodes.view("a")["b"]["sent"] == before + 2
    # Token ids travel, too, and base64 is made by the gateway.
    status, _, body = nodes["a"].request("POST", "/v1/embeddings", {"model": "embed", "input": [[1, 2, 3], [4]], "encoding_format": "base64"})
    assert status == 200 and all(isinstance(one["embedding"], str) for one in json.loads(body)["data"])


def test_what_is_wrong_is_said_as_the_node_that_has_the_model_says_it(serve):
    nodes = Nodes(serve, {"a": {}, "b": BOTH})
    for model in ("embed", "rank"):
        nodes.wait_for("a", model, "b")
    for path, body in (("/v1/embeddings", {"model": "embed", "input": "word " * 20_000}),
                       ("/v1/embeddings", {"model": "embed", "input": [[10**8]]}),
                       ("/v1/rerank", {"model": "embed", "query": "a", "documents": ["b"]}),
                       ("/v1/embeddings", {"model": "nobody", "input": "a"})):
        far, near = (nodes[name].request("POST", path, body) for name in "ab")
        assert far[0] == near[0] >= 400, (path, far[2], near[2])
        assert json.loads(far[2]) == json.loads(near[2])


def test_a_node_that_is_lost_costs_no_answer(serve):
    nodes = Nodes(serve, {"a": {}, "b": BOTH, "c": BOTH})
    nodes.wait_for("a", "embed", "b", "c")
    ended: list[tuple[int, bytes]] = []
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            status, _, body = embed(nodes["a"])
            ended.append((status, body))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        # Of two that are alike and have time, one may get all calls: that one is lost.
        nodes.wait(lambda: len(ended) > 20, "calls are answered")
        sent = nodes.view("a")
        lost, stays = ("b", "c") if sent["b"]["sent"] > sent["c"]["sent"] else ("c", "b")
        before = len(ended)
        os.kill(nodes[lost].pid, signal.SIGKILL)
        nodes[lost].process.wait()
        nodes[lost].ended = True
        nodes.wait(lambda: len(ended) > before + 20, "calls go on")
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
    assert {status for status, _ in ended} == {200}, [body for status, body in ended if status != 200][:3]
    right = vectors(nodes[stays])
    assert all(close(vectors_in(body), right) for _, body in ended)


def test_without_a_node_that_has_the_model_it_says_so(serve):
    nodes = Nodes(serve, {"a": {}, "b": BOTH})
    nodes.wait_for("a", "embed", "b")
    nodes["b"].stop()
    nodes["b"].ended = True
    status, headers, body = embed(nodes["a"])
    assert status == 503 and "Retry-After" in headers, (status, body)
