"""Answers of language models in a cluster: any node answers, and an answer outlives the node that was making it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import threading
import time
import urllib.request

import pytest

from nodes import Nodes

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", pathlib.Path(__file__).resolve().parents[2] / "build" / "demo-models"))
SMOLLM2 = MODELS / "smollm2"
pytestmark = pytest.mark.skipif(not SMOLLM2.exists(), reason="no language model: make models")
# What comes next in a count is in no doubt: a story's words part where sums are added up otherwise, by more threads or in one go.
PROMPT = "Count in steps of one: " + " ".join(f"{number}," for number in range(1, 31))
# Long enough that computing it again takes longer than sending what is computed of it.
LONG_COUNT = "Chapter 1. Count in steps of one: " + " ".join(f"{number}," for number in range(1, 101))
STORY = " ".join(f"On day {day} the keeper climbed the {day * 7 % 90 + 10} steps, wrote down the wind, and lit the lamp." for day in range(1, 13)) + " Then"


def stream(daemon, path: str, body: dict, on_piece=lambda text: None) -> tuple[list[dict], bool]:
    """The events of a streamed answer, and whether it ended as it should. `on_piece` hears of each as it comes."""
    call = urllib.request.Request(daemon.http_url + path, json.dumps({**body, "stream": True}).encode(),
                                  {"Content-Type": "application/json"})
    events, whole = [], False
    with urllib.request.urlopen(call, timeout=60) as answer:
        for line in answer:
            text = line.decode().strip()
            if text == "data: [DONE]":
                whole = True
            elif text.startswith("data: "):
                events.append(json.loads(text[6:]))
                on_piece(events)
    return events, whole


def text_of(events: list[dict]) -> str:
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for event in events for choice in event.get("choices", []))


def completion(tokens: int) -> dict:
    return {"model": "smollm2", "prompt": PROMPT, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}


def chat(tokens: int) -> dict:
    return {"model": "smollm2", "messages": [{"role": "user", "content": "Tell me a long story about a lighthouse."}], "max_tokens": tokens,
            "temperature": 0}


def goes_on(events: list[dict], undisturbed: list[dict], told: int, counts: bool = False) -> bool:
    """What was told before the disturbance stays, and the rest is an answer of the same length. The words may part later: the new node computes what
    was said before in one go, which adds up in another order than token by token (docs/benchmarks.md, parity). An answer that counts is the same throughout."""
    text, before = text_of(events), text_of(events[:told])
    if counts:
        return bool(before) and text == text_of(undisturbed)
    return text_of(undisturbed).startswith(before) and len(text) > 1.5 * len(before)


def kill(nodes: Nodes, name: str) -> None:
    os.kill(nodes[name].pid, signal.SIGKILL)
    nodes[name].process.wait()
    nodes[name].ended = True


def test_a_node_without_the_model_streams_what_another_one_makes(serve):
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}})
    nodes.wait_for("a", "smollm2", "b")
    assert "smollm2" in [model["id"] for model in nodes["a"].json("GET", "/v1/models")["data"]]
    for path, body in (("/v1/completions", completion(24)), ("/v1/chat/completions", chat(24))):
        stream(nodes["b"], path, body)  # both of the others have the prompt from the cache then, and add up in the same order
        here, whole = stream(nodes["a"], path, body)
        there, _ = stream(nodes["b"], path, body)
        assert whole and text_of(here) and text_of(here) == text_of(there)
    answer = nodes["a"].json("POST", "/v1/completions", completion(8))
    assert answer["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize("path, body", [("/v1/completions", completion(160)), ("/v1/chat/completions", chat(160))])
def test_an_answer_goes_on_when_its_node_is_lost(serve, path, body):
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}, "c": {"smollm2": SMOLLM2}})
    nodes.wait_for("a", "smollm2", "b", "c")
    undisturbed, whole = stream(nodes["c"], path, body)
    assert whole
    killed = []

    def on_piece(events: list[dict]) -> None:
        if not killed and len(events) == 20:
            busy = max("bc", key=lambda name: nodes.view("a")[name]["outstanding"])
            killed.append(busy)
            kill(nodes, busy)

    events, whole = stream(nodes["a"], path, body, on_piece)
    assert killed and whole
    assert goes_on(events, undisturbed, 20, counts=path == "/v1/completions")
    finishes = [choice["finish_reason"] for event in events for choice in event.get("choices", []) if choice.get("finish_reason")]
    assert len(finishes) == 1


def test_of_several_choices_each_goes_on(serve):
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}, "c": {"smollm2": SMOLLM2}})
    nodes.wait_for("a", "smollm2", "b", "c")
    body = {**completion(80), "n": 2}
    undisturbed = [choice["text"] for choice in nodes["c"].json("POST", "/v1/completions", body)["choices"]]
    result = {}
    thread = threading.Thread(target=lambda: result.update(answer=nodes["a"].request("POST", "/v1/completions", body)))
    thread.start()
    nodes.wait(lambda: any(nodes.view("a")[name]["outstanding"] for name in "bc"), "the call is under way")
    time.sleep(0.5)
    kill(nodes, max("bc", key=lambda name: nodes.view("a")[name]["outstanding"]))
    thread.join(60)
    status, _, text = result["answer"]
    answer = json.loads(text)
    assert status == 200, answer
    assert len(answer["choices"]) == 2 and all(choice["finish_reason"] == "length" for choice in answer["choices"])
    assert answer["usage"]["completion_tokens"] == 160
    assert [choice["text"] for choice in answer["choices"]] == undisturbed


def test_a_client_that_leaves_ends_its_answer_on_the_other_node(serve):
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}})
    nodes.wait_for("a", "smollm2", "b")
    call = urllib.request.Request(nodes["a"].http_url + "/v1/completions", json.dumps({**completion(2000), "stream": True}).encode(),
                                  {"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=60) as answer:
        assert answer.readline()
    nodes.wait(lambda: nodes.view("a")["b"]["outstanding"] == 0, "the call ended")

    def open_there() -> int:
        return next(model for model in nodes["b"].json("GET", "/v2/evenkeel/models")["models"] if model["name"] == "smollm2")["language"]["open_calls"]

    nodes.wait(lambda: open_there() == 0, "b is rid of the call")


def test_no_node_is_left(serve):
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}})
    nodes.wait_for("a", "smollm2", "b")
    kill(nodes, "b")
    status, _, text = nodes["a"].request("POST", "/v1/completions", completion(8))
    assert status == 503 and "error" in json.loads(text), text


@pytest.mark.parametrize("path, body", [("/v1/completions", completion(200)), ("/v1/chat/completions", chat(200))])
def test_an_answer_moves_when_its_node_is_drained(serve, cli, path, body):
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}, "c": {"smollm2": SMOLLM2}})
    nodes.wait_for("a", "smollm2", "b", "c")
    undisturbed, whole = stream(nodes["c"], path, body)
    assert whole
    drained, times = [], []

    def on_piece(events: list[dict]) -> None:
        times.append(time.monotonic())
        if not drained and len(events) == 20:
            busy = max("bc", key=lambda name: nodes.view("a")[name]["outstanding"])
            result = cli("node", "drain", busy, server=nodes["a"])
            assert result.returncode == 0, result.stderr
            drained.append((busy, len(events)))

    events, whole = stream(nodes["a"], path, body, on_piece)
    assert drained and whole
    assert goes_on(events, undisturbed, 20, counts=path == "/v1/completions")
    busy, _ = drained[0]
    other = next(name for name in "bc" if name != busy)
    views = nodes.view("a")
    assert views[busy]["state"] == "cordoned" and views[other]["sent"] >= 2, views  # the warm-up, and the answer itself
    assert cli("node", "uncordon", busy, server=nodes["a"]).returncode == 0
    nodes.wait(lambda: nodes.view("a")[busy]["state"] == "alive", "it gets work again")


def language(daemon) -> dict:
    """What the server says of its language model."""
    return next(model for model in daemon.json("GET", "/v2/evenkeel/models")["models"] if model["name"] == "smollm2")


def states(daemon) -> dict[str, float]:
    """Its counters of states, by outcome, and "models", "bytes"."""
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    found = dict(re.findall(r'^evenkeel_sequence_states_total\{outcome="(\w+)"\} (\S+)$', text, re.M))
    found["models"] = re.search(r"^evenkeel_sequence_state_models (\S+)$", text, re.M)[1]
    found["bytes"] = re.search(r"^evenkeel_sequence_state_bytes_total (\S+)$", text, re.M)[1]
    return {key: float(value) for key, value in found.items()}


def measure(nodes: Nodes) -> None:
    """Until b and c know how long prompts take them, how fast the link between them is, and what their models' files are."""
    # Calls go where they are expected to be answered first: to both, if there are enough of them.
    end = time.monotonic() + 60
    while not all(language(nodes[name])["choice"]["prompt_token_ms"] > 0 for name in "bc"):
        assert time.monotonic() < end, [language(nodes[name])["choice"] for name in "bc"]
        for name in "bc":
            nodes[name].json("POST", "/v1/completions", {**completion(4), "prompt": f"{time.monotonic()}: {STORY}"})
    nodes.wait(lambda: all(states(nodes[name])["models"] == 1 for name in "bc"), "both know what their states are of", 60)
    nodes.wait(lambda: all(nodes.view(name)[other]["link_bytes_s"] > 0 for name, other in ("bc", "cb")), "the link between them is measured", 60)


def drained_while_it_answers(nodes: Nodes, cli, body: dict) -> tuple[list[dict], str, dict]:
    """A streamed answer by way of a, whose node is drained at the twentieth piece: its events, that node, and what the other one said of itself just before."""
    drained = []

    def on_piece(events: list[dict]) -> None:
        if not drained and len(events) == 20:
            busy = max("bc", key=lambda name: nodes.view("a")[name]["outstanding"])
            drained.append((busy, language(nodes["c" if busy == "b" else "b"])["language"]))
            result = cli("node", "drain", busy, server=nodes["a"])
            assert result.returncode == 0, result.stderr

    events, whole = stream(nodes["a"], "/v1/completions", body, on_piece)
    assert drained and whole
    finishes = [choice["finish_reason"] for event in events for choice in event.get("choices", []) if choice.get("finish_reason")]
    assert finishes == ["length"]
    return events, *drained[0]


def test_a_moved_answer_takes_along_what_is_computed_of_it(serve, cli):
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}, "c": {"smollm2": SMOLLM2}})
    nodes.wait_for("a", "smollm2", "b", "c")
    measure(nodes)
    # Asked of the node that makes it alone, and of a prompt that no cache has yet: as the moved one is.
    body = {**completion(300), "prompt": LONG_COUNT}
    events, busy, before = drained_while_it_answers(nodes, cli, body)
    other = "c" if busy == "b" else "b"
    assert states(nodes[busy])["given"] == 1, states(nodes[busy])
    taken = states(nodes[other])
    assert taken["taken"] == 1 and taken["computed"] == taken["failed"] == 0, taken
    assert taken["bytes"] > 1_000_000, taken
    # The other node computed what was said while the state was on its way, and nothing of the prompt.
    after = language(nodes[other])["language"]
    prompt = nodes[busy].json("POST", "/v1/completions", {**body, "max_tokens": 1})["usage"]["prompt_tokens"]
    assert prompt > 200
    assert after["prompt_tokens"] - before["prompt_tokens"] < prompt / 2, (before, after, prompt)
    assert after["answer_tokens"] - before["answer_tokens"] > 100, "the rest was not made there"
    assert cli("node", "uncordon", busy, server=nodes["a"]).returncode == 0
    nodes.wait(lambda: nodes.view("a")[busy]["state"] == "alive", "it gets work again")
    undisturbed, whole = stream(nodes["a"], "/v1/completions", body)
    assert whole and goes_on(events, undisturbed, 20, counts=True)
    assert "came from" in " ".join(event["what"] for event in nodes[other].json("GET", "/v2/evenkeel/models")["cluster"]["events"])


def test_a_node_that_ends_gives_what_is_computed_of_its_answers(serve):
    """Its model is being unloaded when another node asks for the state."""
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}, "c": {"smollm2": SMOLLM2}})
    nodes.wait_for("a", "smollm2", "b", "c")
    measure(nodes)
    ended = []

    def on_piece(events: list[dict]) -> None:
        if not ended and len(events) == 20:
            ended.append(max("bc", key=lambda name: nodes.view("a")[name]["outstanding"]))
            nodes[ended[0]].process.send_signal(signal.SIGTERM)

    events, whole = stream(nodes["a"], "/v1/completions", {**completion(300), "prompt": LONG_COUNT}, on_piece)
    assert ended and whole
    assert [choice["finish_reason"] for event in events for choice in event.get("choices", []) if choice.get("finish_reason")] == ["length"]
    taken = states(nodes["c" if ended[0] == "b" else "b"])
    assert taken["taken"] == 1 and taken["computed"] == taken["failed"] == 0, taken
    assert nodes[ended[0]].process.wait(timeout=30) == 0
    nodes[ended[0]].ended = True
    undisturbed, whole = stream(nodes["a"], "/v1/completions", {**completion(300), "prompt": LONG_COUNT})
    assert whole and goes_on(events, undisturbed, 20, counts=True)


def test_an_answer_moves_by_its_tokens_where_its_state_does_not_fit(serve, cli):
    """c has another context: what is computed there is not believed to be what b would have computed."""
    small = {"smollm2/model.gguf": SMOLLM2 / "model.gguf", "smollm2/evenkeel.yaml": "language: {context: 1024}\n"}
    nodes = Nodes(serve, {"a": {}, "b": {"smollm2": SMOLLM2}, "c": small})
    nodes.wait_for("a", "smollm2", "b", "c")
    measure(nodes)
    body = {**completion(300), "prompt": LONG_COUNT}
    events, busy, before = drained_while_it_answers(nodes, cli, body)
    other = "c" if busy == "b" else "b"
    assert states(nodes[busy])["given"] == 0
    taken = states(nodes[other])
    assert taken["failed"] == 1 and taken["taken"] == 0, taken
    after = language(nodes[other])["language"]
    assert after["prompt_tokens"] - before["prompt_tokens"] > 200, "it was computed there"
    assert cli("node", "uncordon", busy, server=nodes["a"]).returncode == 0
    nodes.wait(lambda: nodes.view("a")[busy]["state"] == "alive", "it gets work again")
    undisturbed, whole = stream(nodes["a"], "/v1/completions", body)
    assert whole and goes_on(events, undisturbed, 20, counts=True)


def test_a_node_that_is_not_there_cannot_be_drained(serve, cli):
    nodes = Nodes(serve, {"a": {}, "b": {}})
    for verb, node, words in (("drain", "z", "'z'"), ("cordon", "z", "'z'")):
        result = cli("node", verb, node, server=nodes["a"])
        assert result.returncode == 1 and words in result.stderr, result.stderr
    status, _, body = nodes["a"].request("POST", "/v2/evenkeel/cluster/nodes/a/explode", b"")
    assert status == 404 and b"explode" in body
