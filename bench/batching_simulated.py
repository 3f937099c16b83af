"""Figures in virtual time, on this machine's load tables: traces, file type, distance from the optimum; and what a decision costs."""

import csv
import itertools
import json
import pathlib
import subprocess
import tempfile

import batching_tables as sim
from serve_figures import figure, spread
from serve_processes import FLOORS, BenchError, median

MODEL = "lstm"
DELAYS_MS = (0, 5, 15)
FIXED_SIZES = (8, 24, 64)


def scaled(shape, options):
    """Spec and length of a shape; the longest is shortened where time is short."""
    spec, seconds = sim.SHAPES[shape]
    return spec, seconds if options.minutes >= 40 else min(seconds, 120)


def tuned_for(options, model, shape):
    """[(delay_ms, size, factor)] of `fixed` on a shape, best first; searched once a run."""
    key = f"fixed {model} {shape}"
    if key not in options.shared:
        spec, seconds = scaled(shape, options)
        choices = list(itertools.product(DELAYS_MS, FIXED_SIZES))
        factors = sim.in_parallel(
            lambda c: sim.sim_goodput(options, [f"{model}={spec}"], "fixed", seconds, "--objective", f"{model}=50ms", "--delay",
                                      f"{model}={c[0]}ms", "--max-batch", f"{model}={c[1]}"), choices)
        found = [(delay, size, factor) for (delay, size), factor in zip(choices, factors)]
        options.shared[key] = sorted(found, key=lambda each: each[2], reverse=True)
    return options.shared[key]


def traces_sim(options):
    """LSTM on every trace, objective 50 ms, simulated: auto over the best fixed of nine settings"""
    figures = []
    for shape in sim.SHAPES:
        spec, seconds = scaled(shape, options)
        arrivals, more = [f"{MODEL}={spec}"], ("--objective", f"{MODEL}=50ms")
        delay, size, best = tuned_for(options, MODEL, shape)[0]
        auto, greedy = sim.in_parallel(lambda policy: sim.sim_goodput(options, arrivals, policy, seconds, *more), ("auto", "gated-greedy"))
        figures.append(figure(f"simulated {shape}: auto over best fixed", auto / best if best else None, "x", ">=", 0.97,
                              f"auto {auto:.4g}, best fixed {best:.4g} ({delay} ms, {size}), gated-greedy {greedy:.4g}; "
                              f"factor on 1,000 a second, {seconds} s of arrivals"))
    return figures


def rules_sim(options):
    """LSTM on the World Cup trace, objective 50 ms, simulated: auto over the method and over no batching, on one core and on two"""
    spec, seconds = scaled("World Cup", options)
    choices = [(policy, cores) for cores in (1, 2) for policy in ("auto", "method", "none")]
    factors = dict(zip(choices, sim.in_parallel(
        lambda c: sim.sim_goodput(options, [f"{MODEL}={spec}"], c[0], seconds, "--objective", f"{MODEL}=50ms", "--cores", c[1],
                                  "--instances", f"{MODEL}={c[1]}"), choices)))
    said = "; ".join(f"{cores} cores: " + ", ".join(f"{policy} {factors[policy, cores]:.4g}" for policy in ("auto", "method", "none")) for cores in (1, 2))
    return [figure(f"simulated World Cup, {cores} core{'s' if cores > 1 else ''}: auto over {other}",
                   factors["auto", cores] / factors[other, cores] if factors[other, cores] else None, "x", ">=", 1.0,
                   f"{said}; an instance of one thread a core; factor on 1,000 a second, {seconds} s of arrivals")
            for cores in (1, 2) for other in ("method", "none")]


def batches_of(options, arrivals, policy, seconds, *more):
    """[(start in ns, rows)] of all batches of one model, and its report."""
    with tempfile.TemporaryDirectory(prefix="evenkeel-bench-") as folder:
        file = pathlib.Path(folder) / "batches.csv"
        model = sim.simulate(options, arrivals, policy, seconds, "--batches", file, *more)["models"][0]
        with file.open() as lines:
            return [(int(row["at_ns"]), int(row["rows"])) for row in csv.DictReader(lines)], model


def filetype_sim(options):
    """File type, simulated: decisions (start and rows) of auto that differ from those of none"""
    worst, notes = 0, []
    for load in (0.3, 0.6, 0.9):
        rate = load * 1e6 / sim.rows_of(options, "filetype")[1]
        arrivals = [f"filetype=poisson:{rate:.3f}"]
        (auto, ours), (none, theirs) = sim.in_parallel(lambda policy: batches_of(options, arrivals, policy, 300, "--cores", 1), ("auto", "none"))
        differ = len(set(auto) ^ set(none))
        worst = max(worst, differ)
        first = min(set(auto) ^ set(none), default=None)
        notes.append(f"load {load}: {len(auto)} batches of auto, {len(none)} of none, {differ} in one list only"
                     f"{f', the first at {first[0] / 1e9:.3f} s' if first else ''}, mean latency {ours['latency_ms']['mean']:.4g} and "
                     f"{theirs['latency_ms']['mean']:.4g} ms")
    return [figure("file type, simulated: decisions unlike none", worst, "batches", "<=", 0, f"start (ns) and rows compared; {'; '.join(notes)}")]


DEAR = 0.05  # of the objective: what a row's core time at its best size costs in the optimum at a price


def cost_of(report, objective_ms, price):
    """Mean cost a row, as smdp has it: latency over the objective, and core time at its price."""
    return report["latency_ms"]["mean"] / objective_ms + price * report["core_us_per_row"] * 1e-6


def optimum(options):
    """Mean cost over the optimum (smdp) at loads 0.1 to 0.9 of four models, without and with a price of core time, simulated"""
    document = json.loads(sim.tables(options).read_text())
    loads = (0.1, 0.3, 0.5, 0.7, 0.9)
    figures = []
    for model in document["models"]:
        name, objective_ms = model["name"], model["objective_ms"]
        usable = {size: us for size, us in sim.rows_of(options, name).items() if us <= 1e3 * objective_ms}
        if not usable:
            figures.append(figure(f"{name}: mean cost over the optimum", None, "x", "<=", 1.1, "not measured: no size fits the objective"))
            continue
        full = 1e6 / min(us / size for size, us in usable.items())
        for price in (0, DEAR * full):
            def over(load, name=name, objective_ms=objective_ms, usable=usable, full=full, price=price):
                more = ("--cores", 1, "--max-batch", f"{name}={max(usable)}", *(("--price", price) if price else ()))
                costs = [cost_of(sim.simulate(options, [f"{name}=poisson:{load * full:.3f}"], policy, max(20, 20000 / (load * full)), *more)
                                 ["models"][0], objective_ms, price) for policy in ("auto", "smdp")]
                return costs[0] / costs[1]

            ratios = sim.in_parallel(over, loads)
            at = f" at price {price:.3g}" if price else ""
            figures.append(figure(f"{name}: mean cost over the optimum{at}", max(ratios), "x", "<=", 1.1,
                                  f"at loads {'/'.join(map(str, loads))}: {spread(ratios)}; the worst counts; Poisson arrivals, one core; "
                                  + (f"a core-second costs {price:.3g} objectives, so a row at its best size {DEAR:.0%} of one" if price
                                     else "no price: the mean cost is the mean latency")))
    return figures


def decision(options):
    """What a decision, a forecast update and a model's memory cost; how fast the simulator is"""
    program = FLOORS / "batching_policy"
    if not program.exists():
        raise BenchError(f"{program} is not built")
    repeats = max(options.runs, 3)
    run = subprocess.run([str(program), "--benchmark_format=json", "--benchmark_min_time=0.2", f"--benchmark_repetitions={repeats}",
                          "--benchmark_filter=Decide/auto|DecideHeld/auto|ForecastUpdate|Memory|Simulate"], capture_output=True, text=True, check=False, timeout=180)
    if run.returncode != 0:
        raise BenchError(f"batching_policy: {run.stderr.strip()[-300:]}")
    rows = [row for row in json.loads(run.stdout)["benchmarks"] if row.get("run_type") == "iteration"]
    to_us = {"ns": 1e-3, "us": 1, "ms": 1e3, "s": 1e6}

    def times(start):
        found = [row for row in rows if row["name"].startswith(start)]
        wrong = next((row["error_message"] for row in found if row.get("error_occurred")), None)
        if not found or wrong:
            raise BenchError(f"batching_policy: {start}: {wrong or 'not there'}")
        return [row["cpu_time"] * to_us[row["time_unit"]] for row in found]

    decide, held, forecast = times("Decide/auto"), times("DecideHeld/auto"), times("ForecastUpdate")
    memory = [row["bytes_per_model"] / 2**20 for row in rows if row["name"].startswith("Memory")]
    speed = [row["requests_per_second"] for row in rows if row["name"].startswith("Simulate")]
    return [figure("gate and window decision", max(median(decide), median(held)), "us", "<=", 2,
                   f"CPU time, 1,000 rows in 10 models, the worse of: no arrivals, price 0, a full batch ready, runs {spread(decide)}; an arrival and "
                   f"the decision after it, at a price, ten windows held open, the guard's shadows at work, runs {spread(held)}"),
            figure("simulator's speed", median(speed) if speed else None, "requests/s", ">=", 300_000,
                   f"runs {spread(speed)}; wall time, one core, auto, three models of 8,000 a second on two simulated cores"),
            figure("forecast update", median(forecast), "us", "<=", 1, f"runs {spread(forecast)}; CPU time, all forecasters of one resolution"),
            figure("policy's memory a model", median(memory) if memory else None, "MiB", "<=", 1, f"runs {spread(memory)}; 10 minutes of arrivals")]


FIGURES = {f.__name__: f for f in (decision, optimum, filetype_sim, traces_sim, rules_sim)}
