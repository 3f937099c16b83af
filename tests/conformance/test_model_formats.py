"""Every format that is claimed is loaded and served: bare files, Triton's names for them, cut files refused."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http

from demo import client_inputs, engine_cache, serving  # noqa: F401
from model_files import expected, graphdef, ir, paddle, saved_model, tflite
from test_bad_files import index_of

# Model -> the platform it has to be served as, and its files.
BARE = {
    "frozen": ("tensorflow_graphdef", graphdef("frozen.pb")),
    "saved": ("tensorflow_savedmodel", saved_model("saved")),
    "lite": ("tflite", tflite("lite.tflite")),
    "paddle": ("paddle", paddle("paddle")),
    "ir": ("openvino", ir("ir")),
}
TRITON = {
    "triton-graphdef": ("tensorflow_graphdef", graphdef("triton-graphdef/1/model.graphdef")),
    "triton-saved": ("tensorflow_savedmodel", saved_model("triton-saved/1/model.savedmodel")),
    "triton-ir": ("openvino", ir("triton-ir/1/model")),
}
MODELS = {**BARE, **TRITON}


def all_files() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {}
    for name, (platform, own) in MODELS.items():
        files |= own
        if name in TRITON:
            key = "backend" if platform == "openvino" else "platform"
            files[f"{name}/config.pbtxt"] = f'name: "{name}"\n{key}: "{platform}"\nmax_batch_size: 16\n'
    return files


@pytest.fixture(scope="module")
def formats(tmp_path_factory, engine_cache):
    with serving(tmp_path_factory.mktemp("formats"), all_files(), engine_cache) as daemon:
        yield daemon


@pytest.mark.parametrize("model", MODELS)
def test_a_model_of_each_format_is_ready_and_says_what_it_takes(formats, model):
    entry = index_of(formats)[model]
    assert entry["state"] == "READY", entry
    metadata = formats.json("GET", f"/v2/models/{model}")
    assert metadata["platform"] == MODELS[model][0]
    row = {"datatype": "FP32", "shape": [-1, 4]}
    assert metadata["inputs"] == [{"name": "x", **row}] and metadata["outputs"] == [{"name": "y", **row}]
    assert formats.json("GET", f"/v2/models/{model}/config")["max_batch_size"] == (16 if model in TRITON else 64)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("model", MODELS)
def test_a_model_of_each_format_computes(formats, model, protocol):
    module, address = (http, formats.http_address) if protocol == "http" else (grpc, formats.grpc_address)
    with module.InferenceServerClient(address) as client:
        for rows in (1, 5, 20):
            x = np.random.default_rng(rows).standard_normal((rows, 4), dtype=np.float32)
            y = client.infer(model, client_inputs(module, {"x": x})).as_numpy("y")
            np.testing.assert_allclose(y, expected(x), rtol=1e-5, atol=1e-5)


def test_a_file_that_is_cut_is_refused_in_every_format(tmp_path, engine_cache):
    """In the header check where the structure tells, else by the engine; in both cases named, and whole ones beside them serve."""
    files, cut = ir("whole"), {}
    for name, (_, own) in BARE.items():
        for path, data in own.items():
            stem = path.replace(name, f"cut-{name}", 1)
            # Of two files the one with the weights is whole: the structure is what is cut.
            files[stem] = data if path.endswith((".bin", ".pdiparams")) else data[: len(data) // 2]
        cut[f"cut-{name}"] = own
    with serving(tmp_path, files, engine_cache) as daemon:
        index = index_of(daemon)
        for name in cut:
            assert index[name]["state"] == "UNAVAILABLE" and index[name]["reason"], index[name]
        answer = daemon.infer("whole", [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 1, 1, 1]}])
        assert answer["outputs"][0]["data"] == expected(np.ones(4, np.float32)).tolist()
