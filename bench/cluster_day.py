"""A day of a real language-model service on 100 unequal nodes, simulated: every routing rule on the same requests."""

import csv
import gzip
import json
import subprocess
import tempfile

from serve_figures import figure
from serve_processes import BUILD, EVENKEEL, ROOT, BenchError

TRACE = ROOT / "bench" / "traces" / "servegen_m-small_busiest_day.csv.gz"
PAGE = BUILD / "bench" / "cluster_day.html"
SPEED = 24  # an hour of the day takes two and a half minutes: what is real is the shape
DAY_S = 86_400 / SPEED
WORK_S = 0.2  # of a request on a node of capacity 1; exponential
PEAK_LOAD = 0.85  # of the cluster's capacity in the busiest ten minutes
# What people own: some old boxes, many middling ones, a few good ones. (name, capacity, how many)
NODES = (("mini", 0.25, 20), ("old", 0.5, 25), ("desk", 1.0, 30), ("work", 2.0, 15), ("big", 4.0, 10))
EVENTS = [{"at": "900s", "node": "big-3", "what": "fail"}, {"at": "1200s", "node": "big-3", "what": "return"},
          {"at": "1800s", "node": "work-5", "what": "slow", "factor": 0.1}, {"at": "2000s", "node": "work-5", "what": "slow", "factor": 1.0}]
RIVALS = ("least_loaded", "two_choices", "weighted", "random", "method")


def busiest_over_mean():
    rates = {}
    with gzip.open(TRACE, "rt") as file:
        for line in csv.DictReader(file):
            rates[line["t_s"]] = rates.get(line["t_s"], 0) + float(line["rate_rps"])
    return max(rates.values()) / (sum(rates.values()) / len(rates))


def day(_):
    """100 unequal nodes through a day of ServeGen's m-small, simulated: ours beside each other rule; one node fails, one becomes slow"""
    capacity = sum(each * count for _, each, count in NODES)
    rate = PEAK_LOAD * capacity / WORK_S / busiest_over_mean()
    scenario = {"nodes": [{"name": name, "capacity": each, "count": count} for name, each, count in NODES],
                "arrivals": f"clients:{TRACE},speed={SPEED},rate={rate:.4g}", "work": f"{WORK_S}s", "work_cv": 1, "objective": "2s", "events": EVENTS}
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(scenario, file)
        file.flush()
        command = [EVENKEEL, "simulate", "--cluster", file.name, "--seconds", DAY_S, "--html", PAGE, "-o", "json"]
        run = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if run.returncode:
        raise BenchError(run.stderr.strip()[-300:])
    runs = {one["rule"].replace("-", "_"): one for one in json.loads(run.stdout)["runs"]}
    ours = runs["utility"]
    where = (f"{ours['arrived']} requests, {sum(count for _, _, count in NODES)} nodes of {NODES[0][1]} to {NODES[-1][1]}, {capacity:g} in all, at most {PEAK_LOAD:.0%} busy; "
             f"the day as an hour; one node of 4 fails for two of its hours, one of 2 is ten times slower for 80 minutes of it; plot {PAGE.name}")
    figures = []
    for name in RIVALS:
        other = runs[name]
        figures.append(figure(f"a day on 100 nodes: p99 over {name.replace('_', ' ')}", ours["latency_ms"]["p99"] / max(other["latency_ms"]["p99"], 1e-9), "x", "<=", 1,
                              f"p50 {ours['latency_ms']['p50']:.0f} beside {other['latency_ms']['p50']:.0f} ms, p99 {ours['latency_ms']['p99']:.0f} beside {other['latency_ms']['p99']:.0f}, "
                              f"within 2 s {ours['within']:.2%} beside {other['within']:.2%}, "
                              f"not answered yet at the end {ours['unanswered']} beside {other['unanswered']}; {where}"))
    return figures


FIGURES = {"day": day}
