"""A live cluster for bench/cluster_live.py and bench/cluster_losses.py: unequal nodes in network namespaces of this machine, each with a quota of cores
(tools/cluster_hosts.py), made and joined as a person does it, so that what goes between nodes is encrypted; and loads of two kinds."""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import shutil
import sys
import threading
import time

from serve_processes import CORES, EVENKEEL, LOGS, MODELS, BenchError, bench, link_or_copy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
from cluster_hosts import Network  # noqa: E402

NODES = {"a": 1.0, "b": 0.5, "c": 0.25}  # cores; "a" is the gateway
PORT, NODE_PORT, METRICS_PORT = 8000, 8010, 8002


@dataclasses.dataclass
class Kind:
    """What is asked for: a model, how `evenkeel bench` asks it, and how its speed is told."""

    name: str  # in figures
    model: str
    flags: tuple
    in_flight: int  # that saturate the cluster, by cores
    longer: float  # than the window of the other kind
    counter: str  # of what a node has done, in its metrics
    unit: str

    def speed(self, report):
        total = report["total"]
        return total["tokens"]["output_per_s"] if self is TEXT else total["requests_per_s"]


FILES = Kind("file type", "filetype", ("--model", "filetype:1", "--timeout", "10s"), 32, 1, 'nv_inference_count{model="filetype"', "answers/s")
TEXT = Kind("SmolLM2", "smollm2", ("smollm2", "--llm", "--prompt-tokens", 16, "--output-tokens", 16, "--timeout", "60s"), 28, 3,
            'evenkeel_llm_output_tokens_total{model="smollm2"', "tokens/s")


class Node:
    """A daemon on a host of the network."""

    def __init__(self, host, models):
        self.host = host
        self.url = f"http://{host.address}:{PORT}"
        self.environment = {**os.environ, "HOME": str(host.folder), "EVENKEEL_STATE": str(host.folder / "state")}
        (host.folder / "models").mkdir()
        for model in models:
            if not (MODELS / model).exists():
                raise BenchError(f"no model {model}: make models")
            shutil.copytree(MODELS / model, host.folder / "models" / model, copy_function=link_or_copy)

    def verb(self, *words):
        """`evenkeel cluster ...` on this host; what it printed."""
        with (self.host.folder / "said").open("w+b") as said:
            code = self.host.start([str(EVENKEEL), "cluster", *map(str, words)], said, self.environment).wait(60)
            said.seek(0)
            text = said.read().decode()
        if code:
            raise BenchError(f"evenkeel cluster {words[0]} on {self.host.name}: {text}")
        return text

    def make_cluster(self):
        self.verb("init", "--name", self.host.name, "--address", f"{self.host.address}:{NODE_PORT}")

    def join(self, first):
        token = self.host.folder / "token"
        token.write_text(next(line for line in first.verb("token").splitlines() if line.startswith("ekj_")))
        self.verb("join", f"{first.host.address}:{NODE_PORT + 1}", "--token-file", token, "--name", self.host.name, "--address",
                  f"{self.host.address}:{NODE_PORT}")

    def serve(self, *flags):
        command = [EVENKEEL, "serve", "--insecure", "--threads", 1, "--profiling", "off", "--runtime", "process", "--log-level", "info", *flags]
        for kind, port in (("http", PORT), ("grpc", 8001), ("metrics", METRICS_PORT)):
            command += [f"--{kind}-address", self.host.address, f"--{kind}-port", port]
        for kind in ("models", "state", "cache"):
            command += [f"--{kind}", self.host.folder / kind]
        LOGS.mkdir(parents=True, exist_ok=True)
        with open(LOGS / f"cluster-{self.host.name}.log", "ab") as log:
            self.process = self.host.start([str(word) for word in command], log, self.environment)

    def get(self, path, port=PORT):
        connection = http.client.HTTPConnection(self.host.address, port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def wait_ready(self, timeout_s=120):
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise BenchError(f"the node {self.host.name} ended with {self.process.returncode}; see {LOGS}")
            with contextlib.suppress(OSError):
                if self.get("/readyz")[0] == 200:
                    return self
            time.sleep(0.05)
        raise BenchError(f"the node {self.host.name} is not ready after {timeout_s} s; see {LOGS}")

    def views(self):
        return {node["name"]: node for node in json.loads(self.get("/v2/evenkeel/models")[1])["cluster"]["nodes"]}

    def done(self, kind):
        """What the node itself has computed of this kind, since its start."""
        text = self.get("/metrics", METRICS_PORT)[1].decode()
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(kind.counter))


def wait_until(condition, what, timeout_s=60, pause_s=0.1):
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"not within {timeout_s} s: {what}")
        time.sleep(pause_s)


def serves(daemon, kind):
    return daemon.get(f"/v2/models/{kind.model}/ready" if kind is FILES else f"/v1/models/{kind.model}")[0] == 200


def knows(daemon, kind, names, without):
    """Whether the daemon sees these nodes, and the model on those that have it."""
    views = daemon.views()
    return all(name in views and views[name]["state"] == "alive" and (name in without or kind.model in views[name]["models"]) for name in names)


@contextlib.contextmanager
def cluster(kind=FILES, nodes=None, route="utility", together=True, without=()):
    """Daemons on unequal hosts, ready and, if together, one cluster, the first the gateway. `without`: nodes that do not have the model."""
    nodes = nodes or NODES
    with Network() as network:
        # What fills caches and warms models may use whole cores; the quota counts from then on.
        daemons = [Node(network.add(name, 1), () if name in without else (kind.model,)) for name in nodes]
        if together:
            daemons[0].make_cluster()
        for daemon in daemons:
            if together and daemon is not daemons[0]:
                daemon.join(daemons[0])
            daemon.serve(*(("--cluster-route", route) if together else ()))
            if daemon is daemons[0]:
                daemon.wait_ready()
        for daemon in daemons:
            daemon.wait_ready()
            wait_until(lambda daemon=daemon: serves(daemon, kind), f"{daemon.host.name} answers for {kind.model}")
            if together:
                wait_until(lambda daemon=daemon: knows(daemon, kind, nodes, without), f"{daemon.host.name} knows the nodes")
        for daemon in daemons:
            daemon.host.set_cores(nodes[daemon.host.name])
        yield daemons


def load(kind, url, *more, seconds=4.0, check=True):
    return bench("--url", url, *kind.flags, "-d", f"{seconds:.1f}s", "--warm-up", "1s" if kind is FILES else "3s", *more, core=CORES, check=check,
                 timeout_s=seconds + 120)


def failed(report):
    return report["total"]["errors"] + report["total"]["unanswered"] + report["total"]["wrong"]


class Watch(threading.Thread):
    """What the gateway knows of each node, five times a second: [(seconds since start, {node: calls under way there})]."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self.gateway, self.seen, self.stop = gateway, [], threading.Event()

    def run(self):
        begin = time.monotonic()
        while not self.stop.wait(0.2):
            with contextlib.suppress(OSError, ValueError):
                views = self.gateway.views()
                self.seen.append((time.monotonic() - begin, {name: view["outstanding"] for name, view in views.items()}))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()


class Stream(threading.Thread):
    """One streamed completion: the pieces of its text with the times when they came."""

    def __init__(self, address, tokens, prompt, on_piece=lambda stream: None):
        super().__init__(daemon=True)
        self.address, self.on_piece = address, on_piece
        self.body = json.dumps({"model": TEXT.model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True})
        self.pieces, self.times, self.ends, self.whole, self.error = [], [], 0, False, ""

    def run(self):
        connection = http.client.HTTPConnection(self.address, PORT, timeout=120)
        try:
            connection.request("POST", "/v1/completions", self.body, {"Content-Type": "application/json"})
            for line in connection.getresponse():
                self.take(line.decode().strip())
        except (OSError, http.client.HTTPException) as error:
            self.error = repr(error)
        finally:
            connection.close()

    def take(self, line):
        if line == "data: [DONE]":
            self.whole = True
        elif line.startswith("data: "):
            event = json.loads(line[6:])
            self.error = self.error or event.get("error", {}).get("message", "")
            for choice in event.get("choices", ()):
                self.ends += bool(choice.get("finish_reason"))
                if choice.get("text"):
                    self.pieces.append(choice["text"])
                    self.times.append(time.monotonic())
                    self.on_piece(self)

    @property
    def text(self):
        return "".join(self.pieces)

    def finish(self, timeout_s=180):
        self.join(timeout_s)
        if self.is_alive():
            raise BenchError(f"an answer is not done after {timeout_s} s")
        return self


def post(node, path):
    connection = http.client.HTTPConnection(node.host.address, PORT, timeout=10)
    try:
        connection.request("POST", path, "")
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise BenchError(f"POST {path}: {answer.status} {text[:200]}")
    finally:
        connection.close()
