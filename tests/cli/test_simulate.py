"""`evenkeel simulate`: figures in virtual time, without a server."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
from daemon import ROOT

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


@pytest.mark.parametrize("trace", ["counts:wc98_two_days.csv.gz,bin=200ms", "counts:azure_code_2023_seconds.csv.gz,bin=50ms",
                                   "clients:servegen_m-small_busiest_hour.csv.gz,speed=60"])
def test_on_real_traffic_forecasts_never_lose_to_the_last_value(cli, tables, trace):
    kind, file = trace.split(":")
    arguments = ["--seconds", "60", "--warm-up", "0", "--arrivals", f"steep={kind}:{ROOT / 'bench' / 'traces' / file},rate=2000"]
    levels = document(cli("simulate", "--models", tables, *arguments, "-o", "json"))["models"][0]["forecast"]
    assert levels[0]["intervals"] > 1000
    for level in levels:
        assert level["mae_items"] <= 1.005 * level["last_value_mae_items"] + 1e-6, level
    gains = {level["interval_ms"]: 1 - level["mae_items"] / level["last_value_mae_items"] for level in levels if level["intervals"] > 20}
    assert max(gains.values()) > 0.05, gains  # and somewhere it gains


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


def test_the_method_has_its_batch_from_the_table(cli, tmp_path):
    # Of the sizes of the table 48 is the largest whose ratio passes, and no power of two, which is what live times are asked for.
    path = tmp_path / "odd.json"
    path.write_text(json.dumps({"schema": "evenkeel.load-tables/v1", "models": [{"name": "m", "objective_ms": 50, "noise": "none", "rows": [
        {"cores": 1, "batch": n, "batchtime_us": us, "p99_us": us} for n, us in ((1, 150), (6, 300), (48, 3600), (64, 9000))]}]}))

    def knee(*flags):
        return document(cli("simulate", "--models", str(path), "--seconds", "2", "--warm-up", "0", "--arrivals", "m=poisson:4000", "--policy",
                            "method", "-o", "json", *flags))["models"][0]["window"]["knee"]

    assert knee() == 48                               # 3,600 of 7,200 us; 64 takes 9,000 of 9,600
    assert knee("--ratio-threshold", "0.95") == 64
    assert knee("--ratio-threshold", "0.4") == 6      # 300 of 900
    assert knee("--ratio-threshold", "0.1") == 1      # do not batch
    assert knee("--max-batch", "m=24") == 6


def test_batches_are_listed_as_they_started(simulate, tmp_path):
    file = tmp_path / "batches.csv"
    report = document(simulate("--arrivals", "steep=poisson:3000", "--arrivals", "flat=poisson:50", "-o", "json",
                               "--batches", str(file)))
    header, *rows = [line.split(",") for line in file.read_text().splitlines()]
    assert header == ["at_ns", "model", "rows", "reason"]
    for model in report["models"]:
        mine = [row for row in rows if row[1] == model["name"] and 1e9 <= int(row[0]) < 4e9]  # what the report counts
        assert sum(int(row[2]) for row in mine) == sum(int(n) * count for n, count in model["batches"]["by_rows"].items())
    assert [int(row[0]) for row in rows] == sorted(int(row[0]) for row in rows)


def test_a_price_makes_auto_wait(simulate):
    def run(*flags):
        return document(simulate("--arrivals", "steep=poisson:3000", "--cores", "1", "-o", "json", *flags))["models"][0]

    free, dear = run("--price", "0"), run("--price", "5000")
    assert free["window"]["price"] == 0 and dear["window"]["price"] == 5000
    assert dear["batches"]["mean_rows"] > 2 * free["batches"]["mean_rows"]
    assert dear["core_us_per_row"] < 0.6 * free["core_us_per_row"]


@pytest.mark.parametrize("arguments, said", [
    (["--arrivals", "steep=poisson:5", "--policy", "method", "--ratio-threshold", "0"], "--ratio-threshold"),
    (["--arrivals", "steep=poisson:5", "--policy", "method", "--price", "5"], "--price"),
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


# Accelerators

GPU_ROWS = [
    {"cores": 1, "gpu_cores": cores, "gpu_memory_bytes": memory << 30, "batch": batch,
     "batchtime_us": (4000 + 50 * batch) * 16 / cores, "p99_us": (4000 + 50 * batch) * 16 / cores}
    for cores in (4, 8, 16) for memory in (1, 2) for batch in (1, 8, 16, 32) if (batch, memory) != (32, 1)
]


@pytest.fixture
def devices(cli, tmp_path):
    path = tmp_path / "devices.json"
    cpu = [{"cores": 1, "batch": n, "batchtime_us": 1000 * n, "p99_us": 1000 * n} for n in (1, 2, 4, 8)]
    path.write_text(json.dumps({"schema": "evenkeel.load-tables/v1", "models": [
        {"name": "both", "objective_ms": 100, "noise": "none", "rows": cpu + GPU_ROWS},
        {"name": "cpu", "objective_ms": 100, "noise": "none", "rows": cpu}]}))
    return lambda *a: cli("simulate", "--models", str(path), "--seconds", "5", "--warm-up", "1", "-o", "json", *a)


def test_a_model_with_tables_of_both_classes_overflows(devices):
    low = document(devices("--arrivals", "both=constant:50"))
    assert low["mean_busy_cores"] == 0
    assert low["models"][0]["device"]["share_of_rows"] == 1
    assert low["models"][0]["window"]["device_first"] is True
    high = document(devices("--arrivals", "both=poisson:8000"))
    assert high["mean_busy_cores"] > 0.5
    assert 0.5 < high["models"][0]["device"]["share_of_rows"] < 0.95


def test_a_class_is_kept(devices):
    gpu = document(devices("--arrivals", "both=poisson:8000", "--class", "both=gpu"))
    assert gpu["mean_busy_cores"] == 0 and gpu["models"][0]["device"]["share_of_rows"] == 1
    cpu = document(devices("--arrivals", "both=poisson:8000", "--class", "both=cpu"))
    assert cpu["mean_busy_cores"] > 0.9 and "device" not in cpu["models"][0]


def test_a6_chooses_the_shape_of_the_method(devices):
    # 32 rows take 5.6 ms on 16 cores, 11.2 on 8, 22.4 on 4, and 2 GiB: within 12 ms two shapes do, of which A6 takes the one with fewer cores.
    device = document(devices("--arrivals", "both=poisson:500", "--policy", "method", "--objective", "both=12ms"))["models"][0]["device"]
    assert device["cores"] == 8 and device["memory_bytes"] == 2 << 30
    given = document(devices("--arrivals", "both=poisson:500", "--policy", "method", "--gpu", "both=16c/2GiB"))["models"][0]["device"]
    assert given["cores"] == 16 and given["memory_bytes"] == 2 << 30


@pytest.mark.parametrize("flags, says", [
    (["--class", "both=tpu"], "expected cpu, gpu or auto"),
    (["--class", "cpu=gpu"], "no rows of an accelerator"),
    (["--class", "both=cpu", "--gpu", "both=8c/1GiB"], "class cpu"),
    (["--gpu", "both=7c/1GiB"], "only for 4c/1GiB"),
    (["--gpu", "both=7"], "CORESc/MEMORY"),
    (["--gpu-instances", "both=0"], "--gpu-instances both"),
    (["--gpu", "both=8c/1GiB", "--gpu-instances", "both=3", "--device", "16c/4GiB"], "0c/2GiB left"),
    (["--device", "16"], "--device"),
])
def test_a_class_or_share_that_cannot_be_is_refused(devices, flags, says):
    result = devices("--arrivals", "both=poisson:10", "--arrivals", "cpu=poisson:10", *flags)
    assert result.returncode == 2
    assert says in result.stderr
