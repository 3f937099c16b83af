"""The daemon over the rungs of isolation: real engines in containers, workers that are killed, a daemon that is killed."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest
from daemon import BINARY, BUILD, ECHO, ROOT, need

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", ROOT / "build" / "demo-models")).resolve()


def pids(daemon, model: str) -> list[int]:
    for one in daemon.json("GET", "/v2/evenkeel/models")["models"]:
        if one["name"] == model:
            return [instance["pid"] for instance in one["instances"]]
    return []


def traces(label_of: pathlib.Path) -> list[str]:
    """Groups, bundles and mounts that name this state folder or its containers."""
    bundles = [p for p in (label_of / "containers").glob("*") if p.name != "runc"]
    bundles += list((label_of / "containers" / "runc").glob("*"))
    names = {p.name for p in bundles}
    groups = []
    for root in ("/sys/fs/cgroup",):
        for folder, below, _ in os.walk(root):
            groups += [os.path.join(folder, b) for b in below if b in names]
    mounts = [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(label_of) in line]
    return [str(b) for b in bundles] + groups + mounts


def need_digits() -> None:
    if not (MODELS / "digits").is_dir() or not (BUILD / "libexec/evenkeel/evenkeel-worker-openvino").exists():
        pytest.skip("needs the demo models and the OpenVINO worker: make models build")


def digits_row(value: float = 0.0) -> list[dict]:
    return [{"name": "x", "shape": [1, 64], "datatype": "FP32", "data": [value] * 64}]


def test_doctor_says_of_each_rung_whether_it_works(rungs):
    assert list(rungs) == ["none", "process", "cgroup", "oci"]
    for rung in rungs.values():
        assert rung["result"] == "pass" or (rung["finding"] and rung["fix"]), rung
    assert rungs["process"]["result"] == "pass"


def without_runc(*arguments: str, folder: pathlib.Path) -> subprocess.CompletedProcess:
    """Runs the program in a mount namespace in which runc is no program."""
    hide = f'mount --bind /dev/null {shutil.which("runc")} && exec "$@"'
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "EVENKEEL_RUNTIME": "oci", "EVENKEEL_HTTP_PORT": "0"}
    command = ["unshare", "--mount", "sh", "-c", hide, "sh", BINARY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)


def test_a_chosen_rung_that_does_not_work_is_an_error_with_its_fix(rungs, tmp_path):
    need(rungs, "oci")
    result = without_runc("doctor", "-o", "json", folder=tmp_path)
    checks = {c["name"]: c for c in json.loads(result.stdout)["checks"]}
    assert result.returncode == 1
    assert checks["runtime oci"]["result"] == "fail"
    assert checks["runtime oci"]["fix"] == "apt-get install runc"
    assert checks["container runtime"]["result"] == "fail"
    assert checks["container runtime"]["fix"].startswith("--runtime cgroup")
    result = without_runc("serve", folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr.strip().endswith(
        "runtime oci: there is no runc in PATH; to put it right: apt-get install runc"
    )


@pytest.mark.parametrize("rung", ["none", "process", "cgroup", "oci"])
def test_every_rung_serves_and_survives_the_worker(serve, rungs, rung):
    need(rungs, rung)
    daemon = serve(flags=["--runtime", rung])
    row = [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
    assert daemon.infer("echo", row)["outputs"][0]["data"] == [1, 2, 3, 4]
    before = pids(daemon, "echo")
    os.kill(before[0], signal.SIGKILL)
    end = time.monotonic() + 30
    while pids(daemon, "echo")[0] in (0, before[0]) and time.monotonic() < end:
        time.sleep(0.05)
    assert daemon.infer("echo", row)["outputs"][0]["data"] == [1, 2, 3, 4]
    assert daemon.stop() == 0
    daemon.ended = True
    assert traces(daemon.folder / "state") == []


@pytest.mark.parametrize("rung", ["process", "cgroup"])
def test_shared_buffers_are_the_workers_memory(serve, rungs, rung):
    need(rungs, rung)
    # Two buffers of 16 rows of 1 MiB, in and out.
    large = {"m.fake": "inputs: [{name: x, dtype: FP32, shape: [-1, 262144]}]\n", "evenkeel.yaml": "max_batch: 16\nobjective: 5s\n"}
    daemon = serve(models={f"large/{name}": text for name, text in large.items()}, flags=["--runtime", rung])
    time.sleep(1)  # warm-ups that are not waited for
    mib = 1 << 20
    status = pathlib.Path(f"/proc/{daemon.pid}/status").read_text()
    shared = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssShmem:"))
    assert shared < 8 * mib, f"the daemon has touched {shared / mib:.0f} MiB of shared memory"
    if rung == "process":
        return
    worker = pids(daemon, "large")[0]
    path = next(line.split(":", 2)[2] for line in pathlib.Path(f"/proc/{worker}/cgroup").read_text().splitlines()
                if line.split(":")[1] in ("memory", ""))
    held = [file for file in pathlib.Path("/sys/fs/cgroup").glob("**" + path + "/memory.*") if file.name in ("memory.usage_in_bytes", "memory.current")]
    assert held
    end = time.monotonic() + 30
    while int(held[0].read_text()) <= 56 * mib and time.monotonic() < end:
        time.sleep(0.1)
    assert int(held[0].read_text()) > 56 * mib


def runs_in(daemon) -> str:
    """The rung that the daemon says it has taken."""
    return re.search(r"^  workers  (\w+)", daemon.log(), re.M)[1]


def test_the_default_is_the_highest_rung_that_works(serve, cli, rungs):
    daemon = serve(env={"EVENKEEL_RUNTIME": None})
    doctor = {c["name"]: c for c in json.loads(cli("doctor", "-o", "json", env={"EVENKEEL_RUNTIME": None}).stdout)["checks"]}
    highest = next(rung for rung in ("oci", "cgroup", "process") if rungs[rung]["result"] == "pass")
    if "there is /dev/" in doctor["container runtime"]["finding"]:
        highest = "cgroup"
    assert runs_in(daemon) == highest
    assert f"'auto' takes '{highest}'" in doctor["container runtime"]["finding"]
    containers = list((daemon.folder / "state" / "containers").glob("ek-*"))
    assert len(containers) == (1 if highest == "oci" else 0)  # nothing is left of the trial


@pytest.mark.parametrize("runc", ["exit 1", "echo no such luck >&2; exit 3", "kill -SEGV $$", "exit 0"])
def test_a_runc_that_makes_no_container_costs_containers_only(serve, rungs, tmp_path, runc):
    need(rungs, "oci")
    program = tmp_path / "bin" / "runc"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{runc}\n")
    program.chmod(0o755)
    daemon = serve(env={"EVENKEEL_RUNTIME": "auto", "PATH": f"{program.parent}:{os.environ['PATH']}"})
    assert runs_in(daemon) == "cgroup"
    assert "runtime oci does not work here, a lower one is taken: " in daemon.log()
    row = [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]
    assert daemon.infer("echo", row)["outputs"][0]["data"] == [1, 2, 3, 4]
    worker = pathlib.Path(f"/proc/{pids(daemon, 'echo')[0]}/cgroup").read_text()
    assert "/evenkeel-" in worker, worker
    assert [p for p in (daemon.folder / "state" / "containers").glob("*") if p.name != "runc"] == []


def test_openvino_answers_out_of_a_container(serve, rungs):
    need(rungs, "oci")
    need_digits()
    models = {f"digits/{p.name}": p.read_bytes() for p in (MODELS / "digits").iterdir() if p.is_file()}
    plain = serve(models=models).infer("digits", digits_row(3.0))["outputs"][0]["data"]
    daemon = serve(models=models, flags=["--runtime", "oci"])
    for value in (0.0, 3.0, 16.0):
        assert len(daemon.infer("digits", digits_row(value))["outputs"][0]["data"]) == 10
    assert daemon.infer("digits", digits_row(3.0))["outputs"][0]["data"] == pytest.approx(plain, abs=1e-4)
    # It really is in a container: another root, no network, no capability, a filter.
    pid = pids(daemon, "digits")[0]
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert "Seccomp:\t2" in status and "CapEff:\t0000000000000000" in status
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert not os.path.exists(f"/proc/{pid}/root/etc/passwd")
    # The compiled model went to the cache, which it may write.
    assert list((daemon.folder / "cache" / "compiled").glob("*.blob"))


@pytest.mark.parametrize("link", ["model.onnx -> ../files/one.onnx", "2/model.onnx -> ../1/model.onnx"])
def test_a_link_to_another_file_of_the_models_folder_is_followed_in_a_container(serve, rungs, tmp_path, link):
    need(rungs, "oci")
    need_digits()
    models = tmp_path / "linked"
    where, target = link.split(" -> ")
    place = models / "digits" / where
    place.parent.mkdir(parents=True)
    real = (place.parent / target).resolve()
    real.parent.mkdir(exist_ok=True)
    shutil.copy(next((MODELS / "digits").rglob("*.onnx")), real)
    place.symlink_to(target)
    daemon = serve(flags=["--runtime", "oci", "--models", str(models)])
    assert len(daemon.infer("digits", digits_row(3.0))["outputs"][0]["data"]) == 10


def test_files_that_only_their_owner_may_read_are_read_in_a_container(serve, rungs):
    need(rungs, "oci")
    need_digits()
    models = {f"digits/{p.name}": p.read_bytes() for p in (MODELS / "digits").iterdir() if p.is_file()}
    daemon = serve(models={**models, "echo.fake": ECHO}, flags=["--runtime", "oci"])
    capabilities = re.search(r"CapEff:\t(\w+)", pathlib.Path(f"/proc/{pids(daemon, 'digits')[0]}/status").read_text())[1]
    assert int(capabilities, 16) == 0
    # Now they are another user's, who lets nobody in.
    for path in [daemon.models / "digits", *(daemon.models / "digits").iterdir()]:
        os.chown(path, 12345, 12345)
        path.chmod(0o700 if path.is_dir() else 0o600)
    assert daemon.request("POST", "/v2/repository/models/digits/load", {})[0] == 200
    assert len(daemon.infer("digits", digits_row(3.0))["outputs"][0]["data"]) == 10
    capabilities = re.search(r"CapEff:\t(\w+)", pathlib.Path(f"/proc/{pids(daemon, 'digits')[0]}/status").read_text())[1]
    assert int(capabilities, 16) == 2  # CAP_DAC_OVERRIDE, and nothing else


def test_nothing_is_left_of_a_daemon_that_was_killed(serve, rungs):
    need(rungs, "oci")
    daemon = serve(flags=["--runtime", "oci"])
    worker = pids(daemon, "echo")[0]
    daemon.process.kill()
    daemon.process.wait()
    daemon.ended = True
    end = time.monotonic() + 10
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < end:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{worker}"), "the worker outlived its daemon"
    left = {p.name for p in (daemon.folder / "state" / "containers").glob("ek-*")}
    assert left, "the bundle stays until the next start"
    again = serve(folder=daemon.folder, flags=["--runtime", "oci"])
    assert "removed what a daemon that was killed left" in again.log()
    assert again.stop() == 0
    again.ended = True
    assert traces(daemon.folder / "state") == []
    for folder, below, _ in os.walk("/sys/fs/cgroup"):
        assert not left & set(below), f"a group is left in {folder}"


def test_a_runtime_that_is_none_is_refused_with_the_choices(cli):
    result = cli("serve", "--runtime", "docker")
    assert result.returncode != 0
    assert "none|process|cgroup|oci|auto" in result.stderr + result.stdout


@pytest.mark.long
def test_a_thousand_container_starts_without_a_leak(rungs):
    need(rungs, "oci")
    program = BUILD / "containers_test"
    if not program.exists():
        pytest.skip(f"{program} is not built")
    env = {**os.environ, "EVENKEEL_CONTAINER_STARTS": "1000"}
    command = [program, "--gtest_filter=*StartsLeaveNothing*oci"]
    result = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1800, check=False)
    assert result.returncode == 0, result.stdout[-4000:]
