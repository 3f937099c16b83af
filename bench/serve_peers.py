"""The same digits MLP on Evenkeel, Triton's core and Mosec: every server on the server core, one generator on the other.

Skipped (as a failed figure that says so) unless PEERS and PEERS_TOOLS are set.
"""

import contextlib
import os
import pathlib
import signal
import subprocess

from serve_figures import figure, seconds, spread
from serve_processes import SERVER_CORE, CLIENT_CORE, BenchError, Daemon, bench, median

CONNECTIONS = (8, 32, 64)


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


def peers(options):
    """Requests a second and p99 beside Triton's core and Mosec"""
    if not os.environ.get("PEERS") or not os.environ.get("PEERS_TOOLS"):
        raise BenchError("set PEERS (the peers' work folder) and PEERS_TOOLS (the folder with peers.sh)")
    work, tools = pathlib.Path(os.environ["PEERS"]), pathlib.Path(os.environ["PEERS_TOOLS"])
    rates = {name: {c: [] for c in CONNECTIONS} for name in ("evenkeel", "triton", "mosec")}
    p99s = {name: {c: [] for c in CONNECTIONS} for name in rates}
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
                        total = bench(*target, "-c", connections, "-d", seconds(options))["total"]
                    rates[name][connections].append(total["requests_per_s"])
                    p99s[name][connections].append(total["latency_ms"]["p99"])
    figures = []
    for connections in CONNECTIONS:
        ours = median(rates["evenkeel"][connections])
        for peer, target in (("triton", 3), ("mosec", 1.3)):
            theirs = rates[peer][connections]
            figures.append(figure(f"requests/s over {peer} at {connections}", ours / median(theirs), "x", ">=", target,
                                  f"{spread(rates['evenkeel'][connections])} against {spread(theirs)}"))
    for connections in (8, 32):
        better = min(("triton", "mosec"), key=lambda name: median(p99s[name][connections]))
        figures.append(figure(f"p99 over the better peer at {connections}",
                              median(p99s["evenkeel"][connections]) / median(p99s[better][connections]), "x", "<=", 0.5,
                              f"{spread(p99s['evenkeel'][connections])} ms against {better} {spread(p99s[better][connections])} ms"))
    return figures


FIGURES = {"peers": peers}
