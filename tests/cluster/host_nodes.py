"""Daemons on hosts of their own: network namespaces with addresses, cables and quotas of cores (tools/cluster_hosts.py)."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request

import pytest

from daemon import BINARY, ECHO, environment, place_models, sanitizer_report
from load import Load

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
from cluster_hosts import HostError, Network  # noqa: E402

BUSY = ECHO + "delay_us: {per_row: 4000, mode: busy}\n"


class HostNode:
    """A daemon on a host; `get` asks it over the network."""

    def __init__(self, network: Network, name: str, models: dict, cores: float):
        self.host = network.hosts[name]
        self.models, self.network, self.cores = models, network, cores
        self.url = f"http://{self.host.address}:8000"
        self.http_address = f"{self.host.address}:8000"

    def start(self) -> None:
        place_models(self.host.folder / "models", self.models)
        (self.host.folder / "models").mkdir(exist_ok=True)
        peers = ",".join(f"{other.name}={other.address}:8010" for other in self.network.hosts.values() if other is not self.host)
        command = [str(BINARY), "serve", "--insecure", "--profiling", "off", "--threads", "1", "--cluster-name", self.host.name, "--cluster-peers", peers]
        for kind, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002), ("cluster", 8010)):
            command += [f"--{kind}-address", self.host.address, f"--{kind}-port", str(port)]
        for kind in ("models", "state", "cache"):
            command += [f"--{kind}", str(self.host.folder / kind)]
        with (self.host.folder / "log").open("ab") as log:
            self.process = self.host.start(command, log, environment(self.host.folder))

    def log(self) -> str:
        return (self.host.folder / "log").read_text(errors="replace")

    def get(self, path: str) -> dict:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.loads(answer.read() or b"{}")

    def views(self) -> dict[str, dict]:
        return {node["name"]: node for node in self.get("/v2/evenkeel/models")["cluster"]["nodes"]}


class Cluster:
    def __init__(self, network: Network, nodes: dict[str, tuple[float, dict]]):
        for name, (_, _) in nodes.items():
            network.add(name, cores=1)  # whole ones until it serves
        self.nodes = {name: HostNode(network, name, models, cores) for name, (cores, models) in nodes.items()}
        for node in self.nodes.values():
            node.start()
        for node in self.nodes.values():
            self.wait(lambda node=node: self.answers(node), f"{node.host.name} serves")
            node.host.set_cores(node.cores)

    def __getitem__(self, name: str) -> HostNode:
        return self.nodes[name]

    @staticmethod
    def answers(node: HostNode) -> bool:
        with contextlib.suppress(OSError, urllib.error.URLError):
            return node.get("/v2/health/ready") is not None
        return False

    def wait(self, condition, what: str, seconds: float = 40) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {seconds} s\n" + "\n".join(node.log()[-1500:] for node in self.nodes.values())
            time.sleep(0.1)

    def wait_alive(self, gateway: str, *names: str) -> None:
        self.wait(lambda: all(self[gateway].views()[name]["state"] == "alive" for name in names), f"'{gateway}' sees {names}")


@contextlib.contextmanager
def network():
    """A network; without the right to make one the test is skipped."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        made = Network()
    except (HostError, OSError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    try:
        yield made
    finally:
        made.remove()


@contextlib.contextmanager
def clusters():
    """make({name: (cores, models)}) gives a cluster of such hosts; no sanitizer may have complained at the end."""
    made = []
    with network() as hosts:

        def make(nodes: dict) -> Cluster:
            made.append(Cluster(hosts, nodes))
            return made[-1]

        yield make
        reports = [report for one in made for node in one.nodes.values() if (report := sanitizer_report(node.log()))]
        assert not reports, "\n".join(reports)


def good(load: Load) -> bool:
    return not load.wrong and not load.unanswered and set(load.statuses) == {200}
