#!/usr/bin/env python3
"""A cluster of four unequal nodes on this machine: models brought to them, load on all of them through one, one of them lost meanwhile, and what happened.

  tools/cluster_demo.py [BINARY] [MODELS]     default build/evenkeel, build/demo-models

Each node has a network namespace, an address and a quota of cores of its own (tools/cluster_hosts.py); root is needed. Prints what it does and what
comes of it; ends with 0 if every call was answered. Standard library only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from cluster_hosts import HostError, Network  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Cores of each node. All models lie on the first.
NODES = {"desk": 0.9, "attic": 0.6, "shelf": 0.4, "stick": 0.2}
MODELS = ["filetype", "digits", "smollm2"]
DEPLOYED = {"filetype": ["desk", "attic", "shelf", "stick"], "smollm2": ["desk", "attic", "shelf"]}
# A model of 70 thousand million weights of four bits each, with a cache for 4,096 tokens: no node holds it.
GIANT = {"name": "llama-70b", "kind": "language replica", "gflop": 140, "gbytes": 40, "memory": "39GiB", "on": "both", "layers": 80, "first": "600MiB", "last": "600MiB",
         "boundary": "32KiB"}
GATEWAY, LOST = "stick", "attic"  # the smallest answers for all, and one of the larger is lost
START_SECONDS = 120


def say(text: str) -> None:
    print(text, flush=True)


class Node:
    def __init__(self, binary: pathlib.Path, models: pathlib.Path, host, names: list[str]):
        self.host, self.binary = host, binary
        self.environment = {**os.environ, "HOME": str(host.folder), "EVENKEEL_STATE": str(host.folder / "state")}
        self.url = f"http://{host.address}:8000"
        own = host.folder / "models"
        own.mkdir()
        for name in names:
            # Weight files are large: linked where they can be.
            shutil.copytree(models / name, own / name, copy_function=link_or_copy)

    def cluster_verb(self, *words: str) -> str:
        """`evenkeel cluster ...` on this host; what it printed."""
        with (self.host.folder / "said").open("w+b") as said:
            process = self.host.start([str(self.binary), "cluster", *words], said, self.environment)
            code = process.wait(60)
            said.seek(0)
            text = said.read().decode()
        if code:
            raise HostError(f"evenkeel cluster {' '.join(words)}: {text}")
        return text

    def make_cluster(self) -> None:
        self.cluster_verb("init", "--name", self.host.name, "--address", f"{self.host.address}:8010")

    def join(self, first: "Node") -> None:
        token = next(line for line in first.cluster_verb("token").splitlines() if line.startswith("ekj_"))
        file = self.host.folder / "token"
        file.write_text(token)
        self.cluster_verb("join", f"{first.host.address}:8011", "--token-file", str(file), "--name", self.host.name, "--address", f"{self.host.address}:8010")

    def serve(self) -> None:
        # Its clients are on this machine alone: without --insecure it would want a certificate and keys for them.
        command = [str(self.binary), "serve", "--insecure", "--profiling", "off", "--runtime", "process", "--threads", "1", "--log-level", "warning"]
        host = self.host
        for kind, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002)):
            command += [f"--{kind}-address", host.address, f"--{kind}-port", str(port)]
        for kind in ("models", "state", "cache"):
            command += [f"--{kind}", str(host.folder / kind)]
        self.log = host.folder / "log"
        with self.log.open("wb") as log:
            self.process = host.start(command, log, self.environment)

    def ask(self, method: str, path: str, body: dict | None = None, timeout: float = 60):
        connection = http.client.HTTPConnection(self.host.address, 8000, timeout=timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"} if body is not None else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()

    def wait_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                if self.ask("GET", "/v2/health/ready", timeout=2)[0] == 200:
                    return
            time.sleep(0.1)
        raise HostError(f"the node {self.host.name} does not serve:\n{self.log.read_text()[-2000:]}")

    def cluster(self) -> list[dict]:
        return json.loads(self.ask("GET", "/v2/evenkeel/models")[1])["cluster"]["nodes"]


def link_or_copy(source, target):
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def deploy(binary: pathlib.Path, node: Node, model: str, where: list[str]) -> str:
    done = subprocess.run([str(binary), "deploy", model, "--nodes", ",".join(where), "--server", node.url, "--wait", "3m"],
                          capture_output=True, text=True, check=False, timeout=240)
    if done.returncode:
        raise HostError(f"evenkeel deploy {model}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.rstrip()


def plan(binary: pathlib.Path, node: Node, *more: str) -> str:
    done = subprocess.run([str(binary), "plan", "--server", node.url, *more], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.rstrip() or done.stderr.strip()


def plans(binary: pathlib.Path, node: Node, folder: pathlib.Path) -> None:
    """What `evenkeel plan` says of the cluster as it is, and with a model that fits no node of it."""
    say("\nevenkeel plan")
    say(indented(plan(binary, node)))
    more = folder / "giant.json"
    more.write_text(json.dumps({"tasks": [GIANT]}))
    text = plan(binary, node, "--add", str(more))
    cut = text.find("Cut between its layers")
    say("\nevenkeel plan --add giant.json            (a model of 70 thousand million weights, 39 GiB)")
    say(indented(text[cut:text.find("\n\n", cut)] if cut >= 0 else text))


def indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def table(nodes: list[dict]) -> None:
    say(f"  {'node':<8}{'state':<9}{'models':<28}{'calls sent':>11}{'waiting':>10}{'round trip':>12}")
    for node in nodes:
        say(f"  {node['name']:<8}{node['state']:<9}{', '.join(node['models']):<28}{node['sent']:>11}{node['backlog_s'] * 1e3:>7.0f} ms{node['round_trip_ms']:>9.2f} ms")


class Story(threading.Thread):
    """A chat through the gateway, streamed; remembers what came."""

    def __init__(self, gateway: Node):
        super().__init__()
        self.gateway, self.text, self.whole, self.longest_gap, self.error = gateway, "", False, 0.0, ""
        self.started = threading.Event()

    def run(self) -> None:
        body = {"model": "smollm2", "stream": True, "temperature": 0, "max_tokens": 200,
                "messages": [{"role": "user", "content": "Tell me a story about a lighthouse keeper."}]}
        connection = http.client.HTTPConnection(self.gateway.host.address, 8000, timeout=120)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            last = time.monotonic()
            for line in answer:
                line = line.decode().strip()
                if line == "data: [DONE]":
                    self.whole = True
                elif line.startswith("data: "):
                    event = json.loads(line[6:])
                    if "error" in event:
                        self.error = event["error"]["message"]
                        continue
                    for choice in event["choices"]:
                        piece = choice["delta"].get("content") or ""
                        now = time.monotonic()
                        if piece:
                            if self.text:
                                self.longest_gap = max(self.longest_gap, now - last)
                            last = now
                            self.text += piece
                            if len(self.text) > 80:
                                self.started.set()
        except OSError as error:
            self.error = str(error)
        finally:
            self.started.set()
            connection.close()


def main() -> int:
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "evenkeel").resolve()
    models = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "build" / "demo-models").resolve()
    if os.geteuid() != 0:
        say("network namespaces and control groups need root")
        return 1
    with Network() as network:
        hosts = {name: network.add(name, cores=1) for name in NODES}
        say(f"Four servers, of {', '.join(f'{cores:g}' for cores in NODES.values())} cores. 'desk' makes a cluster, the others join it with tokens, and 'evenkeel serve' is all that is said to each.")
        nodes = {name: Node(binary, models, host, [] if node_number else MODELS) for node_number, (name, host) in enumerate(hosts.items())}
        first, *others = nodes.values()
        first.make_cluster()
        first.serve()
        first.wait_ready()
        for node in others:
            node.join(first)
            node.serve()
        for node in nodes.values():
            node.wait_ready()
        gateway = nodes[GATEWAY]
        end = time.monotonic() + 30
        while sum(node["state"] == "alive" for node in gateway.cluster()) < len(nodes) and time.monotonic() < end:
            time.sleep(0.2)
        for model, where in DEPLOYED.items():
            say(f"\nevenkeel deploy {model} --nodes {','.join(where)}")
            say(indented(deploy(binary, first, model, where)))
        for name, node in nodes.items():
            node.host.set_cores(NODES[name])
        time.sleep(2)
        say(f"\nAs '{GATEWAY}', the smallest, sees them:")
        table(gateway.cluster())

        status, body = gateway.ask("GET", "/v2/models/digits")
        say(f"\n'{GATEWAY}' answers for models that it does not have: digits takes {json.loads(body)['inputs'][0]['shape']}, is on 'desk' ({status})")
        status, body = gateway.ask("POST", "/v1/chat/completions", {"model": "smollm2", "temperature": 0, "max_tokens": 24,
                                                                    "messages": [{"role": "user", "content": "Name three primary colours."}]})
        say(f"  chat through it: {json.loads(body)['choices'][0]['message']['content']!r} ({status})")

        story = Story(gateway)
        story.start()
        load = subprocess.Popen([str(binary), "bench", "--url", gateway.url, "--model", "filetype:1", "-c", "12", "-d", "12s", "--warm-up", "1s",
                                 "--timeout", "10s", "-o", "json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        say(f"\nLoad through '{GATEWAY}': the file type of files from 12 connections, and one long answer of the chat model.")
        story.started.wait(60)
        time.sleep(4)
        table(gateway.cluster())
        plans(binary, gateway, gateway.host.folder)
        say(f"\nThe power of '{LOST}' fails (kill -9 of all that runs there).")
        cut = time.monotonic()
        nodes[LOST].host.kill()
        while next(node for node in gateway.cluster() if node["name"] == LOST)["state"] == "alive" and time.monotonic() < cut + 20:
            time.sleep(0.02)
        say(f"  after {time.monotonic() - cut:.2f} s it gets no new work")
        report = json.loads(load.communicate(timeout=120)[0])
        story.join(120)
        table(gateway.cluster())
        total = report["total"]
        failed = total["errors"] + total["unanswered"]
        say(f"\nFile type: {total['sent']} calls, {total['ok']} answered, {total['errors']} errors, {total['unanswered']} without an answer; "
            f"{total['requests_per_s']:.0f} a second, p50 {total['latency_ms']['p50']:.0f} ms, p99 {total['latency_ms']['p99']:.0f} ms")
        say(f"The chat's answer: {'whole' if story.whole else 'broken off'}, {len(story.text)} characters, longest silence {story.longest_gap:.2f} s"
            f"{'; ' + story.error if story.error else ''}")
        say(f"  {story.text[:160]!r} ...")
        good = not failed and story.whole and not story.error
        say(f"\n{'Every call was answered.' if good else 'NOT every call was answered.'}")
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
