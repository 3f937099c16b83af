"""`evenkeel plan`: a described cluster in, costs, moves and an allocation out; what is wrong is said with its place."""

from __future__ import annotations

import json

import pytest

CLUSTER = {
    "nodes": [
        {"name": "desk", "cores": 8, "gflops": 400, "memory_gb_s": 40, "memory": "16GiB"},
        {"name": "nas", "cores": 2, "gflops": 40, "memory_gb_s": 10, "memory": "2GiB", "load_s": 0.1},
        {"name": "game", "cores": 6, "gflops": 300, "memory_gb_s": 30, "memory": "8GiB",
         "accelerators": [{"backend": "CUDA", "gflops": 9000, "memory_gb_s": 400, "memory": "6GiB"}]},
    ],
    "links": {"bandwidth": "110MB", "round_trip": "400us"},
    "tasks": [
        {"name": "embed", "gflop": 20, "gbytes": 0.5, "memory": "500MiB"},
        {"name": "rank", "gflop": 10, "gbytes": 0.5, "memory": "500MiB"},
        {"name": "chat", "kind": "language replica", "gflop": 50, "gbytes": 4, "memory": "4GiB", "count": 3, "on": "both"},
    ],
    "edges": [{"before": "embed", "after": "rank", "bytes": "1MB"}],
    "measured": [{"task": "chat", "on": "desk", "seconds": 0.2}],
}


@pytest.fixture
def plan(cli, tmp_path):
    def run(cluster, *flags):
        file = tmp_path / "cluster.json"
        file.write_text(cluster if isinstance(cluster, str) else json.dumps(cluster))
        return cli("plan", str(file), *flags)

    return run


def test_the_plan_explains_itself(plan):
    result = plan(CLUSTER, "-o", "json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == "evenkeel.plan/v1"
    assert list(document["placement"]) == ["desk", "nas", "game", "game/CUDA"]
    placed = sorted(task for tasks in document["placement"].values() for task in tasks)
    assert placed == ["chat-1", "chat-2", "chat-3", "embed", "rank"]
    # Each step is kept, and the plan is the best of them.
    assert {"factors", "longest first", "game", "improved"} <= {step["name"] for step in document["steps"]}
    assert document["makespan_s"] == pytest.approx(min(step["makespan_s"] for step in document["steps"]))
    row = next(row for row in document["matrix"] if row["task"] == "chat-1")
    costs = {cell["node"]: cell for cell in row["costs"]}
    assert costs["desk"]["measured"] and costs["desk"]["seconds"] == pytest.approx(0.2)
    assert costs["nas"]["reason"] == "2.0 GiB short"
    assert not costs["game/CUDA"]["measured"]
    # Nothing is on a place that it was rejected for, and no place is overfilled.
    for row in document["matrix"]:
        place = next(name for name, tasks in document["placement"].items() if row["task"] in tasks)
        assert "seconds" in next(cell for cell in row["costs"] if cell["node"] == place)
    assert len([task for task in document["placement"]["game/CUDA"] if task.startswith("chat")]) <= 1


def test_the_table_has_all_of_it(plan):
    result = plan(CLUSTER)
    assert result.returncode == 0, result.stderr
    for words in ("Nodes", "Costs, seconds", "0.2*", "chat-1 on node nas: rejected, 2.0 GiB short", "Steps", "Allocation", "game/CUDA"):
        assert words in result.stdout, (words, result.stdout)


def test_the_methods_rules_can_be_asked_for(plan):
    document = json.loads(plan(CLUSTER, "--rules", "method", "-o", "json").stdout)
    assert document["rules"] == "method"
    assert {step["name"] for step in document["steps"]} == {"non-negative factors", "bids"}


def test_what_fits_nowhere_is_said_with_what_each_node_lacks(plan):
    cluster = {**CLUSTER, "tasks": [{"name": "giant", "memory": "40GiB"}], "edges": [], "measured": []}
    result = plan(cluster)
    assert result.returncode == 1
    for words in ("task 'giant' fits no node", "node desk: rejected, 24.0 GiB short", "node nas: rejected, 38.0 GiB short", "node game/CUDA: rejected, it runs on processors only"):
        assert words in result.stderr, result.stderr


@pytest.mark.parametrize(
    "change, words",
    [
        ({"tasks": [{"name": "a"}], "edges": [{"before": "a", "after": "a"}], "measured": []}, "need itself"),
        ({"tasks": [{"name": "a"}, {"name": "b"}], "edges": [{"before": "a", "after": "b"}, {"before": "b", "after": "a"}], "measured": []}, "in a circle: a -> b -> a"),
        ({"nodes": [{"name": "x", "gflops": -1}]}, "nodes[0].gflops"),
        ({"taks": []}, "did you mean 'tasks'?"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(plan, change, words):
    result = plan({**CLUSTER, **change})
    assert result.returncode == 2 and words in result.stderr, result.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"nodes": [], "nodes": []}', "\x00\xff"])
def test_no_file_crashes_it(plan, text):
    assert plan(text).returncode == 2


def test_a_missing_file_is_said(cli):
    result = cli("plan", "nowhere.json")
    assert result.returncode == 1 and "nowhere.json" in result.stderr
