"""Genuine small models in every format that is served, written byte by byte: no engine's package is in the tests' environment.

Each function gives the files of one model, {name: bytes}, for place_models(). Unless it says otherwise the model is y = x * SCALE + SHIFT
with x and y FP32 [-1,4], which `expected(x)` computes.
"""

from __future__ import annotations

import struct

import flatbuffers
import numpy as np
from onnx import TensorProto, helper

SCALE = np.array([2, -3, 0.5, 10], np.float32)
SHIFT = np.array([1, 0, -1, 0.25], np.float32)


def expected(x: np.ndarray) -> np.ndarray:
    return x * SCALE + SHIFT


# ONNX


def onnx_model(nodes, inputs, outputs, initializers=(), functions=()) -> bytes:
    """`inputs`, `outputs`: [(name, TensorProto type, shape)]; an axis that is a text is dynamic."""
    values = [[helper.make_tensor_value_info(*one) for one in side] for side in (inputs, outputs)]
    graph = helper.make_graph(list(nodes), "g", *values, list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], functions=list(functions))
    model.ir_version = 8
    return model.SerializeToString()


def scaled_onnx(k: float, rows="batch") -> bytes:
    """y = k * x, x FP32 [rows,4]."""
    constant = helper.make_tensor("k", TensorProto.FLOAT, [], [k])
    return onnx_model([helper.make_node("Mul", ["x", "k"], ["y"])], [("x", TensorProto.FLOAT, [rows, 4])],
                      [("y", TensorProto.FLOAT, [rows, 4])], [constant])


# protobuf's wire format: what tensorflow and paddle would have written


def varint(value: int) -> bytes:
    value &= 2**64 - 1  # a negative number as protobuf has it
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, *parts: bytes | str) -> bytes:
    """A field that holds bytes, a text or a message."""
    body = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return varint(field << 3 | 2) + varint(len(body)) + body


# TensorFlow

DT_FLOAT = 1


def tf_shape(field: int, dims) -> bytes:
    return message(field, *(message(2, number(1, size)) for size in dims))


def tf_node(name: str, op: str, inputs=(), **attributes: bytes) -> bytes:
    """A NodeDef as a field of GraphDef; an attribute is the content of its AttrValue."""
    attrs = [message(5, message(1, key), message(2, value)) for key, value in attributes.items()]
    return message(1, message(1, name), message(2, op), *(message(3, one) for one in inputs), *attrs)


def tf_constant(name: str, value: np.ndarray) -> bytes:
    tensor = message(8, number(1, DT_FLOAT), tf_shape(2, value.shape), message(4, value.tobytes()))
    return tf_node(name, "Const", dtype=number(6, DT_FLOAT), value=tensor)


def tf_graph() -> bytes:
    kind = number(6, DT_FLOAT)
    return b"".join([
        tf_node("x", "Placeholder", dtype=kind, shape=tf_shape(7, [-1, 4])),
        tf_constant("scale", SCALE),
        tf_constant("shift", SHIFT),
        tf_node("scaled", "Mul", ["x", "scale"], T=kind),
        tf_node("y", "AddV2", ["scaled", "shift"], T=kind),
        message(4, number(1, 1286)),  # versions: the producer
    ])


def graphdef(name: str) -> dict[str, bytes]:
    return {name: tf_graph()}


def saved_model(folder: str) -> dict[str, bytes]:
    def info(name: str) -> bytes:
        tensor = message(2, message(1, f"{name}:0"), number(2, DT_FLOAT), tf_shape(3, [-1, 4]))
        return message(1, name) + tensor

    signature = message(2, message(1, info("x")), message(2, info("y")), message(3, "tensorflow/serving/predict"))
    meta_graph = [message(1, message(4, "serve"), message(5, "2.15.0")), message(2, tf_graph()),
                  message(5, message(1, "serving_default"), signature)]
    return {f"{folder}/saved_model.pb": number(1, 1) + message(2, *meta_graph)}


# TensorFlow Lite: a FlatBuffer. Numbers of fields are those of its published schema.

TFLITE_ADD, TFLITE_MUL = 0, 18
ADD_OPTIONS, MUL_OPTIONS = 11, 21


class TfliteWriter:
    def __init__(self):
        self.b = flatbuffers.Builder(1024)

    def table(self, fields: list) -> int:
        """`fields`: (slot, how to add it, value); what refers to other parts is there already."""
        self.b.StartObject(max(slot for slot, _, _ in fields) + 1 if fields else 0)
        for slot, kind, value in fields:
            getattr(self.b, f"Prepend{kind}Slot")(slot, value, 0)
        return self.b.EndObject()

    def numbers(self, values) -> int:
        self.b.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.b.PrependInt32(value)
        return self.b.EndVector()

    def tables(self, offsets) -> int:
        self.b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.b.PrependUOffsetTRelative(offset)
        return self.b.EndVector()

    def buffer(self, data: bytes) -> int:
        if not data:
            return self.table([])
        self.b.StartVector(1, len(data), 16)  # weights are aligned
        for byte in reversed(data):
            self.b.PrependByte(byte)
        return self.table([(0, "UOffsetTRelative", self.b.EndVector())])

    def tensor(self, name: str, shape, buffer: int, signature=()) -> int:
        parts = [(0, "UOffsetTRelative", self.numbers(shape)), (3, "UOffsetTRelative", self.b.CreateString(name))]
        if signature:
            parts.append((7, "UOffsetTRelative", self.numbers(signature)))
        return self.table([*parts, (2, "Uint32", buffer)])

    def operator(self, code: int, inputs, output: int, options: int) -> int:
        parts = [(1, "UOffsetTRelative", self.numbers(inputs)), (2, "UOffsetTRelative", self.numbers([output])),
                 (4, "UOffsetTRelative", self.table([]))]
        return self.table([*parts, (0, "Uint32", code), (3, "Uint8", options)])

    def operator_code(self, builtin: int) -> int:
        return self.table([(0, "Int8", builtin), (2, "Int32", 1), (3, "Int32", builtin)])


def tflite(name: str) -> dict[str, bytes]:
    w = TfliteWriter()
    free = [-1, 4]  # the shape itself has 1 where it is free
    tensors = w.tables([w.tensor("x", [1, 4], 0, free), w.tensor("scale", [4], 1), w.tensor("shift", [4], 2),
                        w.tensor("scaled", [1, 4], 0, free), w.tensor("y", [1, 4], 0, free)])
    operators = w.tables([w.operator(0, [0, 1], 3, MUL_OPTIONS), w.operator(1, [3, 2], 4, ADD_OPTIONS)])
    ends = w.numbers([0]), w.numbers([4])
    graph = w.table([(0, "UOffsetTRelative", tensors), (1, "UOffsetTRelative", ends[0]), (2, "UOffsetTRelative", ends[1]),
                     (3, "UOffsetTRelative", operators), (4, "UOffsetTRelative", w.b.CreateString("main"))])
    buffers = w.tables([w.buffer(b""), w.buffer(SCALE.tobytes()), w.buffer(SHIFT.tobytes())])
    codes = w.tables([w.operator_code(TFLITE_MUL), w.operator_code(TFLITE_ADD)])
    model = w.table([(1, "UOffsetTRelative", codes), (2, "UOffsetTRelative", w.tables([graph])), (4, "UOffsetTRelative", buffers),
                     (0, "Uint32", 3)])
    w.b.Finish(model, b"TFL3")
    return {name: bytes(w.b.Output())}


# Paddle: a program, and its parameters one after the other, sorted by name

PADDLE_FP32, PADDLE_TENSOR, PADDLE_FEED, PADDLE_FETCH = 5, 7, 9, 10


def paddle_tensor(dims) -> bytes:
    return number(1, PADDLE_FP32) + b"".join(number(2, size) for size in dims)


def paddle_variable(name: str, dims, persistable: bool = False) -> bytes:
    kind = message(2, number(1, PADDLE_TENSOR), message(3, message(1, paddle_tensor(dims)), number(2, 0)))
    return message(3, message(1, name), kind, number(3, int(persistable)))


def paddle_end(name: str, kind: int) -> bytes:
    return message(3, message(1, name), message(2, number(1, kind)), number(3, 1))


def paddle_op(kind: str, inputs: dict[str, str], output: str, **numbers: int) -> bytes:
    takes = [message(1, message(1, slot), message(2, name)) for slot, name in inputs.items()]
    attributes = [message(4, message(1, key), number(2, 0), number(3, value)) for key, value in numbers.items()]
    return message(4, *takes, message(2, message(1, "Out"), message(2, output)), message(3, kind), *attributes)


def paddle(stem: str) -> dict[str, bytes]:
    block = [
        number(1, 0), number(2, -1),
        paddle_end("feed", PADDLE_FEED), paddle_end("fetch", PADDLE_FETCH),
        paddle_variable("x", [-1, 4]), paddle_variable("scaled", [-1, 4]), paddle_variable("y", [-1, 4]),
        paddle_variable("scale", [4], persistable=True), paddle_variable("shift", [4], persistable=True),
        paddle_op("feed", {"X": "feed"}, "x", col=0),
        paddle_op("elementwise_mul", {"X": "x", "Y": "scale"}, "scaled", axis=-1),
        paddle_op("elementwise_add", {"X": "scaled", "Y": "shift"}, "y", axis=-1),
        paddle_op("fetch", {"X": "y"}, "fetch", col=0),
    ]
    parameters = b""
    for value in (SCALE, SHIFT):
        shape = paddle_tensor(value.shape)
        parameters += struct.pack("<IQIi", 0, 0, 0, len(shape)) + shape + value.tobytes()
    return {f"{stem}.pdmodel": message(1, *block) + message(4, number(1, 2_005_000)), f"{stem}.pdiparams": parameters}


# OpenVINO IR


def ir_port(port: int, dims, *names: str, tag_of: str) -> str:
    names_text = f' names="{",".join(names)}"' if names else ""
    return (f"<{tag_of}><port id=\"{port}\" precision=\"FP32\"{names_text}>"
            + "".join(f"<dim>{size}</dim>" for size in dims) + f"</port></{tag_of}>")


def string_ir(stem: str, dims) -> dict[str, bytes]:
    """y = x, both strings; -1 is a free axis. There is no operation between: the engine's own Identity of strings ends the process."""
    port = '<port id="0" precision="STRING"{}>' + "".join(f"<dim>{size}</dim>" for size in dims) + "</port>"
    named = ' names="x,y"'
    shape = ",".join("?" if size < 0 else str(size) for size in dims)
    layers = (
        f'<layer id="0" name="x" type="Parameter" version="opset1"><data shape="{shape}" element_type="string"/>'
        f"<output>{port.format(named)}</output></layer>"
        f'<layer id="1" name="y/sink_port_0" type="Result" version="opset1"><input>{port.format("")}</input></layer>'
    )
    edges = '<edge from-layer="0" from-port="0" to-layer="1" to-port="0"/>'
    text = f'<?xml version="1.0"?>\n<net name="m" version="11"><layers>{layers}</layers><edges>{edges}</edges></net>\n'
    return {f"{stem}.xml": text.encode(), f"{stem}.bin": b""}


def ir_binary(layer: int, kind: str, *names: str) -> str:
    dims = '<dim>-1</dim><dim>4</dim>'
    ports = f'<port id="0" precision="FP32">{dims}</port><port id="1" precision="FP32"><dim>4</dim></port>'
    return (f'<layer id="{layer}" name="{names[0] if names else kind}" type="{kind}" version="opset1"><data auto_broadcast="numpy"/>'
            f'<input>{ports}</input>{ir_port(2, [-1, 4], *names, tag_of="output")}</layer>')


def ir_constant(layer: int, name: str, offset: int) -> str:
    return (f'<layer id="{layer}" name="{name}" type="Const" version="opset1">'
            f'<data element_type="f32" shape="4" offset="{offset}" size="16"/>{ir_port(0, [4], tag_of="output")}</layer>')


def ir(stem: str) -> dict[str, bytes]:
    layers = (
        '<layer id="0" name="x" type="Parameter" version="opset1"><data shape="?,4" element_type="f32"/>'
        f'{ir_port(0, [-1, 4], "x", tag_of="output")}</layer>'
        + ir_constant(1, "scale", 0) + ir_binary(2, "Multiply") + ir_constant(3, "shift", 16) + ir_binary(4, "Add", "y")
        + '<layer id="5" name="y/sink_port_0" type="Result" version="opset1">' + ir_port(0, [-1, 4], tag_of="input") + "</layer>"
    )
    edges = "".join(f'<edge from-layer="{a}" from-port="{p}" to-layer="{b}" to-port="{q}"/>'
                    for a, p, b, q in [(0, 0, 2, 0), (1, 0, 2, 1), (2, 2, 4, 0), (3, 0, 4, 1), (4, 2, 5, 0)])
    text = f'<?xml version="1.0"?>\n<net name="m" version="11"><layers>{layers}</layers><edges>{edges}</edges></net>\n'
    return {f"{stem}.xml": text.encode(), f"{stem}.bin": SCALE.tobytes() + SHIFT.tobytes()}
