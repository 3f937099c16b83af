"""A language model in the daemon: measured beside serving, its choices explained, its table kept, and cores shared with other models."""

from __future__ import annotations

import concurrent.futures
import glob
import json
import os
import pathlib
import re
import statistics
import sys
import threading
import time
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from daemon import need, run_cli  # noqa: E402
from load import Load  # noqa: E402

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", pathlib.Path(__file__).resolve().parents[2] / "build" / "demo-models"))
GGUF = MODELS / "smollm2" / "model.gguf"
# One row takes 5 ms of one core, by spinning.
BUSY = "delay_us: {per_row: 5000, mode: busy}\n"


# Products of other shapes add up in another order: two answers may part where the two likeliest tokens were this close (in nats).
CLOSE = 0.5


def smollm2(settings: str, name: str = "smollm2") -> dict:
    return {f"{name}/model.gguf": GGUF, f"{name}/evenkeel.yaml": settings}


def batching(daemon, name="smollm2"):
    return daemon.json("GET", f"/v2/models/{name}/batching")


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to that")


class Talk:
    """Streams that follow each other: when each token came. Where `refusable`, a 429 is asked again: an objective may not be kept just then."""

    def __init__(self, daemon, streams: int, tokens: int = 64, model: str = "smollm2", refusable: bool = False):
        self.refusable = refusable
        self.url = daemon.http_url + "/v1/completions"
        self.model, self.tokens = model, tokens
        self.gaps: list[float] = []
        self.times: list[float] = []  # when each gap ended
        self.firsts: list[float] = []
        self.failed: list[str] = []
        self.count = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(streams)]

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive()
        assert not self.failed, self.failed
        return self

    def _run(self, number):
        while not self._stop.is_set():
            body = {"model": self.model, "prompt": f"Story {number}: once upon a time", "max_tokens": self.tokens,
                    "temperature": 0, "stream": True, "ignore_eos": True}
            request = urllib.request.Request(self.url, json.dumps(body).encode(), {"Content-Type": "application/json"})
            last = begin = time.monotonic()
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    for line in answer:
                        if not line.startswith(b"data: {"):
                            continue
                        now = time.monotonic()
                        if last != begin:
                            self.times.append(now)
                        (self.firsts if last == begin else self.gaps).append(now - last)
                        last = now
                        self.count += 1
            except OSError as error:
                if self.refusable and getattr(error, "code", None) == 429:
                    time.sleep(0.1)
                    continue
                self.failed.append(str(error))
                return


def test_it_is_measured_and_says_what_it_chose_and_why(serve):
    daemon = serve(models=smollm2("language: {inter_token: 500ms, time_to_first_token: 2s}\n"), flags=["--profiling", "auto", "--profile-after", "0s"])
    # How much of the table fits into the time that measuring may take is the machine's business.
    wait_until(lambda: batching(daemon)["choice"]["step_ms"] > 0 and not batching(daemon)["choice"]["measuring"])
    page = batching(daemon)
    assert page["schema"] == "evenkeel.batching/v1" and page["choice"]["table"] == "measured"
    choice = page["choice"]
    assert choice["inter_token_objective_ms"] == 500 and choice["first_token_objective_ms"] == 2000
    for key in ("threads_why", "sequences_why", "cells_why", "budget_why"):
        assert choice[key]
    assert "500.0 ms from token to token" in choice["sequences_why"] and choice["sequences"] >= 1
    assert page["load_table"]["memory"]["weight_bytes"] > 50_000_000
    talk = Talk(daemon, 2).start()
    wait_until(lambda: talk.count > 100)
    wait_until(lambda: batching(daemon)["forecast"]["sequences_per_s"] > 0)
    talk.stop()
    wait_until(lambda: batching(daemon)["forecast"]["answer_tokens"] > 0)
    shown = run_cli("show", "smollm2", "--server", daemon.http_url, folder=daemon.folder)
    assert shown.returncode == 0, shown.stderr
    for text in ("llama", "Q4_1", "8192 tokens", "Template", "Licence", "from token to token", "THREADS", "a prompt"):
        assert text in shown.stdout, (text, shown.stdout)
    assert "smollm2" in run_cli("ps", "--server", daemon.http_url, folder=daemon.folder).stdout
    metrics = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    for name in ("evenkeel_llm_threads", "evenkeel_llm_slots", "evenkeel_llm_prompt_share", "evenkeel_llm_table_rows"):
        assert f'{name}{{model="smollm2"}}' in metrics, name


def test_settings_win_over_what_would_be_chosen(serve):
    daemon = serve(models=smollm2("threads: 1\nlanguage: {sequences: 3, cache_tokens: 9000}\n"), flags=["--profiling", "auto", "--profile-after", "0s"])
    wait_until(lambda: batching(daemon)["choice"]["step_ms"] > 0)
    choice = batching(daemon)["choice"]
    assert choice["threads"] == 1 and choice["sequences"] == 3 and choice["cells"] == 9000
    assert all("as set" in choice[key] for key in ("threads_why", "sequences_why", "cells_why"))
    assert {row["threads"] for row in batching(daemon)["load_table"]["rows"]} == {1}


def reload(daemon):
    daemon.json("POST", "/v2/repository/models/smollm2/unload")
    daemon.json("POST", "/v2/repository/models/smollm2/load")


def test_the_table_is_kept_for_the_next_load(serve):
    daemon = serve(models=smollm2(""), flags=["--profiling", "auto", "--profile-after", "0s"])
    wait_until(lambda: batching(daemon)["choice"]["step_ms"] > 0 and not batching(daemon)["choice"]["measuring"])
    rows = len(batching(daemon)["load_table"]["rows"])
    reload(daemon)
    page = batching(daemon)
    assert page["choice"]["table"] == "kept" and len(page["load_table"]["rows"]) >= rows and page["choice"]["step_ms"] > 0


def test_both_get_on_beside_each_other(serve):
    daemon = serve(models={"smollm2": MODELS / "smollm2", "busy/model.fake": BUSY, "busy/evenkeel.yaml": "threads: 1\n"},
                   flags=["--profiling", "off"])
    alone = Load(daemon.http_address, model="busy", threads=2).start()
    time.sleep(2)
    alone.stop()
    talk = Talk(daemon, 4).start()
    wait_until(lambda: talk.count > 20)
    before, begin = talk.count, time.monotonic()
    time.sleep(2)
    quiet_rate = (talk.count - before) / (time.monotonic() - begin)
    beside = Load(daemon.http_address, model="busy", threads=2).start()
    time.sleep(1)
    before, begin = talk.count, time.monotonic()
    time.sleep(4)
    rate = (talk.count - before) / (time.monotonic() - begin)
    beside.stop()
    talk.stop()
    assert beside.unanswered == 0 and beside.wrong == 0 and set(beside.statuses) == {200}, beside.summary()
    # Neither keeps the other from its share. The machine may be shared with others: the bounds are wide.
    assert rate > 0.2 * quiet_rate, (rate, quiet_rate)
    assert len(beside.latencies) / 5 > 0.2 * len(alone.latencies) / 2, (len(beside.latencies), len(alone.latencies))
    assert statistics.median(beside.latencies) < 1
    # The node's books are never overdrawn.
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    assert 'evenkeel_llm_threads{model="smollm2"}' in text


def test_a_language_model_and_a_batch_take_turns_on_one_core(serve):
    daemon = serve(models={"smollm2": MODELS / "smollm2", "busy.fake": BUSY},
                   flags=["--worker-cpus", "0", "--profiling", "off"])
    talk = Talk(daemon, 2).start()
    busy = Load(daemon.http_address, model="busy", threads=2).start()
    time.sleep(6)
    busy.stop()
    talk.stop()
    assert busy.unanswered == 0 and set(busy.statuses) == {200}, busy.summary()
    assert len(busy.latencies) > 20 and talk.count > 20, (busy.summary(), talk.count)
    assert max(talk.gaps) < 3 and max(busy.latencies) < 5


def language(daemon, name="smollm2") -> dict:
    return next(one["language"] for one in daemon.json("GET", "/v2/evenkeel/models")["models"] if one["name"] == name)


def answer(daemon, prompt: str, tokens: int) -> dict:
    body = {"model": "smollm2", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "logprobs": 2}
    choice = daemon.json("POST", "/v1/completions", body)["choices"][0]
    assert choice["finish_reason"] == "length" and len(choice["logprobs"]["tokens"]) == tokens
    return choice["logprobs"]


def same_but_for_a_close_call(one: dict, other: dict) -> bool:
    for mine, theirs, tops in zip(one["tokens"], other["tokens"], one["top_logprobs"]):
        if mine != theirs:
            first, second = sorted(tops.values(), reverse=True)[:2]
            return first - second < CLOSE
    return True


def test_slots_grow_between_sequences_and_none_is_disturbed(serve):
    daemon = serve(models=smollm2("language: {inter_token: 5s, context: 512}\n"), flags=["--profiling", "off"])
    begin = "Once upon a time there was a little"
    assert language(daemon)["slots"] == 16
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        # While one runs it becomes known what steps take: far more fit the objective. What runs keeps the slot that it has.
        long = pool.submit(answer, daemon, begin, 400)
        wait_until(lambda: batching(daemon)["choice"]["sequences"] > 24 or long.done())
        assert not long.done(), "it ended before anything was chosen"
        assert language(daemon)["slots"] == 16
        before = long.result()
        wait_until(lambda: language(daemon)["slots"] > 24)
        # As many as that come at once, and have their slots.
        others = [pool.submit(answer, daemon, f"Story {i}: a", 48) for i in range(24)]
        again = pool.submit(answer, daemon, begin, 400)
        most = 0
        while not all(one.done() for one in others):
            most = max(most, language(daemon)["running"])
        for one in others:
            one.result()
        after = again.result()
    assert most > 16, most
    assert same_but_for_a_close_call(before, after), (before["tokens"], after["tokens"])
    assert "its worker ended" not in daemon.log()


def test_a_stated_objective_keeps_prompts_small_beside_answers(serve):
    daemon = serve(models={**smollm2("language: {inter_token: 5s}\n", "loose"), **smollm2("language: {inter_token: 100ms}\n", "tight")},
                   flags=["--profiling", "off"])

    def gap_beside_prompts(model: str) -> float:
        talk = Talk(daemon, 2, model=model, refusable=True).start()
        wait_until(lambda: talk.count > 60)  # what steps take is known
        spans = []
        for number in range(2):
            prompt = " ".join(f"word {(number * 7919 + i * 104729) % 9973}" for i in range(240))
            status = 429
            while status == 429:
                begin = time.monotonic()
                status, _, text = daemon.request("POST", "/v1/completions", {"model": model, "prompt": prompt, "max_tokens": 1})
            assert status == 200, text
            spans.append((begin, time.monotonic()))
        talk.stop()
        return statistics.median(gap for gap, at in zip(talk.gaps, talk.times) if any(first < at <= last for first, last in spans))

    loose, tight = gap_beside_prompts("loose"), gap_beside_prompts("tight")
    # Not held to the objective itself: on a slow machine the smallest piece of a prompt takes longer.
    assert tight < 0.5 * loose, (tight, loose)


def memory_limit(pid: int) -> int:
    """What the kernel holds the process's own group to."""
    for members in glob.glob("/sys/fs/cgroup/**/evenkeel-*/*/cgroup.procs", recursive=True):
        try:
            if str(pid) not in pathlib.Path(members).read_text().split():
                continue
        except OSError:  # one that has just gone
            continue
        for name in ("memory.limit_in_bytes", "memory.max"):
            file = pathlib.Path(members).parent / name
            if file.exists():
                return int(file.read_text())
    raise AssertionError(f"process {pid} is in no group of a worker")


@pytest.mark.parametrize("rung", ["cgroup", "oci"])
def test_its_container_follows_what_was_chosen(serve, rungs, rung):
    need(rungs, rung)
    daemon = serve(models=smollm2("language: {context: 512, pooling: none}\n"), flags=["--runtime", rung, "--profiling", "off"])

    def held() -> tuple[int, int, int]:
        """(cores, bytes of the container, cells), all of one look."""
        model = next(one for one in daemon.json("GET", "/v2/evenkeel/models")["models"] if one["name"] == "smollm2")
        shape = re.fullmatch(r"(\d+)c/([\d.]+)(MiB|GiB)", model["instances"][0]["shape"])
        if not shape:
            return 0, 0, 0
        size = int(float(shape[2]) * {"MiB": 1 << 20, "GiB": 1 << 30}[shape[3]])
        # Never less than it must have, whatever it is about to become.
        facts = model["engine_info"]
        assert size > facts["weight_bytes"] + model["choice"]["cells_now"] * facts["cell_bytes"], model["instances"]
        return int(shape[1]), size, model["choice"]["cells_now"]

    def ask(prompt: str, times: int):
        for _ in range(times):
            daemon.json("POST", "/v1/completions", {"model": "smollm2", "prompt": prompt, "max_tokens": 2, "temperature": 0, "ignore_eos": True})

    wait_until(lambda: held()[0] > 0)
    cores, first, cells = held()
    assert cores == batching(daemon)["choice"]["threads"] and cells == 16 * 512
    ask("One", 40)  # lengths are known now, and short: the cache is made smaller
    wait_until(lambda: held()[2] < cells and held()[1] < first)
    _, less, few = held()
    ask("word " * 400, 12)  # more than a tenth are long
    wait_until(lambda: held()[2] > 2 * few)
    _, more, many = held()
    assert more > less and many > few
    worker = next(one for one in daemon.json("GET", "/v2/evenkeel/models")["models"] if one["name"] == "smollm2")["instances"][0]
    assert memory_limit(worker["pid"]) == more
    assert worker["restarts"] == 0 and "not held to" not in daemon.log()
