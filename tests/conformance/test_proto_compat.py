"""Our .proto files against the descriptors inside PyPI's tritonclient: equal names, numbers, types, labels and RPCs.

Needs tritonclient[grpc] and protoc. Fields that ours lack, or that a later client adds, fail the test: byte compatibility is
the promise, and a message that neither knows must be looked at by a person.
"""

import pathlib
import shutil
import subprocess

import pytest
from google.protobuf import descriptor_pb2

service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")

SOURCE = pathlib.Path(__file__).resolve().parents[2] / "src"
Field = descriptor_pb2.FieldDescriptorProto


def published(module):
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    if shutil.which("protoc") is None:
        pytest.fail("protoc is not installed")
    out = tmp_path_factory.mktemp("proto") / "all.pb"
    names = ["proto/model_config.proto", "proto/grpc_service.proto", "proto/health.proto"]
    subprocess.run(["protoc", "-I", SOURCE, f"--descriptor_set_out={out}", *names], check=True, cwd=SOURCE)
    files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    return {file.name: file for file in files}


def describe_enum(scope, enum, out):
    out[f"{scope}.{enum.name}"] = {value.name: value.number for value in enum.value}


def describe_message(scope, message, out):
    name = f"{scope}.{message.name}"
    for field in message.field:
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
        out[f"{name}.{field.name}"] = (field.number, Field.Type.Name(field.type), Field.Label.Name(field.label), field.type_name, oneof)
    out[name] = {"fields": sorted(field.number for field in message.field), "map": message.options.map_entry}
    for enum in message.enum_type:
        describe_enum(name, enum, out)
    for nested in message.nested_type:
        describe_message(name, nested, out)


def describe(file):
    """Everything that decides the bytes on the wire, by full name."""
    out = {"syntax": file.syntax, "package": file.package}
    for enum in file.enum_type:
        describe_enum("." + file.package, enum, out)
    for message in file.message_type:
        describe_message("." + file.package, message, out)
    for service in file.service:
        for method in service.method:
            out[f"/{file.package}.{service.name}/{method.name}"] = (
                method.input_type, method.output_type, method.client_streaming, method.server_streaming)
    return out


@pytest.mark.parametrize("name, module", [("model_config", model_config_pb2), ("grpc_service", service_pb2)])
def test_every_message_field_enum_and_rpc_equals_the_published_one(ours, name, module):
    expected = describe(published(module))
    assert len(expected) > 100
    assert describe(ours[f"proto/{name}.proto"]) == expected


def test_health_is_grpcs(ours):
    got = describe(ours["proto/health.proto"])
    service = "/grpc.health.v1.Health"
    message = ".grpc.health.v1.HealthCheck"
    assert got[f"{service}/Check"] == (f"{message}Request", f"{message}Response", False, False)
    assert got[f"{service}/Watch"] == (f"{message}Request", f"{message}Response", False, True)
    assert got[f"{message}Request.service"][:2] == (1, "TYPE_STRING")
    assert got[f"{message}Response.status"][:2] == (1, "TYPE_ENUM")
    assert got[f"{message}Response.ServingStatus"] == {"UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3}
