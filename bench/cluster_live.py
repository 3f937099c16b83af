"""Figures of a live cluster: unequal nodes in network namespaces of this machine, each with a quota of cores (tools/cluster_hosts.py)."""

import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import shutil
import sys
import time

from serve_figures import figure, spread
from serve_processes import CORES, EVENKEEL, LOGS, MODELS, BenchError, bench, median

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
from cluster_hosts import Network  # noqa: E402

NODES = {"a": 1.0, "b": 0.5, "c": 0.25}  # cores; "a" is the gateway
PORT, NODE_PORT = 8000, 8010
MODEL = "filetype"


class Node:
    """A daemon on a host of the network."""

    def __init__(self, host, peers, route, model=MODEL, flags=()):
        self.host, self.model = host, model
        models = host.folder / "models"
        models.mkdir(exist_ok=True)
        if not (models / model).exists():
            shutil.copytree(MODELS / model, models / model)
        command = [EVENKEEL, "serve", "--models", models, "--state", host.folder / "state", "--cache", host.folder / "cache", "--insecure",
                   "--http-address", host.address, "--http-port", PORT, "--grpc-address", host.address, "--grpc-port", 8001,
                   "--metrics-address", host.address, "--metrics-port", 8002, "--threads", 1, "--profiling", "off", "--log-level", "info", *flags]
        if peers is not None:
            command += ["--cluster-name", host.name, "--cluster-address", host.address, "--cluster-port", NODE_PORT, "--cluster-route", route,
                        "--cluster-peers", ",".join(f"{peer.name}={peer.address}:{NODE_PORT}" for peer in peers)]
        LOGS.mkdir(parents=True, exist_ok=True)
        with open(LOGS / f"cluster-{host.name}.log", "ab") as log:
            self.process = host.start([str(word) for word in command], log)
        self.url = f"http://{host.address}:{PORT}"

    def get(self, path):
        connection = http.client.HTTPConnection(self.host.address, PORT, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def wait_ready(self, timeout_s=90):
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


@contextlib.contextmanager
def cluster(route="utility", together=True, nodes=NODES, flags=()):
    """Daemons on unequal hosts, ready and, if together, knowing of each other."""
    with Network() as network:
        hosts = [network.add(name, cores) for name, cores in nodes.items()]
        # What fills caches and warms models may use whole cores; the quota counts from then on.
        for host in hosts:
            host.set_cores(1)
        daemons = [Node(host, [peer for peer in hosts if peer is not host] if together else None, route, flags=flags) for host in hosts]
        for daemon in daemons:
            daemon.wait_ready()
        for host, cores in zip(hosts, nodes.values()):
            host.set_cores(cores)
        if together:
            end = time.monotonic() + 20
            while any(view["state"] != "alive" or MODEL not in view["models"] for view in daemons[0].views().values()):
                if time.monotonic() > end:
                    raise BenchError(f"the nodes do not know of each other: {daemons[0].views()}")
                time.sleep(0.1)
        yield daemons


def load(url, *more, seconds=4.0, check=True):
    return bench("--url", url, "--model", f"{MODEL}:1", "--timeout", "5s", "-d", f"{seconds:.1f}s", "--warm-up", "1s", *more, core=CORES,
                 check=check, timeout_s=seconds + 60)


def alone_together(seconds):
    """Answers a second of all nodes saturated at once, each on its own."""
    with cluster(together=False) as daemons, concurrent.futures.ThreadPoolExecutor(len(daemons)) as pool:
        reports = list(pool.map(lambda daemon: load(daemon.url, "-c", 8, seconds=seconds), daemons))
    return {daemon.host.name: report["total"]["requests_per_s"] for daemon, report in zip(daemons, reports)}


def saturated(options):
    """Nodes of 1, 0.5 and 0.25 core, file type: answers a second through one gateway over the sum of the nodes on their own"""
    own, through = [], []
    for _ in range(options.runs):
        alone = alone_together(options.seconds)
        own.append(sum(alone.values()))
        with cluster() as daemons:
            through.append(load(daemons[0].url, "-c", 32, seconds=options.seconds)["total"]["requests_per_s"])
            sent = {name: view["sent"] for name, view in daemons[0].views().items()}
    return [figure("cluster, saturated: over the sum of its nodes", median([t / o for t, o in zip(through, own)]), "x", ">=", 0.9,
                   f"through one gateway {spread(through)} a second; the nodes on their own {spread(own)}, last {alone}; calls sent {sent}")]


def latency(options):
    """The same at 70 % load: p99 by utility over p99 by weighted round robin and by least loaded"""
    with cluster() as daemons:
        full = load(daemons[0].url, "-c", 32, seconds=options.seconds)["total"]["requests_per_s"]
    rate = 0.7 * full
    p99 = {"utility": [], "weighted": [], "least-loaded": []}
    for run in range(options.runs):
        for route in p99:
            with cluster(route) as daemons:
                report = load(daemons[0].url, "--rate", f"{rate:.1f}", "--seed", run + 1, seconds=2 * options.seconds, check=False)
                p99[route].append(report["total"]["latency_ms"]["p99"])
    notes = f"{rate:.0f} a second, 0.7 of {full:.0f}; " + "; ".join(f"{route} {spread(values)} ms" for route, values in p99.items())
    return [figure(f"cluster, 70 % load: p99 of utility over {other}", median([u / o for u, o in zip(p99["utility"], p99[other])]), "x", "<=", target, notes)
            for other, target in (("weighted", 0.8), ("least-loaded", 1.0))]


def halved(options):
    """One node's quota halved under load: seconds until the nodes' backlogs per capacity are within 10 % of each other again"""
    seconds = 24
    with cluster() as daemons, concurrent.futures.ThreadPoolExecutor(1) as pool:
        full = load(daemons[0].url, "-c", 32, seconds=options.seconds)["total"]["requests_per_s"]
        running = pool.submit(load, daemons[0].url, "--rate", f"{0.6 * full:.1f}", seconds=seconds, check=False)
        time.sleep(6)
        daemons[1].host.set_cores(NODES["b"] / 2)
        changed, before = time.monotonic(), {name: view["sent"] for name, view in daemons[0].views().items()}
        shares = []
        while time.monotonic() < changed + 12:
            time.sleep(1)
            now = {name: view["sent"] for name, view in daemons[0].views().items()}
            total = sum(now.values()) - sum(before.values())
            shares.append({name: (now[name] - before[name]) / max(total, 1) for name in now})
            before = now
        report = running.result()
    failed = report["total"]["errors"] + report["total"]["unanswered"]
    # With half of its cores the node's share is that of its capacity among the others'.
    fair = (NODES["b"] / 2) / (sum(NODES.values()) - NODES["b"] / 2)
    within = next((i + 1 for i in range(len(shares)) if all(share["b"] <= 1.1 * fair + 0.02 for share in shares[i:i + 3])), None)
    detail = f"shares of 'b' by second: {', '.join(format(share['b'], '.2f') for share in shares)}; its part of what is left {fair:.2f}; p99 {report['total']['latency_ms']['p99']:.0f} ms"
    return [figure("cluster, a quota halved: seconds until work follows", within, "s", "<=", 10, detail),
            figure("cluster, a quota halved: calls not answered", failed, "", "<=", 0, detail)]


def killed(options):
    """kill -9 of a node that is not the gateway, at 60 % load: calls without an answer; new work that it gets a second later"""
    with cluster() as daemons, concurrent.futures.ThreadPoolExecutor(1) as pool:
        full = load(daemons[0].url, "-c", 32, seconds=options.seconds)["total"]["requests_per_s"]
        # What is left can hold it.
        running = pool.submit(load, daemons[0].url, "--rate", f"{0.6 * full:.1f}", seconds=8, check=False)
        time.sleep(4)
        daemons[1].host.kill()
        time.sleep(1)
        sent = daemons[0].views()["b"]["sent"]
        report = running.result()
        late = daemons[0].views()["b"]["sent"] - sent
    total = report["total"]
    detail = f"{total['sent']} sent at {0.6 * full:.0f} a second, {total['ok']} answered, {total['errors_by_status']}; p99 {total['latency_ms']['p99']:.0f} ms"
    return [figure("cluster, a node killed: calls not answered", total["errors"] + total["unanswered"], "", "<=", 0, detail),
            figure("cluster, a node killed: new work for it after 1 s", late, "calls", "<=", 0, detail)]


def at_rest(options):
    """16 nodes without calls: core time and traffic of a node"""
    nodes = {f"n{i:02d}": 1.0 for i in range(16)}
    with Network() as network:
        hosts = [network.add(name, cores) for name, cores in nodes.items()]
        daemons = [Node(host, [peer for peer in hosts if peer is not host], "utility", model="digits", flags=("--min-instances", 0)) for host in hosts]
        for daemon in daemons:
            daemon.wait_ready()
        time.sleep(8)

        def look():
            cores = [sum(int((folder / "cpuacct.usage").read_text()) for folder in [host.group.folders["cpu"]]) / 1e9 for host in hosts]
            traffic = [sum(int((pathlib.Path("/sys/class/net") / host._outside / "statistics" / name).read_text()) for name in ("rx_bytes", "tx_bytes")) for host in hosts]
            return cores, traffic

        begin, (cores0, bytes0) = time.monotonic(), look()
        time.sleep(max(10, options.seconds))
        wall, (cores1, bytes1) = time.monotonic() - begin, look()
    used = [(b - a) / wall for a, b in zip(cores0, cores1)]
    sent = [(b - a) / wall / 1e3 / 2 for a, b in zip(bytes0, bytes1)]  # each way
    return [figure("cluster at rest, 16 nodes: of one core a node", 100 * median(used), "%", "<=", 1, f"nodes {spread([100 * u for u in used])}"),
            figure("cluster at rest, 16 nodes: sent by a node", median(sent), "kB/s", "<=", 20, f"nodes {spread(sent)}; the mean of both directions")]


FIGURES = {f.__name__: f for f in (saturated, latency, halved, killed, at_rest)}
