#!/usr/bin/env python3
"""What the batching policies are worth, simulated: goodput of mixes and traces, power, distance from the optimum.

    python3 bench/batching_sim.py [--binary build/evenkeel] [--tables bench/tables/amd_epyc.json ...] [--only mixes,...] [--seeds 2]

Everything is `evenkeel simulate`: virtual time and service times from the tables, nothing is served. Prints Markdown and writes
build/bench/batching_sim.json: a list of {"figure", "case", "policy", "value", "unit", "detail"}.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRACES = ROOT / "bench" / "traces"
MIXES = {
    "A": ["ctr=poisson:10000", "textcnn=poisson:1500", "filetype=poisson:150"],
    "B": ["ctr=poisson:4000", "ctr2@ctr=poisson:4000", "lstm=poisson:1000", "textcnn=poisson:1000", "filetype=poisson:100"],
    "C": ["ctr=poisson:2000", "ctr2@ctr=poisson:2000", "lstm=poisson:1500", "textcnn=poisson:500", "filetype=poisson:60"],
}
# A name, and the arrivals of a model at a mean of one request a second times the factor.
SHAPES = {
    "Poisson": ("poisson:1000", 20),
    "steps 1:5:1": ("steps:300@3/1500@3/300@3", 20),
    "gamma, CV 4": ("gamma:1000,cv=4", 20),
    "World Cup": (f"counts:{TRACES}/wc98_two_days.csv.gz,bin=200ms,rate=1000", 576),
    "ServeGen": (f"clients:{TRACES}/servegen_m-small_busiest_hour.csv.gz,speed=60,rate=1000", 60),
    "Azure code": (f"counts:{TRACES}/azure_code_2023_seconds.csv.gz,bin=50ms,rate=1000", 60),
}
POLICIES = ["auto", "gated-greedy", "oracle", "method", "cork", "greedy", "none"]


class Bench:
    def __init__(self, flags):
        self.flags = flags
        self.records = []

    def run(self, arrivals, policy, seconds, seed=1, more=()):
        command = [self.flags.binary, "simulate", "--models", self.table, "--policy", policy, "--seconds", str(seconds),
                   "--seed", str(seed), "-o", "json", *more]
        for each in arrivals:
            command += ["--arrivals", each]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode == 1:  # at no factor is every objective kept
            return {"factor": 0.0}
        if result.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{result.stderr}")
        return json.loads(result.stdout)

    def goodput(self, arrivals, policy, seconds, seed=1, more=()):
        return self.run(arrivals, policy, seconds, seed, ["--goodput", *more])["factor"]

    def keep(self, figure, case, policy, value, unit, **detail):
        self.records.append({"figure": figure, "case": case, "policy": policy, "value": value, "unit": unit,
                             "detail": {"table": pathlib.Path(self.table).name, **detail}})

    def mixes(self):
        print("| mix | " + " | ".join(POLICIES) + " |\n" + "|" + " --- |" * (len(POLICIES) + 1))
        for name, arrivals in MIXES.items():
            line = []
            for policy in POLICIES:
                seconds = 60 if "amd" in self.table else 16
                found = [self.goodput(arrivals, policy, seconds, seed) for seed in range(1, self.flags.seeds + 1)]
                line.append(f"{statistics.mean(found):.3f}")
                self.keep("goodput of a mix", name, policy, statistics.mean(found), "factor", runs=found)
            print(f"| {name} | " + " | ".join(line) + " |", flush=True)

    def traces(self, model="lstm"):
        print(f"| {model}, 50 ms | best fixed (delay, size) | " + " | ".join(POLICIES) + " |\n" + "|" + " --- |" * (len(POLICIES) + 2))
        for name, (spec, seconds) in SHAPES.items():
            arrivals, more = [f"{model}={spec}"], ["--objective", f"{model}=50ms"]
            best = (0, None)
            for delay, size in itertools.product(["0s", "5ms", "15ms"], [8, 24, 64]):
                fixed = [*more, "--delay", f"{model}={delay}", "--max-batch", f"{model}={size}"]
                best = max(best, (self.goodput(arrivals, "fixed", seconds, more=fixed), (delay, size)))
            self.keep("goodput of a trace", name, "fixed", best[0], "factor", setting=best[1])
            line = [f"{best[0]:.3f} {best[1]}"]
            for policy in POLICIES:
                found = self.goodput(arrivals, policy, seconds, more=more)
                line.append(f"{found:.3f}")
                self.keep("goodput of a trace", name, policy, found, "factor")
            print(f"| {name} | " + " | ".join(line) + " |", flush=True)

    def power(self):
        table = json.loads(pathlib.Path(self.table).read_text())
        rows = next(m for m in table["models"] if m["name"] == "ctr")["rows"]
        best = min(r["batchtime_us"] / r["batch"] for r in rows if r["cores"] == 1 and r.get("precision", "f32") == "f32")
        full = 1e6 / best
        print("| load | CPU a row, save | over the table's best | at once | p99, save |\n| --- | --- | --- | --- | --- |")
        for load in (0.2, 0.3, 0.5, 0.7):
            arrivals = [f"ctr=poisson:{load * full:.0f}"]
            figures = {}
            for name, more in (("save", ["--save-power"]), ("plain", [])):
                figures[name] = self.run(arrivals, "auto", 20, more=["--cores", "1", *more])["models"][0]
            saved = figures["save"]["core_us_per_row"]
            self.keep("power: save", f"load {load}", "auto", saved / best, "x the table's best",
                      plain=figures["plain"]["core_us_per_row"] / best, p99_ms=figures["save"]["latency_ms"]["p99"])
            print(f"| {load} | {saved:.1f} µs | {saved / best:.2f} | {figures['plain']['core_us_per_row'] / best:.2f} | "
                  f"{figures['save']['latency_ms']['p99']:.1f} ms |", flush=True)

    def optimum(self):
        table = json.loads(pathlib.Path(self.table).read_text())
        print("| model | " + " | ".join(f"{load:.1f}" for load in (0.1, 0.3, 0.5, 0.7, 0.9)) + " |\n" + "|" + " --- |" * 6)
        for model in table["models"]:
            usable = [r for r in model["rows"] if r["batchtime_us"] <= 1e3 * model["objective_ms"]]
            full = 1e6 / min(r["batchtime_us"] / r["batch"] for r in usable)
            line = []
            for load in (0.1, 0.3, 0.5, 0.7, 0.9):
                arrivals = [f"{model['name']}=poisson:{load * full:.3f}"]
                seconds = max(20, 20000 / (load * full))
                more = ["--cores", "1", "--max-batch", f"{model['name']}={max(r['batch'] for r in usable)}"]
                means = {p: self.run(arrivals, p, seconds, more=more)["models"][0]["latency_ms"]["mean"] for p in ("auto", "smdp")}
                line.append(f"{means['auto'] / means['smdp']:.3f}")
                self.keep("mean cost over the optimum", f"{model['name']} at {load}", "auto", means["auto"] / means["smdp"], "x", **means)
            print(f"| {model['name']} | " + " | ".join(line) + " |", flush=True)

    def overload(self):
        table_mix = MIXES["B"]
        peak = self.goodput(table_mix, "auto", 16, more=["--deadlines"])
        at_peak = self.run(table_mix, "auto", 16, more=["--deadlines", "--factor", str(peak)])
        double = self.run(table_mix, "auto", 16, more=["--deadlines", "--factor", str(2 * peak)])
        print("| mix B at twice its peak | share of its goodput at the peak |\n| --- | --- |")
        for before, after in zip(at_peak["models"], double["models"]):
            share = after["goodput"]["rps"] / before["goodput"]["rps"]
            self.keep("overload", before["name"], "auto", share, "x its goodput at the peak")
            print(f"| {before['name']} | {share:.3f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "build" / "evenkeel"))
    parser.add_argument("--tables", nargs="+", default=[str(ROOT / "bench" / "tables" / f) for f in ("amd_epyc.json", "stated_gains.json")])
    parser.add_argument("--only", default="mixes,traces,power,optimum,overload")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", default=str(ROOT / "build" / "bench" / "batching_sim.json"))
    flags = parser.parse_args()
    bench = Bench(flags)
    for table in flags.tables:
        bench.table = table
        for figure in flags.only.split(","):
            print(f"\n### {figure}, {pathlib.Path(table).name}\n", flush=True)
            getattr(bench, figure)()
            pathlib.Path(flags.out).parent.mkdir(parents=True, exist_ok=True)
            pathlib.Path(flags.out).write_text(json.dumps(bench.records, indent=1) + "\n")


if __name__ == "__main__":
    main()
