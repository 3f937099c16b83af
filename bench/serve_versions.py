"""What a figure belongs to: machine, commit, and the versions of the program, of what it links and of the peers. Standard library only."""

import contextlib
import os
import pathlib
import re
import subprocess

from serve_processes import BUILD, CORES, EVENKEEL, ROOT

UNKNOWN = "unknown"
# A peer's environment in PEERS, and the package in it that says which version it is.
PEER_PACKAGES = {"triton": ("venv-pytriton", "nvidia_pytriton"), "mosec": ("venv-mosec", "mosec")}


def said(*command):
    """What a program prints, on one line; "" where it cannot be asked."""
    with contextlib.suppress(OSError):
        run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=ROOT)
        return run.stdout.strip().replace("\n", ", ") if run.returncode == 0 else ""
    return ""


def commit():
    """The commit of the tree that this script is in, with a + where files differ from it."""
    short = said("git", "rev-parse", "--short=10", "HEAD")
    changed = said("git", "status", "--porcelain", "--untracked-files=no")
    return (short + "+" if changed else short) or UNKNOWN


def linked_version(package):
    """The version of a CMake package that the program was built with."""
    with contextlib.suppress(OSError):
        cache = (BUILD / "CMakeCache.txt").read_text()
        folder = re.search(rf"^{package}_DIR:\w+=(.*)$", cache, re.M)
        for file in pathlib.Path(folder[1]).glob(f"{package}Config*ersion.cmake") if folder else ():
            text = file.read_text()
            whole = re.search(r'PACKAGE_VERSION "?([0-9.]+)', text)
            parts = re.findall(r"PACKAGE_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text)
            if whole or parts:
                return whole[1] if whole else ".".join(parts)
    return UNKNOWN


def peer_version(name):
    """Of a peer in the PEERS folder, by what its environment has installed."""
    environment, package = PEER_PACKAGES[name]
    found = list(pathlib.Path(os.environ["PEERS"], environment).glob(f"lib/python3*/site-packages/{package}-*.dist-info"))
    return found[0].name.removesuffix(".dist-info").replace("_", "-") if found else f"{name} {UNKNOWN}"


def processor():
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown processor"


def machine():
    """One line: processor, cores, kernel, commit, versions, load."""
    return (f"{processor()}, {len(CORES)} cores, Linux {os.uname().release}; {said(EVENKEEL, 'version') or UNKNOWN}, commit {commit()}, "
            f"OpenVINO {linked_version('OpenVINO')}, gRPC {linked_version('gRPC')}; load {os.getloadavg()[0]:.1f}")
