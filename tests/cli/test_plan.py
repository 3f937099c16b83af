"""`evenkeel plan`: a described cluster in, costs, moves and an allocation out; what is wrong is said with its place."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", pathlib.Path(__file__).resolve().parents[2] / "build" / "demo-models"))

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


GIANT = {"name": "giant", "gflop": 140, "gbytes": 20, "memory": "21GiB", "on": "both", "layers": 20, "first": "512MiB", "last": "512MiB", "boundary": "32KiB"}


# Work that leaves room for it.
SMALL = {**CLUSTER, "tasks": CLUSTER["tasks"][:2], "measured": []}


def test_what_fits_nowhere_whole_is_cut_between_its_layers(plan):
    cluster = {**SMALL, "tasks": SMALL["tasks"] + [GIANT]}
    result = plan(cluster, "-o", "json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    (cut,) = document["cuts"]
    assert cut["task"] == "giant" and "desk: 5.0 GiB short" in cut["why"], cut
    stages = cut["stages"]
    # 21 GiB into 16, 8, 6 and 2: two hold it.
    assert len(stages) == 2
    assert [stages[0]["first"], stages[-1]["last"]] == [0, 19]
    assert stages[1]["first"] == stages[0]["last"] + 1
    room = {"desk": 16, "nas": 2, "game": 8, "game/CUDA": 6}
    for stage in stages:
        assert stage["memory_bytes"] <= room[stage["node"]] * 2**30
        assert stage["name"] in document["placement"][stage["node"]]
    assert cut["period_s"] >= max(stage["seconds"] for stage in stages)
    assert cut["latency_s"] == pytest.approx(sum(stage["seconds"] for stage in stages) + cut["hop_s"])
    # The others are placed beside it, in what it leaves.
    placed = sorted(task for tasks in document["placement"].values() for task in tasks if not task.startswith("giant"))
    assert placed == ["embed", "rank"]
    text = plan(cluster).stdout
    for words in ("Cut between its layers: giant", "the fewest stages that hold it", "with 2 batches in flight", "can't be deployed until stages run"):
        assert words in text, text


def test_a_model_that_is_alone_and_cut(plan):
    cluster = {**CLUSTER, "tasks": [GIANT], "edges": [], "measured": []}
    document = json.loads(plan(cluster, "-o", "json").stdout)
    assert document["steps"] == [] and len(document["cuts"]) == 1
    assert document["makespan_s"] > 0.1, "desk's or nas' load, and the stage's"
    assert plan(cluster).returncode == 0


def test_what_is_too_large_even_cut_is_said(plan):
    result = plan({**CLUSTER, "tasks": [{**GIANT, "memory": "90GiB"}], "edges": [], "measured": []})
    assert result.returncode == 1
    assert "task 'giant' fits no node, nor cut over all: cut into its 20 layers it takes 90.0 GiB, and all nodes together have 32.0 GiB free" in result.stderr, result.stderr


def test_work_that_is_not_there_yet_is_planned_beside_the_rest(plan, tmp_path):
    tasks = tmp_path / "more.json"
    tasks.write_text(json.dumps({"tasks": [GIANT]}))
    document = json.loads(plan(SMALL, "--add", str(tasks), "--add", str(MODELS / "smollm2" / "model.gguf"), "-o", "json").stdout)
    assert document["cuts"][0]["task"] == "giant"
    model = next(row for row in document["matrix"] if row["task"] == "smollm2")
    costs = {cell["node"]: cell for cell in model["costs"]}
    assert costs["nas"]["seconds"] > costs["desk"]["seconds"] > costs["game/CUDA"]["seconds"] > 0


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tasks": {}}', '{"tasks": [], "nodes": []}', "GGUF", "GGUF\x03\x00\x00\x00"])
def test_a_wrong_addition_is_refused_with_its_name(plan, tmp_path, text):
    tasks = tmp_path / "more"
    tasks.write_text(text)
    result = plan(CLUSTER, "--add", str(tasks))
    assert result.returncode == 2 and str(tasks) in result.stderr, result.stderr


def test_what_the_plan_stands_on_and_nobody_measured_is_told(plan):
    document = json.loads(plan(CLUSTER, "-o", "json").stdout)
    for pair in document["factors"]["worth_measuring"]:
        assert pair["deviation"] > 0 and (pair["task"], pair["node"]) not in {("chat-1", "desk"), ("chat-2", "desk"), ("chat-3", "desk")}
    assert document["factors"]["worth_measuring"]
    assert "Worth measuring: " in plan(CLUSTER).stdout


@pytest.mark.parametrize(
    "change, words",
    [
        ({"tasks": [{"name": "a", "memory": "1GiB", "first": "1MiB"}], "edges": [], "measured": []}, "are for tasks with layers"),
        ({"tasks": [{"name": "a", "memory": "1GiB", "layers": 4, "first": "1GiB", "last": "1B"}], "edges": [], "measured": []}, "parts of its memory"),
        ({"tasks": [{"name": "a", "layers": 1}], "edges": [], "measured": []}, "layers"),
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
