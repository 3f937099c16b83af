"""The figures about Evenkeel alone and its floors. Each function gives the figures that it promises; see FIGURES at the end."""

import http.client
import json
import subprocess
import tempfile
import time
import typing

from serve_processes import (CLIENT_CORE, ECHO_64, FLOORS, MODELS, SERVER_CORE, BenchError, Daemon, Floor, bench, cpu_seconds, median,
                             rss_mib)

SATURATED = 128    # requests in flight: two full batches, one running and one gathered
OBJECTIVE = "50ms"


def figure(name, value, unit, op, target, detail):
    passed = value is not None and (value >= target if op == ">=" else value <= target)
    return {"name": name, "value": value, "unit": unit, "op": op, "target": target, "pass": passed, "detail": detail}


class Goal(typing.NamedTuple):
    """A figure before it is measured."""

    name: str
    unit: str
    op: str
    target: float

    def got(self, value, detail):
        return figure(self.name, value, self.unit, self.op, self.target, detail)

    def failed(self, reason):
        return self.got(None, reason)


class Reading(typing.NamedTuple):
    """A figure without a target: it neither passes nor fails, and where it can't be measured that fails nothing."""

    name: str
    unit: str

    def got(self, value, detail):
        return {"name": self.name, "value": value, "unit": self.unit, "op": None, "target": None, "pass": None, "detail": detail}

    def failed(self, reason):
        return self.got(None, reason)


def promises(*goals):
    """What a function of figures gives, so that each is in the table, as failed, when the function fails."""
    def mark(function):
        function.goals = goals
        return function
    return mark


def spread(values):
    return "/".join(f"{v:.4g}" for v in values)


def seconds(options):
    return f"{options.seconds}s"


def engine_seconds_per_batch(model, rows, run_s):
    """Seconds for one batch in the engine alone: a plain loop on the server core."""
    program = FLOORS / "engine_floor_openvino"
    if not program.exists():
        raise BenchError(f"{program} is not built")
    command = ["taskset", "-c", str(SERVER_CORE), program, "--model", MODELS / model / "model.onnx", "--batch", rows, "--seconds", run_s]
    run = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise BenchError(f"engine_floor_openvino: {run.stderr.strip()[-300:]}")
    return rows / json.loads(run.stdout.strip().splitlines()[-1])["items_per_second"]


def served_items(daemon, model, protocol, options):
    """Items a second at saturation, and the batches that made them: {rows: count}."""
    url = daemon.url if protocol == "http" else daemon.grpc
    before = daemon.batches(model)
    report = bench(model, "--url", url, "--protocol", protocol, "-c", SATURATED, "-d", seconds(options))
    after = daemon.batches(model)
    sizes = {rows: count - before.get(rows, (0, 0))[0] for rows, (count, _) in after.items()}
    return report["total"]["items_per_s"], {rows: count for rows, count in sizes.items() if count > 0}


@promises(*(Goal(f"served/engine {model} {protocol}", "x", ">=", 0.95) for model in ("textcnn", "lstm") for protocol in ("http", "grpc")))
def served_vs_engine(options):
    """Items a second served at saturation over the engine alone at the same batch sizes"""
    goals = {goal.name: goal for goal in served_vs_engine.goals}
    for model in ("textcnn", "lstm"):
        with Daemon({model: MODELS / model}) as daemon:
            ratios = {"http": [], "grpc": []}
            served = {"http": [], "grpc": []}
            alone = []
            for _ in range(max(options.runs, 5)):  # the two are measured one after the other, and the machine's speed changes meanwhile
                for protocol in ratios:
                    items_per_s, sizes = served_items(daemon, model, protocol, options)
                    # The engine's time for the very mix of batches that was served, measured right after it. Sizes that
                    # carry under 2 % of the rows are left out of both sums.
                    rows_all = sum(rows * count for rows, count in sizes.items())
                    main = {rows: count for rows, count in sizes.items() if rows * count >= 0.02 * rows_all}
                    engine_s = sum(count * engine_seconds_per_batch(model, rows, options.seconds / len(main)) for rows, count in main.items())
                    engine_items_per_s = sum(rows * count for rows, count in main.items()) / engine_s
                    ratios[protocol].append(items_per_s / engine_items_per_s)
                    served[protocol].append(items_per_s)
                    alone.append(engine_items_per_s)
            for protocol, values in ratios.items():
                yield goals[f"served/engine {model} {protocol}"].got(
                    median(values), f"ratios {spread(values)}; served {spread(served[protocol])} items/s, alone {median(alone):.0f}; mean batch "
                                    f"{rows_all / max(sum(sizes.values()), 1):.1f}")


def cpu_us_per_request(pid, options, *arguments):
    """Server CPU in microseconds a request; warm-up apart."""
    bench(*arguments, "-d", "500ms")
    before = cpu_seconds(pid)
    report = bench(*arguments, "-d", seconds(options), "--warm-up", "0s")
    return (cpu_seconds(pid) - before) * 1e6 / report["total"]["sent"]


def echo_body():
    body = tempfile.NamedTemporaryFile(prefix="evenkeel-bench-", suffix=".bin")
    body.write(bytes(64))
    body.flush()
    return body


@promises(Goal("daemon CPU per HTTP request", "us", "<=", 25))
def cpu_http(options):
    """Daemon CPU a request over HTTP, 64 bytes each way, 32 in flight, beside a bare Beast echo"""
    load = ("-c", 32)
    with Daemon({"echo": ECHO_64}, daemon_core=SERVER_CORE) as daemon, Floor("http_echo_floor", grpc=False) as floor, echo_body() as body:
        ours, bare = [], []
        for _ in range(options.runs):
            ours.append(cpu_us_per_request(daemon.process.pid, options, "echo", "--url", daemon.url, *load))
            bare.append(cpu_us_per_request(floor.process.pid, options, "--raw", body.name, "--url", floor.url, *load))
    yield cpu_http.goals[0].got(median(ours), f"runs {spread(ours)}; bare Beast echo {spread(bare)}; daemon and worker on core {SERVER_CORE}")


@promises(Goal("daemon CPU per gRPC request / floor", "x", "<=", 1.3))
def cpu_grpc(options):
    """Daemon CPU a request over gRPC, 64 bytes each way, 32 in flight, over a bare callback echo"""
    load = ("--protocol", "grpc", "-c", 32)
    with Daemon({"echo": ECHO_64}, daemon_core=SERVER_CORE) as daemon, Floor("grpc_echo_floor", grpc=True) as floor, \
            Floor("http_echo_floor", grpc=False) as http_floor, echo_body() as body, \
            tempfile.NamedTemporaryFile(prefix="evenkeel-bench-") as message:
        message.write(echo_message())
        message.flush()
        ours, bare, http = [], [], []
        for _ in range(options.runs):
            ours.append(cpu_us_per_request(daemon.process.pid, options, "echo", "--url", daemon.grpc, *load))
            bare.append(cpu_us_per_request(floor.process.pid, options, "--raw", message.name, "--url", floor.grpc, *load))
            http.append(cpu_us_per_request(http_floor.process.pid, options, "--raw", body.name, "--url", http_floor.url, "-c", 32))
    yield cpu_grpc.goals[0].got(
        median([a / b for a, b in zip(ours, bare)]),
        f"daemon {spread(ours)} us, bare callback echo {spread(bare)} us; 32 streams on one connection; a bare "
        f"HTTP/1.1 echo costs {median(http):.1f} us, so a leaner HTTP/2 front could save at most {median(bare) - median(http):.0f} us")


def echo_message():
    """A ModelInferRequest for the echo model, written by hand: model_name = 1, inputs = 5, raw_input_contents = 7."""
    def field(number, payload):
        return bytes([number << 3 | 2, len(payload)]) + payload
    tensor = field(1, b"x") + field(2, b"FP32") + field(3, bytes([1, 16]))
    return field(1, b"echo") + field(5, tensor) + field(7, bytes(64))


@promises(*(Goal(f"added latency {protocol} p50", "us", "<=", 150) for protocol in ("http", "grpc")))
def added_latency(options):
    """Client's view minus engine time with one request in flight, p50"""
    with Daemon({"digits": MODELS / "digits"}) as daemon:
        added = {"http": [], "grpc": []}
        compute = []
        for _ in range(options.runs):
            for protocol, values in added.items():
                url = daemon.url if protocol == "http" else daemon.grpc
                total = bench("digits", "--url", url, "--protocol", protocol, "-c", 1, "-d", seconds(options))["total"]
                if "added_ms" not in total:
                    raise BenchError("the server reports no compute time (Server-Timing)")
                values.append(total["added_ms"]["p50"] * 1e3)
                compute.append(total["compute_ms"]["p50"] * 1e3)
    for goal, values in zip(added_latency.goals, added.values()):
        yield goal.got(median(values), f"runs {spread(values)}; engine {median(compute):.0f} us; worker on core {SERVER_CORE}, daemon and "
                                       f"client on {CLIENT_CORE}")


@promises(Goal("goodput at 2x capacity / peak", "x", ">=", 0.95), Goal("refusal latency p99", "ms", "<=", 10))
def overload(options):
    """Text CNN offered twice its capacity: goodput over its peak, and how fast refusals come"""
    with Daemon({"textcnn": MODELS / "textcnn"}) as daemon:
        base = ("textcnn", "--url", daemon.url, "--objective", OBJECTIVE, "--deadline", OBJECTIVE, "--timeout", "5s")
        ratios, refusals, notes = [], [], []
        for run in range(options.runs):
            closed = bench("textcnn", "--url", daemon.url, "-c", SATURATED, "-d", seconds(options))["total"]
            capacity = closed["requests_per_s"]
            peak = 0
            for share in (0.7, 0.85, 1.0):
                report = bench(*base, "-r", f"{capacity * share:.1f}", "-d", seconds(options), "--seed", run + 1, check=False)
                peak = max(peak, report["total"]["goodput_per_s"])
            total = bench(*base, "-r", f"{capacity * 2:.1f}", "-d", seconds(options), "--seed", run + 1, check=False)["total"]
            if total["unanswered"]:
                raise BenchError(f"{total['unanswered']} requests were not answered: {total['unanswered_by_reason']}")
            refused = total["errors_by_status"].get("429")
            ratios.append(total["goodput_per_s"] / peak)
            if refused:
                refusals.append(refused["latency_ms"]["p99"])
            late = total["send_lateness_ms"]["p99"]
            notes.append(f"capacity {capacity:.0f}/s peak {peak:.0f}/s at 2x {total['goodput_per_s']:.0f}/s, "
                         + ", ".join(f"{e['count']} x {s}" for s, e in total["errors_by_status"].items()) + f"; generator late by p99 {late:.2f} ms")
    goodput, refusal = overload.goals
    yield goodput.got(median(ratios), f"runs {spread(ratios)}; within {OBJECTIVE}; {notes[-1]}")
    yield refusal.got(median(refusals) if refusals else None, f"runs {spread(refusals)}; from the intended send time")


@promises(Goal("start to first answer", "ms", "<=", 200))
def ready(options):
    """From start to the first answer of digits, with a warm model cache"""
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}]})
    with tempfile.TemporaryDirectory(prefix="evenkeel-bench-") as state:
        times = []
        for _ in range(options.runs + 1):  # the first one fills the cache
            daemon = Daemon({"digits": MODELS / "digits"}, state=state)
            try:
                daemon.start()
                while True:
                    try:
                        if daemon.request("POST", "/v2/models/digits/infer", body, timeout_s=5)[0] == 200:
                            break
                    except (OSError, http.client.HTTPException):
                        pass
                    if time.monotonic() - daemon.started > 30:
                        raise BenchError("no answer within 30 s")
                    time.sleep(0.002)
                times.append((time.monotonic() - daemon.started) * 1e3)
            finally:
                daemon.close()
    yield ready.goals[0].got(median(times[1:]), f"runs {spread(times[1:])}; cold {times[0]:.0f}")


@promises(Goal("daemon RSS without models", "MiB", "<=", 40))
def rss_idle(options):
    """Resident memory of a daemon without models"""
    values = []
    for _ in range(options.runs):
        with Daemon({}) as daemon:
            time.sleep(0.5)
            values.append(rss_mib(daemon.process.pid))
    yield rss_idle.goals[0].got(median(values), f"runs {spread(values)}")


def cycle(daemon, count):
    for _ in range(count):
        for verb in ("unload", "load"):
            status, body = daemon.request("POST", f"/v2/repository/models/digits/{verb}", "{}")
            if status != 200:
                raise BenchError(f"{verb}: {status} {body[:200]}")


def grow_once(options):
    """Resident MiB of a fresh daemon before, after its requests, and after its load/unload cycles."""
    with Daemon({"digits": MODELS / "digits"}) as daemon:
        load = ("digits", "--url", daemon.url, "-c", 32, "--warm-up", "0s")
        # What is allocated once (pools, the allocator's arenas) is there before counting starts.
        bench(*load, "-n", max(options.requests // 10, 1))
        cycle(daemon, max(options.cycles // 25, 1))
        before = rss_mib(daemon.process.pid)
        bench(*load, "-n", options.requests)
        after_requests = rss_mib(daemon.process.pid)
        cycle(daemon, options.cycles)
        return before, after_requests, rss_mib(daemon.process.pid)


@promises(Goal("daemon RSS growth", "MiB", "<=", 5))
def growth(options):
    """Growth of the daemon's resident memory over requests and load/unload cycles"""
    runs = [grow_once(options) for _ in range(options.runs)]
    grown = [after - before for before, _, after in runs]
    before, after_requests, after = sorted(runs, key=lambda run: run[2] - run[0])[len(runs) // 2]
    yield growth.goals[0].got(
        median(grown), f"runs {spread(grown)}; the middle one {before:.1f} MiB, {after_requests - before:+.2f} by {options.requests} requests, "
                       f"{after - after_requests:+.2f} by {options.cycles} load/unload")


@promises(Goal("idle daemon with ten models", "% core", "<=", 0.2))
def idle_cpu(options):
    """CPU of an idle daemon with ten models, in percent of a core"""
    with Daemon({f"digits{i}": MODELS / "digits" for i in range(10)}) as daemon:
        time.sleep(3)
        values = []
        for _ in range(options.runs):
            before, start = cpu_seconds(daemon.process.pid), time.monotonic()
            time.sleep(max(options.seconds, 3))
            values.append((cpu_seconds(daemon.process.pid) - before) / (time.monotonic() - start) * 100)
    yield idle_cpu.goals[0].got(median(values), f"runs {spread(values)}")


FIGURES = {f.__name__: f for f in (served_vs_engine, cpu_http, cpu_grpc, added_latency, overload, ready, rss_idle, growth, idle_cpu)}
