"""Evenkeel and llama-server with one language model each: starting, sizes, memory. Both have the machine's first two cores and two threads."""

import contextlib
import functools
import http.client
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

from serve_processes import CORES, LOGS, MODELS, ROOT, BenchError, Daemon, free_ports, link_or_copy, spawn, stop

SHARED = CORES[:2]
THREADS = 2
CONTEXT = 8192  # tokens of all sequences together, in both
SMOLLM2 = MODELS / "smollm2" / "model.gguf"


@functools.lru_cache
def llama_tools():
    """The folder of llama-server and llama-batched-bench, built from the worker's source with its flags (minutes, the first time)."""
    run = subprocess.run([str(ROOT / "tools" / "setup_llamacpp.sh"), "--server"], stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0 or not run.stdout.strip():
        raise BenchError("llama-server could not be built; what went wrong is above")
    return pathlib.Path(run.stdout.strip())


def chosen(settings):
    """Lines for a manifest: two threads, and what else is asked for of `language`."""
    lines = [f"threads: {THREADS}"]
    if settings:
        lines += ["language:", *(f"  {key}: {value}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"


class Evenkeel(Daemon):
    """The daemon with one GGUF model called "m"."""

    name_of_model = "m"

    def __init__(self, model, sequences, context=CONTEXT, **settings):
        self.staged = pathlib.Path(tempfile.mkdtemp(prefix="evenkeel-bench-llm-"))
        link_or_copy(pathlib.Path(model).resolve(), self.staged / "model.gguf")  # a link that leads out of the folder is refused
        settings = {"sequences": sequences, "cache_tokens": context, **settings}
        super().__init__({"m": self.staged}, daemon_core=SHARED, worker_core=SHARED, name="evenkeel-llm", settings={"m": chosen(settings)})

    def wait_ready(self, timeout_s=60):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise BenchError(f"evenkeel ended with {self.process.returncode}; see {LOGS / self.name}.log")
            with contextlib.suppress(OSError):
                if self.request("GET", "/v1/models/m")[0] == 200:
                    return self
            time.sleep(0.02)
        raise BenchError(f"evenkeel does not serve its model after {timeout_s} s; see {LOGS / self.name}.log")

    def processes(self):
        """{what: process id} of the model's worker, its prompt process and the daemon."""
        status, body = self.request("GET", "/v2/evenkeel/models/m")
        if status != 200:
            raise BenchError(f"what the model is: {status} {body[:200]}")
        model = json.loads(body)
        return {"worker": model["instances"][0]["pid"], "prompts": model["language"]["prompt_process"]["pid"], "daemon": self.process.pid}

    def close(self):
        super().close()
        shutil.rmtree(self.staged, ignore_errors=True)


class LlamaServer:
    """llama-server with the same model and two threads; `flags` are added."""

    name_of_model = "m"

    def __init__(self, model, sequences, context=CONTEXT, flags=()):
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [llama_tools() / "llama-server", "-m", model, "--alias", "m", "--host", "127.0.0.1", "--port", self.port, "-t", THREADS,
                        "-tb", THREADS, "-np", sequences, "-c", context, *flags]
        self.process = None

    def start(self):
        self.started = time.monotonic()
        self.process = spawn(self.command, SHARED, "llama-server")
        return self

    def wait_ready(self, timeout_s=60):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise BenchError(f"llama-server ended with {self.process.returncode}; see {LOGS}/llama-server.log")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if request(self.port, "GET", "/health")[0] == 200:
                    return self
            time.sleep(0.02)
        raise BenchError(f"llama-server is not ready after {timeout_s} s; see {LOGS}/llama-server.log")

    def processes(self):
        return {"server": self.process.pid}

    def close(self):
        if self.process:
            stop(self.process)

    def __enter__(self):
        try:
            return self.start().wait_ready()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_):
        self.close()


def request(port, method, path, body=None, timeout_s=120):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def port_of(server):
    return int(server.url.rsplit(":", 1)[1])


def completion(server, **fields):
    """An answer of /v1/completions that is not streamed, as a dictionary."""
    status, body = request(port_of(server), "POST", "/v1/completions", {"model": server.name_of_model, "temperature": 0, **fields})
    if status != 200:
        raise BenchError(f"{type(server).__name__}: {status} {body[:300]}")
    return json.loads(body)


def pss_mib(pid):
    """What a process's memory comes to when what it shares is divided by those who share it."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        for line in f:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    raise BenchError(f"process {pid} has no Pss")


@contextlib.contextmanager
def burner():
    """A process that burns the first of the shared cores."""
    process = spawn(["sh", "-c", "while :; do :; done"], SHARED[:1], "burner")
    try:
        yield
    finally:
        stop(process)
