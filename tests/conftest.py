"""What every end-to-end test starts from: a daemon of its own, on free ports, with its own folders.

    def test_x(server):                     # one model, `echo`
    def test_y(serve):                      # serve(models={"m.fake": "..."}, flags=["--threads", "1"])

A fixture's daemon must end on SIGTERM with exit code 0: leaving one behind or crashing it fails the test that used it,
unless the test says `daemon.expect_exit = CODE` or `daemon.ended = True`.
"""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess

import pytest

from daemon import (
    ECHO, STOP_SECONDS, Daemon, damaged_copies, keep_copies_in, launch, place_models, run_cli, sanitizer_report, wait_for_announcement,
)


@pytest.fixture(scope="session", autouse=True)
def copies(tmp_path_factory):
    """Where place_models() keeps the one copy of each large file."""
    keep_copies_in(tmp_path_factory.mktemp("copies"))
    yield
    assert not damaged_copies()


@pytest.fixture
def serve(tmp_path):
    """serve(models=..., flags=..., env=..., ready=True) starts a daemon; all are ended and judged after the test."""
    daemons: list[Daemon] = []

    def start(
        models: dict | None = None,
        flags: list[str] | None = None,
        env: dict[str, str] | None = None,
        folder: pathlib.Path | None = None,
        ready: bool = True,
    ) -> Daemon:
        folder = folder or tmp_path / f"daemon{len(daemons)}"
        place_models(folder / "models", {"echo.fake": ECHO} if models is None else models)
        daemon = launch(folder, folder / f"log{len(daemons)}", flags or [], env)
        daemons.append(daemon)
        if ready:
            wait_for_announcement(daemon)
        return daemon

    yield start

    problems = []
    # All are told before one is waited for: a node of a cluster may take a second to leave it.
    for daemon in daemons:
        if not daemon.ended:
            daemon.process.send_signal(signal.SIGTERM)  # nothing where it has ended by itself
    for daemon in daemons:
        if daemon.ended:
            continue
        try:
            code = daemon.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.process.kill()
            daemon.process.wait()
            problems.append(f"daemon {daemon.pid} did not end within {STOP_SECONDS} s of SIGTERM")
            continue
        if code != daemon.expect_exit:
            problems.append(f"daemon {daemon.pid} ended with {code}, expected {daemon.expect_exit}")
    problems += filter(None, (sanitizer_report(daemon.log()) for daemon in daemons))
    logs = "\n".join(daemon.log()[-4000:] for daemon in daemons)
    assert not problems, "\n".join(problems) + "\n" + logs


@pytest.fixture
def server(serve):
    """A daemon with one model, `echo`: x FP32 [-1,4] to y."""
    return serve()


@pytest.fixture
def cli(tmp_path):
    """cli("ls", "-o", "json") runs the program with no settings of the user's; cli(..., server=daemon) asks that one."""

    def run(*arguments: str, server: Daemon | None = None, env: dict | None = None, **more):
        if server is not None:
            env = {"EVENKEEL_SERVER": server.http_url, **(env or {})}
        return run_cli(*arguments, folder=tmp_path, env=env, **more)

    return run


@pytest.fixture(scope="session")
def rungs(tmp_path_factory) -> dict[str, dict]:
    """What doctor says of each rung of isolation."""
    said = run_cli("doctor", "-o", "json", folder=tmp_path_factory.mktemp("doctor")).stdout
    checks = {c["name"]: c for c in json.loads(said)["checks"]}
    return {name.removeprefix("runtime "): c for name, c in checks.items() if name.startswith("runtime ")}
