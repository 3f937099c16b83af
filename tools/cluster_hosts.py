#!/usr/bin/env python3
"""Hosts of a pretended network on this machine: a network namespace, an address, a control group and a folder each, on one bridge.

    with Network() as network:
        host = network.add("a", cores=0.5, memory="2GiB")
        process = host.start(["evenkeel", "serve", ...], log)
        host.set_cores(0.25); host.link("down"); host.kill(process)

For tests, benchmarks and the demo of a cluster. Needs root, iproute2, util-linux (nsenter); control groups of version 1 or 2. What it made is
removed at the end, and what an earlier one left behind by a process that is gone at the next beginning. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

PREFIX = "ek"
PERIOD_US = 10_000  # of quotas: the default of 100 ms stops a half-core server for 50 ms at a time
SUBNET = "10.77"


class HostError(Exception):
    pass


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def cgroup_folder(controller: str) -> pathlib.Path | None:
    """Where the controller's groups are, this process's own among them."""
    own = {}
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            own[name] = path.lstrip("/")
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        point, kind = before.split()[4], after.split()[0]
        if kind == "cgroup" and controller in after.split()[2].split(","):
            folder = pathlib.Path(point) / own.get(controller, "")
            return folder if folder.exists() else pathlib.Path(point)
    root = pathlib.Path("/sys/fs/cgroup")
    return root if (root / "cgroup.controllers").exists() else None


class Group:
    """A control group in each hierarchy that bounds cores or memory."""

    def __init__(self, name: str):
        self.folders: dict[str, pathlib.Path] = {}
        for controller in ("cpu", "memory"):
            parent = cgroup_folder(controller)
            if parent is None:
                raise HostError(f"no control groups of the controller {controller} are mounted")
            folder = parent / name
            folder.mkdir(exist_ok=True)
            self.folders[controller] = folder
        self.v2 = (self.folders["cpu"] / "cpu.max").exists()

    def set_cores(self, cores: float) -> None:
        quota = int(cores * PERIOD_US)
        folder = self.folders["cpu"]
        if self.v2:
            (folder / "cpu.max").write_text(f"{quota} {PERIOD_US}")
        else:
            (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            (folder / "cpu.cfs_quota_us").write_text(str(quota))

    def set_memory(self, size: int) -> None:
        (self.folders["memory"] / ("memory.max" if self.v2 else "memory.limit_in_bytes")).write_text(str(size))

    def add(self, pid: int) -> None:
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def processes(self) -> list[int]:
        pids = set()
        for folder in set(self.folders.values()):
            for procs in folder.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    pids.update(int(pid) for pid in procs.read_text().split())
        return sorted(pids)

    def remove(self) -> None:
        end = time.monotonic() + 5
        for folder in set(self.folders.values()):
            while folder.exists():
                try:
                    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                        inner.rmdir()
                    folder.rmdir()
                except OSError:
                    if time.monotonic() > end:
                        break
                    time.sleep(0.05)


class Host:
    def __init__(self, network: "Network", number: int, name: str, cores: float, memory: int | None):
        self.network, self.name = network, name
        self.namespace = f"{network.prefix}-{name}"
        self.address = f"{SUBNET}.{network.net}.{number}"
        self.folder = network.folder / name
        self.folder.mkdir()
        self._outside = f"{network.prefix}v{number}"
        self.group = Group(self.namespace)
        self.set_cores(cores)
        if memory is not None:
            self.group.set_memory(memory)
        run("ip", "netns", "add", self.namespace)
        run("ip", "link", "add", self._outside, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        run("ip", "link", "set", self._outside, "master", network.bridge, "up")
        inside = ("ip", "-n", self.namespace)
        run(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")
        self.processes: list[subprocess.Popen] = []

    def start(self, command: list[str], log, env: dict | None = None) -> subprocess.Popen:
        """The command, in this host's network and groups from its first instruction on."""
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.namespace}", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=env, preexec_fn=lambda: self.group.add(os.getpid()))  # noqa: PLW1509: nothing of this process runs threads there
        self.processes.append(process)
        return process

    def set_cores(self, cores: float) -> None:
        self.cores = cores
        self.group.set_cores(cores)

    def link(self, state: str) -> None:
        """"down" or "up": the cable to the bridge."""
        run("ip", "link", "set", self._outside, state)

    def kill(self) -> None:
        """All that runs on the host, at once, as when its power fails."""
        for pid in self.group.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.wait()

    def remove(self) -> None:
        self.kill()
        with contextlib.suppress(HostError):
            run("ip", "link", "del", self._outside)
        with contextlib.suppress(HostError):
            run("ip", "netns", "del", self.namespace)
        self.group.remove()


class Network:
    """A bridge that this machine is on too, as the last address of its net."""

    def __init__(self):
        sweep()
        self.prefix = f"{PREFIX}{os.getpid()}"
        self.bridge = f"{self.prefix}br"
        self.net = free_net()
        self.address = f"{SUBNET}.{self.net}.254"
        self.hosts: dict[str, Host] = {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="evenkeel-hosts-"))
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "addr", "add", f"{self.address}/24", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def add(self, name: str, cores: float = 1, memory: int | None = None) -> Host:
        host = Host(self, len(self.hosts) + 1, name, cores, memory)
        self.hosts[name] = host
        return host

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *_) -> None:
        self.remove()

    def remove(self) -> None:
        for host in self.hosts.values():
            host.remove()
        with contextlib.suppress(HostError):
            run("ip", "link", "del", self.bridge)
        shutil.rmtree(self.folder, ignore_errors=True)


def free_net() -> int:
    used = {int(found) for found in re.findall(rf"inet {re.escape(SUBNET)}\.(\d+)\.", run("ip", "-4", "addr"))}
    return next(net for net in range(1, 255) if net not in used)


def alive(pid: int) -> bool:
    return pathlib.Path(f"/proc/{pid}").exists()


def sweep() -> None:
    """Removes what processes that are gone have left."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner = re.fullmatch(rf"{PREFIX}(\d+)-.*", name)
        if owner and not alive(int(owner[1])):
            for controller in ("cpu", "memory"):
                parent = cgroup_folder(controller)
                for procs in (parent / name).rglob("cgroup.procs") if parent else []:
                    for pid in procs.read_text().split():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(HostError):
                run("ip", "netns", "del", name)
            with contextlib.suppress(HostError):
                Group(name).remove()
    for found in re.findall(rf"\d+: ({PREFIX}(\d+)br)[:@]", run("ip", "link")):
        if not alive(int(found[1])):
            with contextlib.suppress(HostError):
                run("ip", "link", "del", found[0])
