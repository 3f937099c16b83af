"""Samples on disk: rows that were sent, kept over a restart and over kill -9, exported as safetensors."""

from __future__ import annotations

import json
import pathlib
import signal
import threading
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from daemon import run_cli
from demo import draw, engine_cache, folder_of, serving  # noqa: F401

ROWS = 400
MODELS = {"digits": ("x", "FP32"), "textcnn": ("ids", "INT64")}


@pytest.fixture
def files():
    return {**folder_of("digits", samples="disk"), **folder_of("textcnn", samples="disk")}


def traffic(daemon, model: str, value: np.ndarray) -> None:
    name, kind = MODELS[model]
    for i in range(0, len(value), 8):
        part = value[i : i + 8]
        daemon.infer(model, [{"name": name, "datatype": kind, "shape": list(part.shape), "data": part.ravel().tolist()}])


def drawn(model: str, seed: int) -> np.ndarray:
    return draw(model, ROWS, seed)[MODELS[model][0]]


def listed(daemon, folder: pathlib.Path) -> dict[str, dict]:
    result = run_cli("samples", "ls", "-o", "json", folder=folder, env={"EVENKEEL_SERVER": daemon.http_url})
    assert result.returncode == 0, result.stderr
    return {one["model"]: one for one in json.loads(result.stdout)["samples"]}


def exported(daemon, folder: pathlib.Path, model: str) -> np.ndarray:
    file = folder / f"{model}.safetensors"
    file.unlink(missing_ok=True)
    result = run_cli("samples", "export", model, "-o", str(file), folder=folder, env={"EVENKEEL_SERVER": daemon.http_url})
    assert result.returncode == 0, result.stderr
    return load_file(file)[MODELS[model][0]]


def all_among(rows: np.ndarray, sent: np.ndarray) -> bool:
    return {row.tobytes() for row in rows} <= {row.tobytes() for row in sent}


def test_samples_are_kept_over_a_restart(tmp_path, engine_cache, files):
    flags = [*engine_cache, "--samples-items", "64"]
    first = {model: drawn(model, 1) for model in MODELS}
    with serving(tmp_path, files, flags) as daemon:
        for model, value in first.items():
            traffic(daemon, model, value)
        before = listed(daemon, tmp_path)
        for model, value in first.items():
            assert before[model]["seen"] == ROWS and before[model]["kept"] == 64
            kept = exported(daemon, tmp_path, model)
            assert kept.shape == (64, value.shape[1]) and kept.dtype == value.dtype
            assert all_among(kept, value)
            assert len({row.tobytes() for row in kept}) == 64, "a row was kept twice"
        kept = {model: exported(daemon, tmp_path, model) for model in MODELS}
    with serving(tmp_path, {}, flags) as daemon:
        after = listed(daemon, tmp_path)
        for model in MODELS:
            assert {k: after[model][k] for k in ("seen", "kept")} == {"seen": ROWS, "kept": 64}
            assert all_among(exported(daemon, tmp_path, model), kept[model])
        second = drawn("digits", 2)
        traffic(daemon, "digits", second)
        rows = exported(daemon, tmp_path, "digits")
        assert listed(daemon, tmp_path)["digits"]["seen"] == 2 * ROWS
        assert all_among(rows, np.concatenate([first["digits"], second]))
        new = sum(all_among(row[None], second) for row in rows)
        assert 12 <= new <= 52, "half of the sample should be of the second half of the rows"  # 5 sigma around 32
    with serving(tmp_path, {}, flags) as daemon:
        assert run_cli("samples", "rm", "digits", folder=tmp_path, env={"EVENKEEL_SERVER": daemon.http_url}).returncode == 0
        assert listed(daemon, tmp_path).get("digits", {"kept": 0})["kept"] == 0
        assert not list((tmp_path / "state" / "samples").glob("digits/*.safetensors"))
        assert list((tmp_path / "state" / "samples").glob("textcnn/*.safetensors"))


def test_samples_on_disk_survive_kill_9(tmp_path, engine_cache, files):
    sent = drawn("digits", 3)
    with serving(tmp_path, files, engine_cache) as daemon:
        traffic(daemon, "digits", sent)
        end = time.monotonic() + 25
        while not list((tmp_path / "state").rglob("*.safetensors")) and time.monotonic() < end:
            time.sleep(0.2)  # written at most every ten seconds
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        daemon.ended = True
    with serving(tmp_path, {}, engine_cache) as daemon:
        assert listed(daemon, tmp_path)["digits"]["kept"] > 0
        assert all_among(exported(daemon, tmp_path, "digits"), sent)
        traffic(daemon, "digits", sent[:8])


@pytest.mark.long
def test_kill_9_at_any_moment_leaves_whole_files(tmp_path, engine_cache, files):
    sent = drawn("digits", 4)
    models = files
    for turn in range(12):
        with serving(tmp_path, models, [*engine_cache, "--samples-items", "20000"]) as daemon:
            models = {}
            stop = threading.Event()

            def run(daemon=daemon, stop=stop):
                while not stop.is_set():
                    try:
                        traffic(daemon, "digits", sent)
                    except (OSError, AssertionError):
                        return

            thread = threading.Thread(target=run)
            thread.start()
            time.sleep(9.5 + turn * 0.1)
            daemon.process.send_signal(signal.SIGKILL)
            daemon.process.wait()
            daemon.ended = True
            stop.set()
            thread.join()
        assert not list((tmp_path / "state").rglob("*.bad"))
        for file in (tmp_path / "state").rglob("*.safetensors"):
            assert all_among(load_file(file)["x"], sent)


def test_a_damaged_file_is_set_aside(tmp_path, engine_cache, files):
    with serving(tmp_path, files, engine_cache) as daemon:
        traffic(daemon, "digits", drawn("digits", 5))
        traffic(daemon, "textcnn", drawn("textcnn", 5))
    (file,) = (tmp_path / "state" / "samples" / "digits").glob("*.safetensors")
    assert file.stat().st_mode & 0o077 == 0, "others can read users' inputs"
    file.write_bytes(file.read_bytes()[:-100])
    with serving(tmp_path, {}, engine_cache) as daemon:
        assert "digits" not in listed(daemon, tmp_path)
        assert listed(daemon, tmp_path)["textcnn"]["kept"] > 0
        assert list(file.parent.glob("*.bad"))
        traffic(daemon, "digits", drawn("digits", 6))
        assert all_among(exported(daemon, tmp_path, "digits"), drawn("digits", 6))


def test_samples_off_keeps_nothing(tmp_path, engine_cache):
    with serving(tmp_path, folder_of("digits", samples='"off"'), engine_cache) as daemon:
        traffic(daemon, "digits", drawn("digits", 7))
        assert listed(daemon, tmp_path) == {}
    assert not list((tmp_path / "state").rglob("*.safetensors"))
