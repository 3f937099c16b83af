"""The daemon measures its models beside serving, and has them run on what their load tables say."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import sqlite3
import sys
import time
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from load import Load  # noqa: E402

# A batch of n rows sleeps 1 ms + n x 0.1 ms: batching pays.
PAYS = "delay_us: {fixed: 1000, per_row: 100}\n"
# The same, but it keeps a core busy.
BUSY = "delay_us: {fixed: 1000, per_row: 100, mode: busy}\n"
# Twice the rows, twice the time: batching gains nothing.
LINEAR = "delay_us: {fixed: 0, per_row: 20000}\n"  # long beside what it takes to wake up
GRID = ["--profiling", "auto", "--profile-after", "0s", "--profile-shapes", "1c/256MiB,1c/512MiB", "--profile-batches", "1,2,4"]


def wait_for(what, condition, seconds=100):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail(f"{what} never came to be")


def profile(daemon, model="pays"):
    return daemon.json("GET", f"/v2/models/{model}/batching")["profile"]


def wait_for_state(daemon, state, model="pays", seconds=100):
    try:
        return wait_for(state, lambda: (p := profile(daemon, model))["state"] == state and p, seconds)
    except pytest.fail.Exception:
        pytest.fail(f"{profile(daemon, model)}\n{daemon.log()[-3000:]}")


def wait_for_choice(daemon, model="pays"):
    return wait_for("a choice", lambda: (p := profile(daemon, model)).get("adopted") and p)


def metric(daemon, name):
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    return {match[1]: float(match[2]) for match in re.finditer(rf"^{name}(?:{{([^}}]*)}})? (\S+)$", text, re.M)}


def kept_rows(folder):
    try:
        with sqlite3.connect(f"file:{folder}/state/load_tables.db?mode=ro", uri=True) as db:
            return db.execute("SELECT count(*) FROM load_rows").fetchone()[0]
    except sqlite3.Error:
        return 0


def workers_of(pid):
    """Processes whose parent is `pid`."""
    found = set()
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if text[text.rindex(")") + 2 :].split()[1] == str(pid):
            found.add(int(stat.parent.name))
    return found


def test_a_model_is_measured_by_itself_and_adopts_what_its_table_says(serve, tmp_path):
    daemon = serve(models={"pays.fake": PAYS, "linear.fake": LINEAR}, flags=GRID)
    pays = wait_for_state(daemon, "complete")
    linear = wait_for_state(daemon, "complete", "linear")
    assert pays["cells_run"] == 3 and pays["cells"] == 6
    assert pays["inputs"] == "signature" and pays["kept"] == "disk"
    assert [(row["shape"], row["batch"]) for row in pays["table"]] == [
        (shape, batch) for shape in ("1c/256MiB", "1c/512MiB") for batch in (1, 2, 4)]
    # What a worker waited for a core is taken off where the machine is never quiet, and may be a little too much.
    assert all(row["batchtime_ms"] >= 0.8 * (1 + 0.1 * row["batch"]) for row in pays["table"])
    pays, linear = wait_for_choice(daemon), wait_for_choice(daemon, "linear")
    assert pays["adopted"]["batch"] == 4 and pays["adopted"]["shape"] == "1c/256MiB"
    assert linear["adopted"]["batch"] == 1
    assert pays["choice"]["rule"] == "objective" and pays["choice"]["steps"]
    assert "the manifest asks for f32" in pays["precision"]["why"]
    assert kept_rows(daemon.folder) == 6
    cells = metric(daemon, "evenkeel_profile_cells")
    assert cells['model="pays",version="1"'] == 3
    assert metric(daemon, "evenkeel_profile_state")['model="pays",version="1",state="complete"'] == 1
    shown = daemon.json("GET", "/v2/evenkeel/models/pays")["profile"]
    assert shown["state"] == "complete" and "table" not in shown


def test_show_prints_the_chosen_row(serve, cli):
    daemon = serve(models={"pays.fake": PAYS}, flags=GRID)
    wait_for_choice(daemon)
    shown = cli("show", "pays", server=daemon).stdout
    assert re.search(r"Profile +complete", shown), shown
    assert re.search(r"Runs on +1c/256MiB, batch 4: ", shown), shown


def test_profile_explains_the_daemons_table_without_measuring(serve, cli):
    daemon = serve(models={"pays.fake": PAYS}, flags=GRID)
    wait_for_state(daemon, "complete")
    folder = daemon.folder
    said = cli("profile", "pays", "--explain", "--shapes", "1c/256MiB,1c/512MiB", "--batches", "1,2,4",
               "--models", str(folder / "models"), "--state", str(folder / "state"), "--cache", str(folder / "cache"))
    assert said.returncode == 0, said.stderr
    assert "3 of 6 cells run (3 earlier)" in said.stderr
    assert "batch of 2 or more" in said.stdout


def test_a_table_that_was_measured_by_hand_is_used(serve, cli, tmp_path):
    folder = tmp_path / "d"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "pays.fake").write_text(PAYS)
    said = cli("profile", "pays", "--shapes", "1c/256MiB,1c/512MiB", "--batches", "1,2,4",
               "--models", str(folder / "models"), "--state", str(folder / "state"), "--cache", str(folder / "cache"))
    assert said.returncode == 0, said.stderr
    daemon = serve(models={}, folder=folder, flags=GRID)
    done = wait_for_state(daemon, "complete")
    assert done["cells_run"] == 3 and done["drift"]["times_measured"] == 0
    assert metric(daemon, "evenkeel_profile_core_seconds_total")[None] == 0


def test_a_restart_measures_nothing_and_starts_with_the_choice(serve, tmp_path):
    folder = tmp_path / "d"
    daemon = serve(models={"pays.fake": PAYS}, folder=folder, flags=GRID)
    first = wait_for_choice(daemon)
    time.sleep(1.2)  # it is kept with the next look
    daemon.ended = True
    assert daemon.stop() == 0
    later = [*GRID]
    later[later.index("--profile-after") + 1] = "1h"
    again = serve(models={}, folder=folder, flags=later)
    assert "starts on 1c/256MiB, as chosen earlier" in again.log()
    held = wait_for_choice(again)
    assert {k: held["adopted"][k] for k in ("shape", "batch")} == {k: first["adopted"][k] for k in ("shape", "batch")}
    assert held["state"] == "waiting"


def test_sampled_inputs_are_what_is_measured_with(serve):
    later = [*GRID]
    later[later.index("--profile-after") + 1] = "2s"
    daemon = serve(models={"pays.fake": PAYS}, flags=later)
    load = Load(daemon.http_address, model="pays", threads=2).start()
    time.sleep(1)
    load.stop()
    assert wait_for_state(daemon, "complete")["inputs"] == "samples"


def test_what_was_measured_with_made_up_inputs_is_measured_again_once_there_are_sampled_ones(serve):
    daemon = serve(models={"pays.fake": PAYS}, flags=GRID)
    assert wait_for_state(daemon, "complete")["inputs"] == "signature"
    load = Load(daemon.http_address, model="pays", threads=2).start()
    time.sleep(1)
    load.stop()
    end = time.monotonic() + 120
    while (found := profile(daemon))["inputs"] != "samples" or found["state"] != "complete":
        assert time.monotonic() < end, found
        time.sleep(0.2)
    assert found["adopted"]


def test_beside_serving_it_takes_at_most_a_tenth_of_the_machine(serve):
    flags = [*GRID]
    flags[flags.index("--profile-batches") + 1] = "1,2,3,4,5,6,7,8"
    daemon = serve(models={"pays.fake": PAYS, "busy.fake": BUSY}, flags=flags)
    load = Load(daemon.http_address, model="pays", threads=1).start()
    begin = time.monotonic()
    before = metric(daemon, "evenkeel_profile_core_seconds_total")[None]
    time.sleep(15)  # so that one stint, however long, is a small part
    used = metric(daemon, "evenkeel_profile_core_seconds_total")[None] - before
    share = used / ((time.monotonic() - begin) * os.cpu_count())
    load.stop()
    assert load.unanswered == 0 and load.wrong == 0 and set(load.statuses) == {200}, load.summary()
    # A stint that began before the first look may reach into it.
    assert share <= 0.115, f"{share:.3f} of the machine"
    assert kept_rows(daemon.folder) > 0


def test_a_queue_pauses_it(serve):
    slow = {"slow/m.fake": "delay_us: {fixed: 40000, per_row: 0}\n", "slow/evenkeel.yaml": "objective: 100ms\nbatching: {policy: none}\n"}
    flags = [*GRID]
    flags[flags.index("--profile-after") + 1] = "1s"
    daemon = serve(models={"pays.fake": PAYS, **slow}, flags=flags)
    load = Load(daemon.http_address, model="slow", threads=4).start()
    time.sleep(2)
    seen = [profile(daemon).get("paused") for _ in range(20) if not time.sleep(0.05)]
    rows = kept_rows(daemon.folder)
    load.stop()
    assert "requests wait" in seen, seen
    assert rows <= 1
    wait_for_state(daemon, "complete")


def test_killed_in_the_middle_it_goes_on_and_leaves_nothing_behind(serve, tmp_path):
    folder = tmp_path / "d"
    flags = [*GRID]
    flags[flags.index("--profile-batches") + 1] = "1,2,3,4,5,6,7,8"
    daemon = serve(models={"pays.fake": PAYS}, folder=folder, flags=flags)
    wait_for("two rows", lambda: kept_rows(folder) >= 2)
    workers = workers_of(daemon.pid)
    daemon.ended = True
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    kept = kept_rows(folder)
    wait_for("the end of all workers", lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers), 5)
    assert workers and kept < 8
    again = serve(models={}, folder=folder, flags=flags)
    done = wait_for_state(again, "complete")
    assert done["cells_run"] == 8
    assert f"{kept} known" in again.log()


def test_unloaded_and_loaded_again_in_the_middle(serve):
    flags = [*GRID]
    flags[flags.index("--profile-batches") + 1] = "1,2,3,4,5,6,7,8"
    daemon = serve(models={"pays.fake": PAYS, "linear.fake": LINEAR}, flags=flags)
    wait_for("a row", lambda: kept_rows(daemon.folder) >= 1)
    for _ in range(3):
        for model in ("pays", "linear"):
            daemon.json("POST", f"/v2/repository/models/{model}/load")
    daemon.json("POST", "/v2/repository/models/linear/unload")
    done = wait_for_state(daemon, "complete")
    assert done["cells_run"] == 8
    assert "linear" not in [m["name"] for m in daemon.json("GET", "/v2/evenkeel/models")["models"] if m["state"] == "READY"]


MADE_UP = "inputs: [{name: x, dtype: INT32, shape: [-1, 1], range: [0, 16]}]"


def answers(daemon, model):
    answer = daemon.infer(model, [{"name": "x", "shape": [1, 1], "datatype": "INT32", "data": [3]}])
    return answer["outputs"][0]["data"] == [3]


def test_a_model_that_aborts_on_what_is_made_up_serves_on(serve):
    daemon = serve(models={"aborts.fake": f"{{{MADE_UP}, abort_on: 16}}"}, flags=GRID)
    failed = wait_for_state(daemon, "failed", "aborts")
    assert "no cell gave a figure" in failed["why"]
    assert answers(daemon, "aborts")


def test_a_model_that_hangs_on_what_is_made_up_is_a_row_timeout_and_serves_on(serve):
    # Made-up rows take every id, so the marker comes soon; a batch without it takes no time.
    hangs = {"hangs/m.fake": f"{{{MADE_UP}, hang_on: 16}}", "hangs/evenkeel.yaml": "hang_timeout: 1s\n"}
    daemon = serve(models=hangs, flags=GRID)
    wait_for_state(daemon, "sweeping", "hangs")
    assert answers(daemon, "hangs"), "not while it is measured"
    now = wait_for_state(daemon, "complete", "hangs", 60)
    assert {row["outcome"] for row in now["table"]} == {"timeout"}, now["table"]
    assert "timeout" in now["advice"] and "adopted" not in now
    assert "it is served as before" in daemon.log()
    assert answers(daemon, "hangs")
    assert metric(daemon, "evenkeel_worker_restarts_total")['model="hangs",version="1"'] == 0


def test_a_model_that_fits_no_shape_gets_advice_and_serves_on(serve):
    large = {"large/m.fake": "{inputs: [{name: x, dtype: FP32, shape: [-1, 1048576]}]}", "large/evenkeel.yaml": "max_batch: 16\n"}
    flags = [*GRID]
    flags[flags.index("--profile-shapes") + 1] = "1c/16MiB"
    flags[flags.index("--profile-batches") + 1] = "8,16"
    daemon = serve(models=large, flags=flags)
    done = wait_for_state(daemon, "complete", "large", 120)  # 128 MiB are filled for every warm batch
    assert "needs more memory than any shape has (largest: 16MiB)" in done["advice"]
    assert "adopted" not in done
    assert "it is served as before" in daemon.log()


@pytest.mark.parametrize("damage", ["garbage", "folder"])
def test_a_damaged_or_unwritable_store_is_said_and_costs_no_more(serve, tmp_path, damage):
    folder = tmp_path / "d"
    (folder / "state").mkdir(parents=True)
    path = folder / "state" / "load_tables.db"
    path.write_bytes(os.urandom(8192)) if damage == "garbage" else path.mkdir()
    daemon = serve(models={"pays.fake": PAYS}, folder=folder, flags=GRID)
    assert ("set aside" if damage == "garbage" else "cannot be kept") in daemon.log()
    done = wait_for_state(daemon, "complete")
    assert done["kept"] == ("disk" if damage == "garbage" else "memory")
    wait_for_choice(daemon)


def test_off_by_the_server_and_by_the_manifest(serve):
    quiet = {"quiet/m.fake": PAYS, "quiet/evenkeel.yaml": "profile: off\n"}
    daemon = serve(models={"pays.fake": PAYS, **quiet}, flags=GRID)
    wait_for_state(daemon, "complete")
    assert profile(daemon, "quiet")["state"] == "off"
    assert "'profile: off'" in profile(daemon, "quiet")["why"]
    silent = serve(models={"pays.fake": PAYS}, flags=["--profiling", "off"])
    assert "'profiling: off'" in profile(silent)["why"]


@pytest.mark.parametrize("flags, said", [
    (["--profile-shapes", "1c"], "profile_shapes"),
    (["--profile-shapes", "900c/1GiB"], "this host has"),
    (["--profile-batches", "0"], "profile_batches"),
    (["--ratio-threshold", "0"], "ratio-threshold"),
    (["--ratio-threshold", "1.5"], "ratio-threshold"),
    (["--profile-drift", "1ms"], "profile-drift"),
])
def test_bad_settings_stop_the_start_by_name(serve, flags, said):
    daemon = serve(models={"pays.fake": PAYS}, flags=["--profiling", "auto", *flags], ready=False)
    assert daemon.process.wait(timeout=10) != 0
    daemon.ended = True
    assert said in daemon.log()


def test_the_methods_rule_is_followed_to_the_letter(serve):
    daemon = serve(models={"pays.fake": PAYS, "linear.fake": LINEAR}, flags=[*GRID, "--batching", "method", "--ratio-threshold", "0.8"])
    pays, linear = (wait_for_choice(daemon, model) for model in ("pays", "linear"))
    assert pays["choice"]["rule"] == "method"
    assert pays["choice"]["batch"] == 4
    assert linear["choice"]["batch"] == 1 and "do not batch" in linear["choice"]["why"]
    load = Load(daemon.http_address, model="linear", threads=4).start()
    time.sleep(1.5)
    load.stop()
    batches = daemon.json("GET", "/v2/models/linear/batching")["recent_batches"]
    assert {batch["rows"] for batch in batches} == {1}


@pytest.mark.long
def test_drift_has_a_model_measured_again(serve, tmp_path):
    folder = tmp_path / "d"
    daemon = serve(models={"pays.fake": PAYS}, folder=folder, flags=[*GRID, "--profile-drift", "2s"])
    wait_for_choice(daemon)
    # As if the machine had become slower since: the table says half of what is true.
    daemon.ended = True
    daemon.stop()
    with sqlite3.connect(folder / "state" / "load_tables.db") as db:
        db.execute("UPDATE load_rows SET batchtime_us = batchtime_us / 2, p50_us = p50_us / 2, p99_us = p99_us / 2, nobatchtime_us = nobatchtime_us / 2")
    db.close()
    again = serve(models={}, folder=folder, flags=[*GRID, "--profile-drift", "2s"])
    wait_for_state(again, "complete")
    load = Load(again.http_address, model="pays", threads=2).start()
    try:
        wait_for("drift", lambda: "is measured again" in again.log(), 60)
        done = wait_for("a new table", lambda: (p := profile(again))["drift"]["times_measured"] == 1 and p, 60)
    finally:
        load.stop()
    assert all(row["batchtime_ms"] >= 1 + 0.1 * row["batch"] for row in done["table"])
