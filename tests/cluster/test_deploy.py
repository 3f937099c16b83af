"""Models go from node to node: copied, verified, served, taken away; a plan is carried out while calls come."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import threading
import time

import pytest

from daemon import ECHO
from load import Load
from made import Made
from nodes import Nodes

SLOW = ECHO + "delay_us: {per_row: 15000}\n"
ROW = [1.0, 2.0, 3.0, 4.0]


def serves(daemon, model: str = "echo") -> bool:
    return daemon.request("POST", f"/v2/models/{model}/infer", {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}]})[0] == 200


def answers(daemon, model: str = "echo") -> bool:
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}
    return daemon.infer(model, [tensor])["outputs"][0]["data"] == ROW


def own_models(daemon) -> dict[str, str]:
    """The node's own, by state; not what it knows of others."""
    return {entry["name"]: entry["state"] for entry in daemon.json("POST", "/v2/repository/index", {})}


def deployment(daemon) -> dict:
    return daemon.json("GET", "/v2/cluster/deploys")["deploys"][-1]


def by_node(deployed: dict) -> dict[str, dict]:
    return {node["node"]: node for node in deployed["nodes"]}


def heavy(size: int) -> dict[str, bytes | str]:
    """A model folder of about so many bytes."""
    return {"big/big.fake": ECHO, "big/weights.dat": os.urandom(size), "big/more/labels.txt": "a\nb\n"}


def all_alive(nodes: Nodes) -> None:
    for gateway in nodes.names:
        nodes.wait(lambda gateway=gateway: {node["state"] for node in nodes.view(gateway).values()} == {"alive"}, f"'{gateway}' sees all")


def test_a_model_that_one_node_has_goes_to_all(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {}, "c": {}})
    all_alive(nodes)
    # Any node can be asked: b has nothing of it yet.
    result = cli("deploy", "echo", "-o", "json", server=nodes["b"])
    assert result.returncode == 0, result.stderr
    deployed = json.loads(result.stdout)
    assert {node["node"]: node["state"] for node in deployed["nodes"]} == {name: "serving" for name in "abc"}
    assert deployed["digest"] == "sha256:" + hashlib.sha256(ECHO.encode()).hexdigest()
    assert by_node(deployed)["a"]["from"] == "" and by_node(deployed)["c"]["from"] == "a"
    for name in "abc":
        assert (nodes[name].models / "echo.fake").read_text() == ECHO
        assert own_models(nodes[name]) == {"echo": "READY"}
        nodes.wait_for(name, "echo", *"abc")
        assert answers(nodes[name])
    # The last one that is left answers for all.
    for name in "ab":
        assert nodes[name].stop() == 0
        nodes[name].ended = True
    assert answers(nodes["c"])
    events = nodes["c"].json("GET", "/v2/evenkeel/models")["cluster"]["events"]
    assert any("copied from node 'a'" in event["what"] and event["why"] for event in events), events


def test_a_folder_is_copied_whole_and_again_costs_nothing(serve, cli):
    files = heavy(3_000_000)
    nodes = Nodes(serve, {"a": files, "b": {}})
    all_alive(nodes)
    assert cli("deploy", "big", "--nodes", "b", server=nodes["a"]).returncode == 0
    for name, content in files.items():
        assert (nodes["b"].models / name).read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert by_node(deployment(nodes["a"]))["b"]["bytes_fetched"] == 3_000_000 + len(ECHO) + 4
    assert cli("deploy", "big", server=nodes["b"]).returncode == 0
    assert all(node["bytes_fetched"] == 0 for node in deployment(nodes["b"])["nodes"])
    assert not list((nodes["b"].folder / "state" / "incoming").iterdir())


def test_what_can_not_be_deployed_is_said(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO, "two.fake": ECHO}, "b": {"two.fake": SLOW}})
    all_alive(nodes)
    for words, said in (
        (["deploy", "nothere"], "no node that answers has files of a model 'nothere'"),
        (["deploy", "echo", "--nodes", "cellar"], "no node 'cellar'"),
        (["deploy", "echo", "--replicas", "3"], "3 were asked for"),
        (["deploy", "two"], hashlib.sha256(SLOW.encode()).hexdigest()),
        (["deploy", "two"], hashlib.sha256(ECHO.encode()).hexdigest()),
        (["deploy", "../echo"], "../echo"),
        (["undeploy", "echo", "--nodes", "cellar"], "no node 'cellar'"),
        (["undeploy", "echo", "--nodes", "a"], "--force"),
    ):
        result = cli(*words, server=nodes["a"])
        assert result.returncode == 1 and said in result.stderr, (words, result.stderr)
    assert own_models(nodes["a"]) == {"echo": "READY", "two": "READY"}
    assert (nodes["b"].models / "two.fake").read_text() == SLOW
    status, _, body = nodes["a"].request("POST", "/v2/cluster/deploy", {"model": "echo", "nodes": "b"})
    assert status == 400 and b"nodes" in body, body


def test_a_node_that_is_away_is_left_out_and_named(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {}, "c": {}})
    all_alive(nodes)
    os.kill(nodes["c"].pid, signal.SIGKILL)
    nodes["c"].process.wait()
    nodes["c"].ended = True
    nodes.wait(lambda: nodes.view("a")["c"]["state"] not in ("alive", "unseen"), "a notices")
    named = cli("deploy", "echo", "--nodes", "b,c", server=nodes["a"])
    assert named.returncode == 1 and "'c'" in named.stderr and "does not answer" in named.stderr, named.stderr
    assert own_models(nodes["b"]) == {}
    all_that_can = cli("deploy", "echo", server=nodes["a"])
    assert all_that_can.returncode == 0 and "c is left out: it does not answer" in all_that_can.stderr, all_that_can.stderr
    assert own_models(nodes["b"]) == {"echo": "READY"}


def test_a_server_that_is_alone_says_so(server, cli):
    result = cli("deploy", "echo", server=server)
    assert result.returncode == 1 and "alone" in result.stderr, result.stderr


def test_a_path_is_pulled_first(serve, cli, tmp_path):
    nodes = Nodes(serve, {"a": {}, "b": {}})
    all_alive(nodes)
    (tmp_path / "mine.fake").write_text(ECHO)
    result = cli("deploy", str(tmp_path / "mine.fake"), "--models", str(nodes["a"].models), server=nodes["a"])
    assert result.returncode == 0, result.stderr
    assert own_models(nodes["b"]) == {"mine": "READY"} and answers(nodes["b"], "mine")


def test_undeploy_takes_all_but_the_last(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {"echo.fake": ECHO}})
    for gateway in "ab":
        nodes.wait_for(gateway, "echo", "a", "b")
    result = cli("undeploy", "echo", "--nodes", "b", server=nodes["a"])
    assert result.returncode == 0, result.stderr
    assert not (nodes["b"].models / "echo.fake").exists()
    nodes.wait(lambda: "echo" not in nodes.view("b")["b"]["models"], "b has it no more")
    assert answers(nodes["b"])
    last = cli("undeploy", "echo", "--nodes", "a", server=nodes["b"])
    assert last.returncode == 1 and "--force" in last.stderr, last.stderr
    assert (nodes["a"].models / "echo.fake").exists() and answers(nodes["a"])
    assert cli("undeploy", "echo", "--nodes", "a", "--force", server=nodes["b"]).returncode == 0
    assert not (nodes["a"].models / "echo.fake").exists()
    assert nodes["b"].request("POST", "/v2/models/echo/infer", {"inputs": []})[0] in (404, 503)


def test_the_last_two_are_not_both_taken_by_who_is_asked_at_once(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {"echo.fake": ECHO}})
    for gateway in "ab":
        nodes.wait_for(gateway, "echo", "a", "b")
    results = {}

    def take(asked: str, of: str) -> None:
        results[of] = cli("undeploy", "echo", "--nodes", of, server=nodes[asked])

    # Each coordinator sees the other replica when it is asked.
    threads = [threading.Thread(target=take, args=words) for words in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(result.returncode for result in results.values())
    assert codes == [0, 1], {of: (result.returncode, result.stderr) for of, result in results.items()}
    stays = next(of for of, result in results.items() if result.returncode == 1)
    assert "echo" in results[stays].stderr, results[stays].stderr
    assert own_models(nodes[stays]) == {"echo": "READY"} and (nodes[stays].models / "echo.fake").exists()
    for gateway in "ab":
        nodes.wait(lambda gateway=gateway: "echo" in nodes.view(gateway)[stays]["models"], "it is told again")
        # Who has just taken its own away learns of the other's a moment later.
        nodes.wait(lambda gateway=gateway: serves(nodes[gateway]), "it is answered again")
        assert answers(nodes[gateway])


def test_undeploy_holds_up_nothing_else(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO, "two.fake": ECHO}, "b": {"echo.fake": ECHO, "two.fake": ECHO}})
    for gateway in "ab":
        for model in ("echo", "two"):
            nodes.wait_for(gateway, model, "a", "b")
    ended = {}

    def take(model: str) -> None:
        result = cli("undeploy", model, "--nodes", "b", server=nodes["a"])
        ended[model] = (time.monotonic(), result.returncode, result.stderr)

    threads = [threading.Thread(target=take, args=(model,)) for model in ("echo", "two")]
    for thread in threads:
        thread.start()
    # Until they are under way; it takes them 2.5 s at least.
    nodes.wait(lambda: "echo" not in nodes.view("a")["b"]["models"], "it is under way", 10)
    deployed = nodes["a"].json("POST", "/v2/cluster/deploy", {"model": "echo", "nodes": ["a"]})
    answered = time.monotonic()
    for thread in threads:
        thread.join()
    assert {model: code for model, (_, code, _) in ended.items()} == {"echo": 0, "two": 0}, ended
    assert deployed["nodes"][0]["node"] == "a" and answered < min(at for at, _, _ in ended.values()), (answered, ended)


def task_of(daemon, model: str) -> dict:
    return next(task for task in daemon.json("GET", "/v2/evenkeel/cluster")["tasks"] if task["name"] == model)


def test_a_plan_keeps_replicas_unless_fewer_were_asked_for(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {"echo.fake": ECHO}, "c": {}})
    all_alive(nodes)
    for gateway in "abc":
        nodes.wait_for(gateway, "echo", "a", "b")
    nodes.wait(lambda: len(nodes["c"].json("GET", "/v2/evenkeel/cluster")["nodes"]) == 3, "all are measured")

    def planned() -> dict:
        result = cli("plan", "-o", "json", server=nodes["c"])
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    plan = planned()
    assert sorted(node for node, models in plan["placement"].items() if "echo" in models) == ["a", "b"], plan["placement"]
    (replicas,) = plan["replicas"]
    assert replicas["replicas"] == 2 and replicas["why"] == "as now" and sorted(replicas["serving"]) == ["a", "b"], replicas
    assert sum(one["share"] for one in replicas["on"]) == pytest.approx(1)
    assert "Replicas" in cli("plan", server=nodes["c"]).stdout
    nothing = cli("plan", "--apply", "--yes", server=nodes["c"])
    assert nothing.returncode == 0 and "Nothing to do" in nothing.stderr, nothing.stderr

    # Three are asked for; that is remembered by nodes that were not asked, and over a restart.
    assert cli("deploy", "echo", "--replicas", "3", server=nodes["a"]).returncode == 0
    nodes.wait(lambda: task_of(nodes["b"], "echo").get("asked") == 3, "b heard it")
    assert nodes["c"].stop() == 0
    nodes["c"].ended = True
    nodes.daemons["c"] = nodes.start("c", {}, folder=nodes["c"].folder)
    assert json.loads((nodes["c"].folder / "state" / "replicas.json").read_text())["models"][0]["replicas"] == 3
    for gateway in "abc":
        nodes.wait_for(gateway, "echo", *"abc")
    nodes.wait(lambda: len(nodes["c"].json("GET", "/v2/evenkeel/cluster")["nodes"]) == 3, "all are measured again")
    assert planned()["replicas"][0]["why"] == "asked for" and planned()["replicas"][0]["replicas"] == 3

    # Who takes one away wants two, who asks for one gets one.
    assert cli("undeploy", "echo", "--nodes", "c", server=nodes["b"]).returncode == 0
    nodes.wait(lambda: task_of(nodes["c"], "echo").get("asked") == 2, "c heard it")
    assert cli("deploy", "echo", "--replicas", "1", server=nodes["b"]).returncode == 0
    nodes.wait(lambda: task_of(nodes["c"], "echo").get("asked") == 1, "c heard it")
    result = cli("plan", "--apply", "--yes", server=nodes["c"], timeout=60)
    assert result.returncode == 0, result.stderr + result.stdout
    nodes.wait(lambda: sum("echo" in nodes.view("c")[name]["models"] for name in "abc") == 1, "one serves it")
    assert answers(nodes["c"])
    assert task_of(nodes["c"], "echo")["asked"] == 1


def wait_for_bytes(nodes: Nodes, gateway: str, node: str, least: int) -> None:
    nodes.wait(lambda: by_node(deployment(nodes[gateway]))[node]["bytes_done"] >= least, f"{least} bytes are copied")


def test_a_copy_goes_on_when_its_source_comes_back(serve):
    size = 8_000_000
    nodes = Nodes(serve, {"a": heavy(size), "b": {}}, flags=["--cluster-copy-rate", "2MiB"])
    all_alive(nodes)
    nodes["b"].json("POST", "/v2/cluster/deploy", {"model": "big", "nodes": ["b"]})
    wait_for_bytes(nodes, "b", "b", 2_000_000)
    os.kill(nodes["a"].pid, signal.SIGKILL)
    nodes["a"].process.wait()
    nodes["a"].ended = True
    assert by_node(deployment(nodes["b"]))["b"]["state"] == "copying"
    assert own_models(nodes["b"]) == {} and not (nodes["b"].models / "big").exists()
    nodes.daemons["a"] = nodes.start("a", {}, folder=nodes["a"].folder)
    nodes.wait(lambda: by_node(deployment(nodes["b"]))["b"]["state"] == "serving", "b serves it", 40)
    done = by_node(deployment(nodes["b"]))["b"]
    # Not a byte came twice.
    assert done["bytes_fetched"] == done["bytes_total"] == size + len(ECHO) + 4, done
    assert (nodes["b"].models / "big/weights.dat").read_bytes() == (nodes["a"].models / "big/weights.dat").read_bytes()
    assert answers(nodes["b"], "big")


def test_a_copy_goes_on_after_a_restart_of_the_node_that_takes_it(serve, cli):
    size = 8_000_000
    nodes = Nodes(serve, {"a": heavy(size), "b": {}}, flags=["--cluster-copy-rate", "2MiB"])
    all_alive(nodes)
    nodes["a"].json("POST", "/v2/cluster/deploy", {"model": "big", "nodes": ["b"]})
    wait_for_bytes(nodes, "a", "b", 2_000_000)
    os.kill(nodes["b"].pid, signal.SIGKILL)
    nodes["b"].process.wait()
    nodes["b"].ended = True
    nodes.daemons["b"] = nodes.start("b", {}, folder=nodes["b"].folder)
    # a tells it again.
    nodes.wait(lambda: by_node(deployment(nodes["a"]))["b"]["state"] == "serving", "b serves it", 40)
    done = by_node(deployment(nodes["a"]))["b"]
    assert done["bytes_resumed"] >= 2_000_000, done
    assert done["bytes_resumed"] + done["bytes_fetched"] == done["bytes_total"], done
    assert answers(nodes["b"], "big")


def two_that_are_called(serve) -> tuple[Nodes, list[Load]]:
    """Two models, both on a node that is one of three, with the loads on them."""
    nodes = Nodes(serve, {"a": {"one.fake": SLOW, "two.fake": SLOW}, "b": {}, "c": {}})
    all_alive(nodes)
    for gateway in "bc":
        for model in ("one", "two"):
            nodes.wait_for(gateway, model, "a")
    loads = [Load(nodes[gateway].http_address, model=model, threads=2).start() for gateway, model in (("b", "one"), ("c", "two"))]
    return nodes, loads


def test_a_plan_is_carried_out_without_a_failed_request(serve, cli):
    nodes, loads = two_that_are_called(serve)
    try:
        # Until the plan knows what both take.
        def moves() -> bool:
            plan = cli("plan", "-o", "json", server=nodes["c"])
            assert plan.returncode == 0, plan.stderr
            placement = json.loads(plan.stdout)["placement"]
            return all(model not in placement["a"] for model in ("one",)) or "two" not in placement["a"]
        nodes.wait(moves, "the plan wants a move", 40)
        refused = cli("plan", "--apply", server=nodes["c"])
        assert refused.returncode == 1 and "--yes" in refused.stderr and "load" in refused.stdout, refused.stderr
        assert own_models(nodes["b"]) == {} and own_models(nodes["c"]) == {}
        result = cli("plan", "--apply", "--yes", server=nodes["c"], timeout=120)
        assert result.returncode == 0, result.stderr + result.stdout
        time.sleep(2)  # calls go on where the models are now
    finally:
        for load in loads:
            load.stop()
    for load in loads:
        assert not load.wrong and not load.unanswered and set(load.statuses) == {200}, load.summary()
    serving = {name: {model for model, state in own_models(nodes[name]).items() if state == "READY"} for name in "abc"}
    assert serving["a"] != {"one", "two"}, serving
    assert sorted(sum((sorted(models) for models in serving.values()), [])) == ["one", "two"], serving
    # Files stay.
    assert (nodes["a"].models / "one.fake").exists() and (nodes["a"].models / "two.fake").exists()
    events = [event for name in "abc" for event in nodes[name].json("GET", "/v2/evenkeel/models")["cluster"]["events"]]
    assert any("served here" in event["what"] and "the plan: " in event["why"] for event in events), events
    assert any("unloaded here" in event["what"] and "before" in event["why"] for event in events), events
    again = cli("plan", "--apply", "--yes", server=nodes["c"], timeout=120)
    assert again.returncode == 0, again.stderr


def test_an_ensemble_is_deployed_beside_its_steps(serve, cli):
    config = ('platform: "ensemble" max_batch_size: 8 input [{ name: "x" data_type: TYPE_FP32 dims: [4] }] '
              'output [{ name: "y" data_type: TYPE_FP32 dims: [4] }] ensemble_scheduling { step [{ model_name: "echo" model_version: -1 '
              'input_map { key: "x" value: "x" } output_map { key: "y" value: "y" } }] }')
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO, "graph/config.pbtxt": config, "graph/1/.keep": ""}, "b": {}})
    all_alive(nodes)
    result = cli("deploy", "graph", server=nodes["a"])
    assert result.returncode == 0, result.stderr
    nodes.wait_for("b", "echo", "a")
    assert own_models(nodes["b"]) == {"graph": "READY"} and answers(nodes["b"], "graph")


def joined(tmp_path, serve, *init_words: str, flags: list[str] | None = None) -> Made:
    """desk with the model, attic without; each knows the other by its certificate."""
    made = Made(tmp_path, serve, *init_words)
    assert made.init("desk").returncode == 0
    made.start("desk", {"echo.fake": ECHO}, flags)
    result = made.join("attic", "desk", made.token("desk"))
    assert result.returncode == 0, result.stderr
    made.start("attic", flags=flags)
    for name in ("desk", "attic"):
        made.wait(lambda name=name: sorted(node["state"] for node in made.view(name).values()) == ["alive", "alive"], "both are there")
    return made


def test_nodes_that_know_each_other_by_certificates(tmp_path, serve, cli):
    made = joined(tmp_path, serve, "--no-store")
    result = cli("deploy", "echo", server=made.daemons["attic"])
    assert result.returncode == 0, result.stderr
    assert (made.folder("attic") / "models/echo.fake").read_text() == ECHO
    # A node of another cluster that names desk as its peer gets nothing.
    assert made.init("other").returncode == 0
    home = made.folder("other") / "state/cluster/cluster.json"
    document = json.loads(home.read_text())
    document["peers"] = [{"node": "desk", "address": f"127.0.0.1:{made.port('desk')}"}]
    home.write_text(json.dumps(document))
    made.start("other")
    refused = cli("deploy", "echo", server=made.daemons["other"])
    assert refused.returncode == 1 and "no node that answers has files" in refused.stderr, refused.stderr
    assert not list((made.folder("other") / "models").iterdir())


def test_a_node_that_hangs_while_it_is_asked_holds_up_nobody_for_long(serve, cli):
    nodes = Nodes(serve, {"a": {"echo.fake": ECHO}, "b": {"two.fake": ECHO}, "c": {}})
    all_alive(nodes)
    assert cli("deploy", "two", "--nodes", "c", server=nodes["a"]).returncode == 0  # a has spoken with b's models
    os.kill(nodes["b"].pid, signal.SIGSTOP)
    try:
        result = cli("deploy", "echo", "--nodes", "c", server=nodes["a"], timeout=60)
    finally:
        os.kill(nodes["b"].pid, signal.SIGCONT)
    assert result.returncode == 0, result.stderr
    assert answers(nodes["c"])


@pytest.mark.skipif(shutil.which("etcd") is None, reason="Debian's package etcd-server is not installed")
def test_an_applied_plan_is_stored_and_without_the_store_nothing_is_moved(tmp_path, serve, cli):
    made = joined(tmp_path, serve, flags=["--cluster-lease", "2s"])

    def told(name: str) -> dict:
        return made.daemons[name].json("GET", "/v2/evenkeel/cluster/membership")

    made.wait(lambda: all(told(name)["store"]["connected"] and told(name)["leader"] for name in ("desk", "attic")), "somebody leads", 40)
    made.wait(lambda: all(made.view(name)[other]["state"] == "alive" for name, other in (("desk", "attic"), ("attic", "desk"))), "they hear each other")
    plan = {"placement": {"desk": ["echo"], "attic": []}, "why": "a test"}
    stored = made.daemons["attic"].json("POST", "/v2/cluster/plan", plan)
    assert stored["stored"] and "revision" in stored["stamp"], stored
    for name in ("desk", "attic"):
        made.wait(lambda name=name: (told(name)["plan"] or {}).get("revision", 0) > 0, f"{name} has the plan")
    status, _, body = made.daemons["attic"].request("POST", "/v2/cluster/plan", {"placement": []})
    assert status == 400 and b"placement" in body, body

    # What an older plan orders is refused by nodes that know the newer one; people's orders need no stamp. A link that found nobody while the other node started
    # tries again after half a second, and says so until then.
    plans = []

    def replanned() -> bool:
        plans.append(made.daemons["desk"].request("POST", "/v2/cluster/plan", plan))
        assert plans[-1][0] in (200, 503), plans[-1]
        return plans[-1][0] == 200

    made.wait(replanned, "desk reaches the leader")
    old, new = stored["plan"], json.loads(plans[-1][2])["plan"]
    assert new["revision"] > old["revision"], (old, new)
    for name in ("desk", "attic"):
        made.wait(lambda name=name: told(name)["plan"]["revision"] == new["revision"], f"{name} has the newer plan")
    made.daemons["desk"].json("POST", "/v2/cluster/deploy", {"model": "echo", "nodes": ["attic"], "plan": old})
    made.wait(lambda: by_node(deployment(made.daemons["desk"]))["attic"]["state"] == "failed", "it is refused")
    assert "is older than the last one" in by_node(deployment(made.daemons["desk"]))["attic"]["error"]
    assert own_models(made.daemons["attic"]) == {}
    # A stamp that nobody stored is refused, and shuts out nothing: the true plan's order is carried out after it.
    huge = {"history": 2**52, "term": 2**52, "revision": 2**52}
    for path, more in (("deploy", {}), ("undeploy", {"force": True})):
        status, _, body = made.daemons["desk"].request("POST", f"/v2/cluster/{path}", {"model": "echo", "nodes": ["attic"], "plan": huge, **more})
        assert status == 409 and str(2**52).encode() in body and str(new["revision"]).encode() in body, body
    made.daemons["desk"].json("POST", "/v2/cluster/deploy", {"model": "echo", "nodes": ["attic"], "plan": new})
    made.wait(lambda: by_node(deployment(made.daemons["desk"]))["attic"]["state"] == "serving", "it is carried out")
    made.wait(lambda: "echo" in made.view("desk")["attic"]["models"] and "echo" in made.view("attic")["desk"]["models"], "both know both")
    status, _, body = made.daemons["desk"].request("POST", "/v2/cluster/undeploy", {"model": "echo", "nodes": ["attic"], "plan": old})
    assert status == 409 and b"older" in body, body
    assert cli("undeploy", "echo", "--nodes", "attic", server=made.daemons["desk"]).returncode == 0

    pid = told("desk")["store"]["own_member"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        made.wait(lambda: not any(told(name)["store"]["connected"] for name in ("desk", "attic")), "the store is away")
        for words in (("deploy", "echo"), ("undeploy", "echo", "--nodes", "desk", "--force")):
            refused = cli(*words, server=made.daemons["attic"])
            assert refused.returncode == 1 and "nothing is changed" in refused.stderr, refused.stderr
        status, _, body = made.daemons["attic"].request("POST", "/v2/cluster/plan", plan)
        assert status == 503 and b"the cluster's store is away for" in body, body
        assert answers(made.daemons["attic"])
    finally:
        os.kill(pid, signal.SIGCONT)
    made.wait(lambda: all(told(name)["store"]["connected"] for name in ("desk", "attic")), "it is back")
    assert cli("deploy", "echo", server=made.daemons["attic"]).returncode == 0


@pytest.mark.parametrize("words, said", [
    (["plan", "x.json", "--apply"], "--apply"),
    (["plan", "--apply", "-o", "json"], "--output"),
    (["plan", "--yes"], "--apply"),
    (["plan", "--apply", "--wait", "soon"], "--wait"),
    (["deploy", "echo", "--wait", "soon"], "--wait"),
    (["deploy", "echo", "--nodes", "a", "--replicas", "2"], "--replicas"),
    (["undeploy", "echo"], "--nodes"),
])
def test_wrong_words_are_named(cli, words, said):
    result = cli(*words)
    assert result.returncode == 2 and said in result.stderr, result.stderr
