#!/usr/bin/env python3
"""What the batching is worth, live and simulated, beside its targets.

  make bench-batching                                 all figures, in at most 50 minutes on two idle cores
  make bench-batching MINUTES=20                      shorter runs and fewer of them
  bench/batching.py --only mix_a,overload             some of them
  bench/batching.py --list                            their names

Prints a table and writes build/bench/batching.json: a list of {"name", "value", "unit", "op", "target", "pass", "detail"}.
Standard library only; needs `make build models`. The peers are compared when PEERS (their work folder, set up) and
PEERS_TOOLS (the folder with peers.sh) are set. Load tables of this machine are measured at the start.
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import batching_mixes  # noqa: E402
import batching_peers  # noqa: E402
import batching_simulated  # noqa: E402
import batching_single  # noqa: E402
import batching_tables  # noqa: E402
from serve import row  # noqa: E402
from serve_processes import BUILD, CORES  # noqa: E402
from serve_versions import machine  # noqa: E402

RESULT = BUILD / "bench" / "batching.json"
FIGURES = {**batching_simulated.FIGURES, **batching_single.FIGURES, **batching_mixes.FIGURES, **batching_peers.FIGURES}
# Share of the whole time; what a figure does not need goes to those after it.
WEIGHTS = {"decision": 0.5, "optimum": 3, "filetype_sim": 0.5, "traces_sim": 3, "rules_sim": 1, "against_none": 2, "two_cores": 2, "power": 1,
           "filetype_live": 1.5, "sim_vs_live": 1.5, "from_zero": 1, "traces_live": 4, "mix_a": 9, "mix_b": 10, "mix_c": 10, "overload": 2.5,
           "peers": 10}
MORE_WEIGHTS = {"traces_live": 7}  # from 50 minutes on: what it has to do does not settle in less


def unmeasured(name, reason):
    return [{"name": name, "value": None, "unit": "", "op": ">=", "target": 0, "pass": False, "detail": f"not measured: {reason}"}]


def measure(name, options):
    """The figures of one function; a measurement that cannot be made is a failed figure, not a missing one."""
    start = time.monotonic()
    if start > options.end:
        return unmeasured(name, f"the {options.minutes:g} minutes were over")
    try:
        figures = FIGURES[name](options)
    except Exception as error:  # whatever fails costs this figure only
        figures = unmeasured(name, repr(error))
    print(f"  [{name}: {time.monotonic() - start:.0f} of {options.until - start:.0f} s]", file=sys.stderr)
    return figures


def measure_next(i, options):
    """The i-th figure in its share of the time that is left, tables first: a figure that cannot do without them says so."""
    if i == 0:
        begin = time.monotonic()
        try:
            batching_tables.tables(options)
        except Exception as error:
            print(f"  no load tables: {error!r}", file=sys.stderr)
        print(f"  [load tables: {time.monotonic() - begin:.0f} s]", file=sys.stderr)
    now = time.monotonic()
    weights = {**WEIGHTS, **(MORE_WEIGHTS if options.minutes >= 50 else {})}
    share = weights[options.names[i]] / sum(weights[later] for later in options.names[i:])
    options.until = now + max(options.end - now, 0) * share
    return measure(options.names[i], options)


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="comma-separated names")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("MINUTES") or 50),
                        help="for everything; for some figures as much as it takes, at most this [MINUTES, else 50]")
    parser.add_argument("--runs", type=int, help="repetitions, time permitting; the median counts [3, below 40 minutes 2]")
    parser.add_argument("--seconds", type=float, help="length of one run of the generator [5, below 40 minutes 3]")
    parser.add_argument("--tables", help="load tables to simulate with [measured at the start]")
    options = parser.parse_args()
    long = options.minutes >= 40
    options.runs = options.runs or (3 if long else 2)
    options.seconds = options.seconds or (5 if long else 3)
    if options.runs < 1 or options.seconds <= 0 or options.minutes <= 0:
        parser.error("--minutes, --runs and --seconds: expected more than 0")
    unknown = [name for name in (options.only or "").split(",") if name and name not in FIGURES]
    if unknown:
        parser.error(f"unknown figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    options.names = [name for name in options.only.split(",") if name] if options.only else list(FIGURES)
    return options


def write(results):
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1) + "\n")


def end_now(*_):
    """SIGTERM: as Ctrl-C, so that every `with` ends what it started."""
    raise KeyboardInterrupt


def main():
    options = read_options()
    if options.list:
        print("\n".join(f"{name:<14} {(function.__doc__ or '').strip().splitlines()[0]}" for name, function in FIGURES.items()))
        return 0
    signal.signal(signal.SIGTERM, end_now)
    options.shared = {}  # between figures: tables, tuned settings, factors
    options.end = time.monotonic() + options.minutes * 60
    where = f"{machine()}; all of it on cores {','.join(map(str, CORES[:2]))}"
    print(where, file=sys.stderr)
    results, interrupted = [], False
    for i, name in enumerate(options.names):
        try:
            figures = unmeasured(name, "interrupted") if interrupted else measure_next(i, options)
        except KeyboardInterrupt:
            interrupted, figures = True, unmeasured(name, "interrupted")
        for figure in figures:
            print(row(figure), flush=True)
            figure["detail"] += f" [{where}]"
            results.append(figure)
        write(results)
    failed = sum(not figure["pass"] for figure in results)
    print(f"{len(results) - failed} of {len(results)} figures reach their targets; {RESULT}", file=sys.stderr)
    return 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
