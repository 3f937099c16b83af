#!/usr/bin/env python3
"""What the cluster is worth beside its targets: plans beside the exact optimum, predictions, the game, the balance; live nodes in namespaces.

  make bench-cluster                          all figures
  bench/cluster.py --only optimum,times       some of them; --list prints their names

Prints a table and writes build/bench/cluster.json. The live figures need root (network namespaces, control groups). The exact optimum is a mixed-integer program, solved by highspy (of tools/requirements-tests.txt).
"""

import argparse
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cluster_day  # noqa: E402
import cluster_live  # noqa: E402
from serve import row  # noqa: E402
from serve_figures import figure  # noqa: E402
from cluster_hosts import HostError  # noqa: E402
from serve_processes import BUILD, FLOORS, BenchError, median  # noqa: E402
from serve_versions import machine  # noqa: E402

RESULT = BUILD / "bench" / "cluster.json"


def policy(*arguments):
    done = subprocess.run([FLOORS / "cluster_policy", *map(str, arguments)], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def exact_makespan(instance):
    """The least makespan: x[j][i] says that task j is on node i; None: the tasks do not fit the memory."""
    import highspy

    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    seconds, memory, room = instance["seconds"], instance["memory"], instance["room"]
    makespan = solver.addVariable(lb=0)
    on = [[None if cost is None else solver.addBinary() for cost in costs] for costs in seconds]
    for row_ in on:
        solver.addConstr(sum(x for x in row_ if x is not None) == 1)
    for node, most in enumerate(room):
        here = [(j, x[node]) for j, x in enumerate(on) if x[node] is not None]
        solver.addConstr(sum(seconds[j][node] * x for j, x in here) <= makespan)
        solver.addConstr(sum(memory[j] * x for j, x in here) <= most)
    solver.minimize(makespan)
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return solver.getInfo().objective_function_value


def optimum(options):
    """500 random instances of up to 4 nodes and 12 tasks: the plan, the method and each step over the exact optimum"""
    instances = policy("instances", options.instances)
    exact = [exact_makespan(instance) for instance in instances]
    missed = sum(best is not None and "error" in instance for instance, best in zip(instances, exact))
    solved = [(instance, best) for instance, best in zip(instances, exact) if best is not None and "error" not in instance]
    ratios = [instance["makespan_s"] / best for instance, best in solved]
    steps = {}
    for instance, best in solved:
        for name, makespan in instance["steps"].items():
            steps.setdefault(name, []).append(makespan / best)
    ablation = "; ".join(f"{name}: mean {sum(r) / len(r):.3f}, worst {max(r):.3f} ({len(r)})" for name, r in steps.items())
    worse = sum(instance["makespan_s"] > instance["steps"].get(name, float("inf")) * (1 + 1e-9) for instance, _ in solved for name in ("longest first", "single node"))
    # Of few tasks all placements are looked at; the search that larger plans rest on is judged by itself as well.
    search = steps["improved"]
    detail = f"{len(solved)} instances, {missed} that fit were not found a plan for; {ablation}"
    return [figure("plan over the optimum, mean", sum(ratios) / len(ratios), "x", "<=", 1.03, detail),
            figure("plan over the optimum, worst", max(ratios), "x", "<=", 1.15, detail),
            figure("the search of large plans over the optimum, mean", sum(search) / len(search), "x", "<=", 1.03, f"{len(search)} instances, of the step 'improved' alone"),
            figure("the search of large plans over the optimum, worst", max(search), "x", "<=", 1.15, f"{len(search)} instances, of the step 'improved' alone"),
            figure("plans worse than a simple one", worse, "", "<=", 0, "longest processing time first, the best single node"),
            figure("instances that fit, without a plan", missed, "", "<=", 0, f"of {len(instances)}")]


def times(_):
    """Time of a plan"""
    return [figure(f"plan of {one['nodes']} nodes x {one['tasks']} tasks" + (", two of each model" if one["replicas"] == 2 else ""), one["ms"], "ms", "<=", {16: 50, 64: 1000}[one["nodes"]], "median of 5 problems") for one in policy("times")]


def prediction(options):
    """A fifth of the pairs measured, two a task at least: drawn, and chosen by measurement_design.h; what they say of the others, and of the plan"""
    runs = policy("prediction", options.predictions)

    def over_full(key):
        return median([run[key] / run["full_makespan"] for run in runs])

    def error(key):
        return median([run[key] for run in runs])

    detail = (f"{median([run['chosen_pairs'] for run in runs])} pairs of 3200 chosen, {median([run['drawn_pairs'] for run in runs])} drawn; ranks "
              f"{sorted(run['rank'] for run in runs)}; pairs drawn: error {error('drawn_error'):.3f}, makespan {over_full('drawn_makespan'):.3f} of full knowledge's; the "
              f"roofline alone: {error('roofline_error'):.3f}, {over_full('roofline_makespan'):.3f}; the worst run with chosen pairs "
              f"{max(run['chosen_makespan'] / run['full_makespan'] for run in runs):.3f}")
    return [figure("prediction error, median", max(error("chosen_error"), error("drawn_error")), "", "<=", 0.15, "the worse of chosen and drawn; " + detail),
            figure("makespan over full knowledge's", over_full("chosen_makespan"), "x", "<=", 1.10, detail)]


def game(_):
    """20,000 moves of the game: the potential's change beside the utility's, and rounds"""
    found = policy("game", 20_000)
    detail = f"{found['moves']} moves; most rounds {found['most_rounds']}"
    return [figure("potential's change off theory", found["worst_error"], "", "<=", 1e-9, detail),
            figure("moves that do not lower the potential", 0 if found["always_falls"] else 1, "", "<=", 0, detail),
            figure("rounds of the game, median", found["median_rounds"], "", "<=", 5, detail),
            figure("rounds of the game, most", found["most_rounds"], "", "<=", 100, detail)]


def balance(_):
    """The balance beside its theory: imbalance, decay rate, steady deviation"""
    found = policy("balance")
    return [figure("imbalance rises, even arrivals", int(found["rises"]), "", "<=", 0, "50 random clusters of 2 to 16 nodes"),
            figure("decay rate off theory", found["worst_rate_error"], "", "<=", 0.01, "the worst of 50"),
            figure("steady deviation off theory", found["worst_deviation_error"], "", "<=", 0.01, "the worst of 50, uneven arrivals")]


FIGURES = {"optimum": optimum, "times": times, "prediction": prediction, "game": game, "balance": balance, **cluster_day.FIGURES, **cluster_live.FIGURES}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="comma-separated names")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--instances", type=int, default=500)
    parser.add_argument("--predictions", type=int, default=30)
    parser.add_argument("--runs", type=int, default=3, help="of live figures; the median counts")
    parser.add_argument("--seconds", type=float, default=4, help="of a live run")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:<12} {function.__doc__}" for name, function in FIGURES.items()))
        return 0
    names = [name for name in options.only.split(",") if name] if options.only else list(FIGURES)
    if unknown := [name for name in names if name not in FIGURES]:
        parser.error(f"unknown figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    results = []
    for name in names:
        try:
            figures = FIGURES[name](options)
        except (BenchError, HostError, OSError) as error:
            figures = [{"name": name, "value": None, "unit": "", "op": ">=", "target": 0, "pass": False, "detail": f"not measured: {error!r}"}]
        for one in figures:
            print(row(one), flush=True)
            one["detail"] += f" [{machine()}]"
            results.append(one)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    failed = sum(not one["pass"] for one in results)
    print(f"{len(results) - failed} of {len(results)} figures reach their targets; {RESULT}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
