"""`cmake --install` gives a tree that runs wherever it is moved to, with the engine's libraries inside."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from daemon import ROOT

BUILD = pathlib.Path(os.environ.get("EVENKEEL_BUILD", ROOT / "build"))
MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", ROOT / "build" / "demo-models"))


@pytest.fixture
def installed(tmp_path):
    subprocess.run(["cmake", "--install", str(BUILD), "--prefix", str(tmp_path / "first")], check=True, capture_output=True)
    return (tmp_path / "first").rename(tmp_path / "moved")


def test_an_installed_and_moved_tree_serves_a_model(installed, serve, monkeypatch):
    libraries = subprocess.run(
        ["ldd", str(installed / "libexec/evenkeel/evenkeel-worker-openvino")], check=True, capture_output=True, text=True
    ).stdout
    engine = [line for line in libraries.splitlines() if "libopenvino.so" in line]
    assert engine and str(installed) in engine[0], libraries
    assert "libopenvino" not in subprocess.run(
        ["ldd", str(installed / "bin/evenkeel")], check=True, capture_output=True, text=True
    ).stdout, "the daemon links an engine"

    monkeypatch.setattr("daemon.BINARY", installed / "bin/evenkeel")
    daemon = serve(models={"digits": MODELS / "digits"})
    answer = daemon.infer("digits", [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [0.5] * 64}])
    assert abs(sum(answer["outputs"][0]["data"]) - 1) < 1e-4
