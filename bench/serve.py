#!/usr/bin/env python3
"""Every figure on speed and memory of one server, beside its target.

  make bench-serve                                all figures (about a quarter of an hour on two idle cores)
  bench/serve.py --only cpu_http,added_latency    some of them
  bench/serve.py --list                           their names

Prints a table and writes build/bench/serve.json: a list of {"name", "value", "unit", "op", "target", "pass", "detail"}.
Standard library only; needs `make build models`. The peers are compared when PEERS (their work folder, set up) and
PEERS_TOOLS (the folder with peers.sh) are set.
"""

import argparse
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import serve_figures  # noqa: E402
import serve_peers  # noqa: E402
from serve_processes import BUILD  # noqa: E402
from serve_versions import machine  # noqa: E402

FIGURES = {**serve_figures.FIGURES, **serve_peers.FIGURES}
RESULT = BUILD / "bench" / "serve.json"


def row(figure):
    aimed = figure["target"] is not None  # else nothing to reach or to fail
    value = f"{figure['value']:.4g}" if figure["value"] is not None else "failed" if aimed else "none"
    target = f"{figure['op']} {figure['target']:<6g} {'pass' if figure['pass'] else 'FAIL'}" if aimed else f"{'':<9} {'-':<4}"
    return f"{figure['name']:<34} {value:>9} {figure['unit']:<8} {target}  {figure['detail']}"


def measure(name, options, functions=FIGURES):
    """The figures of one function; each that could not be measured is there as failed, with the reason."""
    start, function, figures = time.monotonic(), functions[name], []
    reason = "not measured"
    try:
        for figure in function(options):
            figures.append(figure)
    except Exception as error:  # whatever fails costs this function's figures only
        reason = f"not measured: {error!r}"
    got = {figure["name"] for figure in figures}
    figures += [goal.failed(reason) for goal in function.goals if goal.name not in got]
    print(f"  [{name}: {time.monotonic() - start:.0f} s]", file=sys.stderr)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="comma-separated names")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--runs", type=int, default=3, help="alternated runs a figure; the median counts [3]")
    parser.add_argument("--seconds", type=float, default=3, help="length of one run [3]")
    parser.add_argument("--requests", type=int, default=200_000, help="requests of a run of the growth figure")
    parser.add_argument("--cycles", type=int, default=500, help="load/unload cycles of a run of the growth figure")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:<16} {(function.__doc__ or '').strip().splitlines()[0]}" for name, function in FIGURES.items()))
        return 0
    names = options.only.split(",") if options.only else list(FIGURES)
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        parser.error(f"unknown figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    where = machine()
    print(where, file=sys.stderr)
    results = []
    for name in names:
        for figure in measure(name, options):
            print(row(figure), flush=True)
            figure["detail"] += f" [{where}]"
            results.append(figure)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1) + "\n")
    failed = sum(not figure["pass"] for figure in results)
    print(f"{len(results) - failed} of {len(results)} figures reach their targets; {RESULT}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
