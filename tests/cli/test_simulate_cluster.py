"""`evenkeel simulate --cluster`: unequal nodes in virtual time, by each rule of routing, and a model that is cut over nodes."""

from __future__ import annotations

import json

import pytest

SCENARIO = {
    "nodes": [{"name": "small", "capacity": 0.25, "count": 4}, {"name": "large", "capacity": 1}],
    "arrivals": "poisson:130",
    "work": "10ms",
    "work_cv": 1,
    "events": [{"at": "10s", "node": "small-2", "what": "fail"}, {"at": "20s", "node": "small-2", "what": "return"}],
}


@pytest.fixture
def simulate(cli, tmp_path):
    def run(scenario, *flags, seconds="40"):
        file = tmp_path / "scenario.json"
        file.write_text(json.dumps(scenario))
        return cli("simulate", "--cluster", str(file), "--seconds", seconds, *flags)

    return run


def test_each_rule_is_played_on_the_same_arrivals(simulate):
    result = simulate(SCENARIO, "-o", "json")
    assert result.returncode == 0, result.stderr
    runs = {run["rule"]: run for run in json.loads(result.stdout)["runs"]}
    assert set(runs) == {"utility", "method", "least-loaded", "two-choices", "weighted", "random"}
    assert len({run["arrived"] for run in runs.values()}) == 1
    for run in runs.values():
        assert run["arrived"] == run["answered"] + run["unanswered"]
        assert run["retried"] > 0
        assert {one["node"] for one in run["utilisation"]} == {"small-1", "small-2", "small-3", "small-4", "large"}
    assert runs["utility"]["latency_ms"]["p99"] < runs["random"]["latency_ms"]["p99"]
    assert json.loads(simulate(SCENARIO, "-o", "json").stdout) == json.loads(result.stdout)


def test_the_page_loads_nothing(simulate, tmp_path):
    page = tmp_path / "page.html"
    result = simulate(SCENARIO, "--rules", "utility,weighted", "--html", str(page))
    assert result.returncode == 0, result.stderr
    assert "utility" in result.stdout and "weighted" in result.stdout and "random" not in result.stdout
    text = page.read_text()
    assert text.count("<svg") == 3 and "<script" not in text and " src=" not in text and "@import" not in text


@pytest.mark.parametrize(
    "scenario, flags, words",
    [
        ({**SCENARIO, "nodes": []}, [], "nodes: expected at least one"),
        ({**SCENARIO, "arrivals": "poisson:0"}, [], "arrivals"),
        ({**SCENARIO, "werk": "1ms"}, [], "did you mean 'work'?"),
        (SCENARIO, ["--rules", "fate"], "there are utility"),
        (SCENARIO, ["--warm-up", "50"], "--warm-up"),
        (SCENARIO, ["--arrivals", "a=poisson:1"], "expected no --models"),
    ],
)
def test_what_is_wrong_is_said(simulate, scenario, flags, words):
    result = simulate(scenario, *flags)
    assert result.returncode == 2 and words in result.stderr, result.stderr


PIPELINE = {
    "nodes": [{"name": name, "gflops": 10 * speed, "memory_gb_s": speed, "memory": "24GiB"} for name, speed in (("desk", 40), ("attic", 20), ("shelf", 15))],
    "links": {"bandwidth": "125MB", "round_trip": "300us"},
    "tasks": [{"name": "giant", "layers": 80, "gflop": 140, "gbytes": 36, "memory": "40GiB", "first": "1GiB", "last": "1GiB", "boundary": "32KiB"}],
    "pipeline": {"arrivals": "constant:1", "prompt": 64, "answer": 1000, "in_flight": 4},
}


def test_a_model_that_is_cut_over_nodes_is_played(simulate, cli, tmp_path):
    result = simulate(PIPELINE, "--warm-up", "60", "-o", "json", seconds="600")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    (cut,) = document["cuts"]
    # The plan's cut, and as many tokens as its slowest stage gives.
    (tmp_path / "plan.json").write_text(json.dumps({key: PIPELINE[key] for key in ("nodes", "links", "tasks")}))
    (planned,) = json.loads(cli("plan", str(tmp_path / "plan.json"), "-o", "json").stdout)["cuts"]
    assert [(stage["node"], stage["first"], stage["last"]) for stage in cut["stages"]] == [
        (stage["node"], stage["first"], stage["last"]) for stage in planned["stages"]]
    slowest = max(stage["seconds"] for stage in cut["stages"])
    assert 0.8 / slowest < document["tokens_per_s"] <= 1.01 / slowest
    assert cut["period_s"] == pytest.approx(planned["period_s"]) and all(0 <= stage["idle"] < 1 for stage in cut["stages"])
    text = simulate(PIPELINE).stdout
    assert "IDLE" in text and "tokens/s" in text and "desk" in text


def test_a_failure_has_the_model_cut_anew(simulate):
    events = [{"at": "100s", "node": "attic", "what": "fail"}, {"at": "200s", "node": "desk", "what": "fail"}]
    document = json.loads(simulate({**PIPELINE, "events": events}, "-o", "json", seconds="300").stdout)
    first, second = document["cuts"]
    assert first["until_s"] == 100 and {stage["node"] for stage in second["stages"]} == {"desk", "shelf"}
    assert 101 <= second["from_s"] < 200 == second["until_s"]
    assert document["down_s"] == pytest.approx(second["from_s"] - 100 + 100) and document["again_tokens"] > 0
    assert "24.0 GiB free" in document["trouble"]
    assert "down at the end" in simulate({**PIPELINE, "events": events}, seconds="300").stdout


@pytest.mark.parametrize(
    "change, flags, code, words",
    [
        ({"pipeline": {**PIPELINE["pipeline"], "answer": 0}}, [], 2, "pipeline.answer"),
        ({"pipeline": {"prompt": 3}}, [], 2, "'arrivals' is missing"),
        ({"pipeline": 5}, [], 2, "pipeline: expected an object"),
        ({"pipeline": {**PIPELINE["pipeline"], "promt": 3}}, [], 2, "did you mean 'prompt'?"),
        ({"pipeline": {**PIPELINE["pipeline"], "prompt": 1.5}}, [], 2, "pipeline.prompt: expected a whole number"),
        ({"pipeline": {**PIPELINE["pipeline"], "answer": 10**9}}, [], 2, "pipeline.answer: expected a whole number"),
        ({"pipeline": {**PIPELINE["pipeline"], "detect": "soon"}}, [], 2, "pipeline.detect: expected a time"),
        ({"pipeline": {**PIPELINE["pipeline"], "load": "0B"}}, [], 2, "pipeline.load: expected more than 0"),
        ({"pipeline": {**PIPELINE["pipeline"], "arrivals": "poisson:many"}}, [], 2, "pipeline.arrivals"),
        ({"pipeline": {**PIPELINE["pipeline"], "arrivals": "trace:/nothing/here.csv"}}, [], 2, "pipeline.arrivals"),
        ({"pipeline": {**PIPELINE["pipeline"], "model": "dwarf"}}, [], 2, "there is no task 'dwarf'"),
        ({"tasks": [PIPELINE["tasks"][0], {**PIPELINE["tasks"][0], "name": "other"}]}, [], 2, "'giant' and 'other' have layers"),
        ({"tasks": [{"name": "chat"}]}, [], 2, "expected one with layers"),
        ({"events": {}}, [], 2, "events: expected a list"),
        ({"events": [{"node": "cellar", "what": "fail"}]}, [], 2, "events[0].node: there is no node 'cellar'"),
        ({"events": [{"node": "desk", "what": "explode"}]}, [], 2, "events[0].what: expected fail, return or slow"),
        ({"arrivals": "poisson:1"}, [], 2, "unknown key 'arrivals'"),
        ({"nodes": 2 * PIPELINE["nodes"]}, [], 2, "node 'desk' is there twice"),
        ({"links": {"bandwidth": "0B"}}, [], 2, "links.bandwidth: expected more than 0"),
        ({"nodes": PIPELINE["nodes"][:1]}, [], 1, "task 'giant' fits no node, nor cut over all"),
        ({}, ["--rules", "utility"], 2, "--rules"),
        ({}, ["--html", "page.html"], 2, "--html"),
    ],
)
def test_what_is_wrong_with_a_pipeline_is_said(simulate, change, flags, code, words):
    result = simulate({**PIPELINE, **change}, *flags)
    assert result.returncode == code and words in result.stderr, result.stderr


@pytest.mark.parametrize(
    "text, words",
    [
        (b"", "malformed JSON"),
        (b"[]", "expected a JSON object"),
        (json.dumps(PIPELINE).encode()[:-5], "malformed JSON"),
        (b'{"pipeline": {"arrivals": "\xff"}}', "malformed JSON"),
        (b'{"pipeline": {}, "pipeline": {}}', "a key stands twice"),
        (b'{"nodes": [{"accelerators": [{}]}], "pipeline": {}, "pipeline": {}}', "a key stands twice"),
        (b'{"pipeline": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper"),
    ],
    ids=["empty", "no object", "cut", "no text", "key twice", "key twice beside accelerators", "deep"],
)
def test_what_is_no_scenario_at_all_is_refused(cli, tmp_path, text, words):
    file = tmp_path / "scenario.json"
    file.write_bytes(text)
    result = cli("simulate", "--cluster", str(file))
    assert result.returncode == 2 and words in result.stderr, result.stderr


def test_a_file_that_is_not_there_is_named(cli, tmp_path):
    result = cli("simulate", "--cluster", str(tmp_path / "nothing.json"))
    assert result.returncode == 1 and "nothing.json" in result.stderr, result.stderr
