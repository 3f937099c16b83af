"""Unmodified tritonclient 2.73 and grpcio-health-checking over gRPC against the demo models; ONNX Runtime says what is right."""

import json
import queue
import time

import grpc as grpcio
import numpy as np
import pytest
import tritonclient.grpc as grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from demo import LANGUAGE_MODELS, MODELS, OUTPUTS, check, client_inputs, demo, draw, engine_cache, oracle  # noqa: F401


@pytest.fixture(scope="module")
def client(demo):
    with grpc.InferenceServerClient(demo.grpc_address) as client:
        yield client


@pytest.fixture(scope="module")
def health(demo):
    with grpcio.insecure_channel(demo.grpc_address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def infer(client, model, inputs, **more):
    return client.infer(model, client_inputs(grpc, inputs), **more).as_numpy(OUTPUTS[model])


def refused(call, code):
    with pytest.raises(InferenceServerException) as caught:
        call()
    assert caught.value.status() == f"StatusCode.{code}", caught.value
    return caught.value.message()


# The server


def test_live_ready_and_metadata(client):
    assert client.is_server_live() and client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata.name == "evenkeel" and metadata.version
    assert {"classification", "model_repository", "statistics"} <= set(metadata.extensions)


def test_repository_index(client):
    index = {entry.name: entry for entry in client.get_model_repository_index().models}
    assert set(index) == {*MODELS, *LANGUAGE_MODELS}
    assert all(entry.state == "READY" and entry.version == "1" for entry in index.values())


@pytest.mark.parametrize("model", MODELS)
def test_metadata_and_config_say_what_the_model_takes(client, model):
    inputs = draw(model, 1)
    assert client.is_model_ready(model) and client.is_model_ready(model, "1")
    metadata = client.get_model_metadata(model)
    assert metadata.name == model and list(metadata.versions) == ["1"]
    assert {one.name: (one.datatype, len(one.shape)) for one in metadata.inputs} == {
        one.name(): (one.datatype(), len(one.shape())) for one in client_inputs(grpc, inputs)
    }
    assert [one.name for one in metadata.outputs] == [OUTPUTS[model]]
    config = client.get_model_config(model, "1").config
    assert config.name == model and config.max_batch_size == 64
    for declared, one in zip(config.input, metadata.inputs):
        assert declared.name == one.name and list(declared.dims) == list(one.shape)[1:]


def test_load_and_unload(client):
    inputs = draw("digits", 1)
    client.unload_model("digits")
    assert not client.is_model_ready("digits")
    index = {entry.name: entry for entry in client.get_model_repository_index().models}
    assert index["digits"].state == "UNAVAILABLE" and index["digits"].reason == "unloaded"
    assert "digits" in refused(lambda: infer(client, "digits", inputs), "UNAVAILABLE")
    client.load_model("digits")
    assert client.is_model_ready("digits")
    check(infer(client, "digits", inputs), oracle("digits", inputs))


def test_load_with_a_configuration_of_its_own(client):
    client.load_model("digits", config=json.dumps({"max_batch_size": 16, "dynamic_batching": {}}))
    try:
        assert client.get_model_config("digits").config.max_batch_size == 16
        inputs = draw("digits", 20)
        check(infer(client, "digits", inputs), oracle("digits", inputs))
    finally:
        client.load_model("digits")
    assert client.get_model_config("digits").config.max_batch_size == 64


# Inference


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("rows", [1, 5])
def test_raw_contents(client, model, rows):
    inputs = draw(model, rows)
    check(infer(client, model, inputs), oracle(model, inputs))


@pytest.mark.parametrize("model", MODELS)
def test_typed_contents(demo, model):
    """tritonclient sends raw bytes only; other clients use the typed fields."""
    inputs = draw(model, 2, seed=2)
    fields = {"FP32": "fp32_contents", "INT64": "int64_contents", "INT32": "int_contents"}
    request = service_pb2.ModelInferRequest(model_name=model)
    for tensor, value in zip(client_inputs(grpc, inputs), inputs.values()):
        one = request.inputs.add(name=tensor.name(), datatype=tensor.datatype(), shape=value.shape)
        getattr(one.contents, fields[tensor.datatype()]).extend(value.ravel().tolist())
    with grpcio.insecure_channel(demo.grpc_address) as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    check(grpc.InferResult(answer).as_numpy(OUTPUTS[model]), oracle(model, inputs))


def test_requested_outputs_id_and_version(client):
    inputs = draw("digits", 1)
    outputs = [grpc.InferRequestedOutput("y")]
    result = client.infer("digits", client_inputs(grpc, inputs), "1", outputs, request_id="seven-of-nine")
    answer = result.get_response()
    assert answer.id == "seven-of-nine" and answer.model_name == "digits" and answer.model_version == "1"
    check(result.as_numpy("y"), oracle("digits", inputs))


def test_more_rows_than_the_largest_batch(client):
    inputs = draw("digits", 150)
    check(infer(client, "digits", inputs), oracle("digits", inputs))


@pytest.mark.parametrize("model, labels", [("digits", "0123456789"), ("textline-orientation", ["0", "180"])])
def test_classification(client, model, labels):
    inputs = draw(model, 3)
    expected = oracle(model, inputs)
    outputs = [grpc.InferRequestedOutput(OUTPUTS[model], class_count=2)]
    answer = client.infer(model, client_inputs(grpc, inputs), outputs=outputs).as_numpy(OUTPUTS[model])
    assert answer.shape == (3, 2)
    for row, scores in zip(answer, expected):
        for entry, best in zip(row, np.argsort(-scores, kind="stable")[:2]):
            score, index, label = entry.decode().split(":")
            assert int(index) == best and label == labels[best]
            assert float(score) == pytest.approx(scores[best], abs=1e-4)


def test_priority_timeout_headers_and_parameters_are_taken(client):
    inputs = draw("digits", 1)
    for more in (
        {"priority": 1}, {"priority": 16, "timeout": 30_000_000}, {"client_timeout": 30}, {"headers": {"colour": "blue"}},
        {"parameters": {"colour": "blue", "depth": 3, "ok": True}},
    ):
        check(infer(client, "digits", inputs, **more), oracle("digits", inputs), str(more))
    assert "priority" in refused(lambda: infer(client, "digits", inputs, priority=17), "INVALID_ARGUMENT")
    assert "sequence_id" in refused(lambda: infer(client, "digits", inputs, sequence_id=5), "UNIMPLEMENTED")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_requests(client, coding):
    inputs = {"ids": np.full((20, 64), 7, np.int64)}
    check(infer(client, "textcnn", inputs, compression_algorithm=coding), oracle("textcnn", inputs))


def test_async_infer(client):
    batches = [draw("textcnn", rows, seed=rows) for rows in range(1, 17)]
    answers = queue.Queue()
    for i, inputs in enumerate(batches):
        client.async_infer("textcnn", client_inputs(grpc, inputs), request_id=str(i),
                           callback=lambda result, error: answers.put((result, error)))
    seen = set()
    for _ in batches:
        result, error = answers.get(timeout=60)
        assert error is None, error.message()
        number = int(result.get_response().id)
        seen.add(number)
        check(result.as_numpy("y"), oracle("textcnn", batches[number]))
    assert len(seen) == len(batches)


def test_stream_infer(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        batches = [draw("textcnn", 1 + i % 5, seed=i) for i in range(20)]
        for i, inputs in enumerate(batches):
            client.async_stream_infer("textcnn", client_inputs(grpc, inputs), request_id=str(i))
        seen = set()
        for _ in batches:
            result, error = answers.get(timeout=60)
            assert error is None, error.message()
            number = int(result.get_response().id)
            seen.add(number)
            check(result.as_numpy("y"), oracle("textcnn", batches[number]))
        assert len(seen) == len(batches)
        # An error answers its request, and the stream goes on.
        client.async_stream_infer("textcnn", client_inputs(grpc, {"ids": np.full((1, 64), 20_000)}))
        result, error = answers.get(timeout=60)
        assert result is None and "textcnn" in error.message() and "20000" in error.message()
        client.async_stream_infer("digits", client_inputs(grpc, draw("digits", 2)))
        result, error = answers.get(timeout=60)
        assert error is None
        check(result.as_numpy("y"), oracle("digits", draw("digits", 2)))
    finally:
        client.stop_stream()


# Deadlines and cancellation


# A row with 16 in it keeps the worker for two seconds; others take no time, so no wait is predicted for them.
STUCK = {"stuck/evenkeel.yaml": "hang_timeout: 2s\n", "stuck/model.fake": "hang_on: 16\n"}


def fours(value: float):
    tensor = grpc.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.full((1, 4), value, np.float32))
    return [tensor]


def test_client_timeout_is_deadline_exceeded(serve):
    daemon = serve(models=STUCK)
    with grpc.InferenceServerClient(daemon.grpc_address) as client:
        begin = time.monotonic()
        assert "Deadline" in refused(lambda: client.infer("stuck", fours(16), client_timeout=0.3), "DEADLINE_EXCEEDED")
        assert 0.2 < time.monotonic() - begin < 1.5
        assert client.infer("stuck", fours(1)).as_numpy("y").tolist() == [[1] * 4]


def test_a_deadline_that_passes_in_the_queue_is_never_computed(serve):
    daemon = serve(models=STUCK)
    answers = queue.Queue()
    with grpc.InferenceServerClient(daemon.grpc_address) as client:
        client.infer("stuck", fours(1))
        before = client.get_inference_statistics("stuck").model_stats[0].execution_count
        client.async_infer("stuck", fours(16), lambda result, error: answers.put(error))
        time.sleep(0.5)  # it is aboard, for two seconds
        begin = time.monotonic()
        message = refused(lambda: client.infer("stuck", fours(2), timeout=300_000), "DEADLINE_EXCEEDED")
        assert "stuck" in message
        assert 0.2 < time.monotonic() - begin < 1.5
        assert answers.get(timeout=30).status() == "StatusCode.INTERNAL"  # two workers were lost to it
        assert client.infer("stuck", fours(3)).as_numpy("y").tolist() == [[3] * 4]
        assert client.get_inference_statistics("stuck").model_stats[0].execution_count - before == 1


def test_cancelled_calls_free_the_server(serve):
    daemon = serve(models=STUCK)
    answers = queue.Queue()
    with grpc.InferenceServerClient(daemon.grpc_address) as client:
        calls = []
        for value in (16, 4):
            calls.append(client.async_infer("stuck", fours(value), lambda result, error: answers.put(error)))
            time.sleep(0.5)  # the first is aboard, for two seconds
        for call in calls:
            call.cancel()
        for _ in calls:
            assert answers.get(timeout=10).status() == "StatusCode.CANCELLED"
        assert client.infer("stuck", fours(5)).as_numpy("y").tolist() == [[5] * 4]
        assert client.get_inference_statistics("stuck").model_stats[0].execution_count == 1


# Health


def test_health_check(health):
    serving = health_pb2.HealthCheckResponse.SERVING
    assert health.Check(health_pb2.HealthCheckRequest()).status == serving
    assert health.Check(health_pb2.HealthCheckRequest(service="digits")).status == serving
    with pytest.raises(grpcio.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="nope"))
    assert caught.value.code() == grpcio.StatusCode.NOT_FOUND


def test_health_watch_follows_a_model(health, client):
    word = health_pb2.HealthCheckResponse.ServingStatus.Name
    watch = health.Watch(health_pb2.HealthCheckRequest(service="digits"), timeout=30)
    assert word(next(watch).status) == "SERVING"
    client.unload_model("digits")
    try:
        assert word(next(watch).status) in ("NOT_SERVING", "SERVICE_UNKNOWN")
    finally:
        client.load_model("digits")
    while word(next(watch).status) != "SERVING":
        pass
    watch.cancel()
    unknown = health.Watch(health_pb2.HealthCheckRequest(service="nope"), timeout=30)
    assert word(next(unknown).status) == "SERVICE_UNKNOWN"
    unknown.cancel()


# Statistics, errors, and what is not supported


def test_statistics_equal_what_was_sent(client):
    client.load_model("lstm")  # counts start at zero
    sizes = [1, 1, 2, 3, 8, 150]
    for rows in sizes:
        infer(client, "lstm", draw("lstm", rows))
    (stats,) = client.get_inference_statistics("lstm", "1").model_stats
    assert stats.name == "lstm" and stats.version == "1"
    assert stats.inference_count == sum(sizes)
    assert stats.inference_stats.success.count == len(sizes) and stats.inference_stats.success.ns > 0
    assert stats.execution_count >= 5 + 3  # 150 rows are three batches, or more where full ones would miss the objective
    assert sum(b.batch_size * b.compute_infer.count for b in stats.batch_stats) == sum(sizes)
    assert sum(b.compute_infer.count for b in stats.batch_stats) == stats.execution_count
    assert {one.name for one in client.get_inference_statistics().model_stats} == set(MODELS)


def test_no_snapshot_of_the_statistics_contradicts_itself(client):
    """perf_analyzer aborts when it meets counts that differ."""
    answers = queue.Queue()
    tensors = client_inputs(grpc, draw("digits", 32))
    for _ in range(100):
        for _ in range(10):
            client.async_infer("digits", tensors, lambda result, error: answers.put(error))
        for _ in range(10):
            stats = client.get_inference_statistics("digits").model_stats[0]
            for one in (stats.inference_stats, *stats.batch_stats):
                assert one.compute_input.count == one.compute_infer.count == one.compute_output.count, stats
        for _ in range(10):
            assert answers.get(timeout=60) is None


def test_errors_name_model_and_tensor(client):
    good = draw("digits", 1)
    assert "nope" in refused(lambda: client.infer("nope", client_inputs(grpc, good)), "NOT_FOUND")
    message = refused(lambda: client.infer("digits", client_inputs(grpc, good), "9"), "NOT_FOUND")
    assert "digits" in message and "9" in message
    for inputs, words in (
        ({"x": np.zeros((1, 63), np.float32)}, ["'x'", "FP32 [-1,64]", "FP32 [1,63]"]),
        ({"x": np.zeros((1, 64), np.int64)}, ["'x'", "FP32", "INT64"]),
        ({"z": good["x"]}, ["'z'"]),
        ({}, ["'x'"]),
    ):
        message = refused(lambda: infer(client, "digits", inputs), "INVALID_ARGUMENT")
        assert all(word in message for word in ["digits", *words]), message
    outputs = [grpc.InferRequestedOutput("zz")]
    message = refused(lambda: client.infer("digits", client_inputs(grpc, good), outputs=outputs), "INVALID_ARGUMENT")
    assert "digits" in message and "'zz'" in message
    for call in (client.get_model_metadata, client.get_model_config, client.get_inference_statistics,
                 client.load_model, client.unload_model):
        assert "nope" in refused(lambda: call("nope"), "NOT_FOUND")
    assert client.is_model_ready("nope") is False


def test_log_settings(client):
    before = client.get_log_settings(as_json=True)
    after = client.update_log_settings({"log_verbose_level": 1})
    assert after.settings["log_verbose_level"].uint32_param == 1
    assert client.update_log_settings({"log_verbose_level": 0}, as_json=True) == before
    assert "log_colour" in refused(lambda: client.update_log_settings({"log_colour": True}), "INVALID_ARGUMENT")


def test_trace_settings(client):
    settings = client.get_trace_settings()
    assert list(settings.settings["trace_level"].value) == ["OFF"]
    assert client.get_trace_settings("digits") == settings
    message = refused(lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]}), "UNIMPLEMENTED")
    assert "trace_level" in message


def test_shared_memory_is_unimplemented(client):
    calls = [
        client.get_system_shared_memory_status,
        lambda: client.register_system_shared_memory("r", "/r", 64),
        client.unregister_system_shared_memory,
        client.get_cuda_shared_memory_status,
        lambda: client.register_cuda_shared_memory("r", b"aGFuZGxl", 0, 64),
        client.unregister_cuda_shared_memory,
    ]
    for call in calls:
        assert "shared memory" in refused(call, "UNIMPLEMENTED")
    tensor = grpc.InferInput("x", [1, 64], "FP32")
    tensor.set_shared_memory("r", 256)
    assert "shared memory" in refused(lambda: client.infer("digits", [tensor]), "UNIMPLEMENTED")
    output = grpc.InferRequestedOutput("y")
    output.set_shared_memory("r", 40)
    assert "shared memory" in refused(
        lambda: client.infer("digits", client_inputs(grpc, draw("digits", 1)), outputs=[output]), "UNIMPLEMENTED")
