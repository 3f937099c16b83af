"""The same digits MLP on Evenkeel, Triton's core and Mosec: every server on the server core, one generator on the other.

Failed figures that say so, each of the eight, unless PEERS and PEERS_TOOLS are set.
"""

import contextlib
import os
import pathlib
import signal
import subprocess

from serve_figures import Goal, promises, seconds, spread
from serve_processes import SERVER_CORE, CLIENT_CORE, BenchError, Daemon, bench, median
from serve_versions import peer_version

CONNECTIONS = (8, 32, 64)
RATES = {(peer, connections): Goal(f"requests/s over {peer} at {connections}", "x", ">=", target)
         for connections in CONNECTIONS for peer, target in (("triton", 3), ("mosec", 1.3))}
TAILS = {connections: Goal(f"p99 over the better peer at {connections}", "x", "<=", 0.5) for connections in (8, 32)}


class Peer:
    """A peer started and stopped by the peers' own script."""

    def __init__(self, tools, name):
        self.tools, self.name = tools, name

    def script(self, verb):
        return subprocess.run([str(self.tools / "peers.sh"), verb, self.name], capture_output=True, text=True, check=False,
                              env={**os.environ, "SRVCPU": str(SERVER_CORE), "GENCPU": str(CLIENT_CORE)}, stdin=subprocess.DEVNULL)

    def __enter__(self):
        run = self.script("start")
        if run.returncode != 0 or "up after" not in run.stdout:
            raise BenchError(f"{self.name} did not start: {(run.stdout + run.stderr)[-300:]}")
        return self

    def __exit__(self, *_):
        self.script("stop")

    def signal(self, number):
        """To all its processes: the script gives a server a process group of its own."""
        os.killpg(int((pathlib.Path(os.environ["PEERS"]) / "logs" / f"{self.name}.pid").read_text()), number)


@contextlib.contextmanager
def alone(servers, name):
    """Only the server of that name runs meanwhile: they share a core, and one that only idles still takes it away at times."""
    others = [server for other, server in servers.items() if other != name]
    try:
        for server in others:
            server.signal(signal.SIGSTOP)
        yield
    finally:
        for server in others:
            server.signal(signal.SIGCONT)


class Runs:
    """What the runs against one server at one number of connections gave."""

    def __init__(self):
        self.rates, self.p99s, self.cores, self.late = [], [], [], []

    def add(self, report):
        total = report["total"]
        self.rates.append(total["requests_per_s"])
        self.p99s.append(total["latency_ms"]["p99"])
        self.cores.append(report["client"]["cores_used"])
        self.late.append(total["send_lateness_ms"]["p99"])

    def generator(self):
        """Whether the generator was the limit: of its core, how much it used, and how late it sent."""
        return f"generator {spread(self.cores)} of a core, late by p99 {max(self.late):.2g} ms"


@promises(*RATES.values(), *TAILS.values())
def peers(options):
    """Requests a second and p99 beside Triton's core and Mosec"""
    if not os.environ.get("PEERS") or not os.environ.get("PEERS_TOOLS"):
        raise BenchError("set PEERS (the peers' work folder) and PEERS_TOOLS (the folder with peers.sh)")
    work, tools = pathlib.Path(os.environ["PEERS"]), pathlib.Path(os.environ["PEERS_TOOLS"])
    runs = {(name, connections): Runs() for name in ("evenkeel", "triton", "mosec") for connections in CONNECTIONS}
    with Peer(tools, "triton") as triton, Peer(tools, "mosec") as mosec, \
            Daemon({"digits": work / "models" / "digits.onnx"}, daemon_core=SERVER_CORE) as daemon:
        servers = {"evenkeel": daemon, "triton": triton, "mosec": mosec}
        targets = {"evenkeel": ("digits", "--url", daemon.url),
                   "triton": ("digits", "--url", "http://127.0.0.1:8500"),
                   "mosec": ("--raw", work / "models" / "digits.raw", "--url", "http://127.0.0.1:8100/digits")}
        for _ in range(options.runs):
            for connections in CONNECTIONS:
                for name, target in targets.items():
                    with alone(servers, name):
                        runs[name, connections].add(bench(*target, "-c", connections, "-d", seconds(options)))
    versions = {name: peer_version(name) for name in ("triton", "mosec")}
    for (peer, connections), goal in RATES.items():
        ours, theirs = runs["evenkeel", connections], runs[peer, connections]
        yield goal.got(median(ours.rates) / median(theirs.rates),
                       f"{spread(ours.rates)} ({ours.generator()}) against {versions[peer]} {spread(theirs.rates)} ({theirs.generator()})")
    for connections, goal in TAILS.items():
        ours = runs["evenkeel", connections]
        better = min(versions, key=lambda name: median(runs[name, connections].p99s))
        theirs = runs[better, connections]
        yield goal.got(median(ours.p99s) / median(theirs.p99s),
                       f"{spread(ours.p99s)} ms ({ours.generator()}) against {versions[better]} {spread(theirs.p99s)} ms ({theirs.generator()})")


FIGURES = {"peers": peers}
