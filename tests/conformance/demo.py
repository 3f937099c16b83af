"""The demo models under test: random inputs, ONNX Runtime's answers to them, and a daemon that serves them.

Fixtures for test modules to import: `demo` (one daemon a module, all demo models), `oracle`.
The models: $EVENKEEL_MODELS, else build/demo-models (`make models`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib

import numpy as np
import onnxruntime
import pytest

from daemon import ROOT, STOP_SECONDS, launch, place_models, sanitizer_report, wait_for_announcement

FOLDER = pathlib.Path(os.environ.get("EVENKEEL_MODELS", ROOT / "build" / "demo-models")).resolve()
TOLERANCE = 1e-4  # absolute, and relative to the oracle's number


def ids(name, columns, bound, dtype=np.int64):
    return lambda rng, rows: {name: rng.integers(0, bound, (rows, columns), dtype)}


def pixels(width):
    return lambda rng, rows: {"x": rng.uniform(-1, 1, (rows, 3, 48, width)).astype(np.float32)}


def click_through(rng, rows):
    return {**ids("ids", 26, 100_000)(rng, rows), "dense": rng.standard_normal((rows, 32), dtype=np.float32)}


# Name -> a function (rng, rows) that draws inputs. Random pixels and bytes are not what these models were trained on; they
# are computed all the same.
INPUTS = {
    "digits": lambda rng, rows: {"x": rng.random((rows, 64), dtype=np.float32)},
    "ctr": click_through,
    "textcnn": ids("ids", 64, 20_000),
    "lstm": ids("ids", 32, 20_000),
    "filetype": ids("bytes", 2048, 257, np.int32),
    "textline-orientation": pixels(192),
    "textline-recognition": pixels(64),
}
OUTPUTS = {
    "digits": "y",
    "ctr": "y",
    "textcnn": "y",
    "lstm": "y",
    "filetype": "target_label",
    "textline-orientation": "save_infer_model/scale_0.tmp_1",
    "textline-recognition": "softmax_11.tmp_0",
}
MODELS = list(INPUTS)
LANGUAGE_MODELS = [file.parent.name for file in FOLDER.glob("*/*.gguf")]  # tested in test_openai.py
DATATYPES = {np.dtype(np.float32): "FP32", np.dtype(np.int64): "INT64", np.dtype(np.int32): "INT32"}


def draw(model: str, rows: int, seed: int = 1) -> dict[str, np.ndarray]:
    return INPUTS[model](np.random.default_rng(seed), rows)


@functools.cache
def session(model: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(FOLDER / model / "model.onnx", options, providers=["CPUExecutionProvider"])


def oracle(model: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What ONNX Runtime says, sixteen rows at a time: its batch is another one than the server's."""
    rows = len(next(iter(inputs.values())))
    parts = [
        session(model).run([OUTPUTS[model]], {name: value[i : i + 16] for name, value in inputs.items()})[0]
        for i in range(0, rows, 16)
    ]
    return np.concatenate(parts)


def check(got: np.ndarray | None, expected: np.ndarray, what: str = "") -> None:
    assert got is not None, f"{what}: no such output"
    assert got.shape == expected.shape, f"{what}: {got.shape}, expected {expected.shape}"
    np.testing.assert_allclose(got, expected, rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


def client_inputs(client, inputs: dict[str, np.ndarray], **more):
    """As the InferInputs of tritonclient.http or .grpc."""
    result = []
    for name, value in inputs.items():
        tensor = client.InferInput(name, list(value.shape), DATATYPES[value.dtype])
        tensor.set_data_from_numpy(value, **more)
        result.append(tensor)
    return result


@contextlib.contextmanager
def serving(folder: pathlib.Path, models: dict | pathlib.Path, flags: list[str] = (), env: dict | None = None):
    """A daemon over a folder of models, or over files to place; ended and judged at the end."""
    flags = list(flags)
    if isinstance(models, pathlib.Path):
        assert models.is_dir(), f"no demo models in {models}: make models"
        flags += ["--models", str(models)]
    else:
        place_models(folder / "models", models)
    folder.mkdir(parents=True, exist_ok=True)
    daemon = launch(folder, folder / "log", flags, env)
    try:
        wait_for_announcement(daemon)
        yield daemon
        if not daemon.ended:
            assert daemon.stop() == daemon.expect_exit, daemon.log()[-4000:]
        assert not sanitizer_report(daemon.log()), sanitizer_report(daemon.log())
    finally:
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait(STOP_SECONDS)


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory) -> list[str]:
    """Flags by which all daemons of a run share what the engine has compiled."""
    return ["--cache", str(tmp_path_factory.getbasetemp() / "engine-cache")]


@pytest.fixture(scope="module")
def demo(tmp_path_factory, engine_cache):
    """A daemon that serves the demo models where they lie."""
    with serving(tmp_path_factory.mktemp("demo"), FOLDER, engine_cache) as daemon:
        yield daemon


def folder_of(model: str, **settings: str) -> dict[str, bytes | str]:
    """Files of a demo model for serving(): `model` under its own name, with more lines in its evenkeel.yaml."""
    lines = "".join(f"{key}: {value}\n" for key, value in settings.items())
    files: dict[str, bytes | str] = {}
    for path in sorted((FOLDER / model).iterdir()):
        files[f"{model}/{path.name}"] = path.read_bytes()
    files[f"{model}/evenkeel.yaml"] = (FOLDER / model / "evenkeel.yaml").read_text() + lines
    return files


def statistics(daemon, model: str) -> dict:
    """The newest version's numbers, by the server's own JSON."""
    return daemon.json("GET", f"/v2/models/{model}/stats")["model_stats"][-1]
