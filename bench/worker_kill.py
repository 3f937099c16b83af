#!/usr/bin/env python3
"""A worker is killed under load: is every request answered, and how long does it show?

  make bench-worker_kill                            about half a minute on two cores
  bench/worker_kill.py --model lstm --seconds 10    another demo model, longer before and after

Text CNN, one instance. The capacity is what a closed loop gets; then an open loop offers 70 % of it (Poisson arrivals, every answer compared
with what its input gave before) and in the middle the worker's process gets SIGKILL. Prints what was unanswered, wrong and refused, and the
p99 before, during and after; writes build/bench/worker_kill.json as the other benchmarks do. Exit code 0 only if all of it holds.
Standard library only; needs `make build models`.
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from serve import row  # noqa: E402
from serve_figures import Goal  # noqa: E402
from serve_processes import BUILD, MODELS, BenchError, Daemon, bench  # noqa: E402
from serve_versions import machine  # noqa: E402

RESULT = BUILD / "bench" / "worker_kill.json"
SATURATED = 128   # requests in flight that find the capacity
SHARE = 0.7       # of it that is offered
WARM_UP_S = 1.0
UNANSWERED = Goal("unanswered requests", "requests", "<=", 0)
WRONG = Goal("wrong answers", "requests", "<=", 0)
# The kill costs at most the requests that were aboard: they are run again, and an error is one that two workers died of.
# Refusals (429) are told apart: while the worker is replaced less is served than was offered.
ERRORS = Goal("errors other than refusals", "% of sent", "<=", 0.1)
DURING = Goal("p99 while the worker is replaced", "ms", "<=", 2000)
AFTER = Goal("p99 after over before", "x", "<=", 2)
QUIET_MS = 25  # what is below counts as this: half of the objective that a model has by default
AGAIN = Goal("worker processes after it", "workers", ">=", 1)


def worker_pid(daemon, model):
    """The process that serves `model`; 0 while there is none."""
    status, body = daemon.request("GET", "/v2/evenkeel/models")
    if status != 200:
        raise BenchError(f"the list of models: {status} {body[:200]}")
    pids = [one["pid"] for entry in json.loads(body)["models"] if entry["name"] == model for one in entry["instances"]]
    return pids[0] if pids else 0


class Killer(threading.Thread):
    """Kills the model's worker `delay_s` after it was started."""

    def __init__(self, server, model, delay_s):
        super().__init__(daemon=True)
        self.server, self.model, self.delay_s = server, model, delay_s
        self.killed = 0

    def run(self):
        time.sleep(self.delay_s)
        pid = worker_pid(self.server, self.model)
        if pid > 0:
            os.kill(pid, signal.SIGKILL)
            self.killed = pid


def measure(options):
    """The figures, and what else the report says."""
    with Daemon({options.model: MODELS / options.model}) as daemon:
        url = ("--url", daemon.url)
        capacity = bench(options.model, *url, "-c", SATURATED, "-d", f"{options.seconds}s")["total"]["requests_per_s"]
        rate = capacity * SHARE
        stages = [("before", options.seconds), ("during", options.during), ("after", options.seconds)]
        flags = [word for name, seconds in stages for word in ("--stage", f"name={name},rate={rate:.1f},duration={seconds}s")]
        # The generator's start is not seen from here: a quarter of the middle stage is left for it.
        killer = Killer(daemon, options.model, WARM_UP_S + options.seconds + options.during / 4)
        killer.start()
        report = bench(options.model, *url, *flags, "--warm-up", f"{WARM_UP_S}s", "--check-stable", check=False)
        killer.join()
        if not killer.killed:
            raise BenchError("there was no worker to kill")
        replaced = worker_pid(daemon, options.model)
    if replaced == killer.killed:
        raise BenchError(f"worker {killer.killed} is still there after SIGKILL")
    return figures_of(report, f"capacity {capacity:.0f}/s, offered {rate:.0f}/s, worker {killer.killed} killed", replaced)


def figures_of(report, note, replaced):
    total = report["total"]
    stages = {stage["name"]: stage["total"] for stage in report["stages"]}
    for name, stage in stages.items():
        if name != "warm-up" and not stage["ok"]:
            raise BenchError(f"nothing was answered well in the stage '{name}': {stage['errors_by_status']} {stage['unanswered_by_reason']}")
    p99 = {name: stages[name]["latency_ms"]["p99"] for name in ("before", "during", "after")}
    by_status = ", ".join(f"{entry['count']} x {status}" for status, entry in total["errors_by_status"].items()) or "none"
    refused = total["errors_by_status"].get("429", {"count": 0})["count"]
    return [
        UNANSWERED.got(total["unanswered"], f"of {total['sent']} sent; {note}"),
        WRONG.got(total["wrong"], f"of {total['ok']} answers"),
        ERRORS.got(100 * (total["errors"] - refused) / total["sent"], f"of all by status: {by_status}"),
        DURING.got(p99["during"], f"p99 before {p99['before']:.2f} ms; slowest of all {total['latency_ms']['max']:.0f} ms"),
        AFTER.got(p99["after"] / max(p99["before"], QUIET_MS), f"p99 after {p99['after']:.2f} ms, before {p99['before']:.2f} (below {QUIET_MS} counts as that); generator late by p99 {total['send_lateness_ms']['p99']:.2f} ms"),
        AGAIN.got(int(replaced > 0), f"worker {replaced}"),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="textcnn", help="a demo model [textcnn]")
    parser.add_argument("--seconds", type=float, default=5, help="of the closed loop, before and after [5]")
    parser.add_argument("--during", type=float, default=3, help="seconds of the stage in which the worker is killed [3]")
    options = parser.parse_args()
    where = machine()
    print(where, file=sys.stderr)
    try:
        figures = measure(options)
    except (BenchError, OSError) as error:
        figures = [goal.failed(f"not measured: {error}") for goal in (UNANSWERED, WRONG, ERRORS, DURING, AFTER, AGAIN)]
    for figure in figures:
        print(row(figure))
        figure["detail"] += f" [{where}]"
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if all(figure["pass"] for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
