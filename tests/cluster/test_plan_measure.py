"""`evenkeel plan --measure`: what a plan stands on and nobody has measured is tried out, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from daemon import BINARY, environment
from nodes import Nodes
from test_deploy import SLOW, all_alive, own_models, two_that_are_called


@pytest.fixture
def busy(serve):
    nodes, loads = two_that_are_called(serve)
    yield nodes, loads
    for load in loads:
        load.stop()
    for load in loads:
        assert not load.wrong and not load.unanswered and set(load.statuses) == {200}, load.summary()


def worth(nodes: Nodes, cli) -> list[tuple[str, str]]:
    plan = cli("plan", "-o", "json", server=nodes["c"])
    assert plan.returncode == 0, plan.stderr
    return [(pair["task"], pair["node"]) for pair in json.loads(plan.stdout)["factors"]["worth_measuring"] if pair["seconds"] > 1e-3]


def measured(nodes: Nodes, gateway: str) -> dict[tuple[str, str], float]:
    return {(one["task"], one["on"]): one["seconds"] for one in nodes[gateway].json("GET", "/v2/evenkeel/cluster")["measured"]}


def serving(daemon) -> list[str]:
    return [model for model, state in own_models(daemon).items() if state == "READY"]


def nothing_is_left(nodes: Nodes) -> None:
    """Models, files and wishes are as before."""
    nodes.wait(lambda: not serving(nodes["b"]) and not serving(nodes["c"]), "b and c serve nothing")
    for name in "bc":
        assert not [path for path in nodes[name].models.rglob("*.fake")], name
    assert all("asked" not in task for task in nodes["c"].json("GET", "/v2/evenkeel/cluster")["tasks"])


def tried(result) -> list[tuple[str, str]]:
    return [tuple(line.split()[1::2]) for line in result.stderr.splitlines() if line.startswith("Measuring ")]


def test_what_nobody_measured_is_tried_out_and_leaves(busy, cli):
    nodes, _ = busy
    nodes.wait(lambda: worth(nodes, cli), "the plan stands on something that nobody measured", 40)
    known = measured(nodes, "c")
    result = cli("plan", "--measure", "1", server=nodes["c"], timeout=120)
    assert result.returncode == 0 and "Measured on purpose" in result.stdout, result.stdout + result.stderr
    (pair,) = tried(result)
    assert pair not in known and pair[1] != "a"
    row = next(line.split() for line in result.stdout.splitlines() if line.split()[:2] == list(pair))
    assert float(row[2]) > 0 and float(row[4]) > 0, row
    nothing_is_left(nodes)
    # All nodes know it from now on, and the plan marks it.
    for gateway in "abc":
        nodes.wait(lambda gateway=gateway: pair in measured(nodes, gateway), f"{gateway} has learnt it", 10)
    assert pair not in worth(nodes, cli)
    events = [event for name in "abc" for event in nodes[name].json("GET", "/v2/evenkeel/models")["cluster"]["events"]]
    assert any("for the plan" in event["why"] for event in events), events


def test_what_serves_already_is_only_waited_for(busy, cli):
    """A replica that came a moment ago, by people's wish, stays when it is measured."""
    nodes, _ = busy
    nodes.wait(lambda: worth(nodes, cli), "the plan stands on something that nobody measured", 40)
    model, node = worth(nodes, cli)[0]
    assert cli("deploy", model, "--nodes", node, server=nodes["a"]).returncode == 0
    result = cli("plan", "--measure", "5", server=nodes["a"], timeout=200)
    assert result.returncode == 0, result.stderr
    assert model in serving(nodes[node]), result.stderr
    assert (nodes[node].models / f"{model}.fake").exists()


def test_what_cannot_be_measured_is_said_and_no_end(busy, cli):
    """Another model of the same name lies on the nodes: neither gets the files."""
    nodes, _ = busy
    nodes.wait(lambda: worth(nodes, cli), "the plan stands on something that nobody measured", 40)
    for name in "bc":
        for model in ("one", "two"):
            (nodes[name].models / f"{model}.fake").write_text(SLOW + "# another\n")
    result = cli("plan", "--measure", "20", server=nodes["c"], timeout=120)
    assert result.returncode == 0 and tried(result), result.stderr
    assert result.stderr.count(" is not measured: ") == len(tried(result)) and "Nothing else is worth measuring" in result.stderr, result.stderr
    assert not serving(nodes["b"]) and not serving(nodes["c"])


def test_all_that_is_worth_it_is_measured_and_no_more(busy, cli):
    nodes, _ = busy
    nodes.wait(lambda: worth(nodes, cli), "the plan stands on something that nobody measured", 40)
    result = cli("plan", "--measure", "20", server=nodes["b"], timeout=240)
    assert result.returncode == 0 and "Nothing more is worth measuring" in result.stderr, result.stderr
    assert 1 <= result.stderr.count("Measuring ") <= 4, result.stderr
    nothing_is_left(nodes)


def test_an_interrupted_measurement_takes_away_what_it_brought(busy, cli, tmp_path):
    nodes, _ = busy
    nodes.wait(lambda: worth(nodes, cli), "the plan stands on something that nobody measured", 40)
    verb = subprocess.Popen([str(BINARY), "plan", "--measure", "3", "--server", nodes["c"].http_url], env=environment(tmp_path),
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    nodes.wait(lambda: serving(nodes["b"]) or serving(nodes["c"]), "a model is tried out", 40)
    os.kill(verb.pid, signal.SIGINT)
    _, said = verb.communicate(timeout=60)
    assert verb.returncode == 130, said
    nothing_is_left(nodes)


def test_where_nothing_is_called_nothing_is_measured(serve, cli):
    nodes = Nodes(serve, {"a": {"one.fake": SLOW}, "b": {}})
    all_alive(nodes)
    nodes.wait_for("b", "one", "a")
    nodes.wait(lambda: len(nodes["b"].json("GET", "/v2/evenkeel/cluster")["nodes"]) == 2, "both are measured")
    result = cli("plan", "--measure", "3", server=nodes["b"], timeout=60)
    assert result.returncode == 0 and "Nothing more is worth measuring" in result.stderr, result.stderr
    assert own_models(nodes["b"]) == {}


@pytest.mark.parametrize("words, said", [
    (["plan", "x.json", "--measure", "1"], "--measure"),
    (["plan", "--measure", "1", "-o", "json"], "--output"),
    (["plan", "--measure", "0"], "--measure"),
    (["plan", "--measure", "many"], "--measure"),
    (["plan", "--wait", "1m"], "--wait"),
])
def test_wrong_words_are_named(cli, words, said):
    result = cli(*words)
    assert result.returncode == 2 and said in result.stderr, result.stderr
