"""Daemons, generator and probes of live batching runs: what serves, and the daemon and the generator too, share the same two cores."""

import contextlib
import functools
import pathlib
import subprocess
import time

from serve_processes import BUILD, CORES, EVENKEEL, MODELS, BenchError, Daemon, bench, cpu_seconds

SHARED = CORES[:2]                            # everything runs on these
CACHE = BUILD / "bench" / "batching_cache"    # compiled models, for all daemons of a run
WARM_UP = "500ms"
TIMEOUT = "2s"                                # many times the objectives: what takes longer is missed anyway
MOST_STOLEN = 0.01                            # of the cores' time by the host, in a run that counts: one per cent late is a miss
MOST_TRIES = 3


class Mix:
    """Models with rates (requests a second at factor 1), objectives (ms) and the demo model behind each name."""

    def __init__(self, name, parts):
        self.name = name
        self.rates = {model: rate for model, rate, _, _ in parts}
        self.objectives = {model: objective for model, _, objective, _ in parts}
        self.sources = {model: source for model, _, _, source in parts}
        self.total = sum(self.rates.values())

    def sim_arrivals(self):
        return [f"{model}{'' if source == model else '@' + source}=poisson:{self.rates[model]}" for model, source in self.sources.items()]

    def sim_objectives(self):
        return [part for model, ms in self.objectives.items() for part in ("--objective", f"{model}={ms}ms")]


CTR2 = ("ctr2", 4000, 20, "ctr")
MIXES = {
    "A": Mix("A", [("ctr", 10000, 20, "ctr"), ("textcnn", 1500, 50, "textcnn"), ("filetype", 150, 100, "filetype")]),
    "B": Mix("B", [("ctr", 4000, 20, "ctr"), ("ctr2", 4000, 20, "ctr"), ("lstm", 1000, 50, "lstm"), ("textcnn", 1000, 50, "textcnn"),
                   ("filetype", 100, 100, "filetype")]),
    "C": Mix("C", [("ctr", 2000, 20, "ctr"), ("ctr2", 2000, 20, "ctr"), ("lstm", 1500, 50, "lstm"), ("textcnn", 500, 50, "textcnn"),
                   ("filetype", 60, 100, "filetype")]),
}


@functools.lru_cache
def no_sweeps():
    """Flags against sweeps in the background, where the program has them: those of every idle daemon would run beside the one measured."""
    usage = subprocess.run([str(EVENKEEL), "serve", "--help"], capture_output=True, text=True, check=False).stdout
    return ("--profiling", "off") if "--profiling" in usage else ()


def single(model, objective_ms, rate=1000, name=None):
    return Mix(name or model, [(model, rate, objective_ms, model)])


def node(mix, policy="auto", fixed=None, cores=None, flags=(), more="instances: 1\n"):
    """A daemon with the mix's models, one instance of one thread each. `fixed`: {model: (delay_ms, size)} for the policy `fixed`;
    `more`: lines that every manifest gets, instances among them."""
    settings = {}
    for model, objective in mix.objectives.items():
        settings[model] = f"objective: {objective}ms\n{more}"
        if policy == "fixed":
            delay_ms, size = fixed[model]
            settings[model] += f"batching: {{policy: fixed, max_delay: {delay_ms * 1000:.0f}us, max_batch: {size}}}\n"
    CACHE.mkdir(parents=True, exist_ok=True)
    node_policy = "greedy" if policy == "fixed" else policy
    return Daemon({model: MODELS / source for model, source in mix.sources.items()}, daemon_core=SHARED, worker_core=cores or SHARED,
                  name=f"batching-{policy}", settings=settings, flags=("--batching", node_policy, *no_sweeps(), *flags), cache=CACHE)


def load_flags(mix, daemon, *more):
    """What every run of the generator on this mix is told."""
    flags = ["--url", daemon.url, "--timeout", TIMEOUT]
    for model, rate in mix.rates.items():
        flags += ["--model", f"{model}:{rate}", "--objective", f"{model}={mix.objectives[model]}ms"]
    return [*flags, *more]


def saturation(mix, daemon, seconds, in_flight=128):
    """Requests a second of a closed loop over what the mix offers at factor 1: where the search begins. Warms the daemon, too."""
    report = bench(*load_flags(mix, daemon), "-c", in_flight, "-d", f"{seconds:.2f}s", "--warm-up", WARM_UP, core=SHARED,
                   check=False, timeout_s=seconds + 30)  # a slow model may be refused: the others show the way
    return max(report["total"]["requests_per_s"], 1.0) / mix.total


def core_time():
    """(stolen by the host, in all) of the shared cores, in ticks."""
    stolen = total = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name in {f"cpu{core}" for core in SHARED}:
            stolen += int(ticks[7])
            total += sum(int(t) for t in ticks[:8])
    return stolen, total


def undisturbed(run):
    """The report of run(); again, a few times at most, while the machine below took the cores away meanwhile. The least disturbed one."""
    best = None
    for _ in range(MOST_TRIES):
        before = core_time()
        report = run()
        after = core_time()
        report["stolen"] = (after[0] - before[0]) / max(after[1] - before[1], 1)
        if best is None or report["stolen"] < best["stolen"]:
            best = report
        if best["stolen"] <= MOST_STOLEN:
            break
    return best


def offered(mix, daemon, factor, seconds, seed, *more, warm_up=WARM_UP):
    """An open-loop run at a factor of the mix's rates; the report, with the daemon's CPU and that of its engines."""
    def run():
        before = cpu_seconds(daemon.process.pid)
        report = bench(*load_flags(mix, daemon), "--rate", f"{mix.total * factor:.3f}", "-d", f"{seconds:.2f}s", "--warm-up", warm_up,
                       "--seed", seed, *more, core=SHARED, check=False, timeout_s=seconds + 30)
        report["daemon_cores"] = (cpu_seconds(daemon.process.pid) - before) / max(report["client"]["wall_s"], 1e-9)
        return report
    return undisturbed(run)


def played(model, daemon, objective_ms, trace, *more, warm_up=WARM_UP):
    """An open-loop run of one model over a file of arrival times."""
    return undisturbed(lambda: bench(
        "--url", daemon.url, "--model", model, "--objective", f"{objective_ms}ms", "--timeout", TIMEOUT, "--arrivals", "trace", trace,
        "--warm-up", warm_up, *more, core=SHARED, check=False, timeout_s=120))


def least_share(report):
    """The least share, over the models, of requests that were answered within their objective; 0 when some were not even sent."""
    if report["in_flight"]["not_sent"]:
        return 0.0
    return min((model["within_objective"] for model in report["models"].values() if model["sent"]), default=0.0)


class Prober:
    """Probes of one daemon, and what daemon and generator took of the cores in the runs that were kept."""

    def __init__(self, mix, daemon, seconds, *more):
        self.mix, self.daemon, self.seconds, self.more = mix, daemon, seconds, more
        self.last_kept = None

    def __call__(self, factor, seed):
        report = offered(self.mix, self.daemon, factor, self.seconds, seed, *self.more)
        share = least_share(report)
        if share >= 0.99:
            self.last_kept = report
        return share

    def overhead(self):
        if self.last_kept is None:
            return "no run was kept"
        late = self.last_kept["total"]["send_lateness_ms"]
        return (f"daemon {self.last_kept['daemon_cores']:.2f} and generator {self.last_kept['client']['cores_used']:.2f} of the two cores, "
                f"sent late by p99 {late['p99'] if late else 0:.2f} ms; the host took {self.last_kept['stolen']:.1%}")


def engine_ns(daemon, models):
    """{model: (rows, nanoseconds of compute, batches)} since load."""
    totals = {}
    for model in models:
        sizes = daemon.batches(model)
        totals[model] = (sum(rows * count for rows, (count, _) in sizes.items()), sum(ns for _, ns in sizes.values()),
                         sum(count for count, _ in sizes.values()))
    return totals


def worker_pids(daemon):
    """Processes below the daemon."""
    pids, todo = [], [daemon.process.pid]
    while todo:
        pid = todo.pop()
        with contextlib.suppress(OSError):
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                children = [int(child) for child in (task / "children").read_text().split()]
                pids += children
                todo += children
    return pids


def worker_cpu_s(daemon):
    total = 0.0
    for pid in worker_pids(daemon):
        with contextlib.suppress(OSError):
            total += cpu_seconds(pid)
    return total


def settle(seconds=1.0):
    """Lets warm-ups in the background end, and queues drain."""
    time.sleep(seconds)


def check_alive(daemon):
    if daemon.process.poll() is not None:
        raise BenchError(f"the daemon ended with {daemon.process.returncode}; see its log")
