"""A daemon under test: started on free ports with its own folders, asked over HTTP, ended by SIGTERM.

The binary: $EVENKEEL_BINARY, else evenkeel in $EVENKEEL_BUILD, else build/evenkeel.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("EVENKEEL_BUILD", ROOT / "build"))
BINARY = pathlib.Path(os.environ.get("EVENKEEL_BINARY", BUILD / "evenkeel"))
# A program that sanitizers watch takes many times its memory.
CACHE = BUILD / "CMakeCache.txt"
SANITIZED = CACHE.exists() and re.search(r"^EVENKEEL_SANITIZE:STRING=.", CACHE.read_text(), re.M) is not None
START_SECONDS = 60
STOP_SECONDS = 40
LINKED_BYTES = 1 << 20  # files of this size and more are copied once a run and linked from there
ECHO = """\
inputs: [{name: x, dtype: FP32, shape: [-1, 4]}]
outputs: [{name: y, dtype: FP32, shape: [-1, 4], function: echo}]
"""


@dataclasses.dataclass
class Daemon:
    process: subprocess.Popen
    folder: pathlib.Path  # models/, state/, cache/ below it
    log_path: pathlib.Path
    http_url: str = ""  # "http://127.0.0.1:1234"; https:// where it was given a certificate
    grpc_address: str = ""  # "127.0.0.1:1235"
    metrics_url: str = ""  # "http://127.0.0.1:1236/metrics"
    trusted: pathlib.Path | None = None  # with https: the certificate that requests trust
    expect_exit: int = 0
    ended: bool = False  # the test has ended it and looked at how

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def http_address(self) -> str:
        return self.http_url.split("://")[1]

    @property
    def models(self) -> pathlib.Path:
        return self.folder / "models"

    def tls(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.trusted) if self.trusted else None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def request(self, method: str, path: str, body: bytes | dict | None = None, headers: dict | None = None):
        """(status, headers, body bytes); error statuses are answers, not exceptions."""
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        call = urllib.request.Request(self.http_url + path, data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(call, timeout=120, context=self.tls()) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def json(self, method: str, path: str, body: dict | None = None):
        """The answer's JSON; any status but 2xx fails the test."""
        status, _, text = self.request(method, path, body)
        assert 200 <= status < 300, f"{method} {path}: {status} {text[:500]!r}"
        return json.loads(text) if text else {}

    def infer(self, model: str, inputs: list[dict]):
        return self.json("POST", f"/v2/models/{model}/infer", {"inputs": inputs})

    def stop(self) -> int:
        """SIGTERM, then the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=STOP_SECONDS)


def sanitizer_report(text: str) -> str:
    """What a build with sanitizers says of itself or of its workers, whose end would pass for one of a crash; "" if nothing."""
    found = re.search(r"(ERROR|WARNING): \w+Sanitizer|\.(cc|h):\d+:\d+: runtime error:", text)
    return text[found.start() :][:8000] if found else ""


def with_changes(environment: dict[str, str], changes: dict[str, str | None] | None) -> dict[str, str]:
    """None: it is not set."""
    return {name: value for name, value in {**environment, **(changes or {})}.items() if value is not None}


def environment(folder: pathlib.Path) -> dict[str, str]:
    """Nothing of the user's settings gets in. Workers are plain processes unless a test says otherwise: containers take longer to start."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EVENKEEL_", "XDG_"))}
    return {**kept, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "NO_COLOR": "1", "EVENKEEL_RUNTIME": "process"}


def run_cli(*arguments: str, folder: pathlib.Path, env: dict | None = None, stdin: str = "", timeout: float = 30):
    result = subprocess.run(
        [str(BINARY), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=with_changes(environment(folder), env),
        cwd=folder,
        check=False,
    )
    assert not sanitizer_report(result.stderr), result.stderr
    return result


def need(rungs: dict, rung: str) -> None:
    """Skips the test where the rung of isolation does not work; `rungs` is the fixture."""
    if rungs[rung]["result"] != "pass":
        pytest.skip(f"the rung {rung} does not work here: {rungs[rung]['finding']}; {rungs[rung]['fix']}")


_copies: pathlib.Path | None = None  # None: every copy is one
_made: dict[pathlib.Path, tuple[pathlib.Path, int, int]] = {}  # by copy: of what, its size and when it was written


def keep_copies_in(folder: pathlib.Path) -> None:
    """Where copy_file() keeps the one copy of each large file from now on."""
    global _copies
    _copies = folder


def damaged_copies() -> list[str]:
    """Files whose one copy somebody has written into since it was made: every test that came after had the wrong model."""
    return [f"a test has written into the copy of {source} that all tests share"
            for copy, (source, *facts) in _made.items() if facts != [copy.stat().st_size, copy.stat().st_mtime_ns]]


def copy_file(source: str | pathlib.Path, target: str | pathlib.Path) -> None:
    """Like shutil.copy. Of a large file the target is a link to a copy that all tests of a run share, so that a hundred of them do not fill the disk: it may be
    removed or replaced as any file, but not written into. The original is never the one that is linked."""
    source, target = pathlib.Path(source).resolve(), pathlib.Path(target)
    size = source.stat()
    target.unlink(missing_ok=True)  # what is there may be such a link, and is replaced, not written into
    if _copies is None or size.st_size < LINKED_BYTES:
        shutil.copy(source, target)
        return
    kept = _copies / hashlib.sha256(f"{source} {size.st_ino} {size.st_size} {size.st_mtime_ns}".encode()).hexdigest()
    if not kept.exists():
        shutil.copy(source, kept)
        _made[kept] = (source, kept.stat().st_size, kept.stat().st_mtime_ns)
    try:
        os.link(kept, target)
    except OSError:  # another file system
        shutil.copy(source, target)


def place_models(target: pathlib.Path, models: dict[str, str | bytes | pathlib.Path]) -> None:
    """Names relative to the models folder, with text, bytes, or a file or folder to copy."""
    for name, content in models.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pathlib.Path):
            shutil.copytree(content, path, copy_function=copy_file) if content.is_dir() else copy_file(content, path)
            continue
        path.unlink(missing_ok=True)  # as in copy_file()
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


_host_speed: bytes | None = None  # as the first node of a run has measured and kept it


def host_speed_is_known() -> bool:
    return _host_speed is not None


def host_speed_file(folder: pathlib.Path) -> pathlib.Path:
    return folder / "state" / "host_speed.json"


def give_host_speed(folder: pathlib.Path, flags: list[str]) -> None:
    """A node of a cluster that finds no speed of its host measures for 0.6 s; all nodes of a run are on this one. One that was measured elsewhere it would not
    believe."""
    is_node = "--cluster-name" in flags or (folder / "state" / "cluster" / "cluster.json").exists()
    if is_node and _host_speed is not None and not host_speed_file(folder).exists():
        host_speed_file(folder).write_bytes(_host_speed)


def keep_host_speed(folder: pathlib.Path) -> None:
    global _host_speed
    if _host_speed is None and host_speed_file(folder).exists():
        _host_speed = host_speed_file(folder).read_bytes()


def launch(folder: pathlib.Path, log_path: pathlib.Path, flags: list[str], env: dict[str, str] | None = None) -> Daemon:
    """A daemon on free ports with models/, state/ and cache/ in `folder` (unless `flags` say otherwise); not awaited."""
    for name in ("models", "state", "cache"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    give_host_speed(folder, flags)
    defaults = {f"--{name}": str(folder / name) for name in ("models", "state", "cache")}
    defaults |= {f"--{name}-port": "0" for name in ("http", "grpc", "metrics")}
    # Measuring beside serving would disturb what tests look at; those of profiling ask for it.
    defaults |= {"--profiling": "off"}
    chosen = [word for flag, value in defaults.items() if flag not in flags for word in (flag, value)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [str(BINARY), "serve", *chosen, *flags],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=with_changes(environment(folder), env),
        )
    return Daemon(process, folder, log_path)


def wait_for_announcement(daemon: Daemon) -> None:
    """The daemon prints its addresses once every model is ready or given up."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        log = daemon.log()
        http = re.search(r"^\s*HTTP\s+(https?://\S+)", log, re.M)
        grpc = re.search(r"^\s*gRPC\s+(\S+)", log, re.M)
        metrics = re.search(r"^\s*metrics\s+(https?://\S+)", log, re.M)
        if http and grpc and metrics:
            daemon.http_url = http[1].rstrip("/")
            daemon.grpc_address, daemon.metrics_url = grpc[1], metrics[1]
            keep_host_speed(daemon.folder)
            return
        if daemon.process.poll() is not None:
            break
        time.sleep(0.02)
    daemon.process.kill()
    pytest.fail(f"the daemon did not start (exit code {daemon.process.wait()}):\n{daemon.log()}")
