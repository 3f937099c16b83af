"""Makes the demo models that are not found in wheels: digits is trained, ctr, textcnn and lstm have random weights.

usage: make_generated.py OUT

All take a batch of any size, are ONNX opset 17, IR 8, and come out the same on every run (the random weights bit for
bit, the trained ones up to the machine's linear algebra).
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def node(op, inputs, output, **attributes):
    """A node with one output; `inputs` is a string of names."""
    return helper.make_node(op, inputs.split(), [output], **attributes)


def save(folder, nodes, weights, inputs, output, external=()):
    """Writes folder/model.onnx. Tensors named in `external` go to weights.bin beside it, where an engine can map them."""
    folder.mkdir(parents=True, exist_ok=True)
    data = open(folder / "weights.bin", "wb") if external else None
    tensors = []
    for name, value in weights.items():
        if name not in external:
            tensors.append(numpy_helper.from_array(value, name))
            continue
        tensor = TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": "weights.bin", "offset": data.tell(), "length": value.nbytes}
        for key, entry in place.items():
            tensor.external_data.add(key=key, value=str(entry))
        value.tofile(data)
        tensors.append(tensor)
    if data:
        data.close()

    def value_info(name, kind, columns):
        return helper.make_tensor_value_info(name, kind, ["batch", columns])

    graph = helper.make_graph(nodes, folder.name, [value_info(*i) for i in inputs], [value_info(*output)], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="evenkeel")
    model.ir_version = 8
    onnx.save(model, folder / "model.onnx")
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"  {folder.name}: {size / 1e6:.1f} MB", file=sys.stderr)


def random_weights(seed):
    """A function shape -> weights that keep activations near unit size: uniform, variance 1 / last dimension."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        values = rng.random(shape, dtype=np.float32)
        values -= np.float32(0.5)
        values *= np.float32(np.sqrt(12 / shape[-1]))
        return values

    return draw


def digits(folder):
    """64 grey values in [0, 1] -> probabilities of the ten digits; scikit-learn's own data, 64-256-256-10."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    held_out = np.random.default_rng(1).permutation(len(images)) < len(images) // 4
    net = MLPClassifier((256, 256), random_state=1).fit(images[~held_out], labels[~held_out])
    accuracy = net.score(images[held_out], labels[held_out])
    assert accuracy > 0.95, accuracy

    nodes, weights, last = [], {}, "x"
    for i, (kernel, bias) in enumerate(zip(net.coefs_, net.intercepts_)):
        weights[f"kernel{i}"], weights[f"bias{i}"] = kernel.astype(np.float32), bias.astype(np.float32)
        nodes.append(node("Gemm", f"{last} kernel{i} bias{i}", f"dense{i}"))
        last = f"dense{i}"
        if i + 1 < len(net.coefs_):
            nodes.append(node("Relu", last, f"relu{i}"))
            last = f"relu{i}"
    nodes.append(node("Softmax", last, "y", axis=1))
    save(folder, nodes, weights, [("x", FLOAT, 64)], ("y", FLOAT, 10))


def ctr(folder):
    """26 ids below 100,000 and 32 dense features -> click probability; tables of width 32, then 864-1024-512-256-1."""
    fields, rows, width, dense = 26, 100_000, 32, 32
    draw = random_weights(2)
    # One tensor for all tables: field f's row i is row f * rows + i.
    weights = {"tables": draw(fields * rows, width), "offsets": np.arange(fields, dtype=np.int64)[None] * rows}
    weights["flat"] = np.array([0, fields * width], np.int64)  # 0: the batch axis stays
    nodes = [
        node("Add", "ids offsets", "rows"),
        node("Gather", "tables rows", "embedded"),
        node("Reshape", "embedded flat", "sparse"),
        node("Concat", "sparse dense", "hidden0", axis=1),
    ]
    sizes = [fields * width + dense, 1024, 512, 256, 1]
    for i, (size_in, size_out) in enumerate(zip(sizes, sizes[1:])):
        weights[f"kernel{i}"] = np.ascontiguousarray(draw(size_out, size_in).T)
        weights[f"bias{i}"] = draw(size_out)
        last = i == len(sizes) - 2
        nodes.append(node("Gemm", f"hidden{i} kernel{i} bias{i}", f"dense{i}"))
        nodes.append(node("Sigmoid" if last else "Relu", f"dense{i}", "y" if last else f"hidden{i + 1}"))
    save(folder, nodes, weights, [("ids", INT64, fields), ("dense", FLOAT, dense)], ("y", FLOAT, 1), external={"tables"})


def textcnn(folder):
    """64 token ids below 20,000 -> ten classes; embeddings of 128, convolutions over 3, 4 and 5 tokens, maximum over time."""
    draw = random_weights(3)
    weights = {"embedding": draw(20_000, 128), "kernel": draw(10, 384).T.copy(), "bias": draw(10)}
    nodes = [node("Gather", "embedding ids", "embedded"), node("Transpose", "embedded", "sequence", perm=[0, 2, 1])]
    for size in (3, 4, 5):
        weights[f"kernel{size}"] = (draw(128, 128 * size)).reshape(128, 128, size)
        weights[f"bias{size}"] = draw(128)
        nodes += [
            node("Conv", f"sequence kernel{size} bias{size}", f"conv{size}", kernel_shape=[size]),
            node("Relu", f"conv{size}", f"relu{size}"),
            node("ReduceMax", f"relu{size}", f"max{size}", axes=[2], keepdims=0),
        ]
    nodes += [node("Concat", "max3 max4 max5", "features", axis=1), node("Gemm", "features kernel bias", "y")]
    save(folder, nodes, weights, [("ids", INT64, 64)], ("y", FLOAT, 10))


def lstm(folder):
    """32 token ids below 20,000 -> ten classes; embeddings of 128, one LSTM layer of 256, its last state."""
    draw = random_weights(4)
    weights = {
        "embedding": draw(20_000, 128),
        "input_kernel": draw(1, 1024, 128),
        "state_kernel": draw(1, 1024, 256),
        "gate_bias": draw(1, 2048),
        "direction": np.array([0], np.int64),
        "kernel": draw(10, 256).T.copy(),
        "bias": draw(10),
    }
    nodes = [
        node("Gather", "embedding ids", "embedded"),
        node("Transpose", "embedded", "steps", perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "input_kernel", "state_kernel", "gate_bias"], ["", "last"], hidden_size=256),
        node("Squeeze", "last direction", "state"),
        node("Gemm", "state kernel bias", "y"),
    ]
    save(folder, nodes, weights, [("ids", INT64, 32)], ("y", FLOAT, 10))


def main():
    out = pathlib.Path(sys.argv[1])
    for make in (digits, ctr, textcnn, lstm):
        make(out / make.__name__)


main()
