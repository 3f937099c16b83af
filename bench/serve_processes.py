"""Starts, pins, measures and stops the processes that bench/serve.py and bench/batching.py compare. Standard library only."""

import contextlib
import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ.get("EVENKEEL_BUILD", ROOT / "build"))
EVENKEEL = BUILD / "evenkeel"
FLOORS = BUILD / "bench-bin"
MODELS = BUILD / "demo-models"
LOGS = BUILD / "bench" / "logs"

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = CORES[0]
CLIENT_CORE = CORES[1] if len(CORES) > 1 else CORES[0]


class BenchError(Exception):
    """A measurement that could not be made; the message says why."""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def core_set(cpus):
    return {cpus} if isinstance(cpus, int) else set(cpus)


def child_setup(cpus):
    """What a child does before it becomes the program: bound to `cpus`, and ended when this script ends, however it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    os.sched_setaffinity(0, cpus)


def spawn(command, cpus, log_name, **kwargs):
    """A child bound to `cpus`, its output in build/bench/logs."""
    LOGS.mkdir(parents=True, exist_ok=True)
    cpus = core_set(cpus)
    with open(LOGS / f"{log_name}.log", "ab") as log:
        return subprocess.Popen(
            [str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            preexec_fn=lambda: child_setup(cpus), **kwargs)


def stop(process, timeout_s=40):
    """SIGTERM, then SIGKILL for what does not end. Only processes that this script started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_seconds(pid):
    """User and system time of all live threads, from schedstat where the kernel has it (nanoseconds), else from stat (ticks)."""
    total_ns = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                total_ns += int(f.read().split()[0])
        if total_ns:
            return total_ns / 1e9
    except OSError:
        pass
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    raise BenchError(f"process {pid} has no VmRSS")


def wait_for_port(port, process, timeout_s=20):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchError(f"server on port {port} ended with {process.returncode}; see {LOGS}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise BenchError(f"nothing listens on port {port} after {timeout_s} s")


class Daemon:
    """`evenkeel serve` on free ports with a state folder of its own.

    `models` maps a name to a file or folder, or is a folder. The worker is on the server core, the daemon where asked; either may be
    a list of cores. `settings` maps a model to lines that its manifest gets besides its own; `flags` are added to the command line.
    """

    def __init__(self, models, daemon_core=None, name="evenkeel", state=None, worker_core=None, settings=None, flags=(), cache=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="evenkeel-bench-"))
        self.models = self.folder / "models"
        self.models.mkdir()
        for model, source in models.items():
            place_model(source, self.models / model)
            if settings and model in settings:
                add_to_manifest(self.models / model, settings[model])
        self.state = pathlib.Path(state) if state else self.folder / "state"
        self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.grpc = f"127.0.0.1:{self.grpc_port}"
        self.daemon_core = CLIENT_CORE if daemon_core is None else daemon_core
        self.worker_core = SERVER_CORE if worker_core is None else worker_core
        self.cache = pathlib.Path(cache) if cache else self.state / "cache"
        self.flags = flags
        self.name = name
        self.process = None

    def start(self):
        command = [EVENKEEL, "serve", "--models", self.models, "--http-port", self.http_port, "--grpc-port", self.grpc_port,
                   "--metrics-port", self.metrics_port, "--state", self.state, "--cache", self.cache, "--io-threads", 1,
                   "--worker-cpus", ",".join(str(core) for core in sorted(core_set(self.worker_core))), "--threads", 1,
                   "--log-level", "warning", *self.flags]
        if "--profiling" not in self.flags:
            command += ["--profiling", "off"]  # figures of what serves alone
        if "--runtime" not in self.flags:
            command += ["--runtime", "process"]  # the same on every machine
        self.started = time.monotonic()
        self.process = spawn(command, self.daemon_core, self.name)
        return self

    def wait_ready(self, timeout_s=60):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise BenchError(f"evenkeel ended with {self.process.returncode}; see {LOGS / self.name}.log")
            with contextlib.suppress(OSError):
                if self.request("GET", "/v2/health/ready")[0] == 200:
                    return self
            time.sleep(0.01)
        raise BenchError(f"evenkeel is not ready after {timeout_s} s; see {LOGS / self.name}.log")

    def request(self, method, path, body=None, timeout_s=30):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout_s)
        try:
            headers = {"Content-Type": "application/json"} if body is not None else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def signal(self, number):
        self.process.send_signal(number)

    def batches(self, model):
        """{batch size: (batches, nanoseconds of compute)} since load, from the statistics."""
        status, body = self.request("GET", f"/v2/models/{model}/stats")
        if status != 200:
            raise BenchError(f"statistics of {model}: {status} {body[:200]}")
        stats = json.loads(body)["model_stats"][0]
        return {int(b["batch_size"]): (int(b["compute_infer"]["count"]), int(b["compute_infer"]["ns"]))
                for b in stats.get("batch_stats", [])}

    def close(self):
        if self.process:
            stop(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start().wait_ready()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()


def place_model(source, target):
    """A folder, a model file (keeps its suffix), or {"suffix": ..., "text": ...}."""
    if isinstance(source, dict):
        target.with_name(target.name + source["suffix"]).write_text(source["text"])
    elif pathlib.Path(source).is_dir():
        # Weight files are large: linked where they can be.
        shutil.copytree(source, target, copy_function=link_or_copy)
    elif pathlib.Path(source).exists():
        shutil.copyfile(source, target.with_name(target.name + pathlib.Path(source).suffix))
    else:
        raise BenchError(f"no model at {source}: run `make models`")


def add_to_manifest(folder, lines):
    """Adds settings to a placed model's manifest, on a copy: the file may be a link to the model's own."""
    manifest = folder / "evenkeel.yaml"
    text = manifest.read_text() if manifest.exists() else ""
    manifest.unlink(missing_ok=True)
    manifest.write_text(text.rstrip("\n") + "\n" + lines.rstrip("\n") + "\n")


def link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


# A model without work: 64 bytes in, 64 bytes out.
ECHO_64 = {"suffix": ".fake", "text": "inputs: [{name: x, dtype: FP32, shape: [-1, 16]}]\n"
                                      "outputs: [{name: y, dtype: FP32, shape: [-1, 16], function: echo, input: x}]\n"}


class Floor:
    """A bare echo server on the server core."""

    def __init__(self, program, grpc):
        if not (FLOORS / program).exists():
            raise BenchError(f"{FLOORS / program} is not built")
        (self.port,) = free_ports(1)
        arguments = ["--port", self.port] if grpc else [self.port]
        self.process = spawn([FLOORS / program, *arguments], SERVER_CORE, program)
        self.url = f"http://127.0.0.1:{self.port}/"
        self.grpc = f"127.0.0.1:{self.port}"

    def __enter__(self):
        try:
            wait_for_port(self.port, self.process)
        except BenchError:
            stop(self.process)
            raise
        return self

    def __exit__(self, *_):
        stop(self.process)


def bench(*arguments, core=None, check=True, timeout_s=300):
    """Runs `evenkeel bench` on the client core (or the cores that are named); its JSON report."""
    command = [str(a) for a in (EVENKEEL, "bench", *arguments, "-o", "json")]
    cpus = core_set(CLIENT_CORE if core is None else core)
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s, preexec_fn=lambda: child_setup(cpus))
    except subprocess.TimeoutExpired:
        raise BenchError(f"{' '.join(command)}: not done after {timeout_s:.0f} s") from None
    if run.returncode not in (0, 1) or not run.stdout:
        raise BenchError(f"{' '.join(command)}: {run.stderr.strip() or run.returncode}")
    report = json.loads(run.stdout)
    total = report["total"]
    failed = total["errors"] + total["wrong"] + total["unanswered"]
    if check and (failed or not total["ok"]):
        raise BenchError(f"{' '.join(command)}: {failed} of {total['sent']} requests failed: "
                         f"{json.dumps(total['errors_by_status'])[:300]} {total['unanswered_by_reason']}")
    return report


def median(values):
    return statistics.median(values)
