"""Servers become nodes of one cluster: made, joined with tokens, encrypted between each other, and strangers stay out."""

from __future__ import annotations

import json
import ssl
import socket
import time

import pytest

from daemon import ECHO, launch
from made import Made


@pytest.fixture
def made(tmp_path, serve):
    # Without a store: that has its own tests (test_membership.py).
    return Made(tmp_path, serve, "--no-store")


def test_three_servers_become_one(made):
    result = made.init("desk")
    assert result.returncode == 0, result.stderr
    made.start("desk", {"echo.fake": ECHO})
    assert made.join("attic", "desk", made.token("desk")).returncode == 0
    made.start("attic")
    result = made.join("shelf", "desk", made.token("desk"))
    assert result.returncode == 0 and "2 others" in result.stderr, result.stderr
    made.start("shelf")
    # attic was not told of shelf by anybody but the nodes themselves.
    for name in ("desk", "attic", "shelf"):
        made.wait(lambda name=name: {n for n, node in made.view(name).items() if node["state"] == "alive"} == {"desk", "attic", "shelf"},
                  f"{name} sees all three")
    row = [1.0, 2.0, 3.0, 4.0]
    for name in ("attic", "shelf"):
        made.wait(lambda name=name: made.daemons[name].request("GET", "/v2/models/echo/ready")[0] == 200, "the model is known")
        answer = made.daemons[name].infer("echo", [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": row}])
        assert answer["outputs"][0]["data"] == row
    # What it learnt it still knows after a restart.
    assert made.daemons["attic"].stop() == 0
    made.daemons["attic"].ended = True
    status = json.loads(made.cli("attic", "cluster", "status", "-o", "json").stdout)
    assert {node["name"] for node in status["nodes"]} == {"desk", "attic", "shelf"} and not status["authority"]
    assert 360 < status["certificate_days_left"] <= 365
    made.start("attic")
    made.wait(lambda: made.view("attic")["shelf"]["state"] == "alive", "attic is back")


def test_a_token_is_good_once_and_for_its_cluster(made):
    assert made.init("desk").returncode == 0
    made.start("desk")
    token = made.token("desk")
    assert made.join("attic", "desk", token).returncode == 0
    again = made.join("shelf", "desk", token)
    assert again.returncode == 1 and "used already" in again.stderr, again.stderr
    assert made.init("other").returncode == 0
    foreign = made.join("shelf", "desk", made.token("other"))
    assert foreign.returncode == 1 and "not of the cluster" in foreign.stderr, foreign.stderr
    short = made.token("desk", "--life", "1s")
    time.sleep(2.1)
    late = made.join("shelf", "desk", short)
    assert late.returncode == 1 and "expired" in late.stderr, late.stderr
    taken = made.join("shelf", "desk", made.token("desk"), own_name="attic")
    assert taken.returncode == 1 and "'attic'" in taken.stderr, taken.stderr
    assert not (made.folder("shelf") / "state/cluster/cluster.json").exists()
    assert made.join("shelf", "desk", made.token("desk")).returncode == 0


@pytest.mark.parametrize("words, said", [
    (("init", "--name", "Desk", "--address", "127.0.0.1:8010"), "--name"),
    (("init", "--name", "desk", "--address", "desk.example:8010"), "--address"),
    (("init", "--name", "desk", "--address", "127.0.0.1"), "--address"),
    (("init", "--name", "desk", "--address", "0.0.0.0:8010"), "--address"),
    (("init", "--name", "desk", "--address", "[::]:8010"), "--address"),
    (("join", "127.0.0.1:1", "--token-file", "/nowhere", "--name", "a", "--address", "127.0.0.1:8010"), "--token-file"),
    (("token",), "no cluster"),
    (("status",), "no cluster"),
])
def test_wrong_words_are_named(made, words, said):
    result = made.cli("x", "cluster", *words)
    assert result.returncode in (1, 2) and said in result.stderr, result.stderr


def test_a_server_is_in_one_cluster_and_its_folder_is_its_own(made):
    assert made.init("desk").returncode == 0
    again = made.init("desk")
    assert again.returncode == 1 and "already" in again.stderr
    made.start("desk")
    assert made.join("attic", "desk", made.token("desk")).returncode == 0
    no_authority = made.cli("attic", "cluster", "token")
    assert no_authority.returncode == 1 and "authority" in no_authority.stderr
    mode = (made.folder("desk") / "state/cluster/authority.key").stat().st_mode & 0o777
    assert mode == 0o600


def test_an_init_that_was_cut_short_is_gone_on_with(made):
    assert made.init("desk").returncode == 0
    folder = made.folder("desk") / "state/cluster"
    authority = (folder / "authority.pem").read_text()
    (folder / "cluster.json").unlink()
    (folder / "node.pem").unlink()
    assert made.init("other").returncode == 0
    made.start("other")
    refused = made.join("desk", "other", made.token("other"))
    assert refused.returncode == 1 and "cut short" in refused.stderr, refused.stderr
    again = made.init("desk")
    assert again.returncode == 0, again.stderr
    assert (folder / "authority.pem").read_text() == authority
    made.start("desk")
    assert made.join("attic", "desk", made.token("desk")).returncode == 0
    # The key alone, which is written first, is no authority yet.
    (made.folder("shelf") / "state/cluster").mkdir(parents=True)
    (made.folder("shelf") / "state/cluster/authority.key").write_text("half")
    assert made.init("shelf").returncode == 0


def test_strangers_stay_out_of_the_nodes_port(made):
    assert made.init("desk").returncode == 0
    made.start("desk", {"echo.fake": ECHO})
    port = made.port("desk")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # TLS without a certificate: the connection ends without an answer.
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with pytest.raises(OSError):
            with context.wrap_socket(plain) as secured:
                secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 9)
                if not secured.recv(1000):
                    raise OSError("closed")
                # TLS 1.3 tells of the missing certificate after the handshake: nothing but an alert may come.
                if not secured.recv(1000):
                    raise OSError("closed")
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, pytest.raises(OSError):
        old.wrap_socket(plain)
    with socket.create_connection(("127.0.0.1", port), timeout=15) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert plain.recv(1000) == b""


def test_a_node_of_another_cluster_is_nobody(made):
    for name in ("desk", "other"):
        assert made.init(name).returncode == 0
    made.start("desk", {"echo.fake": ECHO})
    # other's folder is made to name desk's node as a peer of its own.
    home = made.folder("other") / "state/cluster/cluster.json"
    document = json.loads(home.read_text())
    document["peers"] = [{"node": "desk", "address": f"127.0.0.1:{made.port('desk')}"}]
    home.write_text(json.dumps(document))
    made.start("other")
    time.sleep(3)
    assert made.view("other")["desk"]["state"] == "unseen"
    assert "other" not in made.view("desk")
    # 503 while it may still hear of desk's models, for ten seconds.
    assert made.daemons["other"].request("POST", "/v2/models/echo/infer", {"inputs": []})[0] in (404, 503)


def test_a_damaged_cluster_folder_keeps_the_server_from_starting(made, tmp_path):
    assert made.init("desk").returncode == 0
    home = made.folder("desk") / "state/cluster/cluster.json"
    text = home.read_text()
    for damaged, words in ((text[: len(text) // 2], "cluster.json"), (text.replace('"desk"', '"attic"'), "certificate")):
        home.write_text(damaged)
        daemon = launch(made.folder("desk"), tmp_path / "log", [])
        assert daemon.process.wait(30) == 1
        assert words in daemon.log(), daemon.log()
