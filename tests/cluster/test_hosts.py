"""Nodes on hosts of their own (network namespaces with quotas of cores): what happens to their cables and their speed."""

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


@pytest.fixture
def cluster():
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        network = Network()
    except (HostError, OSError) as error:
        pytest.skip(f"no network namespaces here: {error}")
    made = []

    def make(nodes: dict) -> Cluster:
        made.append(Cluster(network, nodes))
        return made[-1]

    try:
        yield make
        reports = [report for one in made for node in one.nodes.values() if (report := sanitizer_report(node.log()))]
        assert not reports, "\n".join(reports)
    finally:
        network.remove()


def good(load: Load) -> bool:
    return not load.wrong and not load.unanswered and set(load.statuses) == {200}


def test_a_cut_cable_loses_no_call(cluster):
    nodes = cluster({name: (1, {"echo.fake": BUSY}) for name in "abc"})
    nodes.wait_alive("a", "b", "c")
    load = Load(nodes["a"].http_address, threads=9).start()
    time.sleep(1.5)
    nodes["b"].host.link("down")
    time.sleep(5)
    assert nodes["a"].views()["b"]["state"] == "suspect"
    nodes["b"].host.link("up")
    nodes.wait_alive("a", "b")
    load.stop()
    assert good(load), (load.statuses, load.messages)


def test_a_flapping_cable_loses_no_call(cluster):
    nodes = cluster({name: (1, {"echo.fake": BUSY}) for name in "ab"})
    nodes.wait_alive("a", "b")
    load = Load(nodes["a"].http_address, threads=6).start()
    for _ in range(4):
        nodes["b"].host.link("down")
        time.sleep(0.7)
        nodes["b"].host.link("up")
        time.sleep(0.7)
    nodes.wait_alive("a", "b")
    load.stop()
    assert good(load), (load.statuses, load.messages)


def test_a_node_that_becomes_ten_times_slower_gets_less(cluster):
    nodes = cluster({name: (1, {"echo.fake": BUSY}) for name in "ab"})
    nodes.wait_alive("a", "b")
    load = Load(nodes["a"].http_address, threads=8).start()
    time.sleep(3)

    def sent() -> dict[str, int]:
        return {name: view["sent"] for name, view in nodes["a"].views().items()}

    first = sent()
    nodes["b"].host.set_cores(0.1)
    time.sleep(4)  # it is learnt
    before = sent()
    time.sleep(4)
    after = sent()
    load.stop()
    assert good(load), (load.statuses, load.messages)
    share_before = first["b"] / sum(first.values())
    share_after = (after["b"] - before["b"]) / (sum(after.values()) - sum(before.values()))
    assert share_before > 0.3, first
    # A tenth of a core beside a whole one is a share of 0.09.
    assert share_after < 0.2, (first, before, after)


def test_all_nodes_restart_at_once(cluster):
    nodes = cluster({"a": (1, {}), "b": (1, {"echo.fake": ECHO}), "c": (1, {"echo.fake": ECHO})})
    nodes.wait_alive("a", "b", "c")
    for node in nodes.nodes.values():
        node.host.kill()
    for node in nodes.nodes.values():
        node.start()
    for node in nodes.nodes.values():
        nodes.wait(lambda node=node: nodes.answers(node), f"{node.host.name} serves again")
    nodes.wait_alive("a", "b", "c")
    nodes.wait(lambda: "echo" in nodes["a"].views()["b"]["models"], "a knows the model again")
    load = Load(nodes["a"].http_address, threads=4).start()
    time.sleep(1)
    load.stop()
    # The first calls may come before the model's description has.
    assert not load.wrong and not load.unanswered and load.statuses[200] > 20, (load.statuses, load.messages)


def test_unequal_nodes_share_by_what_they_can_do(cluster):
    nodes = cluster({"a": (0.8, {"echo.fake": BUSY}), "b": (0.4, {"echo.fake": BUSY}), "c": (0.2, {"echo.fake": BUSY})})
    nodes.wait_alive("a", "b", "c")
    load = Load(nodes["a"].http_address, threads=12).start()
    time.sleep(4)
    before = {name: view["sent"] for name, view in nodes["a"].views().items()}
    time.sleep(6)
    after = {name: view["sent"] for name, view in nodes["a"].views().items()}
    load.stop()
    assert good(load), (load.statuses, load.messages)
    did = {name: after[name] - before[name] for name in after}
    # "a" is the gateway and spends part of its cores on that.
    assert did["b"] > 1.3 * did["c"] and did["a"] > 0.8 * did["b"], did
