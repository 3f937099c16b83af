"""`evenkeel simulate`: figures in virtual time, without a server."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

TABLES = {
    "schema": "evenkeel.load-tables/v1",
    "models": [
        {"name": "steep", "objective_ms": 20, "rows": [
            {"cores": 1, "batch": 1, "batchtime_us": 150, "p99_us": 170},
            {"cores": 1, "batch": 64, "batchtime_us": 970, "p99_us": 1100}]},
        {"name": "flat", "objective_ms": 100, "rows": [
            {"cores": 1, "batch": 1, "batchtime_us": 2000, "p99_us": 2200},
            {"cores": 1, "batch": 8, "batchtime_us": 16000, "p99_us": 17000},
            {"cores": 2, "batch": 1, "batchtime_us": 1100, "p99_us": 1200}]},
    ],
}


@pytest.fixture
def tables(tmp_path):
    path = tmp_path / "tables.json"
    path.write_text(json.dumps(TABLES))
    return str(path)


@pytest.fixture
def simulate(cli, tables):
    def run(*arguments):
        return cli("simulate", "--models", tables, "--seconds", "4", "--warm-up", "1", *arguments)

    return run


def document(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_report_has_every_figure_and_adds_up(simulate):
    report = document(simulate("--arrivals", "steep=poisson:4000", "--arrivals", "flat=gamma:50,cv=2", "-o", "json"))
    assert report["schema"] == "evenkeel.simulation/v1"
    assert report["simulated"] is True
    assert report["policy"] == "auto"
    assert 0 < report["mean_busy_cores"] <= 2
    assert [m["name"] for m in report["models"]] == ["steep", "flat"]
    for model in report["models"]:
        requests = model["requests"]
        assert requests["arrived"] == sum(requests[k] for k in ("within", "late", "shed", "expired"))
        assert model["latency_ms"]["p50"] <= model["latency_ms"]["p99"]
        assert sum(model["batches"]["by_rows"].values()) == model["batches"]["count"]
        assert sum(model["batches"]["close_reasons"].values()) == model["batches"]["count"]
        assert len(model["forecast"]) == 4
        for level in model["forecast"]:
            assert level["mae_items"] <= 1.005 * level["last_value_mae_items"] + 1e-6


@pytest.mark.parametrize("policy", ["auto", "method", "none", "greedy", "fixed", "gated-greedy", "cork", "oracle", "smdp"])
def test_every_policy_is_the_same_again_with_the_same_seed(simulate, policy):
    arguments = ["--arrivals", "steep=poisson:3000", "--policy", policy, "-o", "json"]
    first, second = simulate(*arguments), simulate(*arguments)
    assert document(first)["policy"] == policy
    assert first.stdout == second.stdout
    assert simulate(*arguments, "--seed", "2").stdout != first.stdout


def test_batching_holds_a_rate_that_one_by_one_cannot(simulate):
    rate = ["--arrivals", "steep=poisson:15000", "--cores", "1", "-o", "json"]
    alone = document(simulate(*rate, "--policy", "none"))["models"][0]["goodput"]["share"]
    batched = document(simulate(*rate))["models"][0]["goodput"]["share"]
    assert alone < 0.6 < 0.99 < batched


def test_the_goodput_of_a_mix_is_kept_and_just_so(simulate):
    mix = ["--arrivals", "a@steep=poisson:1000", "--arrivals", "flat=poisson:100", "-o", "json"]
    found = document(simulate(*mix, "--goodput"))
    assert all(m["goodput"]["share"] >= 0.99 for m in found["models"])
    beyond = document(simulate(*mix, "--factor", str(1.1 * found["factor"])))
    assert any(m["goodput"]["share"] < 0.99 for m in beyond["models"])


def test_the_page_is_one_file_with_plots(simulate, tmp_path):
    page = tmp_path / "page.html"
    simulate("--arrivals", "steep=poisson:2000", "--html", str(page))
    html = page.read_text()
    assert html.count("<svg") == 4  # cores, latency, batches, forecast
    for part in html.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + part.split("</svg>")[0] + "</svg>")
    assert "src=" not in html and "href=" not in html


def test_a_trace_is_played(simulate, tmp_path):
    trace = tmp_path / "t.csv"
    trace.write_text("t_s\n" + "".join(f"{i / 100}\n" for i in range(300)))
    report = document(simulate("--arrivals", f"steep=trace:{trace}", "-o", "json"))
    assert report["models"][0]["requests"]["arrived"] == 200  # those after the warm-up


def test_fixed_waits_for_its_delay(simulate):
    arguments = ["--arrivals", "steep=constant:100", "--policy", "fixed", "-o", "json"]
    waited = document(simulate(*arguments, "--delay", "steep=7ms"))["models"][0]["wait_ms"]["p50"]
    assert waited == pytest.approx(7, rel=0.02)


@pytest.mark.parametrize("arguments, said", [
    (["--arrivals", "steep=poisson:0"], "rate"),
    (["--arrivals", "steep=often:5"], "poisson"),
    (["--arrivals", "other=poisson:5"], "no load table for 'other'"),
    (["--arrivals", "steep=poisson:5", "--arrivals", "steep=poisson:5"], "twice"),
    (["--arrivals", "steep=trace:/nowhere.csv"], "/nowhere.csv"),
    (["--arrivals", "steep=poisson:5", "--threads", "steep=3"], "3 cores"),
    (["--arrivals", "steep=poisson:5", "--objective", "flat=5ms"], "--objective"),
    (["--arrivals", "steep=poisson:5", "--objective", "steep=0s"], "--objective"),
    (["--arrivals", "steep=poisson:5", "--policy", "clever"], "gated-greedy"),
    (["--arrivals", "steep=poisson:5", "--arrivals", "flat=poisson:5", "--policy", "smdp"], "one model"),
    (["--arrivals", "steep"], "expected NAME"),
    ([], "--arrivals"),
])
def test_what_is_wrong_is_said(simulate, arguments, said):
    result = simulate(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert said in result.stderr


@pytest.mark.parametrize("text, said", [
    ("t_s\n3\n1\n", "t.csv:3: 1 comes after 3"),
    ("t_s\n-1\n", "t.csv:2: expected 0 or more"),
    ("t_s\nsoon\n", "t.csv:2: expected a number"),
    ("t_s\n", "no arrivals"),
])
def test_bad_traces_are_named_with_their_line(simulate, tmp_path, text, said):
    trace = tmp_path / "t.csv"
    trace.write_text(text)
    result = simulate("--arrivals", f"steep=trace:{trace}")
    assert result.returncode == 2
    assert said in result.stderr


def test_a_warm_up_longer_than_the_run_is_refused(cli, tables):
    result = cli("simulate", "--models", tables, "--arrivals", "steep=poisson:5", "--seconds", "2", "--warm-up", "3")
    assert result.returncode == 2
    assert "--warm-up" in result.stderr


def test_broken_tables_are_named(cli, tmp_path):
    path = tmp_path / "broken.json"
    path.write_text('{"schema": "evenkeel.load-tables/v1", "models": [{"name": "m", "rows": [{"cores": 1}]}]}')
    result = cli("simulate", "--models", str(path), "--arrivals", "m=poisson:1")
    assert result.returncode == 2
    assert "broken.json: model 'm': row 0: expected a number 'batch'" in result.stderr
