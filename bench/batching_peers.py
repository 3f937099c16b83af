"""Digits and LSTM on Evenkeel, Triton's core and Mosec: goodput on the same arrivals in one run, and latency of one connection.

A failed figure that says so unless PEERS and PEERS_TOOLS are set (see bench/README.md). Every server has the server core, the
generator the client core.
"""

import contextlib
import os
import pathlib
import tempfile

import batching_live as live
import batching_tables as sim
from batching_search import Search, left, take_turns, with_doubt
from serve_figures import figure, spread
from serve_peers import Peer
from serve_processes import CLIENT_CORE, SERVER_CORE, BenchError, Daemon, bench, median

OBJECTIVE = "50ms"
MODELS = ("digits", "lstm")
# Waits in microseconds; Triton's first is no wait. Mosec takes whole milliseconds, at least one.
WAITS = {"triton": (0, 1000, 5000), "mosec": (1000, 5000)}
WAITS_SHORT = {"triton": (0, 2000), "mosec": (1000,)}


@contextlib.contextmanager
def environment(**values):
    """Variables that the peers' script reads, for as long as it runs."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update({key: str(value) for key, value in values.items()})
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def targets_of(server, work, url=None):
    """Flags of the generator for a model on a server."""
    def flags(model):
        if server == "mosec":
            return ("--raw", work / "models" / f"{model}.raw", "--url", f"http://127.0.0.1:8100/{model}")
        return (model, "--url", url or "http://127.0.0.1:8500")
    return flags


def run(flags, model, seconds, *more, check=False):
    return bench(*flags(model), "--objective", OBJECTIVE, "--timeout", live.TIMEOUT, "-d", f"{seconds:.2f}s", "--warm-up", live.WARM_UP, *more,
                 core=CLIENT_CORE, check=check, timeout_s=seconds + 60)


def poisson_probe(flags, model, seconds):
    return lambda rate, seed: live.least_share(run(flags, model, seconds, "--rate", f"{rate:.2f}", "--seed", seed))


def trace_probe(flags, model, shape, seconds, folder):
    """The same cut at the same rate has the same arrivals for every server: the file's name is made of both."""
    def probe(rate, seed):
        file = f"{folder}/{shape.replace(' ', '_')}_{rate:.5g}_{seed}.csv.gz"
        sim.write_cut(file, shape, rate, seconds, seed)
        report = bench(*flags(model), "--objective", OBJECTIVE, "--timeout", live.TIMEOUT, "--arrivals", "trace", file, "--warm-up", live.WARM_UP,
                       "--seed", seed, core=CLIENT_CORE, check=False, timeout_s=seconds + 60)
        return live.least_share(report)
    return probe


class Measured:
    """What each server and setting reached: {(model, arrivals): ({name: rates}, searches)}, and p50 at one connection."""

    def __init__(self):
        self.goodput, self.p50, self.errors = {}, {}, []

    def keep(self, model, arrivals, searches):
        rates, kept = self.goodput.setdefault((model, arrivals), ({}, []))
        for search in searches:
            kept.append(search)
            if search.kept or search.settled:  # else nothing is known of it: no time, or an error
                rates.setdefault(search.name, []).append(search.found)


def measure_together(servers, options, measured, folder, until_s):
    """Searches of the servers that are up, by turns: {name: flags of a model}."""
    loads = [(model, arrivals) for arrivals in ("Poisson", "World Cup") for model in MODELS]
    closed = {}
    for number, (model, arrivals) in enumerate(loads):
        reserve = until_s + (left(options) - until_s) * (len(loads) - number - 1) / (len(loads) - number)
        searches = []
        for name, flags in servers.items():
            if (name, model) not in closed:
                closed[name, model] = run(flags, model, 1, "-c", 128)["total"]["requests_per_s"]
        # The search begins where the comparison is decided: far above the peers the generator is the limit, and going down takes the time.
        far = 2 * max((closed[name, model] for name in servers if name != "evenkeel"), default=float("inf"))
        for name, flags in servers.items():
            guess = min(closed[name, model] * 0.9, far)
            if arrivals == "Poisson":
                searches.append(Search(name, poisson_probe(flags, model, options.seconds), guess))
            else:
                probe = trace_probe(flags, model, arrivals, options.seconds, folder)
                searches.append(Search(name, probe, guess / sim.peak_over_mean(arrivals, options.seconds)))
        take_turns(searches, options, reserve)
        measured.keep(model, arrivals, searches)


def measure_latency(servers, measured):
    """p50 with one request in flight, the servers alternating."""
    for model in MODELS:
        for _ in range(3):
            for name, flags in servers.items():
                total = run(flags, model, 1, "-c", 1, check=True)["total"]
                measured.p50.setdefault(model, {}).setdefault(name, []).append(total["latency_ms"]["p50"])


def rounds_of(options):
    """Which waits are measured together: each server is up once a round, a peer with its next wait or not at all."""
    waits = WAITS if options.minutes >= 40 else WAITS_SHORT
    for number in range(max(len(each) for each in waits.values())):
        yield {peer: each[number] for peer, each in waits.items() if number < len(each)}


def peers(options):
    """Digits and LSTM beside Triton's core and Mosec at their best waits: goodput within 50 ms, p50 of one connection"""
    if not os.environ.get("PEERS") or not os.environ.get("PEERS_TOOLS"):
        raise BenchError("set PEERS (the peers' work folder) and PEERS_TOOLS (the folder with peers.sh)")
    work, tools = pathlib.Path(os.environ["PEERS"]), pathlib.Path(os.environ["PEERS_TOOLS"])
    measured = Measured()
    rounds = list(rounds_of(options))
    with tempfile.TemporaryDirectory(prefix="evenkeel-bench-") as folder, \
            Daemon({model: work / "models" / f"{model}.onnx" for model in MODELS}, daemon_core=SERVER_CORE, name="batching-peers",
                   flags=live.no_sweeps()) as daemon:
        for number, waits in enumerate(rounds):
            with contextlib.ExitStack() as stack:
                servers = {"evenkeel": targets_of("evenkeel", work, daemon.url)}
                for peer, wait_us in waits.items():
                    try:
                        with environment(DELAY_US=wait_us):
                            stack.enter_context(Peer(tools, peer))
                        servers[f"{peer} {wait_us} us"] = targets_of(peer, work)
                    except BenchError as error:
                        measured.errors.append(str(error))
                if number == 0:  # the shortest waits: no longer one is better for a single connection
                    measure_latency(servers, measured)
                later = [1 + len(each) for each in rounds[number:]]  # servers that are up, this round's first
                until = left(options) * sum(later[1:]) / sum(later)
                measure_together(servers, options, measured, folder, until)
    return peer_figures(measured)


def peer_figures(measured):
    figures = []
    problems = f"; problems: {'; '.join(measured.errors)}" if measured.errors else ""
    for (model, arrivals), (rates, searches) in measured.goodput.items():
        others = {name: median(values) for name, values in rates.items() if name != "evenkeel"}
        best = max(others, key=others.get, default=None)
        value = median(rates["evenkeel"]) / others[best] if "evenkeel" in rates and best and others[best] else None
        note = "" if value is not None else f"not measured: no rate kept by {'us' if 'evenkeel' not in rates else 'a peer'}; "
        text = "; ".join(str(search) for search in searches)
        result = figure(f"peers, {model}, {arrivals}: goodput over the best", value, "x", ">=", 1.3,
                        f"{note}best peer: {best}; requests a second with 99 % within {OBJECTIVE}: {text}{problems}")
        ours = max((search for search in searches if search.name == "evenkeel"), key=lambda search: search.found)
        figures.append(with_doubt(result, ours, [search for search in searches if search.name != "evenkeel"]))
    for model, times in measured.p50.items():
        others = {name: median(values) for name, values in times.items() if name != "evenkeel"}
        best = min(others, key=others.get, default=None)
        value = median(times["evenkeel"]) / others[best] if best else None
        text = "; ".join(f"{name} {spread(values)}" for name, values in times.items())
        figures.append(figure(f"peers, {model}: p50 at one connection over the best", value, "x", "<=", 0.7,
                              f"{'' if best else 'not measured: no peer; '}best peer {best}; ms: {text}{problems}"))
    return figures


FIGURES = {"peers": peers}
