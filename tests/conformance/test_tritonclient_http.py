"""Unmodified tritonclient 2.73 over HTTP against the demo models; ONNX Runtime says what is right."""

import json
import zlib

import numpy as np
import pytest
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from demo import LANGUAGE_MODELS, MODELS, OUTPUTS, check, client_inputs, demo, draw, engine_cache, oracle, statistics  # noqa: F401


@pytest.fixture(scope="module")
def client(demo):
    with http.InferenceServerClient(demo.http_address, concurrency=8, network_timeout=60) as client:
        yield client


def infer(client, model, inputs, **more):
    return client.infer(model, client_inputs(http, inputs), **more).as_numpy(OUTPUTS[model])


def refused(call, status):
    with pytest.raises(InferenceServerException) as caught:
        call()
    assert caught.value.status() == str(status), caught.value
    return caught.value.message()


# The server


def test_live_ready_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "evenkeel" and metadata["version"]
    assert {"classification", "model_repository", "statistics", "binary_tensor_data"} <= set(metadata["extensions"])


def test_repository_index(client):
    index = {entry["name"]: entry for entry in client.get_model_repository_index()}
    assert set(index) == {*MODELS, *LANGUAGE_MODELS}
    for entry in index.values():
        assert entry["state"] == "READY" and entry["version"] == "1"


@pytest.mark.parametrize("model", MODELS)
def test_metadata_and_config_say_what_the_model_takes(client, model):
    inputs = draw(model, 1)
    assert client.is_model_ready(model) and client.is_model_ready(model, "1")
    metadata = client.get_model_metadata(model)
    assert metadata["name"] == model and metadata["versions"] == ["1"]
    assert {one["name"]: (one["datatype"], len(one["shape"])) for one in metadata["inputs"]} == {
        one.name(): (one.datatype(), len(one.shape())) for one in client_inputs(http, inputs)
    }
    assert [one["name"] for one in metadata["outputs"]] == [OUTPUTS[model]]
    assert all(one["shape"][0] == -1 for one in metadata["inputs"] + metadata["outputs"])
    config = client.get_model_config(model, "1")
    assert config["name"] == model and config["max_batch_size"] == 64
    for declared, one in zip(config["input"], metadata["inputs"]):
        assert declared["name"] == one["name"]
        assert [int(size) for size in declared["dims"]] == one["shape"][1:]
        assert declared["data_type"] == "TYPE_" + one["datatype"]


def test_load_and_unload(client):
    inputs = draw("digits", 1)
    client.unload_model("digits")
    assert not client.is_model_ready("digits")
    index = {entry["name"]: entry for entry in client.get_model_repository_index()}
    assert index["digits"]["state"] == "UNAVAILABLE" and index["digits"]["reason"] == "unloaded"
    assert "digits" in refused(lambda: infer(client, "digits", inputs), 503)
    client.load_model("digits")
    assert client.is_model_ready("digits")
    check(infer(client, "digits", inputs), oracle("digits", inputs))


def test_load_with_a_configuration_of_its_own(client):
    client.load_model("digits", config=json.dumps({"max_batch_size": 16, "dynamic_batching": {}}))
    try:
        assert client.get_model_config("digits")["max_batch_size"] == 16
        inputs = draw("digits", 20)
        check(infer(client, "digits", inputs), oracle("digits", inputs))
        message = refused(lambda: client.load_model("digits", config='{"max_batch_size": "many"}'), 400)
        assert "digits" in message and "max_batch_size" in message
        assert client.get_model_config("digits")["max_batch_size"] == 16  # a load that fails leaves what served
    finally:
        client.load_model("digits")
    assert client.get_model_config("digits")["max_batch_size"] == 64


# Inference


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rows", [1, 5])
def test_binary_both_ways(client, model, rows):
    inputs = draw(model, rows)
    check(infer(client, model, inputs), oracle(model, inputs))


@pytest.mark.parametrize("model", MODELS)
def test_json_both_ways(client, model):
    inputs = draw(model, 2, seed=2)
    output = http.InferRequestedOutput(OUTPUTS[model], binary_data=False)
    result = client.infer(model, client_inputs(http, inputs, binary_data=False), outputs=[output])
    assert "data" in result.get_output(OUTPUTS[model])
    check(result.as_numpy(OUTPUTS[model]), oracle(model, inputs))


def test_json_in_binary_out_and_the_other_way_round(client):
    inputs = draw("ctr", 3)
    for binary_in in (True, False):
        output = http.InferRequestedOutput("y", binary_data=not binary_in)
        tensors = client_inputs(http, inputs)
        tensors[1].set_data_from_numpy(inputs["dense"], binary_data=False)  # mixed within one request
        tensors[0].set_data_from_numpy(inputs["ids"], binary_data=binary_in)
        check(client.infer("ctr", tensors, outputs=[output]).as_numpy("y"), oracle("ctr", inputs))


def test_inputs_in_any_order(client):
    inputs = draw("ctr", 2)
    swapped = dict(reversed(inputs.items()))
    check(infer(client, "ctr", swapped), oracle("ctr", inputs))


def test_more_rows_than_the_largest_batch(client):
    inputs = draw("digits", 150)
    check(infer(client, "digits", inputs), oracle("digits", inputs))


def test_request_id_version_and_names_come_back(client):
    inputs = draw("digits", 1)
    answer = client.infer("digits", client_inputs(http, inputs), "1", request_id="seven-of-nine").get_response()
    assert answer["id"] == "seven-of-nine"
    assert answer["model_name"] == "digits" and answer["model_version"] == "1"
    assert answer["outputs"][0]["shape"] == [1, 10] and answer["outputs"][0]["datatype"] == "FP32"


@pytest.mark.parametrize("model, labels", [("digits", "0123456789"), ("textline-orientation", ["0", "180"])])
@pytest.mark.parametrize("binary", [True, False])
def test_classification(client, model, labels, binary):
    inputs = draw(model, 3)
    expected = oracle(model, inputs)
    output = http.InferRequestedOutput(OUTPUTS[model], binary_data=binary, class_count=2)
    answer = client.infer(model, client_inputs(http, inputs), outputs=[output]).as_numpy(OUTPUTS[model])
    assert answer.shape == (3, 2)
    for row, scores in zip(answer, expected):
        order = np.argsort(-scores, kind="stable")[:2]
        for entry, best in zip(row, order):
            entry = entry.decode() if isinstance(entry, bytes) else entry
            score, index, label = entry.split(":")
            assert int(index) == best and label == labels[best]
            assert float(score) == pytest.approx(scores[best], abs=1e-4)


def test_classification_without_labels(client):
    output = http.InferRequestedOutput("y", class_count=1)
    answer = client.infer("textcnn", client_inputs(http, draw("textcnn", 1)), outputs=[output]).as_numpy("y")
    assert answer[0][0].count(b":") == 1


def test_priority_timeout_headers_and_parameters_are_taken(client):
    inputs = draw("digits", 1)
    for more in (
        {"priority": 1}, {"priority": 16, "timeout": 30_000_000}, {"headers": {"X-Request-Timeout-Ms": "30000"}},
        {"query_params": {"trace": "1"}}, {"parameters": {"colour": "blue", "depth": 3, "ok": True}},
    ):
        check(infer(client, "digits", inputs, **more), oracle("digits", inputs), str(more))
    assert "priority" in refused(lambda: infer(client, "digits", inputs, priority=17), 400)
    assert "sequence_id" in refused(lambda: infer(client, "digits", inputs, sequence_id=5), 501)


def test_a_timeout_that_cannot_be_met_is_504_or_429(client):
    inputs = draw("filetype", 60)
    with pytest.raises(InferenceServerException) as caught:
        infer(client, "filetype", inputs, timeout=1)  # a microsecond
    assert caught.value.status() in ("504", "429")
    assert "filetype" in caught.value.message()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("direction", ["request", "response", "both"])
def test_compression(client, coding, direction):
    inputs = {"ids": np.full((20, 64), 7, np.int64)}
    more = {}
    if direction != "response":
        more["request_compression_algorithm"] = coding
    if direction != "request":
        more["response_compression_algorithm"] = coding
    check(infer(client, "textcnn", inputs, **more), oracle("textcnn", inputs))


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_the_answer_really_is_compressed(demo, coding):
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [8, 64], "data": [0.0] * 512}]}).encode()
    status, headers, answer = demo.request("POST", "/v2/models/digits/infer", body, {"Accept-Encoding": coding})
    assert status == 200 and headers["Content-Encoding"] == coding
    plain = zlib.decompress(answer, 47 if coding == "gzip" else 15)
    assert len(answer) < len(plain) and json.loads(plain)["model_name"] == "digits"


def test_async_infer(client):
    batches = [draw("textcnn", rows, seed=rows) for rows in range(1, 17)]
    calls = [client.async_infer("textcnn", client_inputs(http, b), request_id=str(i)) for i, b in enumerate(batches)]
    for i, (call, inputs) in enumerate(zip(calls, batches)):
        result = call.get_result(timeout=60)
        assert result.get_response()["id"] == str(i)
        check(result.as_numpy("y"), oracle("textcnn", inputs))


def test_request_and_response_bodies_made_by_hand(demo):
    """What proxies use: the client's own writer and reader around a plain POST."""
    inputs = draw("digits", 2)
    body, size = http.InferenceServerClient.generate_request_body(client_inputs(http, inputs))
    status, headers, answer = demo.request(
        "POST", "/v2/models/digits/infer", bytes(body), {"Inference-Header-Content-Length": str(size)})
    assert status == 200
    result = http.InferenceServerClient.parse_response_body(
        answer, header_length=int(headers["Inference-Header-Content-Length"]))
    check(result.as_numpy("y"), oracle("digits", inputs))


# Statistics


def test_statistics_equal_what_was_sent(client, demo):
    client.load_model("lstm")  # counts start at zero
    sizes = [1, 1, 2, 3, 8, 150]
    for rows in sizes:
        infer(client, "lstm", draw("lstm", rows))
    refused(lambda: client.infer("lstm", client_inputs(http, {"ids": np.full((1, 32), 20_000)})), 400)
    (stats,) = client.get_inference_statistics("lstm", "1")["model_stats"]
    assert stats["name"] == "lstm" and stats["version"] == "1"
    assert stats["inference_count"] == sum(sizes)
    assert stats["inference_stats"]["success"]["count"] == len(sizes)
    assert stats["inference_stats"]["success"]["ns"] > 0
    assert stats["inference_stats"]["fail"]["count"] == 1
    assert stats["execution_count"] >= 5 + 3  # 150 rows are three batches, or more where full ones would miss the objective
    assert sum(b["batch_size"] * b["compute_infer"]["count"] for b in stats["batch_stats"]) == sum(sizes)
    assert sum(b["compute_infer"]["count"] for b in stats["batch_stats"]) == stats["execution_count"]
    batches = {b["batch_size"] for b in stats["batch_stats"]}
    assert {1, 2, 3, 8} < batches and max(batches) <= 64
    assert stats["last_inference"] > 1_700_000_000_000
    assert {one["name"] for one in client.get_inference_statistics()["model_stats"]} == set(MODELS)
    assert statistics(demo, "lstm")["inference_count"] == sum(sizes)


# Errors and what is not supported


def test_errors_name_model_and_tensor(client):
    good = draw("digits", 1)
    assert "nope" in refused(lambda: client.infer("nope", client_inputs(http, good)), 404)
    message = refused(lambda: client.infer("digits", client_inputs(http, good), "9"), 404)
    assert "digits" in message and "9" in message
    message = refused(lambda: infer(client, "digits", {"x": np.zeros((1, 63), np.float32)}), 400)
    assert "digits" in message and "'x'" in message and "FP32 [-1,64]" in message and "FP32 [1,63]" in message
    message = refused(lambda: infer(client, "digits", {"x": np.zeros((1, 64), np.int64)}), 400)
    assert "digits" in message and "'x'" in message and "FP32" in message and "INT64" in message
    message = refused(lambda: infer(client, "digits", {"z": good["x"]}), 400)
    assert "digits" in message and "'z'" in message
    message = refused(lambda: infer(client, "ctr", {"ids": draw("ctr", 1)["ids"]}), 400)
    assert "ctr" in message and "'dense'" in message
    outputs = [http.InferRequestedOutput("zz")]
    message = refused(lambda: client.infer("digits", client_inputs(http, good), outputs=outputs), 400)
    assert "digits" in message and "'zz'" in message
    for call in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics,
                 client.load_model, client.unload_model):
        assert "nope" in refused(lambda: call("nope"), 404)
    assert client.is_model_ready("nope") is False


def test_log_settings(client):
    before = client.get_log_settings()
    assert before["log_verbose_level"] == 0 and before["log_info"] is True
    after = client.update_log_settings({"log_verbose_level": 1})
    assert after["log_verbose_level"] == 1
    assert client.get_log_settings() == after
    assert client.update_log_settings({"log_verbose_level": 0}) == before
    assert "log_colour" in refused(lambda: client.update_log_settings({"log_colour": True}), 400)


def test_trace_settings(client):
    settings = client.get_trace_settings()
    assert settings["trace_level"] == ["OFF"]
    assert client.get_trace_settings("digits") == settings
    assert client.update_trace_settings(settings={"trace_level": ["OFF"]}) == settings
    assert "trace_level" in refused(lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}), 501)


def test_shared_memory_is_501(client):
    calls = [
        client.get_system_shared_memory_status,
        lambda: client.register_system_shared_memory("r", "/r", 64),
        client.unregister_system_shared_memory,
        client.get_cuda_shared_memory_status,
        lambda: client.register_cuda_shared_memory("r", b"handle", 0, 64),
        client.unregister_cuda_shared_memory,
    ]
    for call in calls:
        assert "shared memory" in refused(call, 501)
    tensor = http.InferInput("x", [1, 64], "FP32")
    tensor.set_shared_memory("r", 256)
    assert "shared memory" in refused(lambda: client.infer("digits", [tensor]), 501)
    output = http.InferRequestedOutput("y")
    output.set_shared_memory("r", 40)
    assert "shared memory" in refused(
        lambda: client.infer("digits", client_inputs(http, draw("digits", 1)), outputs=[output]), 501)
