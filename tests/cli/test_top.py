"""`evenkeel top`: figures out of two looks at a server, and the terminal as it is while it runs and afterwards."""

import contextlib
import fcntl
import http.server
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pytest

from daemon import BINARY, environment

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "integration"))
from load import Load  # noqa: E402

SLOW = "delay_us: {fixed: 4000, per_row: 50}\n"


# A server that says what it is told to


def metrics(ok=0, shed=0, failed=0, gone=0, rows=0, full=0, idle=0, batch_rows=0, compute=0.0, fast=0, slow=0, cpu=0.0, queue=0,
            knee=8, target=3, price=0.25, forecast=120, actual=100):
    """Text of one look; `fast` requests took up to 1 ms, `slow` ones up to 10 ms."""
    m = 'model="a",version="1"'
    lines = ["# TYPE evenkeel_requests_total counter",
             *(f'evenkeel_requests_total{{{m},code="{code}"}} {count}'
               for code, count in (("ok", ok), ("overloaded", shed), ("internal", failed), ("cancelled", gone))),
             f'evenkeel_batches_total{{{m},reason="full"}} {full}', f'evenkeel_batches_total{{{m},reason="idle"}} {idle}',
             f"evenkeel_items_total{{{m}}} {rows}", f"evenkeel_sheds_total{{{m}}} {shed}",
             f"evenkeel_batch_rows_sum{{{m}}} {batch_rows}", f"evenkeel_batch_rows_count{{{m}}} {full + idle}",
             f"evenkeel_compute_seconds_sum{{{m}}} {compute}", f"evenkeel_queue_rows{{{m}}} {queue}",
             *(f'evenkeel_request_seconds_bucket{{{m},le="{le}"}} {count}'
               for le, count in (("0.0005", 0), ("0.001", fast), ("0.005", fast), ("0.01", fast + slow), ("+Inf", fast + slow))),
             f"evenkeel_window_knee_rows{{{m}}} {knee}", f"evenkeel_window_target_rows{{{m}}} {target}",
             f"evenkeel_window_price{{{m}}} {price}", f"evenkeel_forecast_rows_per_second{{{m}}} {forecast}",
             f"evenkeel_actual_rows_per_second{{{m}}} {actual}", f"evenkeel_daemon_cpu_seconds_total {cpu}", "damage {", ""]
    return "\n".join(lines)


def models(name="a", shapes=(None, None), states=("ready", "ready"), threads=1):
    instances = [{"state": state, "threads": threads, **({"shape": shape} if shape else {})} for shape, state in zip(shapes, states)]
    return {"schema": "evenkeel.models/v1", "node": {"cores": 2, "policy": "auto"},
            "models": [{"name": name, "version": "1", "state": "READY", "policy": "auto", "objective_ms": 20.0, "instances": instances}]}


@contextlib.contextmanager
def scripted(looks, page=None):
    """Answers /metrics with the looks one after the other, the last one again and again."""
    left = list(looks)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = left[0].encode()
            if self.path == "/metrics":
                if len(left) > 1:
                    left.pop(0)
            else:
                body = json.dumps(page or models()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def once(cli, looks, page=None, *more):
    with scripted(looks, page) as url:
        result = cli("top", "--once", "--interval", "200ms", "--server", url, "-o", "json", *more)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_figures_are_differences_of_two_looks(cli):
    before = metrics(ok=1000, shed=5, rows=2000, full=10, idle=10, batch_rows=300, compute=5.0, fast=900, slow=100, cpu=1.0)
    after = metrics(ok=1100, shed=25, failed=6, gone=50, rows=2200, full=40, idle=20, batch_rows=700, compute=5.3, fast=990, slow=110,
                    cpu=1.1, queue=7)
    document = once(cli, [before, after], models(threads=2))
    assert document["schema"] == "evenkeel.top/v1"
    seconds, model = document["seconds"], document["models"][0]
    assert 0.15 < seconds < 5
    assert model["requests_per_s"] * seconds == pytest.approx(100 + 20 + 6 + 50)
    assert model["rows_per_s"] * seconds == pytest.approx(200)
    assert model["sheds_per_s"] * seconds == pytest.approx(20)
    assert model["errors_per_s"] * seconds == pytest.approx(6)
    assert model["closed"] == {"full": 0.75, "idle": 0.25}
    assert model["mean_batch_rows"] == pytest.approx(400 / 40)
    assert model["cores"] * seconds == pytest.approx(0.3 * 2)
    # 90 of 100 within (0.5, 1] ms, 10 within (5, 10] ms.
    assert model["p50_ms"] == pytest.approx(0.5 + 0.5 * 50 / 90)
    assert model["p99_ms"] == pytest.approx(5 + 5 * 9 / 10)
    assert model["window"] == {"knee_rows": 8, "target_rows": 3, "price": 0.25}
    assert (model["forecast_rows_per_s"], model["actual_rows_per_s"]) == (120, 100)
    assert model["queue_rows"] == 7 and model["instances"] == model["instances_ready"] == 2
    node = document["node"]
    assert node["cores"] == 2 and node["policy"] == "auto" and node["price"] == 0.25
    assert node["cores_used"] == pytest.approx(model["cores"])
    assert node["daemon_cores"] * seconds == pytest.approx(0.1)


def test_the_time_of_an_accelerator_is_nobodys_core(cli):
    def look(compute, cores, device):
        m = 'model="a",version="1"'
        return metrics(ok=10, compute=compute) + (f'evenkeel_device_compute_seconds_total{{{m},device="CPU"}} {cores}\n'
                                                  f'evenkeel_device_compute_seconds_total{{{m},device="EMULATED"}} {device}\n')

    page = models(threads=2)
    page["models"][0]["instances"][0] |= {"device": "CPU"}
    page["models"][0]["instances"][1] |= {"device": "EMULATED", "threads": 16}
    document = once(cli, [look(1.0, 0.5, 0.5), look(1.7, 0.6, 1.1)], page)
    assert document["models"][0]["cores"] * document["seconds"] == pytest.approx(0.1 * 2)


def test_what_the_interval_does_not_tell_is_left_out(cli):
    quiet = metrics(ok=10, rows=10, full=1, batch_rows=10, fast=10, knee=0, target=0)
    model = once(cli, [quiet, quiet])["models"][0]
    for name in ("p50_ms", "p99_ms", "mean_batch_rows"):
        assert model[name] is None
    assert model["closed"] == {} and model["requests_per_s"] == 0
    assert model["window"] == {"knee_rows": None, "target_rows": None, "price": None}


def test_counters_that_fell_count_from_zero(cli):
    document = once(cli, [metrics(ok=5000, rows=5000, compute=99.0, cpu=50.0), metrics(ok=40, rows=40, compute=0.1, cpu=0.2)])
    model, seconds = document["models"][0], document["seconds"]
    assert model["requests_per_s"] * seconds == pytest.approx(40)
    assert model["cores"] * seconds == pytest.approx(0.1)
    assert document["node"]["daemon_cores"] * seconds == pytest.approx(0.2)


def test_instances_are_told_by_shape_where_they_have_one(cli):
    page = models(shapes=("1c/512MiB", "1c/512MiB", "2c/1GiB"), states=("ready", "ready", "starting"))
    model = once(cli, [metrics()], page)["models"][0]
    assert model["shapes"] == {"1c/512MiB": 2}
    assert (model["instances"], model["instances_ready"]) == (3, 2)
    with scripted([metrics()], page) as url:
        table = cli("top", "--once", "--interval", "100ms", "--server", url).stdout
    assert "2x1c/512MiB (+1 not ready)" in table


def test_names_cannot_steer_the_terminal(cli):
    with scripted([metrics()], models(name="a\x1b[31m\nb")) as url:
        result = cli("top", "--once", "--interval", "100ms", "--server", url)
    assert result.returncode == 0 and "\x1b" not in result.stdout and "a?[31m b" in result.stdout


def test_several_tables_or_documents_off_a_terminal(cli):
    with scripted([metrics(ok=n * 10, rows=n * 10, full=n) for n in range(9)]) as url:
        tables = cli("top", "-n", "3", "--interval", "100ms", "--server", url)
        documents = cli("top", "-n", "3", "--interval", "100ms", "--server", url, "-o", "json")
    assert tables.returncode == 0 and tables.stdout.count("MODEL") == 3 and "\x1b" not in tables.stdout
    assert "full 100%" in tables.stdout and "cores 0.00 of 2 (0%)" in tables.stdout
    lines = [json.loads(line) for line in documents.stdout.splitlines()]
    assert len(lines) == 3 and all(line["schema"] == "evenkeel.top/v1" for line in lines)


@pytest.mark.parametrize("arguments, said", [
    (["--interval", "1ms"], "expected 100ms to 1h"), (["--interval", "soon"], "--interval"), (["-n", "0"], "--count"),
    (["--once", "-n", "2"], "excludes"), (["-o", "yaml"], "json|table|wide"), (["--sort", "size"], "--sort")])
def test_wrong_flags_are_refused(cli, arguments, said):
    result = cli("top", *arguments, env={"EVENKEEL_SERVER": "http://127.0.0.1:9"})
    assert result.returncode == 2 and result.stdout == "" and said in result.stderr


@pytest.mark.parametrize("flags", [[], ["--once"], ["-o", "json"]])
def test_without_a_server_it_says_how_to_start_one(cli, flags):
    result = cli("top", *flags, "--server", "http://127.0.0.1:9")
    assert result.returncode == 3 and result.stdout == "" and "evenkeel serve" in result.stderr


# A cluster


def cluster_page(**more):
    return {"nodes": [], "tasks": [],
            "feedback": {"proposals": 0, "asking": "a row of 'm' takes longer"},
            "live": {"average_level_s": 0.5,
                     "nodes": [{"name": "a", "state": "alive", "cores": 4, "busy_cores": 1.0, "backlog_s": 2.0, "level_s": 0.5, "waiting": 7,
                                "moving": 1, "moved_lately": 3, "sent": 100, "under_way": 5, "figures_age_s": 0.2},
                               {"name": "b", "state": "unseen", "sent": 0, "under_way": 0}],
                     "models": [{"node": "a", "name": "m", "rate_per_s": 3.25, "row_s": 0.01, "waiting": 7},
                                {"node": "a", "name": "busy", "rate_per_s": 200, "row_s": 0.01, "waiting": 0}],
                     "events": [{"unix_ms": 1_700_000_000_000, "what": "3 that wait given on", "why": "40 ms"}], **more}}


def test_the_nodes_of_a_cluster(cli):
    page = cluster_page(plan={"age_s": 61.0})
    with scripted([metrics()], page) as url:
        document = json.loads(cli("top", "--cluster", "--once", "--interval", "100ms", "--server", url, "-o", "json").stdout)
        table = cli("top", "--cluster", "--once", "--interval", "100ms", "--server", url).stdout
        wide = cli("top", "--cluster", "--once", "--interval", "100ms", "--server", url, "-o", "wide").stdout
    assert document["schema"] == "evenkeel.top-cluster/v1"
    assert document["cluster"] == {"nodes": 2, "states": {"alive": 1, "unseen": 1}, "cores": 4, "busy_cores": 1, "waiting": 7, "moving": 1,
                                   "moved_lately": 3, "average_level_s": 0.5}
    assert document["nodes"] == page["live"]["nodes"] and document["plan"] == {"age_s": 61.0}
    lines = table.splitlines()
    assert "nodes 2 (1 alive, 1 unseen), cores 1.00 of 4 busy (25%), average load 500 ms, waiting 7, moving 1" in lines[1]
    assert "plan 61 s old" in lines[1]
    row = next(line for line in lines if line.startswith("a "))
    assert row.split()[:7] == ["a", "alive", "500", "ms", "25%", "4", "7"] and row.endswith("busy 200/s, m 3.2/s")
    assert re.search(r"^b +unseen +- +- +-", table, re.M), table
    assert "a plan is asked for: a row of 'm' takes longer" in table and "3 that wait given on: 40 ms" in table
    assert "CALLS SENT" in wide and "CALLS SENT" not in table


def test_what_a_cluster_says_cannot_steer_the_terminal_and_strange_figures_are_left_out(cli):
    page = cluster_page(nodes=[{"name": "a\x1b[31m", "state": 7, "cores": "many"}, "none", None],
                        models="none", events=[{"what": "x\x1b[2J", "why": None}, 3])
    with scripted([metrics()], page) as url:
        result = cli("top", "--cluster", "--once", "--interval", "100ms", "--server", url)
    assert result.returncode == 0 and "\x1b" not in result.stdout, result.stderr
    assert "a?[31m" in result.stdout and "x?[2J" in result.stdout


def test_the_models_order_says_nothing_of_nodes(cli):
    result = cli("top", "--cluster", "--sort", "cores", "--server", "http://127.0.0.1:9")
    assert result.returncode == 2 and "excludes" in result.stderr


def test_a_server_alone_says_that_it_is(cli, serve):
    result = cli("top", "--cluster", "--once", server=serve())
    assert result.returncode != 0 and "alone" in result.stderr


# A real server


def test_a_server_under_load(cli, serve):
    daemon = serve(models={"a.fake": SLOW, "b.fake": SLOW})
    load = Load(daemon.http_address, model="a", threads=6).start()
    time.sleep(1.2)
    document = json.loads(cli("top", "--once", "-o", "json", server=daemon).stdout)
    table = cli("top", "--once", "-o", "wide", "--sort", "cores", server=daemon).stdout
    load.stop()
    busy, quiet = document["models"]
    assert (busy["name"], quiet["name"]) == ("a", "b")
    assert busy["rows_per_s"] > 50 and quiet["rows_per_s"] == 0
    assert busy["forecast_rows_per_s"] > 50 and busy["window"]["knee_rows"] >= 1
    assert sum(busy["closed"].values()) == pytest.approx(1)
    assert 4 <= busy["p50_ms"] <= busy["p99_ms"] < 1000
    assert 0.3 < busy["cores"] <= document["node"]["cores_used"] + 1e-9
    assert document["node"]["cores"] == len(os.sched_getaffinity(0))
    assert 0 < document["node"]["daemon_cores"] < 2
    assert re.search(r"^a +\d+.*", table, re.M) and "OBJECTIVE" in table


def test_the_batching_page_has_parameters_table_price_and_batches(serve):
    daemon = serve(models={"a.fake": SLOW})
    load = Load(daemon.http_address, model="a", threads=4).start()
    end = time.monotonic() + 30
    while sum(daemon.json("GET", "/v2/models/a/batching")["closed"].values()) < 120 and time.monotonic() < end:
        time.sleep(0.1)
    load.stop()
    page = daemon.json("GET", "/v2/models/a/batching")
    assert page["parameters"]["policy"] == "auto" and page["parameters"]["instances"] == 0  # automatic
    assert page["parameters"]["max_batch"] == page["max_batch"] and page["parameters"]["threads"] >= 1
    for row in page["table"]:
        assert row["mean_ms"] == pytest.approx(page["batch_time_ms"][str(row["rows"])])
        assert row["mean_us_per_row"] == pytest.approx(row["mean_ms"] * 1e3 / row["rows"]) and row["runs"] >= 1
    assert [row["rows"] for row in page["table"]] == sorted(int(size) for size in page["batch_time_ms"])
    assert page["price"] == page["window"]["price"] >= 0
    batches = page["recent_batches"]
    assert len(batches) == 100 and all(batch["reason"] in page["closed"] for batch in batches)
    ages = [batch["closed_ms_ago"] for batch in batches]
    assert ages == sorted(ages, reverse=True) and ages[-1] >= 0


# A terminal


class Terminal:
    """`evenkeel top` on a terminal of its own; `screen` is all that it wrote."""

    def __init__(self, folder, url, *flags, size=(24, 100), **env):
        self.leader, follower = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(follower)
        plain = {k: v for k, v in environment(folder).items() if k != "NO_COLOR"}
        self.process = subprocess.Popen(
            [str(BINARY), "top", "--server", url, "--interval", "200ms", *flags], stdin=follower, stdout=follower, stderr=follower,
            cwd=folder, env={**plain, "TERM": "xterm", **env}, start_new_session=True)
        self.follower = follower  # kept, so that its settings can be read afterwards
        self.screen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.leader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.leader], [], [], left)[0]:
                self.screen += os.read(self.leader, 65536)

    def read_until(self, text, seconds=10):
        end = time.monotonic() + seconds
        while text not in self.screen:
            assert time.monotonic() < end, self.screen
            self.read(0.05)

    def end(self):
        code = self.process.wait(timeout=5)
        self.read(0.1)
        after = termios.tcgetattr(self.follower)
        os.close(self.leader)
        os.close(self.follower)
        assert after == self.before, "the terminal is not as it was"
        assert self.screen.rstrip().count(b"\033[?1049h") == self.screen.count(b"\033[?1049l")
        assert self.screen.count(b"\033[?25l") == self.screen.count(b"\033[?25h")
        return code


@pytest.mark.parametrize("how, code", [("q", 0), (signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)])
def test_the_terminal_is_given_back_however_it_ends(tmp_path, how, code):
    with scripted([metrics(ok=n * 10, rows=n * 10) for n in range(50)]) as url:
        terminal = Terminal(tmp_path, url)
        terminal.read_until(b"FORECAST")
        terminal.read(0.5)
        assert terminal.screen.startswith(b"\033[?1049h")
        if how == "q":
            os.write(terminal.leader, b"xq")
        else:
            terminal.process.send_signal(how)
        assert terminal.end() == code


def test_it_ends_at_once_also_while_the_server_hangs(tmp_path):
    with scripted([metrics()]) as url:
        terminal = Terminal(tmp_path, url)
        terminal.read_until(b"FORECAST")
    # Nobody answers any more: it says so, and goes on trying.
    terminal.read_until(b"trying again")
    begin = time.monotonic()
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0
    assert time.monotonic() - begin < 2


def test_lines_are_cut_to_the_terminal_and_follow_its_size(tmp_path):
    page = models()
    page["models"] = [{**page["models"][0], "name": f"model{i}"} for i in range(30)]
    with scripted([metrics()], page) as url:
        terminal = Terminal(tmp_path, url, size=(10, 40))
        terminal.read_until(b"more lines")
        pages = terminal.screen.split(b"\033[H")[2:]
        lines = [re.sub(rb"\033\[[0-9;?]*[A-Za-z]", b"", line).strip(b"\r") for line in pages[0].split(b"\r\n")]
        assert len(lines) == 10 and max(len(line.decode()) for line in lines) <= 40
        terminal.screen = b""
        terminal.resize(50, 200)
        os.kill(terminal.process.pid, signal.SIGWINCH)
        terminal.read_until(b"model29")
        assert b"CLOSED BY" in terminal.screen
        os.write(terminal.leader, b"q")
        terminal.screen = b"\033[?1049h\033[?25l" + terminal.screen  # the part that was thrown away
        assert terminal.end() == 0


def test_stopped_it_gives_the_terminal_back_and_takes_it_again(tmp_path):
    with scripted([metrics()]) as url:
        terminal = Terminal(tmp_path, url)
        terminal.read_until(b"FORECAST")
        terminal.process.send_signal(signal.SIGTSTP)
        terminal.read_until(b"\033[?1049l")
        assert termios.tcgetattr(terminal.follower) == terminal.before
        drawn = len(terminal.screen)
        terminal.process.send_signal(signal.SIGCONT)
        end = time.monotonic() + 10
        while b"FORECAST" not in terminal.screen[drawn:] and time.monotonic() < end:
            terminal.read(0.1)
        assert b"FORECAST" in terminal.screen[drawn:]
        os.write(terminal.leader, b"q")
        assert terminal.end() == 0


def test_a_count_ends_it_and_leaves_the_last_table(tmp_path):
    with scripted([metrics()]) as url:
        terminal = Terminal(tmp_path, url, "-n", "2")
        assert terminal.end() == 0
    assert b"FORECAST" in terminal.screen.split(b"\033[?1049l")[1]


@pytest.mark.parametrize("flags, env", [([], {"NO_COLOR": "1"}), (["--no-color"], {})])
def test_no_colour_where_none_is_wanted(tmp_path, flags, env):
    with scripted([metrics()]) as url:
        terminal = Terminal(tmp_path, url, "-n", "1", *flags, **env)
        assert terminal.end() == 0
    assert not re.search(rb"\033\[[0-9;]*m", terminal.screen) and b"FORECAST" in terminal.screen


def test_a_dumb_terminal_gets_plain_tables(tmp_path):
    with scripted([metrics()]) as url:
        terminal = Terminal(tmp_path, url, "-n", "2", TERM="dumb")
        assert terminal.end() == 0
    assert b"\033" not in terminal.screen and terminal.screen.count(b"FORECAST") == 2
