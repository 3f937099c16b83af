"""Exported samples open in Python with one call and hold what was sent."""

import json

import pytest

np = pytest.importorskip("numpy")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

MODEL = """
inputs:
  - {name: x, dtype: FP32, shape: [-1, 4]}
  - {name: ids, dtype: INT64, shape: [-1, 2]}
  - {name: text, dtype: BYTES, shape: [-1, 2]}
outputs:
  - {name: y, dtype: FP32, shape: [-1, 4], function: echo, input: x}
"""
WORDS = [["one", ""], ["zwei", "\u4e09"], ["4", "a longer text"]]


def send(server):
    rows = len(WORDS)
    x = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4)
    ids = np.arange(rows * 2, dtype=np.int64).reshape(rows, 2) - 3
    server.infer(
        "mixed",
        [
            {"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": x.ravel().tolist()},
            {"name": "ids", "datatype": "INT64", "shape": [rows, 2], "data": ids.ravel().tolist()},
            {"name": "text", "datatype": "BYTES", "shape": [rows, 2], "data": [w for pair in WORDS for w in pair]},
        ],
    )
    return x, ids


def texts(tensors, prefix=""):
    data, offsets = tensors[prefix + "text"].tobytes(), tensors[prefix + "text.offsets"]
    words = [data[offsets[i] : offsets[i + 1]].decode() for i in range(len(offsets) - 1)]
    return [words[i : i + 2] for i in range(0, len(words), 2)]


def check(tensors, x, ids):
    # The sample keeps rows, not their order.
    order = np.argsort(tensors["x"][:, 0])
    np.testing.assert_array_equal(tensors["x"][order], x)
    np.testing.assert_array_equal(tensors["ids"][order], ids)
    assert tensors["x"].dtype == np.float32 and tensors["ids"].dtype == np.int64
    kept = texts(tensors)
    assert [kept[i] for i in order] == WORDS


def test_exported_samples_open_with_one_call(serve, cli, tmp_path):
    server = serve(models={"mixed.fake": MODEL})
    x, ids = send(server)
    file = tmp_path / "mixed.safetensors"
    result = cli("samples", "export", "mixed", "-o", str(file), server=server)
    assert result.returncode == 0, result.stderr
    check(safetensors_numpy.load_file(str(file)), x, ids)


def test_files_in_the_state_folder_open_too(serve):
    server = serve(models={"mixed.fake": MODEL}, flags=["--samples-mode", "disk"])
    x, ids = send(server)
    assert server.stop() == 0
    server.ended = True
    (file,) = (server.folder / "state").rglob("*.safetensors")
    check(safetensors_numpy.load_file(str(file)), x, ids)
    import safetensors

    with safetensors.safe_open(str(file), framework="numpy") as opened:
        metadata = opened.metadata()
    assert metadata["model"] == "mixed" and metadata["seen"] == "3"
    assert [i["name"] for i in json.loads(metadata["inputs"])] == ["x", "ids", "text"]
