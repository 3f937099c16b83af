"""Load tables of this machine, the simulator on them, and arrivals as files that simulator and generator both play."""

import concurrent.futures
import csv
import gzip
import json
import pathlib
import random
import subprocess
import tempfile

from serve_processes import BUILD, CORES, EVENKEEL, MODELS, ROOT, BenchError, median

TRACES = ROOT / "bench" / "traces"
TABLE = BUILD / "bench" / "batching_table.json"
# What each model of the figures aims at, and the sizes that its table has.
OBJECTIVES_MS = {"ctr": 20, "textcnn": 50, "lstm": 50, "filetype": 100}
SIZES = (1, 2, 4, 8, 16, 32, 64)
PASSES = 3  # over all models: the machine's speed changes by more than the sizes differ, and a slow minute must not hit one size alone


def profiled(model, folder):
    """Rows of one model on one core, by `evenkeel profile`."""
    command = [EVENKEEL, "profile", MODELS / model, "--shapes", "1c/1GiB", "--batches", ",".join(map(str, SIZES)), "--full",
               "--runtime", "process", "--state", folder / "state", "--cache", folder / "cache", "-o", "json"]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=300)
    if run.returncode != 0:
        raise BenchError(f"evenkeel profile {model}: {run.stderr.strip()[-300:]}")
    rows = json.loads(run.stdout)["models"][0]["rows"]
    kept = [r for r in rows if r["outcome"] == "ok" and r["cores"] == 1 and r.get("precision", "f32") == "f32"]
    if not any(r["batch"] == 1 for r in kept):
        raise BenchError(f"evenkeel profile {model}: no row for one item on one core: {run.stdout[:300]}")
    return [{key: r[key] for key in ("batch", "batchtime_us", "p99_us", "nobatchtime_us")} for r in kept]


def at_one_speed(passes):
    """One table of several passes, as if the machine had kept the speed of the fastest. Each cell was measured by turns with its items
    one by one, so that what it gains is known whatever the speed was; the time of one item is that of the fastest pass."""
    item_us = min(median([r["nobatchtime_us"] / r["batch"] for r in rows]) for rows in passes)
    table = []
    for size in sorted({r["batch"] for rows in passes for r in rows}):
        cells = [r for rows in passes for r in rows if r["batch"] == size]
        batch_us = median([r["batchtime_us"] / r["nobatchtime_us"] for r in cells]) * size * item_us
        table.append({"cores": 1, "batch": size, "batchtime_us": round(batch_us, 3),
                      "p99_us": round(batch_us * median([r["p99_us"] / r["batchtime_us"] for r in cells]), 3)})
    return table


def tables(options):
    """The file with this machine's tables: --tables, else measured once a run."""
    if options.tables:
        return pathlib.Path(options.tables)
    if "tables" not in options.shared:
        passes = []
        for _ in range(PASSES):
            with tempfile.TemporaryDirectory(prefix="evenkeel-bench-") as folder:
                passes.append({model: profiled(model, pathlib.Path(folder)) for model in OBJECTIVES_MS})
        models = [{"name": model, "objective_ms": objective, "rows": at_one_speed([rows[model] for rows in passes])}
                  for model, objective in OBJECTIVES_MS.items()]
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        TABLE.write_text(json.dumps({"schema": "evenkeel.load-tables/v1", "models": models}, indent=1) + "\n")
        options.shared["tables"] = TABLE
    return options.shared["tables"]


def rows_of(options, model):
    """{size: microseconds of a batch} on one core."""
    document = json.loads(tables(options).read_text())
    found = next((m for m in document["models"] if m["name"] == model), None)
    if found is None:
        raise BenchError(f"no table of {model} in {tables(options)}")
    return {r["batch"]: r["batchtime_us"] for r in found["rows"] if r["cores"] == 1}


def best_row_us(options, model):
    return min(us / size for size, us in rows_of(options, model).items())


def table_seen(options, daemon, model, objective_ms, path):
    """A file with the T(b) that a daemon measured in service, on one core; scattered as in the sweep, since a daemon keeps means."""
    sweep = next(m for m in json.loads(tables(options).read_text())["models"] if m["name"] == model)["rows"]
    scatter = median([r["p99_us"] / r["batchtime_us"] for r in sweep])
    status, answer = daemon.request("GET", f"/v2/models/{model}/batching")
    if status != 200:
        raise BenchError(f"{status} {answer[:200]}")
    rows = [{"cores": 1, "batch": int(size), "batchtime_us": round(ms * 1e3, 3), "p99_us": round(ms * 1e3 * scatter, 3)}
            for size, ms in json.loads(answer)["batch_time_ms"].items()]
    models = [{"name": model, "objective_ms": objective_ms, "rows": sorted(rows, key=lambda r: r["batch"])}]
    pathlib.Path(path).write_text(json.dumps({"schema": "evenkeel.load-tables/v1", "models": models}) + "\n")
    return path


def simulate(options, arrivals, policy, seconds, *more, seed=1, warm_up_s=None, table=None):
    """The simulator's report; with --goodput among `more` and no factor that is kept, a report with the factor 0."""
    command = [EVENKEEL, "simulate", "--models", table or tables(options), "--policy", policy, "--seconds", seconds, "--seed", seed, "--warm-up",
               min(2, seconds / 5) if warm_up_s is None else warm_up_s, "-o", "json", *more]
    for each in arrivals:
        command += ["--arrivals", each]
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=300)
    if run.returncode == 1 and "--goodput" in more:
        return {"factor": 0.0}
    if run.returncode != 0:
        raise BenchError(f"{' '.join(str(part) for part in command)}: {run.stderr.strip()[-300:]}")
    return json.loads(run.stdout)


def sim_goodput(options, arrivals, policy, seconds, *more, seed=1):
    return simulate(options, arrivals, policy, seconds, "--goodput", *more, seed=seed)["factor"]


def in_parallel(function, items):
    """Results in the items' order, on all cores: the simulator's time is virtual."""
    with concurrent.futures.ThreadPoolExecutor(len(CORES)) as pool:
        return list(pool.map(function, items))


# One model's arrivals at a mean of 1,000 requests a second times a factor: name, spec for the simulator, seconds of it.
SHAPES = {
    "Poisson": ("poisson:1000", 20),
    "steps": ("steps:300@3/1500@3/300@3", 18),
    "World Cup": (f"counts:{TRACES}/wc98_two_days.csv.gz,bin=200ms,rate=1000", 576),
    "ServeGen": (f"clients:{TRACES}/servegen_m-small_busiest_hour.csv.gz,speed=60,rate=1000", 60),
    "Azure code": (f"counts:{TRACES}/azure_code_2023_seconds.csv.gz,bin=50ms,rate=1000", 60),
}
# Cuts for live runs: how their counts a bin come about, and the width of a bin in seconds.
CUTS = {"World Cup": ("wc98_two_days.csv.gz", 0.2), "Azure code": ("azure_code_2023_seconds.csv.gz", 0.05),
        "ServeGen": ("servegen_m-small_busiest_hour.csv.gz", 0.5), "steps": (((300, 3), (1500, 3), (300, 3)), 0.5)}
SERVEGEN_SPEED = 60


def clients_of(file):
    """Clients of a trace by window: (start, end, requests a second, coefficient of variation of the gaps), as played."""
    with gzip.open(TRACES / file, "rt") as f:
        rows = [(float(r["t_s"]), float(r["rate_rps"]), float(r["iat_cv"])) for r in csv.DictReader(f)]
    starts = sorted({start for start, _, _ in rows})
    window = min(later - start for start, later in zip(starts, starts[1:]))
    return [((start - starts[0]) / SERVEGEN_SPEED, (start - starts[0] + window) / SERVEGEN_SPEED, rate, cv) for start, rate, cv in rows if rate > 0]


def counts_of(name):
    """Requests a bin of the whole trace, up to a factor."""
    source, width = CUTS[name]
    if name == "steps":
        return [rate * width for rate, seconds in source for _ in range(round(seconds / width))]
    if name == "ServeGen":
        clients = clients_of(source)
        bins = round(max(end for _, end, _, _ in clients) / width)
        return [sum(rate * width for start, end, rate, _ in clients if start <= (i + 0.5) * width < end) for i in range(bins)]
    with gzip.open(TRACES / source, "rt") as f:
        return [float(line[-1]) for line in list(csv.reader(f))[1:]]


def cut_at(name, seconds):
    """Where the stretch of `seconds` with the most requests begins (its first bin), its counts a bin, and a bin's width."""
    width = CUTS[name][1]
    counts = counts_of(name)
    length = min(max(1, round(seconds / width)), len(counts))
    sums = [0.0]
    for count in counts:
        sums.append(sums[-1] + count)
    begin = max(range(len(counts) - length + 1), key=lambda i: sums[i + length] - sums[i])
    return begin, counts[begin:begin + length], width


def peak_over_mean(name, seconds):
    """How much the busiest half second of a cut exceeds its mean: what bounds the factor that can be kept."""
    _, counts, width = cut_at(name, seconds)
    span = max(1, round(0.5 / width))
    busiest = max(sum(counts[i:i + span]) / span for i in range(max(1, len(counts) - span + 1)))
    return max(busiest / max(sum(counts) / len(counts), 1e-9), 1.0)


def drawn_in_bins(counts, width, scale, rng):
    """Arrivals inside a bin drawn evenly."""
    times = []
    for i, count in enumerate(counts):
        expected = count * scale
        number = int(expected) + (rng.random() < expected % 1)
        times += [(i + rng.random()) * width for _ in range(number)]
    return times


def drawn_by_clients(clients, begin, end, scale, rng):
    """Each client's gaps are gamma distributed, as the simulator draws them."""
    times = []
    for start, stop, rate, cv in clients:
        gap = 1 / (rate * scale)
        shape = 1 / max(cv, 1e-3) ** 2
        at = max(start, begin) + rng.random() * rng.gammavariate(shape, gap / shape)
        while at < min(stop, end):
            times.append(at - begin)
            at += rng.gammavariate(shape, gap / shape)
    return times


def write_cut(path, name, rate_rps, seconds, seed):
    """A file of arrival times: the cut at a mean of `rate_rps`."""
    first, counts, width = cut_at(name, seconds)
    rng = random.Random(seed)
    scale = rate_rps * width * len(counts) / max(sum(counts), 1e-9)
    if name == "ServeGen":
        times = drawn_by_clients(clients_of(CUTS[name][0]), first * width, (first + len(counts)) * width, scale, rng)
    else:
        times = drawn_in_bins(counts, width, scale, rng)
    if not times:
        raise BenchError(f"no arrivals in the cut of {name} at {rate_rps:.3g} a second")
    with gzip.open(path, "wt", compresslevel=1) as f:
        f.write("t_s\n" + "\n".join(f"{t:.6f}" for t in sorted(times)) + "\n")
    return len(times)
