"""`evenkeel pull`: from the disk into the models folder, whole or not at all."""

import hashlib
import os
import signal
import subprocess
import time

import pytest

from daemon import BINARY, ECHO, environment

onnx = pytest.importorskip("onnx")


def onnx_bytes():
    value = lambda name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4])  # noqa: E731
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value("x")], [value("y")])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_copied_checked_and_digested(cli, tmp_path, models):
    (tmp_path / "relu.onnx").write_bytes(onnx_bytes())
    result = cli("pull", "relu.onnx", "--models", str(models))
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"sha256:{hashlib.sha256(onnx_bytes()).hexdigest()}  relu\n"
    assert "evenkeel load relu" in result.stderr
    assert (models / "relu.onnx").read_bytes() == onnx_bytes()
    assert listing(models) == ["relu.onnx"]


def test_a_folder_keeps_its_files_under_another_name(cli, tmp_path, models):
    source = tmp_path / "export"
    (source / ".git").mkdir(parents=True)
    (source / ".git" / "secret").write_text("not the model's")
    (source / "model.onnx").write_bytes(onnx_bytes())
    (source / "labels.txt").write_text("a\nb\n")
    result = cli("pull", str(source) + "/", "--name", "bert", env={"EVENKEEL_MODELS": str(models)})
    assert result.returncode == 0, result.stderr
    lines = "".join(f"{hashlib.sha256((source / name).read_bytes()).hexdigest()}  {name}\n" for name in ("labels.txt", "model.onnx"))
    assert result.stdout == f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}  bert\n"
    assert listing(models / "bert") == ["labels.txt", "model.onnx"]


def test_what_was_pulled_is_served(cli, serve, tmp_path):
    (tmp_path / "mine.fake").write_text(ECHO)
    daemon = serve()
    assert cli("pull", "mine.fake", "--models", str(daemon.models)).returncode == 0
    assert cli("load", "mine", server=daemon).returncode == 0
    row = [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]
    assert daemon.infer("mine", row)["outputs"][0]["data"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "name, content, flags, code, said",
    [
        ("absent.onnx", None, [], 1, "No such file"),
        ("notes.txt", b"hello", [], 1, "is no model that can be served"),
        ("cut.onnx", onnx_bytes()[:-5], [], 1, "cut.onnx"),
        ("a b.onnx", onnx_bytes(), [], 2, "cannot be a model's name"),
        ("fine.onnx", onnx_bytes(), ["--name", "../up"], 2, "cannot be a model's name"),
        ("there.onnx", onnx_bytes(), [], 1, "has a model 'there' already"),
        ("fine.onnx", onnx_bytes(), ["--name", "there"], 1, "has a model 'there' already"),
        ("lonely.xml", b"<net/>", [], 1, "lonely.bin"),
    ],
)
def test_what_cannot_be_pulled_leaves_nothing(cli, tmp_path, models, name, content, flags, code, said):
    (models / "there.fake").write_text(ECHO)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    result = cli("pull", name, "--models", str(models), *flags)
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert ".pull-" not in result.stderr
    assert result.stdout == ""
    assert listing(models) == ["there.fake"]


def test_links_and_an_empty_folder_are_refused(cli, tmp_path, models):
    source = tmp_path / "linked"
    source.mkdir()
    result = cli("pull", "linked", "--models", str(models))
    assert result.returncode == 1 and "has no files" in result.stderr
    (source / "model.onnx").symlink_to("/etc/passwd")
    result = cli("pull", "linked", "--models", str(models))
    assert result.returncode == 1 and "is a link or a device" in result.stderr
    assert listing(models) == []


def test_a_models_folder_that_is_not_there_is_an_error(cli, tmp_path):
    (tmp_path / "relu.onnx").write_bytes(onnx_bytes())
    result = cli("pull", "relu.onnx", "--models", str(tmp_path / "nowhere"))
    assert result.returncode == 2 and "nowhere" in result.stderr
    # The default one is made.
    assert cli("pull", "relu.onnx").returncode == 0
    assert listing(tmp_path / ".local/share/evenkeel/models") == ["relu.onnx"]


def test_stopped_half_way_nothing_is_left(tmp_path, models):
    big = tmp_path / "big.onnx"
    with big.open("wb") as out:
        out.truncate(8 << 30)
    process = subprocess.Popen([str(BINARY), "pull", str(big), "--models", str(models)], env=environment(tmp_path), stderr=subprocess.PIPE)
    end = time.monotonic() + 10
    while not any(path.stat().st_size > 0 for path in models.glob(".pull-*/big.onnx")):
        if process.poll() is not None:  # no room for it on this disk
            assert b"free, the model needs" in process.stderr.read()
            pytest.skip("the disk has no room for 8 GiB")
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    process.stderr.close()
    assert listing(models) == []


def test_what_a_killed_pull_left_goes_with_the_next(cli, tmp_path, models):
    ended = subprocess.Popen(["true"])
    ended.wait()
    (models / f".pull-{ended.pid}").mkdir()
    (models / f".pull-{os.getpid()}").mkdir()  # of one that runs
    (models / ".pull-x").mkdir()
    (tmp_path / "relu.onnx").write_bytes(onnx_bytes())
    assert cli("pull", "relu.onnx", "--models", str(models)).returncode == 0
    assert listing(models) == sorted([f".pull-{os.getpid()}", ".pull-x", "relu.onnx"])
