"""Several daemons that are nodes of one cluster, on this host's loopback."""

from __future__ import annotations

import socket
import time

from daemon import host_speed_is_known, wait_for_announcement


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Nodes:
    """{name: models of that node} started as one cluster; nodes["a"] is a's daemon."""

    def __init__(self, serve, models: dict[str, dict], flags: list[str] | None = None):
        self.serve, self.flags = serve, flags or []
        self.names = list(models)
        self.ports = dict(zip(self.names, free_ports(len(models))))
        self.daemons = {}
        for name in self.names:
            # At once, but for the first of a run, which measures the host.
            self.daemons[name] = self.start(name, models[name], ready=not host_speed_is_known())
        for daemon in self.daemons.values():
            if not daemon.http_url:
                wait_for_announcement(daemon)

    def start(self, name: str, models: dict, folder=None, ready: bool = True):
        peers = ",".join(f"{other}=127.0.0.1:{self.ports[other]}" for other in self.names if other != name)
        cluster = ["--cluster-name", name, "--cluster-port", str(self.ports[name]), "--cluster-peers", peers]
        return self.serve(models=models, flags=[*cluster, *self.flags], folder=folder, ready=ready)

    def __getitem__(self, name: str):
        return self.daemons[name]

    def view(self, gateway: str) -> dict[str, dict]:
        """What the gateway knows of each node; graphs are among its models."""
        nodes = self[gateway].json("GET", "/v2/evenkeel/models")["cluster"]["nodes"]
        return {node["name"]: {**node, "models": node["models"] + node.get("graphs", [])} for node in nodes}

    def wait(self, condition, what: str, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {seconds} s; views: { {name: self.view(name) for name in self.names if self[name].process.poll() is None} }"
            time.sleep(0.05)

    def wait_for(self, gateway: str, model: str, *nodes: str) -> None:
        """Until the gateway knows that these nodes serve the model."""
        self.wait(lambda: all(self.view(gateway)[node]["state"] == "alive" and model in self.view(gateway)[node]["models"] for node in nodes),
                  f"'{gateway}' hears of '{model}' from {nodes}")
        # The model's description comes just after.
        self.wait(lambda: self[gateway].request("GET", f"/v2/models/{model}/ready")[0] == 200, f"'{gateway}' knows '{model}'")
