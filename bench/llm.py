#!/usr/bin/env python3
"""Language models: every figure on speed and memory beside llama-server, which is built from the worker's source with its flags; one beside openvino-genai.

  make bench-llm                                      all figures, in about half an hour on two idle cores
  make bench-llm FIGURES=throughput,burnt             some of them
  bench/llm.py --only mixed --runs 1 --seconds 3      the same, shorter
  bench/llm.py --list                                 their names

Prints a table and writes build/bench/llm.json: a list of {"name", "value", "unit", "op", "target", "pass", "detail"}; figures that were not
measured this time keep their place with what they were; those without a target have none there (null), and "pass" is null. Needs `make build models`;
the first time llama-server is built (minutes), and with `genai` that package is installed into the cache.
"""

import argparse
import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import llm_embeddings  # noqa: E402
import llm_footprint  # noqa: E402
import llm_genai  # noqa: E402
import llm_mixed  # noqa: E402
import llm_sessions  # noqa: E402
import llm_throughput  # noqa: E402
from llm_servers import SMOLLM2, llama_tools  # noqa: E402
from serve import measure, row  # noqa: E402
from serve_processes import BUILD  # noqa: E402
from serve_versions import machine  # noqa: E402

FIGURES = {**llm_throughput.FIGURES, **llm_mixed.FIGURES, **llm_sessions.FIGURES, **llm_footprint.FIGURES, **llm_embeddings.FIGURES, **llm_genai.FIGURES}
RESULT = BUILD / "bench" / "llm.json"


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=os.environ.get("FIGURES") or "", help="comma-separated names [FIGURES, else all]")
    parser.add_argument("--list", action="store_true", help="print the names")
    parser.add_argument("--runs", type=int, default=3, help="alternated runs a figure; the median counts [3]")
    parser.add_argument("--seconds", type=float, default=8, help="length of one run, at least; some take longer [8]")
    options = parser.parse_args()
    if options.runs < 1 or options.seconds <= 0:
        parser.error("--runs and --seconds: expected more than 0")
    options.names = [name for name in options.only.split(",") if name] or list(FIGURES)
    unknown = [name for name in options.names if name not in FIGURES]
    if unknown:
        parser.error(f"unknown figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    return options


def kept_before(measured):
    """Figures of an earlier run that this one did not measure."""
    try:
        return [figure for figure in json.loads(RESULT.read_text()) if figure["name"] not in measured]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write(results):
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results + kept_before({figure["name"] for figure in results}), indent=1) + "\n")


def end_now(*_):
    """SIGTERM: as Ctrl-C, so that every `with` ends what it started."""
    raise KeyboardInterrupt


def main():
    options = read_options()
    if options.list:
        print("\n".join(f"{name:<16} {(function.__doc__ or '').strip().splitlines()[0]}" for name, function in FIGURES.items()))
        return 0
    if not SMOLLM2.exists():
        sys.exit(f"no model at {SMOLLM2}: run `make models`")
    signal.signal(signal.SIGTERM, end_now)
    where = f"{machine()}; {llama_tools().name}"
    print(where, file=sys.stderr)
    results = []
    for name in options.names:
        for figure in measure(name, options, FIGURES):
            print(row(figure), flush=True)
            figure["detail"] += f" [{where}]"
            results.append(figure)
        write(results)
    aimed = [figure for figure in results if figure["target"] is not None]
    print(f"{sum(figure['pass'] for figure in aimed)} of {len(aimed)} figures reach their targets; {RESULT}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
