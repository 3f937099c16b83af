"""openvino-genai as a second engine to compare with, which reads GGUF too: tokens a second at 1 and 8. No targets.

It is a library and runs in a loop of its own (llm_genai_loop.py) on the same two cores with two threads, without a server and its clients in front of it,
which is in its favour. What can't be had on this machine, or not opened, is a figure without a value and with the reason.
"""

import contextlib
import functools
import json
import pathlib
import subprocess
import threading

from serve_figures import Reading, promises, spread
from serve_processes import LOGS, ROOT, BenchError, child_setup, median, stop

from llm_load import tokens_per_s
from llm_servers import SHARED, SMOLLM2, THREADS, Evenkeel, completion
from llm_throughput import load, ratio, window_s

LOOP = pathlib.Path(__file__).resolve().parent / "llm_genai_loop.py"
REQUIREMENTS = ROOT / "tools" / "requirements-genai.txt"
INSTALL_S = 900
OPEN_S = 90
WARM_UP_S = 2
SAID, SAID_TOKENS = "Once upon a time", 12
READINGS = {1: Reading("tokens/s at 1 / openvino-genai", "x"), 8: Reading("tokens/s at 8 / openvino-genai", "x")}
KINDS = {1: ("single", "batching"), 8: ("batching",)}  # pipelines; the better one counts
READERS = ("LEGACY", "FRONTEND")  # of GGUF files, tried in this order


@functools.lru_cache
def python():
    """The Python that has openvino-genai, installed into the cache the first time."""
    command = [str(ROOT / "tools" / "setup_venv.sh"), str(REQUIREMENTS)]
    try:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise BenchError(f"openvino-genai was not installed within {INSTALL_S} s") from None
    if run.returncode != 0 or not run.stdout.strip():
        raise BenchError(f"openvino-genai could not be installed: {' '.join(run.stderr.split())[-400:]}")
    return pathlib.Path(run.stdout.strip()) / "bin" / "python"


class Loop:
    """The library's process, with the model in one pipeline, read by one reader: if one takes it down, the others can still be measured."""

    def __init__(self, model, kind, reader):
        self.name, self.reader = f"openvino-genai, {kind}", reader
        self.command = [str(part) for part in (python(), LOOP, model, THREADS, kind, reader)]
        LOGS.mkdir(parents=True, exist_ok=True)
        with open(LOGS / "openvino-genai.log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                                            preexec_fn=lambda: child_setup(set(SHARED)))

    def ended(self):
        return BenchError(f"{self.name} ended with {self.process.wait()}; see {LOGS}/openvino-genai.log")

    def answer(self, limit_s):
        """The next thing that it says; after `limit_s` it is ended."""
        timer = threading.Timer(limit_s, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise self.ended()
        document = json.loads(line)
        if "error" in document:
            raise BenchError(f"{self.name}: {document['error']}")
        return document

    def tokens_per_s(self, concurrency, seconds, seed):
        asked = {"concurrency": concurrency, "seconds": seconds, "warm_up_s": min(WARM_UP_S, seconds), "seed": seed}
        try:
            self.process.stdin.write(json.dumps(asked) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.ended() from None
        tokens = self.answer(3 * seconds + 120)["tokens_per_s"]
        if not tokens:
            raise BenchError(f"{self.name}: no token came in {seconds:g} s")
        return tokens

    def __enter__(self):
        try:
            first = self.answer(OPEN_S)
            self.version, self.says = first["version"], first["says"]
            return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # it ends with its input
        stop(self.process, timeout_s=10)
        self.process.stdout.close()


def open_all(stack):
    """({kind: its process}, {kind: why there is none})"""
    loops, failed = {}, {}
    for kind in dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds):
        reasons = []
        for reader in READERS:
            try:
                loops[kind] = stack.enter_context(Loop(SMOLLM2, kind, reader))
                break
            except BenchError as error:
                reasons.append(f"{reader}: {error}")
        else:
            failed[kind] = "; ".join(reasons)
    return loops, failed


def at(concurrency, loops, failed, options):
    """The figure at one concurrency, both by turns."""
    kinds = [kind for kind in KINDS[concurrency] if kind in loops]
    reasons = "".join(f"; {kind} could not be opened: {failed[kind]}" for kind in KINDS[concurrency] if kind in failed)
    if not kinds:
        return READINGS[concurrency].failed(f"not measured{reasons}")
    seconds = window_s("smollm2", concurrency, options)
    tokens = {name: [] for name in ("evenkeel", *kinds)}
    with Evenkeel(SMOLLM2, concurrency) as ours:
        for run in range(options.runs):
            for name in list(tokens) if run % 2 == 0 else list(tokens)[::-1]:
                if name == "evenkeel":
                    tokens[name].append(tokens_per_s(load(ours, concurrency, seconds, seed=run + 1)))
                else:
                    tokens[name].append(loops[name].tokens_per_s(concurrency, seconds, seed=run + 1))
        said = completion(ours, prompt=SAID, max_tokens=SAID_TOKENS, ignore_eos=True)["choices"][0]["text"]
    best = max(kinds, key=lambda kind: median(tokens[kind]))
    theirs = ", ".join(f"{kind} {spread(tokens[kind])} (GGUF reader {loops[kind].reader})" for kind in kinds)
    return READINGS[concurrency].got(
        ratio(tokens["evenkeel"], tokens[best]),
        f"{spread(tokens['evenkeel'])} tokens/s over HTTP, openvino-genai {loops[best].version} in a plain loop: {theirs}{reasons}; two threads each, 64 in, 64 out; "
        f"after {SAID!r} ours says {said!r}, the other {loops[best].says!r}")


@promises(*READINGS.values())
def genai(options):
    """SmolLM2: tokens a second at 1 and 8, beside openvino-genai in a plain loop; no targets"""
    python()  # what can't be installed need not be opened in several ways
    with contextlib.ExitStack() as stack:
        loops, failed = open_all(stack)
        for concurrency in READINGS:
            yield at(concurrency, loops, failed, options)


FIGURES = {"genai": genai}
