"""Unmodified perf_analyzer 2.41.1: short measurements over HTTP and gRPC end without errors and agree with the statistics."""

from __future__ import annotations

import csv
import json
import subprocess

import numpy as np
import pytest

from daemon import ROOT
from demo import demo, draw, engine_cache, statistics  # noqa: F401


@pytest.fixture(scope="module")
def perf_analyzer():
    made = subprocess.run([ROOT / "tools" / "fetch_perf_analyzer.sh"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def measure(program, demo, tmp_path, protocol: str, model: str, *more: str) -> float:
    """Throughput in inferences a second."""
    report = tmp_path / "report.csv"
    before = statistics(demo, model)
    address = demo.http_address if protocol == "http" else demo.grpc_address
    command = [program, "-m", model, "-u", address, "-i", protocol, "-p", "400", "-r", "3", "-s", "100000", "-f", str(report), *more]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    text = result.stdout + result.stderr
    # How steady the figures are says more of the machine than of the server, so any steadiness will do (-s); without it there is no report.
    assert result.returncode == 0, text
    assert "error" not in text.lower() and "fail" not in text.lower().replace("failed to obtain stable measurement", ""), text
    with report.open() as file:
        rows = list(csv.DictReader(file))
    assert rows, text
    after = statistics(demo, model)
    counted = after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"]
    assert counted > 0 and after["inference_stats"]["fail"]["count"] == before["inference_stats"]["fail"]["count"]
    # What it prints of the server's side comes from our statistics.
    assert float(rows[-1]["Server Compute Infer"]) > 0, rows
    return float(rows[-1]["Inferences/Second"])


@pytest.fixture
def ids_file(tmp_path):
    """Its own random integers would be out of range, so the ids are given."""
    rows = draw("textcnn", 16)["ids"]
    path = tmp_path / "ids.json"
    path.write_text(json.dumps({"data": [{"ids": row.tolist()} for row in rows]}))
    return path


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("more", [["--concurrency-range", "4"], ["--concurrency-range", "2", "-b", "8", "--async"]], ids=["1-row", "8-rows"])
def test_digits(perf_analyzer, demo, tmp_path, protocol, more):
    assert measure(perf_analyzer, demo, tmp_path, protocol, "digits", *more) > 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_textcnn_with_given_ids(perf_analyzer, demo, tmp_path, protocol, ids_file):
    more = ["--input-data", str(ids_file), "--concurrency-range", "4"]
    assert measure(perf_analyzer, demo, tmp_path, protocol, "textcnn", *more) > 0


def test_ids_out_of_range_are_reported_as_errors(perf_analyzer, demo, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps({"data": [{"ids": np.full(64, 20_000).tolist()}]}))
    command = [perf_analyzer, "-m", "textcnn", "-u", demo.http_address, "-i", "http", "-p", "400", "-r", "3", "--input-data", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert result.returncode != 0
    assert "expected ids within [-20000, 19999], got 20000" in result.stdout + result.stderr


def test_request_rate_streaming_json_and_metrics(perf_analyzer, demo, tmp_path):
    assert measure(perf_analyzer, demo, tmp_path, "http", "digits", "--request-rate-range", "50", "--input-tensor-format", "json",
                   "--output-tensor-format", "json", "--collect-metrics", "--metrics-url", demo.metrics_url) > 0
    assert measure(perf_analyzer, demo, tmp_path, "grpc", "digits", "--streaming", "--concurrency-range", "2") > 0
