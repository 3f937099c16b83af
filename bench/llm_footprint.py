"""Memory of the worker, and the time from start to the first token, beside llama-server's."""

import contextlib
import http.client
import json
import time

from serve_figures import Goal, promises, spread
from serve_processes import BenchError, median

from llm_load import text_bench
from llm_servers import SMOLLM2, Evenkeel, LlamaServer, completion, port_of, pss_mib

SEQUENCES = 16
PSS = Goal("worker PSS / llama-server", "x", "<=", 1.05)
START = Goal("start to first token / llama-server", "x", "<=", 1.0)


@promises(PSS)
def memory(options):
    """SmolLM2: memory (PSS) of the worker after a load at 16, the same cells in both, one server at a time"""
    sizes, parts = {"evenkeel": [], "llama-server": []}, ""
    # By default llama-server also keeps prompts in up to 8 GiB of plain memory: not what is compared here.
    make_of = {"evenkeel": lambda: Evenkeel(SMOLLM2, SEQUENCES), "llama-server": lambda: LlamaServer(SMOLLM2, SEQUENCES, flags=("--cache-ram", 0))}
    for _ in range(options.runs):
        # Alone: the weights are pages of one file, and two that map it would share them in this measure.
        for name, make in make_of.items():
            with make() as server:
                text_bench(server, "-c", SEQUENCES, seconds=max(options.seconds / 2, 1), warm_up="0s")
                sizes_now = {what: pss_mib(pid) for what, pid in server.processes().items()}
            sizes[name].append(sizes_now["worker"] if name == "evenkeel" else sizes_now["server"])
            if name == "evenkeel":
                parts = ", ".join(f"{what} {size:.0f}" for what, size in sizes_now.items())
    yield PSS.got(median(sizes["evenkeel"]) / median(sizes["llama-server"]),
                  f"{spread(sizes['evenkeel'])} MiB, llama-server {spread(sizes['llama-server'])}; Evenkeel's processes: {parts}")


def first_token(server):
    """Seconds from start to the first token of a streamed answer, asked again until there is one."""
    server.start()
    body = json.dumps({"model": server.name_of_model, "prompt": "Once upon a time", "max_tokens": 4, "stream": True, "temperature": 0})
    while time.monotonic() - server.started < 60:
        if server.process.poll() is not None:
            raise BenchError(f"{type(server).__name__} ended with {server.process.returncode}")
        connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=30)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status == 200 and answer.readline():
                took = time.monotonic() - server.started
                connection.close()
                return took
        connection.close()
        time.sleep(0.005)
    raise BenchError(f"{type(server).__name__}: no token within 60 s of the start")


@promises(START)
def start(options):
    """SmolLM2: from starting the program to the first token of an answer, files in the page cache"""
    with LlamaServer(SMOLLM2, 4) as server:
        completion(server, prompt="warm", max_tokens=1)
    times = {"evenkeel": [], "llama-server": []}
    for _ in range(max(options.runs, 3) + 1):  # the first of each is not counted
        for name, make in (("evenkeel", Evenkeel), ("llama-server", LlamaServer)):
            server = make(SMOLLM2, 4)
            try:
                times[name].append(first_token(server) * 1e3)
            finally:
                server.close()
    ours, theirs = times["evenkeel"][1:], times["llama-server"][1:]
    yield START.got(median(ours) / median(theirs), f"{spread(ours)} ms, llama-server {spread(theirs)}")


FIGURES = {"memory": memory, "start": start}
