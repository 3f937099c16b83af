"""`evenkeel simulate --cluster`: unequal nodes in virtual time, by each rule of routing."""

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
    def run(scenario, *flags):
        file = tmp_path / "scenario.json"
        file.write_text(json.dumps(scenario))
        return cli("simulate", "--cluster", str(file), "--seconds", "40", *flags)

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
