"""What takes longer than two seconds says how far it is: on a terminal alone, on stderr, gone at the end."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from daemon import BINARY, environment

SLOW = "slow_load_ms: 1700\n"
FAST = "delay_us: {fixed: 200}\n"


def on_terminal(folder, *arguments: str, server=None, **more: str) -> tuple[int, bytes, bytes]:
    """(exit code, stdout, what a terminal at stderr was sent)"""
    leader, follower = os.openpty()
    variables = {k: v for k, v in environment(folder).items() if k != "NO_COLOR"}
    if server is not None:
        variables["EVENKEEL_SERVER"] = server.http_url
    process = subprocess.Popen([str(BINARY), *arguments], stdout=subprocess.PIPE, stderr=follower, stdin=subprocess.DEVNULL,
                               env={**variables, "TERM": "xterm", **more}, cwd=folder)
    os.close(follower)
    text = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        text += part
    os.close(leader)
    out = process.stdout.read()
    return process.wait(timeout=60), out, text


def left_behind(text: bytes) -> bytes:
    """What a terminal shows after `text`: lines, each from its last return or erasure on."""
    lines = [re.split(rb"\r(?!$)|\033\[K", line)[-1].strip() for line in text.replace(b"\r\n", b"\n").split(b"\n")]
    return b"\n".join(line for line in lines if line)


BENCH = ("bench", "fast", "-c", "2", "--warm-up", "500ms", "--url")


def test_bench_shows_rate_and_time_left(serve, tmp_path):
    daemon = serve(models={"fast.fake": FAST})
    code, out, text = on_terminal(tmp_path, *BENCH, daemon.http_url, "-d", "3500ms", "-o", "json")
    assert code == 0 and out.startswith(b"{")
    shown = re.findall(rb"\[(#*)(\.*)\] (\d+) s, (\d+) s left, (\d+)/s, (\d+) answered, 0 failed", text)
    assert len(shown) >= 3, text
    for filled, free, seconds, left, rate, _ in shown:
        assert len(filled) + len(free) == 24 and int(rate) > 0
        assert abs(int(seconds) + int(left) - 4) <= 1, text
        assert abs(len(filled) / 24 - int(seconds) / 4) < 0.25, text
    assert int(shown[0][2]) == 2, "nothing moves in the first two seconds"
    assert left_behind(text) == b""


def test_bench_estimates_a_number_of_requests(serve, tmp_path):
    daemon = serve(models={"fast/model.fake": "delay_us: {fixed: 50000}\n", "fast/evenkeel.yaml": "max_batch: 1\n"})
    code, _, text = on_terminal(tmp_path, *BENCH, daemon.http_url, "-n", "70")  # 20 a second
    assert code == 0 and re.search(rb"\[#+\.+\] \d s, \d s left, \d+/s, \d+ answered", text), text
    assert left_behind(text) == b""


def test_a_short_bench_shows_nothing(serve, tmp_path):
    daemon = serve(models={"fast.fake": FAST})
    _, _, text = on_terminal(tmp_path, *BENCH, daemon.http_url, "-d", "1s")
    assert text == b""


def test_load_counts_its_models(serve, tmp_path):
    daemon = serve(models={f"m{i}.fake": SLOW for i in range(3)})
    code, _, text = on_terminal(tmp_path, "load", "m0", "m1", "m2", server=daemon)
    assert code == 0
    assert re.search(rb"\[#+\.+\] loading m[12] \([23] of 3\), \d s, [\d.]+/s, \d s left", text), text
    assert left_behind(text) == b"Loaded m0\nLoaded m1\nLoaded m2"


def test_load_of_one_model_says_how_long_it_takes_already(serve, tmp_path):
    daemon = serve(models={"m.fake": "slow_load_ms: 3500\n", "bad.fake": "slow_load_ms: 3000\nfail_load: no such layer\n"})
    code, _, text = on_terminal(tmp_path, "load", "m", server=daemon)
    assert code == 0 and b"loading m (1 of 1), 2 s" in text and left_behind(text) == b"Loaded m", text
    code, _, text = on_terminal(tmp_path, "load", "bad", server=daemon)
    assert code == 1 and b"loading bad (1 of 1), 2 s" in text
    assert left_behind(text).startswith(b"evenkeel: ") and b"no such layer" in left_behind(text), text


@pytest.mark.parametrize("setting", ["NO_COLOR=1", "TERM=dumb", "--no-color"])
def test_nothing_moves_where_it_is_not_wanted(serve, tmp_path, setting):
    daemon = serve(models={"m.fake": "slow_load_ms: 2600\n"})
    flags, variables = ([setting], {}) if setting.startswith("-") else ([], dict([setting.split("=")]))
    _, _, text = on_terminal(tmp_path, "load", "m", *flags, server=daemon, **variables)
    assert text == b"Loaded m\r\n"


def test_nothing_moves_off_a_terminal(serve, cli):
    daemon = serve(models={"m.fake": "slow_load_ms: 2600\n"})
    assert cli("load", "m", server=daemon).stderr == "Loaded m\n"
