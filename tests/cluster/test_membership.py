"""Membership over a real etcd that the nodes run: who leads, what happens when the store or a node goes, and how it comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

from daemon import ECHO, wait_for_announcement
from load import Load
from made import Made

LEASE = ["--cluster-lease", "2s"]
MODELS = {"echo.fake": ECHO}

pytestmark = pytest.mark.skipif(shutil.which("etcd") is None, reason="Debian's package etcd-server is not installed")


class Cluster(Made):
    """Each node has the model, so that any can answer when another goes."""

    def begin(self, *names: str) -> None:
        result = self.init(names[0])
        assert result.returncode == 0, result.stderr
        self.run(names[0])
        for name in names[1:]:
            result = self.join(name, names[0], self.token(names[0]))
            assert result.returncode == 0, result.stderr
            self.run(name)

    def run(self, name: str, ready: bool = True):
        return self.start(name, MODELS, LEASE, ready)

    def told(self, name: str) -> dict:
        return self.daemons[name].json("GET", "/v2/evenkeel/cluster/membership")

    def status(self, name: str) -> str:
        result = self.cli(name, "cluster", "status", "--server", self.daemons[name].http_url)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def change(self, name: str, path: str) -> tuple[int, str]:
        status, _, body = self.daemons[name].request("POST", f"/v2/evenkeel/cluster/{path}", {})
        return status, body.decode()

    def leader(self, name: str) -> tuple[str, int, int]:
        leader = self.told(name)["leader"] or {"node": "", "history": -1, "term": -1}
        return leader["node"], leader["history"], leader["term"]

    def connected(self, *names: str) -> bool:
        return all(self.told(name)["store"]["connected"] and self.told(name)["joined"] for name in names)

    def etcd(self, name: str) -> int:
        return self.told(name)["store"].get("own_member", {}).get("pid", 0)

    def kill(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.process.kill()
        daemon.process.wait()
        daemon.ended = True


@pytest.fixture
def cluster(tmp_path, serve):
    return Cluster(tmp_path, serve)


def no_failed_request(load: Load) -> None:
    load.stop()
    assert load.sent > 20 and load.wrong == 0 and set(load.statuses) == {200}, load.summary()


def test_three_members_survive_their_leader_and_a_restart_of_all(cluster):
    names = ("desk", "attic", "shelf")
    cluster.begin(*names)

    def voters(name):
        return {member["node"] for member in cluster.told(name)["store"]["members"] if member["state"] == "voter"}

    cluster.wait(lambda: all(voters(name) == set(names) for name in names), "three members", 40)
    cluster.wait(lambda: cluster.connected(*names), "all are there")
    cluster.wait(lambda: cluster.leader("desk")[0] in names and len({cluster.leader(name) for name in names}) == 1, "they agree who leads")
    leader, history, term = cluster.leader("desk")
    assert history == 0
    status = cluster.status("attic")
    assert "run by the nodes, there since" in status and f"leader     {leader}, history 0" in status and status.count("voter at") == 3, status

    left = [name for name in names if name != leader]
    load = Load(cluster.daemons[left[0]].http_address, threads=2).start()
    cluster.kill(leader)
    cluster.wait(lambda: cluster.leader(left[0])[0] in left and cluster.leader(left[0])[2] > term, "another one leads, with a greater term")
    no_failed_request(load)
    cluster.wait(lambda: cluster.connected(*left) and cluster.view(left[0])[left[1]]["state"] == "alive", "those that are left see each other", 40)
    status, body = cluster.change(left[0], f"nodes/{left[1]}/rm")
    assert status == 409 and "alive" in body, body
    cluster.wait(lambda: cluster.view(left[0])[leader]["state"] == "dead", "the killed one is dead")

    daemons = [cluster.daemons[name] for name in left]
    for daemon in daemons:
        daemon.process.send_signal(signal.SIGTERM)
    for daemon in daemons:
        assert daemon.process.wait(30) == 0
        daemon.ended = True
    for name in names:
        cluster.run(name, ready=False)
    for name in names:
        wait_for_announcement(cluster.daemons[name])
    cluster.wait(lambda: cluster.connected(*names), "all are there again", 30)
    cluster.wait(lambda: cluster.leader("desk")[2] > term and len({cluster.leader(name) for name in names}) == 1, "they agree who leads")
    assert cluster.leader("desk")[1] == 0  # the store was not put back

    # One is lost for good: it goes off the list, with its member.
    cluster.kill("shelf")
    cluster.wait(lambda: cluster.view("desk")["shelf"]["state"] == "dead", "shelf is dead")
    removed = cluster.cli("desk", "node", "rm", "shelf", "--server", cluster.daemons["desk"].http_url)
    assert removed.returncode == 0, removed.stderr
    for name in ("desk", "attic"):
        cluster.wait(lambda name=name: "shelf" not in cluster.view(name), f"{name} knows no shelf")
        assert {node["name"] for node in json.loads(cluster.cli(name, "cluster", "status", "-o", "json").stdout)["nodes"]} == {"desk", "attic"}
    cluster.wait(lambda: voters("desk") == {"desk", "attic"}, "its member is out")


def test_calls_go_on_without_the_store_and_changes_are_refused(cluster):
    cluster.begin("desk", "attic")
    cluster.wait(lambda: cluster.connected("desk", "attic"), "both are there")
    leader = cluster.leader("desk")
    load = Load(cluster.daemons["attic"].http_address, threads=2).start()

    # Killed: it is started again by itself, and what it had confirmed is there.
    first = cluster.etcd("desk")
    os.kill(first, signal.SIGKILL)
    cluster.wait(lambda: cluster.told("desk")["store"]["own_member"]["last_end"] != "", "it is noticed")
    assert "9" in cluster.told("desk")["store"]["own_member"]["last_end"]
    cluster.wait(lambda: cluster.etcd("desk") not in (0, first) and cluster.connected("desk", "attic"), "it is back")
    cluster.wait(lambda: cluster.leader("desk")[0] != "", "somebody leads")
    assert cluster.leader("desk")[1:] >= leader[1:]

    # Silent for longer than every lease.
    pid = cluster.etcd("desk")
    os.kill(pid, signal.SIGSTOP)
    try:
        cluster.wait(lambda: not cluster.told("attic")["store"]["connected"], "it is away")
        time.sleep(4)
        status, body = cluster.change("attic", "nodes/desk/rm")
        assert status == 503 and "away for" in body, body
        shown = cluster.status("attic")
        assert "AWAY since" in shown and "trouble" in shown, shown
        assert cluster.view("attic")["desk"]["state"] == "alive"
    finally:
        os.kill(pid, signal.SIGCONT)
    cluster.wait(lambda: cluster.connected("desk", "attic"), "it is back")
    no_failed_request(load)
    assert "evenkeel_control_plane_connected 1" in cluster.daemons["attic"].request("GET", "/metrics")[2].decode()


def test_where_the_only_member_is_lost_another_node_begins_the_store_anew(cluster):
    cluster.begin("desk", "attic")
    cluster.wait(lambda: cluster.connected("desk", "attic") and cluster.leader("attic")[0] != "", "both are there")
    refused = cluster.cli("attic", "cluster", "promote", "--server", cluster.daemons["attic"].http_url)
    assert refused.returncode == 1 and "is there" in refused.stderr, refused.stderr
    cluster.kill("desk")
    cluster.wait(lambda: not cluster.told("attic")["store"]["connected"], "the store is lost")
    begun = cluster.cli("attic", "cluster", "promote", "--server", cluster.daemons["attic"].http_url, timeout=60)
    assert begun.returncode == 0, begun.stderr
    cluster.wait(lambda: cluster.connected("attic") and cluster.leader("attic")[:2] == ("attic", 1), "attic leads under a new history")
    # The lost one comes back with the old store, hears of the new one and gives its own up.
    cluster.run("desk")
    cluster.wait(lambda: cluster.told("desk")["history"] == 1 and cluster.connected("desk"), "desk follows")
    assert cluster.etcd("desk") == 0
    assert cluster.told("desk")["store"]["generation"] == 1


def test_an_etcd_that_runs_elsewhere(cluster, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        client, peer = one.getsockname()[1], other.getsockname()[1]
    urls = [f"--{kind}-{who}-urls=http://127.0.0.1:{port}" for who, port in (("client", client), ("peer", peer)) for kind in ("listen", "advertise" if who == "client" else "initial-advertise")]
    etcd = subprocess.Popen(["etcd", "--name=x", f"--data-dir={tmp_path}/outside", *urls, f"--initial-cluster=x=http://127.0.0.1:{peer}"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        cluster.init_words = ("--etcd", f"http://127.0.0.1:{client}")
        cluster.begin("desk", "attic")
        cluster.wait(lambda: cluster.connected("desk", "attic"), "both are there")
        assert "elsewhere, there since" in cluster.status("attic")
        assert cluster.etcd("desk") == 0
        status, body = cluster.change("desk", "promote")
        assert status == 409, body
    finally:
        etcd.kill()
        etcd.wait()


@pytest.mark.parametrize("words, said", [
    (("--etcd", "10.0.0.9:2379"), "http://HOST:PORT"),
    (("--etcd", "http://10.0.0.9:2379"), "--insecure"),
    (("--etcd", "https://10.0.0.9:2379"), "--etcd-ca"),
    (("--etcd", "http://127.0.0.1:2379", "--no-store"), "--no-store"),
])
def test_wrong_words_about_the_store_are_named(cluster, words, said):
    cluster.init_words = words
    result = cluster.init("desk")
    assert result.returncode == 2 and said in result.stderr, result.stderr
    assert not (cluster.folder("desk") / "state/cluster/cluster.json").exists()


def test_without_a_store_changes_are_refused_in_words(cluster):
    cluster.init_words = ("--no-store",)
    cluster.begin("desk", "attic")
    cluster.wait(lambda: cluster.view("desk").get("attic", {}).get("state") == "alive", "both are there")
    status, body = cluster.change("desk", "nodes/attic/rm")
    assert status == 503 and "no store" in body, body
    assert "none: plans" in cluster.status("desk")
