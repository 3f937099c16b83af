"""Figures of one model at a time, live: traces, cores, one by one, power, a model that gains nothing, the simulator, from zero."""

import contextlib
import http.client
import json
import subprocess
import tempfile
import time

import batching_live as live
import batching_tables as sim
from batching_search import Search, again, left, take_turns, with_doubt
from batching_simulated import tuned_for
from serve_figures import figure, spread
from serve_processes import FLOORS, MODELS, BenchError, bench, median

TRACE_OBJECTIVE_MS = 50
LIVE_TRACES = ("World Cup", "Azure code")
MORE_TRACES = ("ServeGen", "steps")  # where there is time


def values_of(rounds, name):
    """Factors of one search in every round; without those that ran out of time before they kept anything."""
    return [search.found for searches in rounds for search in searches if search.name == name and (search.kept or search.settled)]


def compare(searches, options, reserve_s=0.0):
    """{name: factors of each round}: all searches by turns, then again with other arrivals while time is left."""
    take_turns(searches, options, reserve_s)
    rounds = [searches]
    for seed in range(2, options.runs + 1):
        if left(options) - reserve_s < 5 * len(searches) * options.seconds:
            break
        more = [again(search, seed) for search in searches]
        take_turns(more, options, reserve_s)
        rounds.append([search for search in more if search.settled])
    return {search.name: values_of(rounds, search.name) for search in searches}


def ratio(found, searches, over, under, op, target, name, detail):
    """The figure found[over] / found[under]; a failed one with the reason where there is none of either."""
    if not found[over] or not found[under] or not median(found[under]):
        return figure(name, None, "x", op, target, f"not measured: {'; '.join(str(search) for search in searches)}; {detail}")
    result = figure(name, median(found[over]) / median(found[under]), "x", op, target,
                    f"{'; '.join(f'{search} ({spread(found[search.name])})' for search in searches)}; {detail}")
    ours = next(search for search in searches if search.name == over)
    return with_doubt(result, ours, [search for search in searches if search.name == under])


def trace_probe(daemon, shape, seconds, folder):
    def probe(factor, seed):
        file = f"{folder}/{shape.replace(' ', '_')}_{factor:.5g}_{seed}.csv.gz"
        sim.write_cut(file, shape, 1000 * factor, seconds, seed)
        return live.least_share(live.played("lstm", daemon, TRACE_OBJECTIVE_MS, file, "--seed", seed))
    return probe


def traces_live(options):
    """LSTM on cuts of two traces (four in 100 minutes), live: auto over the fixed settings that the simulator found best"""
    seconds = max(options.seconds * 2, 6)
    mix = live.single("lstm", TRACE_OBJECTIVE_MS)
    figures = []
    shapes = LIVE_TRACES + (MORE_TRACES if options.minutes >= 100 else ())
    for number, shape in enumerate(shapes):
        reserve = left(options) * (1 - 1 / (len(shapes) - number))
        settings = tuned_for(options, "lstm", shape)[:2 if options.minutes >= 40 else 1]
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="evenkeel-bench-"))
            daemons = {"auto": stack.enter_context(live.node(mix))}
            for delay, size, _ in settings:
                daemons[f"fixed {delay:g}ms/{size}"] = stack.enter_context(live.node(mix, "fixed", {"lstm": (delay, size)}))
            for daemon in daemons.values():
                live.saturation(mix, daemon, 1)
            guess = 0.7 * live.saturation(mix, daemons["auto"], 1) / sim.peak_over_mean(shape, seconds)
            searches = [Search(name, trace_probe(daemon, shape, seconds, folder), guess) for name, daemon in daemons.items()]
            found = compare(searches, options, reserve)
        best = max((name for name in found if name != "auto"), key=lambda name: median(found[name]) if found[name] else 0)
        figures.append(ratio(found, searches, "auto", best, ">=", 0.97, f"live trace {shape}: auto over best fixed",
                             f"factor on 1,000 a second, the cut of {seconds:.0f} s with the most requests, objective {TRACE_OBJECTIVE_MS} ms"))
    return figures


def engine_alone(model, rows, cores, seconds):
    """Items a second of the engine in a plain loop, one process of one thread on each of these cores, at once."""
    program = FLOORS / "engine_floor_openvino"
    if not program.exists():
        raise BenchError(f"{program} is not built")
    command = [program, "--model", MODELS / model / "model.onnx", "--batch", rows, "--seconds", seconds]
    runs = [subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdout=subprocess.PIPE, text=True) for core in cores]
    return sum(json.loads(run.communicate(timeout=60)[0].strip().splitlines()[-1])["items_per_second"] for run in runs)


def two_cores(options):
    """Text CNN, auto: goodput with two instances on two cores over one on one"""
    rows = 8
    limits = [engine_alone("textcnn", rows, live.SHARED, 1) / engine_alone("textcnn", rows, live.SHARED[:1], 1) for _ in range(3)]
    base = {"one core": (1, live.SHARED[:1]), "two cores": (2, live.SHARED)}
    mix = live.single("textcnn", 50, rate=100)
    with contextlib.ExitStack() as stack:
        searches = []
        for name, (instances, cores) in base.items():
            daemon = stack.enter_context(live.node(mix, cores=cores, more=f"instances: {instances}\n"))
            prober = live.Prober(mix, daemon, options.seconds, "--batch", rows)
            # Sent rows at once, so that daemon and generator hardly need the two cores that are to be compared.
            closed = bench(*live.load_flags(mix, daemon), "--batch", rows, "-c", 16, "-d", "1.5s", "--warm-up", live.WARM_UP, core=live.SHARED)
            searches.append(Search(name, prober, closed["total"]["requests_per_s"] / mix.total * 0.9))
        found = compare(searches, options)
        detail = (f"goodput within 50 ms in 100 requests of {rows} rows a second, so that front end and generator are small: "
                  f"{searches[1].probe.overhead()}; the engine alone, in batches of {rows}, on both cores over one: {spread(limits)}")
    return [ratio(found, searches, "two cores", "one core", ">=", 1.85, "text CNN: two cores over one", detail)]


def against_none(options):
    """Click-through, one instance: goodput of auto over none"""
    mix = live.single("ctr", 20)
    with contextlib.ExitStack() as stack:
        searches = []
        for policy in ("auto", "none"):
            daemon = stack.enter_context(live.node(mix, policy))
            searches.append(Search(policy, live.Prober(mix, daemon, options.seconds), live.saturation(mix, daemon, 1.5) * 0.8))
        found = compare(searches, options)
        detail = f"goodput within 20 ms in 1,000 a second; {searches[0].probe.overhead()}"
    return [ratio(found, searches, "auto", "none", ">=", 6, "click-through: auto over none", detail)]


def full_batches_us(mix, daemon, model, rows=64):
    """Engine time a row of whole batches, one after the other: what the table's best row is at this minute's speed of the machine."""
    before = live.engine_ns(daemon, [model])[model]
    bench(*live.load_flags(mix, daemon), "--batch", rows, "-c", 1, "-d", "800ms", "--warm-up", "200ms", core=live.SHARED)
    after = live.engine_ns(daemon, [model])[model]
    if after[0] == before[0]:
        raise BenchError("no whole batch was answered")
    return (after[1] - before[1]) / 1e3 / (after[0] - before[0])


def paced_batches_us(mix, daemon, model, rows_per_s, rows=64):
    """The same at a pace: what batches cost that find caches and processor cold, as those of a load below one core do."""
    before = live.engine_ns(daemon, [model])[model]
    bench(*live.load_flags(mix, daemon), "--batch", rows, "--rate", f"{rows_per_s / rows:.2f}", "-d", "1s", "--warm-up", "200ms", core=live.SHARED, check=False)
    after = live.engine_ns(daemon, [model])[model]
    return (after[1] - before[1]) / 1e3 / max(after[0] - before[0], 1)


def power(options):
    """Click-through with power: save: engine time a row over the table's best, at 20 to 70 % load, objective kept"""
    mix = live.single("ctr", 20)
    loads = (0.2, 0.3, 0.5, 0.7)
    ratios, within, notes = {load: [] for load in loads}, {load: [] for load in loads}, {}
    with live.node(mix, flags=("--power", "save")) as daemon:
        live.saturation(mix, daemon, 1.5)
        best = full_batches_us(mix, daemon, "ctr")
        rounds = 0
        while rounds < max(3, options.runs) and (rounds == 0 or left(options) > len(loads) * (options.seconds + 4)):
            rounds += 1
            for load in loads:
                live.settle(0.3)
                best_before = full_batches_us(mix, daemon, "ctr")
                before, cpu_before = live.engine_ns(daemon, ["ctr"])["ctr"], live.worker_cpu_s(daemon)
                report = live.offered(mix, daemon, load * 1e3 / best_before, options.seconds, rounds)
                after, cpu_after = live.engine_ns(daemon, ["ctr"])["ctr"], live.worker_cpu_s(daemon)
                best = (best_before + full_batches_us(mix, daemon, "ctr")) / 2
                rows, engine_us = after[0] - before[0], (after[1] - before[1]) / 1e3
                if not rows:
                    raise BenchError(f"nothing was answered at load {load}")
                ratios[load].append(engine_us / rows / best)
                paced = paced_batches_us(mix, daemon, "ctr", load * 1e6 / best)
                within[load].append(live.least_share(report))
                notes[load] = (f"{engine_us / rows:.1f} us a row in batches of {rows / (after[2] - before[2]):.1f}, whole batches {best:.1f}, at this pace {paced:.1f} "
                               f"({(cpu_after - cpu_before) * 1e6 / rows:.1f} us CPU of the worker process)")
    worst = max(median(values) for values in ratios.values())
    result = figure("power save: engine time a row over the best", worst, "x", "<=", 1.15,
                    "; ".join(f"load {load}: {median(ratios[load]):.2f} x ({spread(ratios[load])}), {median(within[load]):.2%} within 20 ms, last "
                              f"run {notes[load]}" for load in loads)
                    + "; the worst load counts; the best is that of whole batches of 64, just before and after each run")
    if any(median(values) < 0.99 for values in within.values()):
        result["pass"] = False
        result["detail"] = "the objective was not kept at every load; " + result["detail"]
    return [result]


def filetype_live(options):
    """File type (batching gains nothing): p99 of auto over none, paired runs"""
    mix = live.single("filetype", 100, rate=1)
    rate = 0.6e6 / sim.rows_of(options, "filetype")[1]
    with live.node(mix) as auto, live.node(mix, "none") as none:
        p99 = {"auto": [], "none": []}
        for daemon in (auto, none):
            live.offered(mix, daemon, rate, 1, 99)
        pairs = 0
        while pairs < max(3, 2 * options.runs) and (pairs < 3 or left(options) > 2.5 * options.seconds):
            pairs += 1
            order = [("auto", auto), ("none", none)]
            for name, daemon in order if pairs % 2 else reversed(order):
                report = live.offered(mix, daemon, rate, options.seconds, pairs)
                if not report["total"]["ok"]:
                    raise BenchError(f"{name} answered nothing at {rate:.0f} a second")
                p99[name].append(report["total"]["latency_ms"]["p99"])
    ratios = [a / b for a, b in zip(p99["auto"], p99["none"])]
    return [figure("file type: p99 of auto over none", median(ratios), "x", "<=", 1.1,
                   f"pairs {spread(ratios)}; auto {spread(p99['auto'])} ms, none {spread(p99['none'])} ms; {rate:.0f} a second, 0.6 of one core")]


def sim_vs_live(options):
    """LSTM on one trace: simulated p50, p99, mean batch and core time beside live"""
    seconds, load = max(options.seconds * 2, 8), 0.5
    rate = load * 1e6 / sim.best_row_us(options, "lstm")
    mix = live.single("lstm", TRACE_OBJECTIVE_MS)
    with tempfile.TemporaryDirectory(prefix="evenkeel-bench-") as folder, live.node(mix) as daemon:
        trace = f"{folder}/trace.csv.gz"
        sim.write_cut(trace, "World Cup", rate, seconds, 1)
        live.saturation(mix, daemon, 2)
        # Played once before: a batch after a pause takes longer than one right after another, which is all that a sweep measures.
        # The daemon's own T(b) knows that then, and the runs after it, which count, are predicted with it.
        live.played("lstm", daemon, TRACE_OBJECTIVE_MS, trace, warm_up="0s")
        front_us = beside_the_engine_us(mix, daemon, "lstm")
        seen = sim.table_seen(options, daemon, "lstm", TRACE_OBJECTIVE_MS, f"{folder}/seen.json")
        runs = {"p50": [], "p99": [], "mean batch": [], "core seconds": []}
        for run in range(max(3, options.runs)):
            if run and left(options) < seconds + 2:
                break
            live.settle(0.5)
            # The warm-up of the generator would be in the statistics: it is left out here, the daemon is warm.
            before = live.engine_ns(daemon, ["lstm"])["lstm"]
            report = live.played("lstm", daemon, TRACE_OBJECTIVE_MS, trace, "--seed", run + 1, warm_up="0s")
            rows, ns, batches = (b - a for a, b in zip(before, live.engine_ns(daemon, ["lstm"])["lstm"]))
            if not batches or not report["total"]["ok"]:
                raise BenchError("nothing was answered")
            runs["p50"].append(report["total"]["latency_ms"]["p50"])
            runs["p99"].append(report["total"]["latency_ms"]["p99"])
            runs["mean batch"].append(rows / batches)
            runs["core seconds"].append(ns / 1e9)
        simulated, hot = (simulated_like_live(table, options, trace, seconds, front_us) for table in (seen, sim.tables(options)))
    figures = []
    for name, values in runs.items():
        middle = median(values)
        allowed = max(15.0, (max(values) - min(values)) / middle * 100)
        figures.append(figure(f"simulated {name} off live", abs(simulated[name] / middle - 1) * 100, "%", "<=", round(allowed, 1),
                              f"simulated {simulated[name]:.4g} with the T(b) of a run before, {hot[name]:.4g} with the sweep's; live {spread(values)}; {front_us:.0f} us beside queue and engine, as one request alone has them; LSTM, World Cup cut of {seconds:.0f} s at {rate:.0f} a second, "
                              "half of one core; the target is 15 % or the spread of the live runs"))
    return figures


def beside_the_engine_us(mix, daemon, model):
    """What a client waits beside the engine, median, while one request is in flight: reading, hand-over, answering."""
    before = live.engine_ns(daemon, [model])[model]
    report = bench(*live.load_flags(mix, daemon), "-c", 1, "-d", "1s", "--warm-up", "200ms", core=live.SHARED)
    _, ns, batches = (b - a for a, b in zip(before, live.engine_ns(daemon, [model])[model]))
    return max(0.0, report["total"]["latency_ms"]["p50"] * 1e3 - ns / 1e3 / batches)


def simulated_like_live(table, options, trace, seconds, front_us):
    found = sim.simulate(options, [f"lstm=trace:{trace}"], "auto", seconds + 1, "--objective", "lstm=50ms", "--front-us", f"{front_us:.1f}", warm_up_s=0,
                         table=table)["models"][0]
    return {"p50": found["latency_ms"]["p50"], "p99": found["latency_ms"]["p99"], "mean batch": found["batches"]["mean_rows"],
            "core seconds": found["core_seconds"]}


def from_zero(options):
    """From no instance, runtime oci, model cache warm: time to the first answer of digits and file type"""
    figures = []
    for model, target in (("digits", 250), ("filetype", 300)):
        try:
            times = first_answers(model, max(3, options.runs))
            figures.append(figure(f"from zero, oci: first answer of {model}", median(times), "ms", "<=", target, f"runs {spread(times)}"))
        except (BenchError, OSError, KeyError, ValueError) as error:
            figures.append(figure(f"from zero, oci: first answer of {model}", None, "ms", "<=", target, f"not measured: {error}"))
    return figures


def instances_of(daemon, model):
    connection = http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    counts = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
              if line.startswith("evenkeel_instances{") and f'model="{model}"' in line]
    if not counts:
        raise BenchError(f"no evenkeel_instances of {model} among the metrics")
    return sum(counts)  # a line a shape


def first_answers(model, count):
    """Milliseconds from a request to its answer while the model has no instance. The first one fills the cache and does not count."""
    mix = live.single(model, 100)
    times = []
    with live.node(mix, flags=("--runtime", "oci"), more="min_instances: 0\nkeep_alive: 1s\n") as daemon:
        body = one_request(daemon, model)
        for _ in range(count + 1):
            wait_for_none(daemon, model)
            begin = time.monotonic()
            status, answer = daemon.request("POST", f"/v2/models/{model}/infer", body, timeout_s=30)
            times.append((time.monotonic() - begin) * 1e3)
            if status != 200:
                raise BenchError(f"{status} {answer[:200]}")
    return times[1:]


def one_request(daemon, model):
    """A request of zeros for the first input of the model's metadata."""
    status, body = daemon.request("GET", f"/v2/models/{model}")
    if status != 200:
        raise BenchError(f"metadata of {model}: {status} {body[:200]}")
    tensors = []
    for tensor in json.loads(body)["inputs"]:
        shape = [1 if size < 0 else size for size in tensor["shape"]]
        count = 1
        for size in shape:
            count *= size
        tensors.append({"name": tensor["name"], "datatype": tensor["datatype"], "shape": shape, "data": [0] * count})
    return json.dumps({"inputs": tensors})


def wait_for_none(daemon, model, timeout_s=20):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if instances_of(daemon, model) == 0:
            time.sleep(0.1)
            return
        time.sleep(0.05)
    raise BenchError(f"{model} still has instances {timeout_s} s after its last request")


FIGURES = {f.__name__: f for f in (against_none, two_cores, power, filetype_live, sim_vs_live, from_zero, traces_live)}
