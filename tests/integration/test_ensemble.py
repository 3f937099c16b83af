"""Ensembles: a graph of calls to other models, as Triton's ensemble_scheduling describes it."""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from nodes import Nodes  # noqa: E402

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", pathlib.Path(__file__).resolve().parents[2] / "build" / "demo-models"))
ECHO4 = "inputs: [{name: a, dtype: FP32, shape: [-1, 4]}]\noutputs: [{name: b, dtype: FP32, shape: [-1, 4], function: echo}]\n"
SUM = "inputs: [{name: a, dtype: FP32, shape: [-1, 4]}]\noutputs: [{name: s, dtype: FP32, shape: [-1, 1], function: row_sum}]\n"
SLOW = ECHO4 + "delay_us: {fixed: 300000}\n"
BROKEN = ECHO4 + "error_on: 13\n"


def step(model: str, inputs: dict, outputs: dict, version: int = -1) -> str:
    maps = "".join(f'input_map {{ key: "{k}" value: "{v}" }} ' for k, v in inputs.items())
    maps += "".join(f'output_map {{ key: "{k}" value: "{v}" }} ' for k, v in outputs.items())
    return f'{{ model_name: "{model}" model_version: {version} {maps}}}'


def ensemble(*steps: str, outputs: dict[str, int]) -> str:
    listed = ", ".join(f'{{ name: "{name}" data_type: TYPE_FP32 dims: [{size}] }}' for name, size in outputs.items())
    return (f'platform: "ensemble" max_batch_size: 8 input [{{ name: "x" data_type: TYPE_FP32 dims: [4] }}] output [{listed}] '
            f'ensemble_scheduling {{ step [{", ".join(steps)}] }}')


def folder(text: str) -> dict[str, str]:
    return {"e/config.pbtxt": text, "e/1/.keep": ""}


DIAMOND = ensemble(step("left", {"a": "x"}, {"b": "l"}), step("right", {"a": "x"}, {"b": "r"}),
                   step("sum", {"a": "l"}, {"s": "total"}), step("last", {"a": "r"}, {"b": "y"}), outputs={"total": 1, "y": 4})
PARTS = {"left.fake": ECHO4, "right.fake": ECHO4, "sum.fake": SUM, "last.fake": ECHO4}


def rows(*values: list[float]) -> dict:
    return {"inputs": [{"name": "x", "shape": [len(values), 4], "datatype": "FP32", "data": [v for row in values for v in row]}]}


def outputs_of(answer: dict) -> dict[str, list[float]]:
    return {output["name"]: output["data"] for output in answer["outputs"]}


def test_steps_run_one_after_the_other_and_side_by_side(serve):
    server = serve(models={**PARTS, **folder(DIAMOND)})
    answer = server.json("POST", "/v2/models/e/infer", rows([1, 2, 3, 4], [5, 6, 7, 8]))
    assert outputs_of(answer) == {"total": [10.0, 26.0], "y": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]}
    metadata = server.json("GET", "/v2/models/e")
    assert metadata["platform"] == "ensemble" and [one["name"] for one in metadata["outputs"]] == ["total", "y"]
    config = server.json("GET", "/v2/models/e/config")
    assert len(config["ensemble_scheduling"]["step"]) == 4
    assert server.request("GET", "/v2/models/e/ready")[0] == 200
    stats = server.json("GET", "/v2/models/e/stats")["model_stats"][0]
    assert int(stats["inference_stats"]["success"]["count"]) == 1


@pytest.mark.skipif(not (MODELS / "smollm2" / "model.gguf").exists(), reason="needs the demo models (make models)")
def test_a_language_model_is_a_step_whose_texts_are_tensors(serve):
    """A message is answered, and the answer becomes a vector: the same as by the API for texts."""
    text = ('platform: "ensemble" input [{ name: "question" data_type: TYPE_STRING dims: [1] }, { name: "most" data_type: TYPE_INT32 dims: [1] }] '
            'output [{ name: "answer" data_type: TYPE_STRING dims: [1] }, { name: "vector" data_type: TYPE_FP32 dims: [1, 576] }] ensemble_scheduling { step [ '
            + step("smollm2", {"chat_input": "question", "max_tokens": "most"}, {"text_output": "answer"}) + ", "
            + step("smollm2", {"texts": "answer"}, {"embedding": "vector"}) + " ] }")
    broken = text.replace('input_map { key: "texts" value: "answer" }', 'input_map { key: "text_input" value: "answer" } input_map { key: "max_tokens" value: "most" }')
    assert broken != text
    server = serve(models={"smollm2": MODELS / "smollm2", "talk/config.pbtxt": text, "talk/1/.keep": "", "odd/config.pbtxt": broken, "odd/1/.keep": ""},
                   flags=["--profiling", "off"])
    question = "Name the three primary colours."
    body = {"inputs": [{"name": "question", "shape": [1], "datatype": "BYTES", "data": [question]}, {"name": "most", "shape": [1], "datatype": "INT32", "data": [12]}]}
    answer = outputs_of(server.json("POST", "/v2/models/talk/infer", body))
    alone = server.json("POST", "/v1/chat/completions", {"model": "smollm2", "messages": [{"role": "user", "content": question}], "max_tokens": 12, "temperature": 0})
    assert answer["answer"] == [alone["choices"][0]["message"]["content"]]
    vector = server.json("POST", "/v1/embeddings", {"model": "smollm2", "input": answer["answer"][0]})["data"][0]["embedding"]
    assert len(vector) == 576 and max(abs(a - b) for a, b in zip(vector, answer["vector"])) < 1e-3
    # What is made of a text that is continued is a text.
    status, _, said = server.request("POST", "/v2/models/odd/infer", body)
    assert status == 400 and b"makes no 'embedding'" in said, said
    body["inputs"][1]["data"] = [0]
    status, _, said = server.request("POST", "/v2/models/talk/infer", body)
    assert status == 400 and b"max_tokens" in said and b"step 'smollm2'" in said, said


def test_independent_steps_do_not_wait_for_each_other(serve):
    text = ensemble(step("left", {"a": "x"}, {"b": "l"}), step("right", {"a": "x"}, {"b": "r"}), outputs={"l": 4, "r": 4})
    server = serve(models={"left.fake": SLOW, "right.fake": SLOW, **folder(text)}, flags=["--threads", "1"])
    took, end = [], time.monotonic() + 30
    while not took or (min(took) >= 0.55 and time.monotonic() < end):  # the first ones wait for warm-ups
        begin = time.monotonic()
        server.json("POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))
        took.append(time.monotonic() - begin)
    assert min(took) < 0.55, f"two steps of 0.3 s each: {took}"


def test_a_call_between_its_steps_is_answered_though_the_server_ends(serve):
    names = ("first", "second", "third")
    text = ensemble(step("first", {"a": "x"}, {"b": "t"}), step("second", {"a": "t"}, {"b": "u"}), step("third", {"a": "u"}, {"b": "y"}), outputs={"y": 4})
    server = serve(models={**{f"{name}.fake": SLOW for name in names}, **folder(text)}, flags=["--threads", "1"])
    server.json("POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(server.request, "POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))
        time.sleep(0.15)  # its first step runs, and two are to come
        server.process.send_signal(signal.SIGTERM)
        status, _, body = call.result(timeout=30)
    assert status == 200 and outputs_of(json.loads(body)) == {"y": [1.0, 2.0, 3.0, 4.0]}, body
    assert server.process.wait(timeout=20) == 0


def test_the_step_that_fails_is_named(serve):
    text = ensemble(step("first", {"a": "x"}, {"b": "t"}), step("second", {"a": "t"}, {"b": "y"}), outputs={"y": 4})
    server = serve(models={"first.fake": ECHO4, "second.fake": BROKEN, **folder(text)})
    status, _, body = server.request("POST", "/v2/models/e/infer", rows([1, 13, 3, 4]))
    assert status == 400 and "'e'" in json.loads(body)["error"] and "'second'" in json.loads(body)["error"], body
    assert outputs_of(server.json("POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))) == {"y": [1.0, 2.0, 3.0, 4.0]}


def test_a_step_whose_model_is_not_there_or_has_no_such_tensor_is_named(serve):
    text = ensemble(step("first", {"a": "x"}, {"b": "y"}), outputs={"y": 4})
    server = serve(models=folder(text))
    status, _, body = server.request("POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))
    assert status == 404 and "'first'" in json.loads(body)["error"], body
    assert server.request("GET", "/v2/models/e/ready")[0] == 503
    (server.models / "first.fake").write_text(SUM)
    assert server.request("POST", "/v2/repository/models/first/load", {})[0] == 200
    status, _, body = server.request("POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))
    assert status == 400 and "no output 'b'" in json.loads(body)["error"], body


@pytest.mark.parametrize("text, words", [
    (ensemble(step("m", {"a": "y"}, {"b": "y"}), outputs={"y": 4}), "circle"),
    (ensemble(step("m", {"a": "t"}, {"b": "u"}), step("n", {"a": "u"}, {"b": "t", "c": "y"}), outputs={"y": 4}), "circle"),
    (ensemble(step("m", {"a": "nowhere"}, {"b": "y"}), outputs={"y": 4}), "comes from nowhere"),
    (ensemble(step("m", {"a": "x"}, {"b": "z"}), outputs={"y": 4}), "comes from nowhere"),
    (ensemble(step("e", {"a": "x"}, {"b": "y"}), outputs={"y": 4}), "step of itself"),
])
def test_a_graph_that_cannot_run_is_refused_at_load(serve, text, words):
    server = serve(models=folder(text))
    index = server.json("POST", "/v2/repository/index", {})
    entry = next(one for one in index if one["name"] == "e")
    assert entry["state"] == "UNAVAILABLE" and words in entry["reason"], entry


def test_an_ensemble_is_no_step_of_another(serve):
    inner = ensemble(step("m", {"a": "x"}, {"b": "y"}), outputs={"y": 4})
    outer = ensemble(step("e", {"x": "x"}, {"y": "y"}), outputs={"y": 4})
    server = serve(models={"m.fake": ECHO4, **folder(inner), "o/config.pbtxt": outer, "o/1/.keep": ""})
    status, _, body = server.request("POST", "/v2/models/o/infer", rows([1, 2, 3, 4]))
    assert status == 501 and "ensemble itself" in json.loads(body)["error"], body


def test_many_at_once_and_a_client_that_leaves(serve):
    server = serve(models={**PARTS, **folder(DIAMOND)})

    def one(i: int):
        return outputs_of(server.json("POST", "/v2/models/e/infer", rows([i, 1, 1, 1])))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, range(300)))
    assert all(answer == {"total": [i + 3.0], "y": [i, 1.0, 1.0, 1.0]} for i, answer in enumerate(answers))


def test_a_reloaded_ensemble_and_an_unloaded_one(serve):
    server = serve(models={**PARTS, **folder(DIAMOND)})
    (server.models / "e/config.pbtxt").write_text(ensemble(step("left", {"a": "x"}, {"b": "y"}), outputs={"y": 4}))
    assert server.request("POST", "/v2/repository/models/e/load", {})[0] == 200
    assert outputs_of(server.json("POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))) == {"y": [1.0, 2.0, 3.0, 4.0]}
    assert server.request("POST", "/v2/repository/models/e/unload", {})[0] == 200
    assert server.request("POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))[0] == 503


def test_steps_run_on_whichever_node_has_their_models(serve):
    nodes = Nodes(serve, {"a": folder(DIAMOND), "b": {"left.fake": ECHO4, "sum.fake": SUM}, "c": {"right.fake": ECHO4, "last.fake": ECHO4}})
    for model, node in (("left", "b"), ("sum", "b"), ("right", "c"), ("last", "c")):
        nodes.wait_for("a", model, node)
    answer = nodes["a"].json("POST", "/v2/models/e/infer", rows([1, 2, 3, 4]))
    assert outputs_of(answer) == {"total": [10.0], "y": [1.0, 2.0, 3.0, 4.0]}
    assert nodes["a"].request("GET", "/v2/models/e/ready")[0] == 200
