"""bf16 on a processor that has it: measured beside f32, used within the manifest's tolerance and not above it, and said."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import time

import pytest
from daemon import BUILD, ROOT

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", ROOT / "build" / "demo-models"))
FLAGS = set(re.findall(r"\w+", "".join(re.findall(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)[:1])))
pytestmark = [
    pytest.mark.skipif(not FLAGS & {"avx512_bf16", "amx_bf16"}, reason="this processor has no bf16 (/proc/cpuinfo: no avx512_bf16, no amx_bf16)"),
    pytest.mark.skipif(not (MODELS / "lstm").is_dir(), reason="needs the demo models (make models)"),
    pytest.mark.skipif(not (BUILD / "libexec/evenkeel/evenkeel-worker-openvino").exists(), reason="needs the OpenVINO worker"),
]
GRID = ["--shapes", "1c/512MiB", "--batches", "1,32"]
DAEMON_GRID = ["--profiling", "auto", "--profile-after", "0s", "--profile-shapes", "1c/512MiB", "--profile-batches", "1,32"]
# Without AMX the instructions are there, and may gain nothing.
NOT_FASTER = "bf16 is not faster here"
IDS = [[(7 * row + 3 * i) % 1000 for i in range(32)] for row in range(4)]


def lstm(folder: pathlib.Path, tolerance: float | None) -> None:
    (folder / "lstm").mkdir(parents=True, exist_ok=True)
    if not (folder / "lstm" / "model.onnx").exists():
        shutil.copyfile(MODELS / "lstm" / "model.onnx", folder / "lstm" / "model.onnx")  # a link would lead out of the folder
    asked = "" if tolerance is None else f"precision: auto\ntolerance: {tolerance}\n"
    (folder / "lstm" / "evenkeel.yaml").write_text(f"file: model.onnx\nsamples: disk\n{asked}")


def profile_of(daemon):
    return daemon.json("GET", "/v2/models/lstm/batching")["profile"]


def wait_until(daemon, condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition(found := profile_of(daemon)):
            return found
        time.sleep(0.1)
    pytest.fail(f"it never came to be: {json.dumps(found)[:3000]}\n{daemon.log()[-3000:]}")


def outputs_of(daemon):
    answer = daemon.infer("lstm", [{"name": "ids", "shape": [4, 32], "datatype": "INT64", "data": IDS}])
    return answer["outputs"][0]["data"]


def largest_difference(a, b):
    assert len(a) == len(b) == 40
    return max(abs(x - y) for x, y in zip(a, b))


def shown(cli, daemon):
    return re.sub(r" +", " ", cli("show", "lstm", server=daemon).stdout)


def wait_for_bf16(daemon):
    """It is adopted, by what sampled inputs differ by; skips where the processor gains nothing by it."""
    found = wait_until(daemon, lambda p: p.get("inputs") == "samples" and p.get("adopted")
                       and (p["adopted"]["precision"] == "bf16" or p["precision"]["why"] == NOT_FASTER))
    if found["adopted"]["precision"] != "bf16":
        pytest.skip(NOT_FASTER)
    return found


def send_samples(daemon):
    """As many rows as outputs are compared with; before, no tolerance is said to be kept."""
    for _ in range(12):
        outputs_of(daemon)


@pytest.fixture
def measure(cli, serve, tmp_path):
    """measure(tolerance, ...) is `evenkeel profile lstm` in tmp_path/d, where the daemons of these tests live too, with inputs that one sampled."""
    folder = tmp_path / "d"
    lstm(folder / "models", None)
    daemon = serve(models={}, folder=folder, flags=["--profiling", "off"])
    send_samples(daemon)
    daemon.ended = True
    assert daemon.stop() == 0

    def run(tolerance, *more):
        lstm(folder / "models", tolerance)
        places = [word for name in ("models", "state", "cache") for word in (f"--{name}", str(folder / name))]
        result = cli("profile", "lstm", *GRID, *places, *more, timeout=120)
        assert result.returncode == 0, result.stderr
        return result

    return run


def test_rows_of_both_precisions_stand_side_by_side_with_the_difference(measure):
    result = measure(1)
    table = json.loads(measure(1, "-o", "json").stdout)["models"][0]
    assert [(row["batch"], row["precision"]) for row in table["rows"]] == [(1, "f32"), (1, "bf16"), (32, "f32"), (32, "bf16")]
    for row in table["rows"]:
        assert row["outcome"] == "ok"
        if row["precision"] == "f32":
            assert "difference_max" not in row
        else:
            assert 0 < row["difference_mean"] < row["difference_max"] < 0.5
    assert "PRECISION" in result.stdout and "at most" in result.stdout
    assert re.search(r"^precision +(f32|bf16): ", result.stdout, re.M)
    only_f32 = measure(None)
    assert "(2 earlier)" in only_f32.stderr and "PRECISION" not in only_f32.stdout and "bf16" not in only_f32.stdout


def test_the_tolerance_decides_without_another_measurement(measure):
    table = json.loads(measure(1, "-o", "json").stdout)["models"][0]
    largest = max(row["difference_max"] for row in table["rows"] if row["precision"] == "bf16")
    above = measure(2 * largest, "-o", "json")
    assert "(4 earlier)" in above.stderr
    above = json.loads(above.stdout)["models"][0]
    if above["precision"]["why"] == NOT_FASTER:
        pytest.skip(NOT_FASTER)
    assert above["precision"]["chosen"] == "bf16" and "times as fast" in above["precision"]["why"]
    assert next(c for c in above["choices"] if c["rule"] == "objective")["precision"] == "bf16"
    below = json.loads(measure(largest / 2, "-o", "json").stdout)["models"][0]
    assert below["precision"]["chosen"] == "f32" and "outputs in bf16 differ by" in below["precision"]["why"]
    assert all(c.get("precision", "f32") == "f32" for c in below["choices"])
    assert "in bf16, " in measure(2 * largest).stdout


def test_the_page_draws_a_line_for_each_precision(measure, tmp_path):
    measure(1, "--plot", str(tmp_path / "lstm.html"))
    page = (tmp_path / "lstm.html").read_text()
    assert "1 core</span>" in page and "1 core, bf16</span>" in page and "<strong>precision</strong>" in page


def test_the_daemon_goes_over_to_bf16_within_the_tolerance_and_says_so(serve, cli, tmp_path):
    lstm(tmp_path / "d" / "models", 0.5)
    daemon = serve(models={}, folder=tmp_path / "d", flags=DAEMON_GRID)
    before = outputs_of(daemon)  # f32 until the table is complete
    # What made-up inputs differ by says nothing of what clients send.
    made_up = wait_until(daemon, lambda p: p.get("adopted"))
    assert made_up["inputs"] == "signature" and made_up["precision"]["chosen"] == "f32" and "made-up inputs" in made_up["precision"]["why"]
    send_samples(daemon)
    found = wait_for_bf16(daemon)
    assert found["precision"]["chosen"] == "bf16" and "allowed are 0.5" in found["precision"]["why"]
    assert found["adopted"]["precision"] == "bf16"
    rows = [row for row in found["table"] if row["precision"] == "bf16"]
    assert len(rows) == 2 and all(0 < row["difference_max"] < 0.5 for row in rows)
    end = time.monotonic() + 30
    while (difference := largest_difference(before, outputs_of(daemon))) == 0 and time.monotonic() < end:
        time.sleep(0.1)  # the new instance takes over
    assert 0 < difference < 0.5
    text = shown(cli, daemon)
    assert "\n Precision bf16\n" in text and "\n Chosen bf16: " in text, text
    assert re.search(r"Runs on 1c/512MiB in bf16, batch", text), text


def test_the_daemon_stays_with_f32_above_the_tolerance_and_says_so(serve, cli, tmp_path):
    lstm(tmp_path / "d" / "models", 1e-7)
    daemon = serve(models={}, folder=tmp_path / "d", flags=DAEMON_GRID)
    before = outputs_of(daemon)
    found = wait_until(daemon, lambda p: p.get("adopted"))
    assert found["adopted"]["precision"] == "f32" and found["precision"]["chosen"] == "f32"
    assert re.search(r"outputs in bf16 differ by \S+, allowed are 1e-07", found["precision"]["why"])
    assert largest_difference(before, outputs_of(daemon)) < 1e-5  # kernels of another shape may round otherwise
    text = shown(cli, daemon)
    assert "\n Precision f32\n" in text and "\n Chosen f32: outputs in bf16 differ by" in text, text


@pytest.mark.parametrize("tolerance, precision", [(0.5, "bf16"), (0.4, "f32"), (1e-7, "f32")])
def test_a_restart_serves_in_bf16_at_once_only_under_the_tolerance_that_it_was_chosen_with(serve, tmp_path, tolerance, precision):
    folder = tmp_path / "d"
    lstm(folder / "models", 0.5)
    first = serve(models={}, folder=folder, flags=DAEMON_GRID)
    plain = outputs_of(first)
    send_samples(first)
    wait_for_bf16(first)
    time.sleep(1.2)  # it is kept with the next look
    first.ended = True
    assert first.stop() == 0
    lstm(folder / "models", tolerance)
    later = [*DAEMON_GRID]
    later[later.index("--profile-after") + 1] = "1h"
    again = serve(models={}, folder=folder, flags=later)
    difference = largest_difference(plain, outputs_of(again))
    assert (difference > 1e-5) == (precision == "bf16"), difference
    assert again.json("GET", "/v2/evenkeel/models/lstm")["precision"] == precision
