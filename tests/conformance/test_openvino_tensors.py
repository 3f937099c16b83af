"""Tensors that are not [-1, n] of floats, end to end on the real engine: strings, fixed axes, no batch axis, scalars; and bf16."""

from __future__ import annotations

import concurrent.futures
import pathlib

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from demo import OUTPUTS, check, client_inputs, draw, engine_cache, folder_of, oracle, serving  # noqa: F401
from model_files import onnx_model, scaled_onnx, string_ir

FLOAT = TensorProto.FLOAT


def identity(*shape) -> bytes:
    return onnx_model([helper.make_node("Identity", ["x"], ["y"])], [("x", FLOAT, list(shape))], [("y", FLOAT, list(shape))])


def summing() -> bytes:
    """total = the sum of all of x, a scalar; first = x's first row."""
    return onnx_model(
        [helper.make_node("ReduceSum", ["x"], ["total"], keepdims=0), helper.make_node("Gather", ["x", "zero"], ["first"], axis=0)],
        [("x", FLOAT, ["n", 3])], [("total", FLOAT, []), ("first", FLOAT, [3])],
        [helper.make_tensor("zero", TensorProto.INT64, [], [0])])


def scalar_in() -> bytes:
    """y = x * k, k a scalar input."""
    return onnx_model([helper.make_node("Mul", ["x", "k"], ["y"])], [("x", FLOAT, [3]), ("k", FLOAT, [])], [("y", FLOAT, [3])])


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, engine_cache):
    files = {
        **string_ir("text", [-1]),
        **string_ir("text-rows", [-1, -1]),
        "fixed.onnx": scaled_onnx(2, rows=4),
        "padded/model.onnx": scaled_onnx(3, rows=4),
        "padded/evenkeel.yaml": "max_batch: 4\n",
        "vector.onnx": identity(5),
        "sum.onnx": summing(),
        "scalar.onnx": scalar_in(),
    }
    with serving(tmp_path_factory.mktemp("tensors"), files, engine_cache) as daemon:
        yield daemon


@pytest.fixture(scope="module", params=["http", "grpc"])
def ask(request, daemon):
    """ask(model, **inputs) -> the answer's as_numpy"""
    module = http if request.param == "http" else grpc
    address = daemon.http_address if request.param == "http" else daemon.grpc_address
    with module.InferenceServerClient(address) as client:
        def infer(model: str, **inputs: np.ndarray):
            return client.infer(model, [tensor_of(module, *one) for one in inputs.items()]).as_numpy
        yield infer


def tensor_of(module, name: str, value: np.ndarray):
    tensor = module.InferInput(name, list(value.shape), "BYTES" if value.dtype == object else "FP32")
    tensor.set_data_from_numpy(value)
    return tensor


def refused(call) -> str:
    with pytest.raises(InferenceServerException) as caught:
        call()
    assert caught.value.status() in ("400", "StatusCode.INVALID_ARGUMENT"), caught.value
    return caught.value.message()


TEXTS = [b"", b"a", "Grüße, 世界".encode(), b"\x00\xff not UTF-8 \xfe", b"x" * 100_000]


def test_strings_go_through_as_they_are(ask):
    for count in (1, 2, len(TEXTS)):
        sent = np.array(TEXTS[-count:], dtype=object)
        assert list(ask("text", x=sent)("y")) == list(sent)
    table = np.array(TEXTS[:4], dtype=object).reshape(2, 2)
    np.testing.assert_array_equal(ask("text-rows", x=table)("y"), table)


def test_strings_of_many_clients_are_not_mixed_up_in_a_batch(daemon):
    """Over gRPC, whose client may be shared by threads."""
    with grpc.InferenceServerClient(daemon.grpc_address) as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        def one(i: int) -> bool:
            sent = np.array([b"%d" % i * (1 + i % 50)] * (1 + i % 3), dtype=object)
            return list(client.infer("text", [tensor_of(grpc, "x", sent)]).as_numpy("y")) == list(sent)

        assert all(pool.map(one, range(400)))
        sizes = {one["batch_size"] for one in daemon.json("GET", "/v2/models/text/stats")["model_stats"][0]["batch_stats"]}
        assert max(sizes) > 3, "no request met another in a batch"


def test_strings_in_json(daemon):
    words = ["a", "", "Grüße \"x\" \\ \n", "世界"]
    answer = daemon.infer("text", [{"name": "x", "datatype": "BYTES", "shape": [4], "data": words}])
    assert answer["outputs"] == [{"name": "y", "datatype": "BYTES", "shape": [4], "data": words}]
    metadata = daemon.json("GET", "/v2/models/text")
    assert metadata["inputs"][0]["datatype"] == "BYTES" and metadata["outputs"][0]["datatype"] == "BYTES"


def test_a_fixed_axis_of_four_rows_takes_four_rows(ask, daemon):
    assert daemon.json("GET", "/v2/models/fixed")["inputs"][0]["shape"] == [4, 4]
    assert daemon.json("GET", "/v2/models/fixed/config")["max_batch_size"] == 0
    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    np.testing.assert_array_equal(ask("fixed", x=x)("y"), 2 * x)
    for rows in (1, 3, 5, 8):
        message = refused(lambda r=rows: ask("fixed", x=np.ones((r, 4), np.float32)))
        assert "fixed" in message and "[4,4]" in message and f"[{rows},4]" in message


def test_a_fixed_axis_that_is_declared_as_batch_axis_takes_any_number_of_rows(ask, daemon):
    assert daemon.json("GET", "/v2/models/padded/config")["max_batch_size"] == 4
    for rows in (1, 2, 3, 4, 7):
        x = np.arange(1, 4 * rows + 1, dtype=np.float32).reshape(rows, 4)
        np.testing.assert_array_equal(ask("padded", x=x)("y"), 3 * x)


def test_a_model_without_a_batch_axis(ask, daemon):
    assert daemon.json("GET", "/v2/models/vector/config")["max_batch_size"] == 0
    x = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(ask("vector", x=x)("y"), x)
    assert "[5]" in refused(lambda: ask("vector", x=np.ones((1, 5), np.float32)))


def test_a_scalar_output_has_the_shape_of_a_scalar(ask, daemon):
    assert [one["shape"] for one in daemon.json("GET", "/v2/models/sum")["outputs"]] == [[], [3]]
    for rows in (1, 2, 9):
        x = np.random.default_rng(rows).standard_normal((rows, 3)).astype(np.float32)
        answer = ask("sum", x=x)
        assert answer("total").shape == ()
        np.testing.assert_allclose(answer("total"), x.sum(), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(answer("first"), x[0])


def test_a_scalar_input(ask):
    x = np.array([1, 2, 3], np.float32)
    np.testing.assert_array_equal(ask("scalar", x=x, k=np.array(4, np.float32))("y"), 4 * x)


# Precision


def processor_has_bf16() -> bool:
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags or "amx_bf16" in flags


# A softmax doubles what the logits are off.
@pytest.mark.parametrize("model, most", [("digits", 3e-2), ("textcnn", 1e-2)])
def test_f32_is_the_default_and_bf16_differs_a_little(tmp_path, engine_cache, model, most):
    files = folder_of(model) | {name.replace(model, "low", 1): data for name, data in folder_of(model, precision="bf16").items()}
    inputs = draw(model, 64, seed=5)
    with serving(tmp_path, files, engine_cache) as daemon, http.InferenceServerClient(daemon.http_address) as client:
        full, low = (client.infer(name, client_inputs(http, inputs)).as_numpy(OUTPUTS[model]) for name in (model, "low"))
        check(full, oracle(model, inputs), f"{model} in f32")
        if not processor_has_bf16():
            pytest.skip("this processor has no bf16")
        assert not np.array_equal(low, full), "bf16 was asked for and f32 was computed"
        np.testing.assert_allclose(low, full, rtol=0, atol=most)
        assert np.abs(low - full).max() > 1e-5, "bf16 has eight bits of mantissa; this is no more than another order of additions"
