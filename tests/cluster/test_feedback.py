"""What nodes measure comes back as corrections and proposals, and `evenkeel top --cluster` shows how the cluster stands."""

from __future__ import annotations

import json
import time

from daemon import ECHO
from load import Load
from nodes import Nodes

SLOW = ECHO + "delay_us: {per_row: 15000}\n"


def test_models_that_crowd_one_node_are_proposed_to_be_spread(serve, cli):
    nodes = Nodes(serve, {"a": {"m.fake": SLOW, "n.fake": SLOW}, "b": {"echo.fake": ECHO}}, flags=["--runtime", "none"])
    for model in ("m", "n"):
        nodes.wait_for("b", model, "a")
    nodes.wait_for("a", "echo", "b")
    loads = [Load(nodes["b"].http_address, model=model, threads=2).start() for model in ("m", "n")]
    try:
        nodes.wait(lambda: nodes["a"].json("GET", "/v2/evenkeel/cluster")["feedback"].get("last"), "a proposal", seconds=60)
        document = nodes["a"].json("GET", "/v2/evenkeel/cluster")
        plan = json.loads(cli("plan", "-o", "json", server=nodes["a"]).stdout)
        top = json.loads(cli("top", "--cluster", "--once", "--interval", "100ms", "-o", "json", server=nodes["b"]).stdout)
        table = cli("top", "--cluster", "--once", "--interval", "100ms", server=nodes["a"]).stdout
    finally:
        for load in loads:
            load.stop()
    assert all(set(load.statuses) == {200} for load in loads)
    last = document["feedback"]["last"]
    assert last["gain_s"] > last["cost_s"] > 0 and last["present"] > last["planned"] > 0
    assert [move["to"] for move in last["moves"]] == ["b"] and last["moves"][0]["model"] in ("m", "n")
    events = [event for event in document["live"]["events"] if "a new plan would serve" in event["what"]]
    assert len(events) == 1 and "run `evenkeel plan --apply`" in events[0]["what"] and last["reason"] in events[0]["why"]
    # What was measured is what the planner plans from, and it comes to about the same.
    measured = {(one["task"], one["on"]): one["seconds"] for one in document["measured"]}
    assert measured[("m", "a")] > 0 and measured[("n", "a")] > 0
    assert {node for node, tasks in plan["placement"].items() if {"m", "n"} & set(tasks)} == {"a", "b"}
    shown = {node["name"]: node for node in top["nodes"]}
    assert shown["a"]["state"] == shown["b"]["state"] == "alive" and shown["a"]["cores"] >= 1
    assert top["cluster"]["nodes"] == 2 and top["cluster"]["average_level_s"] >= 0
    rates = {(one["node"], one["name"]): one["rate_per_s"] for one in top["models"]}
    assert rates[("a", "m")] > 1
    assert "NODE" in table and "average load" in table and "Last events" in table and "a new plan would serve" in table
    metrics = nodes["a"].request("GET", "/metrics")[2].decode()
    assert "evenkeel_plan_proposals_total 1" in metrics
    assert 'evenkeel_cluster_node_cores{node="b"}' in metrics and "evenkeel_route_retries_total 0" in metrics


def test_a_quiet_cluster_proposes_nothing(serve):
    nodes = Nodes(serve, {"a": {"m.fake": ECHO, "n.fake": ECHO}, "b": {"echo.fake": ECHO}})
    nodes.wait_for("b", "m", "a")
    end = time.monotonic() + 16
    while time.monotonic() < end:
        nodes["b"].infer("m", [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}])
        time.sleep(0.2)
    document = nodes["a"].json("GET", "/v2/evenkeel/cluster")
    assert document["feedback"]["proposals"] == 0
    assert not [event for event in document["live"]["events"] if "new plan" in event["what"]]


def test_with_auto_the_plan_is_carried_out(serve):
    nodes = Nodes(serve, {"a": {"m.fake": SLOW, "n.fake": SLOW}, "b": {"echo.fake": ECHO}}, flags=["--runtime", "none", "--cluster-replan", "auto"])
    for model in ("m", "n"):
        nodes.wait_for("b", model, "a")
    nodes.wait_for("a", "echo", "b")
    loads = [Load(nodes["b"].http_address, model=model, threads=2).start() for model in ("m", "n")]
    try:
        # One of the two has moved to b, and serves there alone.
        nodes.wait(lambda: {"m", "n"} & set(nodes.view("a")["b"]["models"]) and len({"m", "n"} & set(nodes.view("a")["a"]["models"])) == 1,
                   "the plan is carried out", seconds=90)
    finally:
        for load in loads:
            load.stop()
    assert all(set(load.statuses) == {200} and not load.wrong for load in loads), [load.messages for load in loads]
    moved = {"m", "n"} & set(nodes.view("a")["b"]["models"])
    assert len(moved) == 1
    # The first by name has done it, and only that one.
    events = {name: nodes[name].json("GET", "/v2/evenkeel/cluster")["live"]["events"] for name in "ab"}
    assert [event for event in events["a"] if "it is applied" in event["what"]], events
    assert not [event for event in events["b"] if "it is applied" in event["what"]]
