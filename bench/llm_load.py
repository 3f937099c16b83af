"""Loads for language models: runs of `evenkeel bench --llm`, one or several side by side, and lengths cut from traces."""

import csv
import gzip
import io
import json
import subprocess
import time

from serve_processes import BUILD, EVENKEEL, ROOT, BenchError, child_setup

from llm_servers import SHARED

TRACES = ROOT / "bench" / "traces"
WORK = BUILD / "bench" / "llm"
# llama-server promises to keep a connection and closes it after a streamed answer: a request that was on its way by then is lost. Both are asked like this.
ONE_CALL = ("--header", "Connection: close")


class Load:
    """A run of the generator that goes on beside others; the answer of report() is checked: a failed request makes it no measurement."""

    def __init__(self, server, *flags, seconds):
        self.command = [str(part) for part in (EVENKEEL, "bench", server.name_of_model, "--llm", "--url", server.url, *ONE_CALL, "-d", f"{seconds:g}s",
                                               *flags, "-o", "json")]
        self.limit_s = seconds + 180
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: child_setup(set(SHARED)))

    def report(self, must_end=True):
        """`must_end`: it is no measurement either if no answer that began in it ended; else the tokens that came are one."""
        try:
            out, err = self.process.communicate(timeout=self.limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise BenchError(f"{' '.join(self.command)}: not done after {self.limit_s:.0f} s") from None
        if self.process.returncode not in (0, 1) or not out:
            raise BenchError(f"{' '.join(self.command)}: {err.strip() or self.process.returncode}")
        report = json.loads(out)
        total = report["total"]
        if total["errors"] or total["unanswered"] or (must_end and not total["ok"]):
            raise BenchError(f"{' '.join(self.command)}: of {total['sent']} requests {total['ok']} were answered: "
                             f"{json.dumps(total['errors_by_status'])[:300]} {total['unanswered_by_reason']}")
        return report


def text_bench(server, *flags, seconds, warm_up="2s", must_end=True):
    return Load(server, "--warm-up", warm_up, *flags, seconds=seconds).report(must_end)


def tokens_per_s(report):
    return report["total"]["tokens"]["output_per_s"]


def rows_of(name):
    """A cut of a trace in bench/traces, as dictionaries of text."""
    with gzip.open(TRACES / name, "rt", encoding="ascii") as f:
        return list(csv.DictReader(f))


def write_lengths(name, rows):
    """A file for --lengths: (prompt_tokens, output_tokens) a row."""
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / name
    text = io.StringIO()
    text.write("prompt_tokens,output_tokens\n")
    for prompt, output in rows:
        text.write(f"{prompt},{output}\n")
    path.write_text(text.getvalue(), encoding="ascii")
    return path


def pause(seconds=0.3):
    """Lets what was in flight end."""
    time.sleep(seconds)


