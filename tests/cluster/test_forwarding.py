"""Any node answers for all: calls go to nodes that serve the model, and to others when one is lost."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import time
import urllib.request

import pytest

from daemon import ECHO
from load import Load
from nodes import Nodes

SLOW = ECHO + "delay_us: {per_row: 15000}\n"


def echo(daemon, row, model: str = "echo") -> list[float]:
    return daemon.infer(model, [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": row}])["outputs"][0]["data"]


def test_a_node_answers_for_a_model_that_only_another_one_has(serve):
    nodes = Nodes(serve, {"a": {}, "b": {"echo.fake": ECHO}})
    nodes.wait_for("a", "echo", "b")
    assert echo(nodes["a"], [1.0, 2.0, 3.0, 4.0]) == [1.0, 2.0, 3.0, 4.0]
    metadata = nodes["a"].json("GET", "/v2/models/echo")
    assert [one["name"] for one in metadata["inputs"]] == ["x"]
    assert nodes.view("a")["b"]["sent"] >= 1


def test_what_is_wrong_with_a_call_is_said_as_the_node_that_has_the_model_says_it(serve):
    nodes = Nodes(serve, {"a": {}, "b": {"echo.fake": ECHO}})
    nodes.wait_for("a", "echo", "b")
    wrong = {"inputs": [{"name": "x", "shape": [1, 5], "datatype": "FP32", "data": [1, 2, 3, 4, 5]}]}
    answers = [nodes[name].request("POST", "/v2/models/echo/infer", wrong) for name in "ab"]
    assert [status for status, _, _ in answers] == [400, 400]
    assert json.loads(answers[0][2]) == json.loads(answers[1][2])


def test_an_unknown_model_is_unknown_everywhere(serve):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {"echo.fake": ECHO}})
    nodes.wait_for("a", "echo", "a", "b")
    status, _, body = nodes["a"].request("POST", "/v2/models/none/infer", {"inputs": []})
    assert status == 404, body


def test_load_goes_to_every_node_and_every_answer_is_right(serve):
    nodes = Nodes(serve, {name: {"echo.fake": SLOW} for name in "abc"})
    nodes.wait_for("a", "echo", "a", "b", "c")
    load = Load(nodes["a"].http_address, threads=12).start()
    time.sleep(4)
    load.stop()
    assert not load.wrong and not load.unanswered and set(load.statuses) == {200}, (load.statuses, load.messages)
    sent = {name: node["sent"] for name, node in nodes.view("a").items()}
    # Each of the three is as fast: none gets less than half of an even share.
    assert min(sent.values()) > sum(sent.values()) / 6, sent


def test_a_call_that_a_lost_node_had_is_answered_by_another(serve):
    nodes = Nodes(serve, {name: {"echo.fake": SLOW} for name in "abc"})
    nodes.wait_for("a", "echo", "a", "b", "c")
    load = Load(nodes["a"].http_address, threads=12).start()
    time.sleep(1.5)
    os.kill(nodes["b"].pid, signal.SIGKILL)
    nodes["b"].process.wait()
    nodes["b"].ended = True
    nodes.wait(lambda: nodes.view("a")["b"]["state"] == "suspect", "a notices", 10)
    sent = nodes.view("a")["b"]["sent"]
    time.sleep(2)
    load.stop()
    assert not load.wrong and not load.unanswered and set(load.statuses) == {200}, (load.statuses, load.messages)
    assert nodes.view("a")["b"]["sent"] == sent, "a lost node got new work"


def test_a_stopped_node_is_passed_over_and_taken_back(serve):
    nodes = Nodes(serve, {name: {"echo.fake": SLOW} for name in "ab"})
    nodes.wait_for("a", "echo", "a", "b")
    load = Load(nodes["a"].http_address, threads=6).start()
    time.sleep(1)
    os.kill(nodes["b"].pid, signal.SIGSTOP)
    try:
        time.sleep(10)  # so that a call that waits for its end is told from one that is given up
        assert nodes.view("a")["b"]["state"] == "suspect"
    finally:
        os.kill(nodes["b"].pid, signal.SIGCONT)
    nodes.wait(lambda: nodes.view("a")["b"]["state"] == "alive", "the node is taken back")
    before = nodes.view("a")["b"]["sent"]
    nodes.wait(lambda: nodes.view("a")["b"]["sent"] > before, "it gets calls again")
    load.stop()
    assert not load.wrong and not load.unanswered and set(load.statuses) == {200}, (load.statuses, load.messages)
    assert max(load.latencies) < 9, "a call waited for the stopped node longer than it takes to suspect it"


def test_a_node_that_drains_gets_no_new_work_and_answers_what_it_has(serve):
    nodes = Nodes(serve, {name: {"echo.fake": SLOW} for name in "ab"})
    nodes.wait_for("a", "echo", "a", "b")
    load = Load(nodes["a"].http_address, threads=8).start()
    time.sleep(1)
    status, _, _ = nodes["a"].request("POST", "/v2/evenkeel/cluster/nodes/b/drain", b"")
    assert status == 200
    nodes.wait(lambda: nodes.view("a")["b"]["state"] != "alive" and nodes.view("a")["b"]["outstanding"] == 0, "b drains, and has answered what it had")
    before = nodes.view("a")["b"]["sent"]
    time.sleep(2)
    assert nodes.view("a")["b"]["sent"] == before > 0
    assert nodes["b"].stop() == 0
    nodes["b"].ended = True
    time.sleep(1)
    load.stop()
    assert not load.wrong and not load.unanswered and set(load.statuses) == {200}, (load.statuses, load.messages)


def test_a_node_comes_back_under_its_name(serve):
    nodes = Nodes(serve, {"a": {}, "b": {"echo.fake": ECHO}})
    nodes.wait_for("a", "echo", "b")
    os.kill(nodes["b"].pid, signal.SIGKILL)
    nodes["b"].process.wait()
    nodes["b"].ended = True
    status, _, body = nodes["a"].request("POST", "/v2/models/echo/infer",
                                         {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]})
    assert status == 503, body
    nodes.daemons["b"] = nodes.start("b", {}, folder=nodes["b"].folder)
    nodes.wait_for("a", "echo", "b")
    assert echo(nodes["a"], [5.0, 6.0, 7.0, 8.0]) == [5.0, 6.0, 7.0, 8.0]


@pytest.mark.parametrize("flags, words", [
    (["--cluster-peers", "b=127.0.0.1:1"], ["cluster.name"]),
    (["--cluster-name", "a b"], ["cluster.name", "a b"]),
    (["--cluster-name", "a", "--cluster-peers", "b"], ["cluster.peers", "NAME=ADDRESS:PORT", "'b'"]),
    (["--cluster-name", "a", "--cluster-peers", "b=x:0"], ["ADDRESS:PORT", "'b'"]),
    (["--cluster-name", "a", "--cluster-peers", "a=127.0.0.1:1"], ["'a'", "this one"]),
    (["--cluster-name", "a", "--cluster-peers", "b=127.0.0.1:1,b=127.0.0.1:2"], ["'b'", "twice"]),
    (["--cluster-name", "a", "--cluster-address", "0.0.0.0"], ["--insecure"]),
])
def test_a_wrong_setting_of_the_cluster_is_named(cli, flags, words):
    result = cli("serve", *flags)
    assert result.returncode != 0
    assert all(word in result.stderr for word in words), result.stderr


def test_many_calls_at_once_from_two_gateways(serve):
    nodes = Nodes(serve, {name: {"echo.fake": ECHO} for name in "ab"})
    for gateway in "ab":
        nodes.wait_for(gateway, "echo", "a", "b")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        rows = [[float(i), 1.0, 2.0, 3.0] for i in range(400)]
        answers = list(pool.map(lambda item: echo(nodes["ab"[item[0] % 2]], item[1]), enumerate(rows)))
    assert answers == rows


def test_the_nodes_are_listed_and_planned_for(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {"echo.fake": ECHO}})
    nodes.wait_for("a", "echo", "a", "b")
    table = cli("node", "ls", server=nodes["a"])
    assert table.returncode == 0 and "alive" in table.stdout and "echo" in table.stdout, table.stderr
    listed = json.loads(cli("node", "ls", "-o", "json", server=nodes["a"]).stdout)
    assert [node["name"] for node in listed["nodes"]] == ["a", "b"]
    plan = cli("plan", "-o", "json", server=nodes["a"])
    assert plan.returncode == 0, plan.stderr
    document = json.loads(plan.stdout)
    assert {node["name"] for node in document["nodes"]} == {"a", "b"}
    assert all(node["gflops"] > 0 and node["memory_gb_s"] > 0 for node in document["nodes"])


def test_a_server_that_is_alone_says_so(server, cli):
    for words in (("node", "ls"), ("plan",)):
        result = cli(*words, server=server)
        assert result.returncode == 1 and "alone" in result.stderr, result.stderr


def test_a_cordoned_node_gets_no_new_work(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {"echo.fake": ECHO}})
    nodes.wait_for("a", "echo", "a", "b")
    assert cli("node", "cordon", "b", server=nodes["a"]).returncode == 0
    nodes.wait(lambda: nodes.view("a")["b"]["state"] == "cordoned", "b is out")
    before = nodes.view("a")["b"]["sent"]
    for i in range(50):
        assert echo(nodes["a"], [float(i), 0.0, 0.0, 0.0])[0] == i
    assert nodes.view("a")["b"]["sent"] == before
    assert cli("node", "uncordon", "b", server=nodes["a"]).returncode == 0
    nodes.wait(lambda: nodes.view("a")["b"]["state"] == "alive", "b is back")


def waiting(daemon) -> int:
    return next(model for model in daemon.json("GET", "/v2/evenkeel/models")["models"] if model["name"] == "echo")["queue_rows"]


VERY_SLOW = ECHO + "delay_us: {per_row: 50000}\n"
CALLS = 60  # 66 T(1) with the caution, of the 100 T(1) that a call may wait


def given_on(nodes: Nodes) -> int:
    """Calls that wait at b, asked while a was out, and went to a once that took work again. All are answered."""
    assert nodes["b"].request("POST", "/v2/evenkeel/cluster/nodes/a/cordon", b"")[0] == 200
    nodes.wait(lambda: nodes.view("b")["a"]["state"] == "cordoned", "a is out")
    before = {name: node["sent"] for name, node in nodes.view("b").items()}
    with concurrent.futures.ThreadPoolExecutor(2 * CALLS) as pool:
        rows = [[float(i), 1.0, 2.0, 3.0] for i in range(CALLS)]
        answers = [pool.submit(echo, nodes["b"], row) for row in rows]
        nodes.wait(lambda: nodes.view("b")["b"]["sent"] - before["b"] == CALLS, "all are at b")
        assert waiting(nodes["b"]) >= CALLS / 3
        assert nodes["b"].request("POST", "/v2/evenkeel/cluster/nodes/a/uncordon", b"")[0] == 200
        assert [answer.result() for answer in answers] == rows
    return nodes.view("b")["a"]["sent"] - before["a"]


def events(daemon) -> list[dict]:
    return daemon.json("GET", "/v2/evenkeel/models")["cluster"]["events"]


def test_what_waits_on_a_slow_node_is_given_on(serve):
    nodes = Nodes(serve, {"a": {"echo.fake": VERY_SLOW}, "b": {"echo.fake": VERY_SLOW}})
    for gateway in "ab":
        nodes.wait_for(gateway, "echo", "a", "b")
    assert given_on(nodes) > 0
    assert any("given on" in event["what"] and "shorter" in event["why"] for event in events(nodes["b"])), events(nodes["b"])


def test_while_most_nodes_are_gone_nothing_moves_and_calls_are_answered(serve):
    nodes = Nodes(serve, {"a": {"echo.fake": VERY_SLOW}, "b": {"echo.fake": VERY_SLOW}, "c": {}, "d": {}, "e": {}})
    for gateway in "ab":
        nodes.wait_for(gateway, "echo", "a", "b")

    def frozen() -> bool:
        with urllib.request.urlopen(nodes["b"].metrics_url, timeout=10) as answer:
            return "\nevenkeel_moves_frozen 1\n" in answer.read().decode()

    nodes.wait(lambda: all(node["state"] == "alive" for node in nodes.view("b").values()), "b knows all")
    assert not frozen()
    for name in "cde":
        nodes[name].process.kill()
    for name in "cde":
        nodes[name].process.wait()
        nodes[name].ended = True
    nodes.wait(frozen, "moves freeze", 30)
    assert given_on(nodes) == 0  # and each was answered, at b
    assert echo(nodes["a"], [1.0, 2.0, 3.0, 4.0]) == [1.0, 2.0, 3.0, 4.0]
    status, _, body = nodes["b"].request("POST", "/v2/cluster/deploy", {"model": "echo", "replicas": 1})
    assert status == 503 and b"nothing is moved" in body, body
    for name in "cde":
        nodes.daemons[name] = nodes.start(name, {}, folder=nodes[name].folder)
    nodes.wait(lambda: not frozen(), "moves are free again", 40)
    assert given_on(nodes) > 0
    assert {"moves are frozen", "moves are free again"} <= {event["what"] for event in events(nodes["b"])}
