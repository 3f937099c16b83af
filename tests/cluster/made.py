"""Servers that become nodes of one cluster by init, tokens and join, on this host's loopback."""

from __future__ import annotations

import pathlib
import random
import socket
import time

from daemon import run_cli


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Made:
    """Servers with state folders of their own; `made("a")` after init or join."""

    def __init__(self, tmp_path: pathlib.Path, serve, *init_words: str):
        self.root, self.serve, self.init_words = tmp_path, serve, init_words
        self.daemons = {}
        self.ports = {}

    def folder(self, name: str) -> pathlib.Path:
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return folder

    def port(self, name: str) -> int:
        if name not in self.ports:
            # The three after it are where nodes join, and the store's. Below those that connections get, which come and go.
            while True:
                port = random.randrange(20_000, 32_000)
                if all(is_free(port + more) for more in range(4)) and not any(abs(port - other) < 4 for other in self.ports.values()):
                    break
            self.ports[name] = port
        return self.ports[name]

    def cli(self, name: str, *words: str, **more):
        return run_cli(*words, folder=self.folder(name), env={"EVENKEEL_STATE": str(self.folder(name) / "state")}, **more)

    def init(self, name: str):
        return self.cli(name, "cluster", "init", "--name", name, "--address", f"127.0.0.1:{self.port(name)}", *self.init_words)

    def token(self, name: str, *words: str) -> str:
        result = self.cli(name, "cluster", "token", *words)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    def join(self, name: str, desk: str, token: str, own_name: str | None = None):
        file = self.folder(name) / "token"
        file.write_text(token)
        return self.cli(name, "cluster", "join", f"127.0.0.1:{self.port(desk) + 1}", "--token-file", str(file), "--name", own_name or name,
                        "--address", f"127.0.0.1:{self.port(name)}")

    def start(self, name: str, models: dict | None = None, flags: list[str] | None = None, ready: bool = True):
        self.daemons[name] = self.serve(models=models or {}, flags=flags, folder=self.folder(name), ready=ready)
        return self.daemons[name]

    def view(self, name: str) -> dict[str, dict]:
        return {node["name"]: node for node in self.daemons[name].json("GET", "/v2/evenkeel/models")["cluster"]["nodes"]}

    def wait(self, condition, what: str, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}: not within {seconds} s"
            time.sleep(0.1)
