"""Nodes on hosts of their own (network namespaces with quotas of cores). What happens to their cables and their speed is in test_cluster_faults.py."""

from __future__ import annotations

import time

import pytest

from host_nodes import BUSY, clusters, good
from load import Load


@pytest.fixture
def cluster():
    with clusters() as make:
        yield make


def test_unequal_nodes_share_by_what_they_can_do(cluster):
    nodes = cluster({"a": (0.8, {"echo.fake": BUSY}), "b": (0.4, {"echo.fake": BUSY}), "c": (0.2, {"echo.fake": BUSY})})
    nodes.wait_alive("a", "b", "c")
    load = Load(nodes["a"].http_address, threads=12).start()
    time.sleep(4)
    before = {name: view["sent"] for name, view in nodes["a"].views().items()}
    time.sleep(10)
    after = {name: view["sent"] for name, view in nodes["a"].views().items()}
    load.stop()
    assert good(load), (load.statuses, load.messages)
    did = {name: after[name] - before[name] for name in after}
    # "a" is the gateway and spends part of its cores on that; twice as much would be due, but a full machine takes from it first.
    assert did["b"] > 1.3 * did["c"] and did["a"] > 0.7 * did["b"], did
