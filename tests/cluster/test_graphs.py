"""Graphs of models in a cluster: any node answers for a graph that one of them has, and its steps run wherever their models are."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
from daemon import ECHO
from load import Load
from nodes import Nodes
from test_deploy import all_alive, answers
from test_ensemble import ensemble, step


def graph(*models: str, name: str = "graph") -> dict[str, str]:
    """A chain of models that give back what they take."""
    steps = [step(model, {"x": "x" if i == 0 else f"t{i - 1}"}, {"y": "y" if i == len(models) - 1 else f"t{i}"}) for i, model in enumerate(models)]
    return {f"{name}/config.pbtxt": ensemble(*steps, outputs={"y": 4}), f"{name}/1/.keep": ""}


def infer(daemon, model: str = "graph") -> tuple[int, bytes]:
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    status, _, answer = daemon.request("POST", f"/v2/models/{model}/infer", body)
    return status, answer


def test_any_node_answers_for_a_graph(serve, cli):
    nodes = Nodes(serve, {"a": {"one.fake": ECHO}, "b": graph("one", "two"), "c": {}, "d": {"two.fake": ECHO}})
    all_alive(nodes)
    for gateway in "acd":
        nodes.wait_for(gateway, "graph", "b")
        assert answers(nodes[gateway], "graph")
    told = nodes["c"].json("GET", "/v2/models/graph")
    assert told["platform"] == "ensemble" and told["versions"] == ["1"] and told["inputs"][0]["shape"] == [-1, 4], told
    status, _, _ = nodes["c"].request("POST", "/v2/models/graph/versions/1/infer",
                                      {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]})
    assert status == 200
    status, _, body = nodes["c"].request("POST", "/v2/models/graph/versions/2/infer", {"inputs": []})
    assert status == 404, body
    # It is no task of a plan's, for it takes nothing by itself.
    nodes.wait(lambda: {task["name"] for task in nodes["c"].json("GET", "/v2/evenkeel/cluster")["tasks"]} == {"one", "two"}, "the plan's tasks")
    assert cli("plan", server=nodes["c"]).returncode == 0

    # Without one of its steps it can't be called, and nobody says that it can.
    os.kill(nodes["d"].pid, signal.SIGKILL)
    nodes["d"].process.wait()
    nodes["d"].ended = True
    nodes.wait(lambda: nodes["c"].request("GET", "/v2/models/graph/ready")[0] != 200, "it is not ready")
    begin = time.monotonic()
    status, body = infer(nodes["c"])
    assert status in (404, 503) and time.monotonic() - begin < 5, body


def test_a_graph_of_a_lost_node_is_run_on_another(serve):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": graph("echo"), "c": graph("echo"), "d": {}})
    all_alive(nodes)
    for gateway in "abcd":
        nodes.wait_for(gateway, "echo", "a")
    nodes.wait_for("d", "graph", "b", "c")
    load = Load(nodes["d"].http_address, model="graph", threads=4).start()
    try:
        nodes.wait(lambda: all(nodes.view("d")[name]["sent"] > 20 for name in "bc"), "both run it")
        os.kill(nodes["b"].pid, signal.SIGKILL)
        nodes["b"].process.wait()
        nodes["b"].ended = True
        before = load.sent
        nodes.wait(lambda: load.sent > before + 100, "calls go on")
    finally:
        load.stop()
    assert not load.wrong and not load.unanswered and set(load.statuses) == {200}, load.summary()


def test_graphs_that_call_each_other_over_nodes_are_no_circle(serve, cli):
    """first calls second, which is a model at first, and then, on another node, a graph that calls first."""
    nodes = Nodes(serve, {"a": graph("second", name="first"), "b": {"second.fake": ECHO}, "c": {}, "d": {"plain.fake": ECHO, **graph("plain", name="third")}})
    all_alive(nodes)
    nodes.wait_for("c", "first", "a")
    assert answers(nodes["c"], "first")
    # Its call is on its way to a model when a graph takes the name.
    assert cli("undeploy", "second", "--nodes", "b", "--force", server=nodes["b"]).returncode == 0
    for path, text in graph("first", name="second").items():
        (nodes["b"].models / path).parent.mkdir(parents=True, exist_ok=True)
        (nodes["b"].models / path).write_text(text)
    assert nodes["b"].request("POST", "/v2/repository/models/second/load", {})[0] == 200
    assert nodes["b"].json("GET", "/v2/models/second")["platform"] == "ensemble"
    end = time.monotonic() + 4
    while time.monotonic() < end:
        for gateway in "abcd":
            for model in ("first", "second"):
                begin = time.monotonic()
                status, body = infer(nodes[gateway], model)
                assert status != 200 and time.monotonic() - begin < 5, (gateway, model, body)
    # A graph that can be called is no step of another either.
    for path, text in graph("third", name="fourth").items():
        (nodes["a"].models / path).parent.mkdir(parents=True, exist_ok=True)
        (nodes["a"].models / path).write_text(text)
    nodes.wait_for("a", "third", "d")
    assert answers(nodes["a"], "third")
    assert nodes["a"].request("POST", "/v2/repository/models/fourth/load", {})[0] == 200
    status, body = infer(nodes["a"], "fourth")
    assert status != 200 and b"'third' is an ensemble itself" in body, body
    assert nodes["a"].request("GET", "/v2/models/fourth/ready")[0] != 200


def test_the_last_replica_of_a_graph_stays(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO, **graph("echo")}, "b": {}, "c": {}})
    all_alive(nodes)
    for gateway in "bc":
        nodes.wait_for(gateway, "graph", "a")
    refused = cli("undeploy", "graph", "--nodes", "a", "--keep-files", server=nodes["b"])
    assert refused.returncode == 1 and "no node but 'a' serves model 'graph'" in refused.stderr, refused.stderr
    assert cli("deploy", "graph", "--nodes", "b", server=nodes["c"]).returncode == 0
    for gateway in "abc":
        nodes.wait_for(gateway, "graph", "a", "b")
    gone = cli("undeploy", "graph", "--nodes", "a", server=nodes["b"])
    assert gone.returncode == 0, gone.stderr
    nodes.wait(lambda: "graph" not in nodes.view("c")["a"]["models"], "it left a")
    for gateway in "abc":
        assert answers(nodes[gateway], "graph"), gateway


@pytest.mark.parametrize("first", ["model", "graph"])
def test_a_graph_and_a_model_of_one_name_are_kept_apart(serve, cli, first):
    """Each node answers with its own; one that has neither with the model; and neither counts as a replica of the other."""
    held = {"model": {"same.fake": ECHO}, "graph": {**graph("echo", name="same"), "echo.fake": ECHO}}
    second = "graph" if first == "model" else "model"
    nodes = Nodes(serve, {"a": held[first], "b": held[second], "c": {}})
    all_alive(nodes)
    for gateway in "abc":
        nodes.wait_for(gateway, "same", "a", "b")
    model, other = ("a", "b") if first == "model" else ("b", "a")
    nodes.wait(lambda: nodes["c"].json("GET", "/v2/models/same")["platform"] != "ensemble", "c goes by both nodes' figures")
    sent = {name: nodes.view(name) for name in "abc"}
    for gateway in "abc":
        for _ in range(10):
            assert answers(nodes[gateway], "same"), gateway
    assert nodes.view("c")[model]["sent"] == sent["c"][model]["sent"] + 10 and nodes.view("c")[other]["sent"] == sent["c"][other]["sent"]
    assert nodes.view(model)[other]["sent"] == sent[model][other]["sent"] and nodes.view(other)[model]["sent"] == sent[other][model]["sent"]
    assert nodes[other].json("GET", "/v2/models/same")["platform"] == "ensemble" != nodes["c"].json("GET", "/v2/models/same")["platform"]
    for words in (("undeploy", "same", "--nodes", model, "--keep-files"), ("deploy", "same", "--nodes", "c")):
        refused = cli(*words, server=nodes["c"])
        assert refused.returncode == 1 and ("is a model on node" if words[0] == "undeploy" else "two models 'same'") in refused.stderr, refused.stderr
