"""The daemon measures shares of an (emulated) accelerator by itself, and chooses each model's share and class from the table."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from load import Load  # noqa: E402

BESIDE = "1c/1GiB+gpu0:"
SHAPES = f"1c/256MiB,{BESIDE}4c/1GiB,{BESIDE}8c/1GiB,{BESIDE}16c/1GiB"
# On g of 16 cores a batch of n rows takes (1 + 0.5 n) 16 / g ms.
SCALES = ["--emulated-gpu", "16c/4GiB,a=1ms,c=0.5ms,m0=100MiB,m1=2MiB,serial=0"]
# 2 + 8 n ms, whatever the share: a little faster than one core, and dearer than that.
DEAR = ["--emulated-gpu", "16c/4GiB,a=2ms,c=8ms,m0=100MiB,m1=2MiB,serial=1"]
TWO_CORES = {"EVENKEEL_WORKER_CPUS": "0,1"}
# Nothing of it on the device.
SLOW = "delay_us: {fixed: 0, per_row: 10000, on: cpu}\n"


def measures(batches: str, shapes: str = SHAPES) -> list[str]:
    # Two cores, so that what the processor carries is known.
    return ["--profiling", "auto", "--profile-after", "0s", "--profile-shapes", shapes, "--profile-batches", batches, "--worker-cpus", "0,1"]


def of_class(name: str, content: str = SLOW) -> dict:
    return {"m/model.fake": content, "m/evenkeel.yaml": f"class: {name}\nobjective: 500ms\n"}


def profile(daemon, model: str = "m") -> dict:
    return daemon.json("GET", f"/v2/models/{model}/batching")["profile"]


def wait_for(daemon, what: str, condition, seconds: float = 60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} never came to be: {profile(daemon)}\n{daemon.log()[-4000:]}")


def instances(daemon, model: str = "m") -> list[tuple[str, str]]:
    """(device, shape) of those that are ready."""
    entry = next(one for one in daemon.json("GET", "/v2/evenkeel/models")["models"] if one["name"] == model)
    return sorted((one["device"], one["shape"]) for one in entry["instances"] if one["state"] == "ready")


def metric(daemon, name: str, **labels: str) -> float:
    text = urllib.request.urlopen(daemon.metrics_url, timeout=10).read().decode()
    for match in re.finditer(rf"^{name}{{([^}}]*)}} (\S+)$", text, re.M):
        if all(f'{key}="{value}"' in match[1] for key, value in labels.items()):
            return float(match[2])
    raise AssertionError(f"no {name} {labels}")


def rows_on(daemon, device: str) -> float:
    return metric(daemon, "evenkeel_device_rows_total", model="m", device=device)


def cores_taken(daemon) -> float:
    return metric(daemon, "evenkeel_device_cores_taken", device="EMULATED")


def share_of(shape: str) -> tuple[int, int]:
    """(cores, MiB) of `1c/1GiB+gpu:8c/2GiB`."""
    cores, size, unit = re.search(r"\+gpu\d*:(\d+)c/(\d+)(MiB|GiB)$", shape).groups()
    return int(cores), int(size) * (1024 if unit == "GiB" else 1)


def by_the_method(table: list[dict], within_ms: float) -> tuple[int, int, int]:
    """A6, read from its sentence: (batch, MiB of the device, its cores)."""
    fits = [row for row in table if "+gpu" in row["shape"] and row["outcome"] == "ok" and row["batchtime_ms"] <= within_ms]
    batch = max(row["batch"] for row in fits)
    memory, cores = min((share_of(row["shape"])[1], share_of(row["shape"])[0]) for row in fits if row["batch"] == batch)
    return batch, memory, cores


def by_hand(cli, daemon, flags: list[str], shapes: str, batches: str, rule: str) -> dict:
    """What `evenkeel profile` chooses from the daemon's table, without measuring."""
    folder = daemon.folder
    said = cli("profile", "m", *flags, "--shapes", shapes, "--batches", batches, "-o", "json", "--explain",
               "--models", str(folder / "models"), "--state", str(folder / "state"), "--cache", str(folder / "cache"), env=TWO_CORES)
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)["models"][0]
    return next(choice for choice in document["choices"] if choice["rule"] == rule)


def test_class_auto_is_measured_by_itself_and_its_classes_follow_the_load(serve, cli):
    daemon = serve(models=of_class("auto"), flags=[*DEAR, *measures("1,2,4")])
    wait_for(daemon, "a choice", lambda: profile(daemon).get("class", {}).get("holds") == ["cpu"])
    wait_for(daemon, "the processor alone", lambda: [device for device, _ in instances(daemon)] == ["CPU"])
    now = profile(daemon)
    assert now["class"]["why"].startswith("both keep the objective; cpu costs least an item")
    # Its own share left no room to measure the whole device beside it; now there is.
    wait_for(daemon, "the whole table", lambda: "left_out" not in profile(daemon) and profile(daemon)["state"] == "complete")
    now = profile(daemon)
    assert {row["shape"] for row in now["table"]} == {"1c/256MiB", *(f"1c/1GiB+gpu:{cores}c/1GiB" for cores in (4, 8, 16))}
    chosen = by_hand(cli, daemon, DEAR, SHAPES, "1,2,4", "objective gpu")
    row = now["on_device"]["choice"]["row"]
    assert (row["shape"], row["batch"]) == (chosen["shape"], chosen["batch"])
    assert share_of(chosen["shape"]) == (4, 1024)

    # One client asks for less than two cores carry (160 rows a second).
    load = Load(daemon.http_address, model="m", threads=1).start()
    time.sleep(3)
    load.stop()
    assert set(load.statuses) == {200} and load.wrong == 0, load.summary()
    assert rows_on(daemon, "CPU") == load.sent and profile(daemon)["class"]["holds"] == ["cpu"]

    load = Load(daemon.http_address, model="m", threads=32).start()
    held = wait_for(daemon, "both classes", lambda: len(profile(daemon)["class"]["holds"]) == 2 and profile(daemon)["class"])
    wait_for(daemon, "an instance on the device", lambda: "EMULATED" in [device for device, _ in instances(daemon)])
    wait_for(daemon, "overflow", lambda: rows_on(daemon, "EMULATED") > 20)
    load.stop()
    assert set(load.statuses) <= {200, 429} and load.unanswered == 0 and load.wrong == 0, load.summary()
    assert "takes the overflow" in held["why"]
    assert rows_on(daemon, "CPU") > 100
    adopted = wait_for(daemon, "the chosen share", lambda: profile(daemon)["on_device"].get("adopted"))
    assert adopted["shape"] == chosen["shape"] and ("EMULATED", "gpu0:4c/1GiB") in instances(daemon)
    shown = cli("show", "m", server=daemon).stdout
    assert re.search(r"On device +1c/1GiB\+gpu:4c/1GiB, batch \d+: ", shown), shown
    assert re.search(r"Holds +cpu and gpu: ", shown), shown


def test_class_gpu_is_measured_and_given_the_share_that_its_table_says(serve, cli):
    daemon = serve(models=of_class("gpu"), flags=[*SCALES, *measures("1,2,4,8,16")])
    wait_for(daemon, "a choice", lambda: profile(daemon).get("adopted"))
    now = profile(daemon)
    assert all("+gpu" in row["shape"] for row in now["table"])
    assert now["left_out"] == "1c/1GiB+gpu:16c/1GiB"
    chosen = by_hand(cli, daemon, SCALES, f"{BESIDE}4c/1GiB,{BESIDE}8c/1GiB", "1,2,4,8,16", "objective gpu")
    assert (now["adopted"]["shape"], now["adopted"]["batch"]) == (chosen["shape"], chosen["batch"])
    cores, _ = share_of(chosen["shape"])
    wait_for(daemon, "the chosen share", lambda: instances(daemon) == [("EMULATED", f"gpu0:{cores}c/1GiB")])
    assert cores_taken(daemon) == cores
    assert rows_on(daemon, "CPU") == 0


def test_the_method_takes_the_largest_batch_within_the_objective_and_nothing_overflows(serve):
    manifest = {"m/model.fake": SLOW, "m/evenkeel.yaml": "class: auto\nobjective: 20ms\n"}
    daemon = serve(models=manifest, flags=[*SCALES, *measures("1,2,4,8,16"), "--batching", "method"])
    wait_for(daemon, "a choice", lambda: profile(daemon).get("adopted"))
    now = profile(daemon)
    assert now["choice"]["rule"] == "method" and "class" not in now and "on_device" not in now
    batch, memory, cores = by_the_method(now["table"], 20)
    assert (now["adopted"]["batch"], share_of(now["adopted"]["shape"])) == (batch, (cores, memory))
    # A quarter keeps 20 ms with four rows, a half with sixteen.
    assert (batch, cores) == (16, 8)
    wait_for(daemon, "the chosen share", lambda: instances(daemon) == [("EMULATED", "gpu0:8c/1GiB")])
    load = Load(daemon.http_address, model="m", threads=32).start()
    time.sleep(2)
    load.stop()
    assert rows_on(daemon, "CPU") == 0 and rows_on(daemon, "EMULATED") > 100
    assert not [row for row in instances(daemon) if row[0] == "CPU"]


def test_an_instance_that_needs_the_share_has_it_and_the_sweep_comes_back_to_it(serve):
    shapes = f"1c/256MiB,{BESIDE}8c/1GiB"
    batches = ",".join(str(n) for n in range(1, 17))
    quick = SLOW.replace("10000", "1000")
    daemon = serve(models=of_class("auto", quick), flags=[*SCALES, *measures(batches, shapes)])
    # Its instance has a quarter, and half of the device is borrowed to be measured.
    wait_for(daemon, "a loan", lambda: cores_taken(daemon) == 12)
    folder = daemon.folder / "models" / "large"
    folder.mkdir()
    (folder / "model.fake").write_text("{}\n")
    (folder / "evenkeel.yaml").write_text("class: gpu\ngpu_shape: 12c/3GiB\nprofile: off\n")
    daemon.json("POST", "/v2/repository/models/large/load", {})
    assert instances(daemon, "large") == [("EMULATED", "gpu0:12c/3GiB")]
    done = wait_for(daemon, "the rest of the table", lambda: (p := profile(daemon))["state"] == "complete" and p)
    assert done["left_out"] == "1c/1GiB+gpu:8c/1GiB" and cores_taken(daemon) == 16
    assert {row["shape"] for row in done["table"]} == {"1c/256MiB"}
    assert done["class"]["holds"] == ["cpu", "gpu"], "what is not measured is not judged"
    daemon.json("POST", "/v2/repository/models/large/unload", {})
    done = wait_for(daemon, "the whole table", lambda: (p := profile(daemon))["state"] == "complete" and "left_out" not in p and p)
    assert len(done["table"]) == 32


def test_a_table_that_was_measured_by_hand_gives_the_share_and_a_restart_begins_with_it(serve, cli, tmp_path):
    folder = tmp_path / "d"
    (folder / "models" / "m").mkdir(parents=True)
    for name, content in of_class("gpu").items():
        (folder / "models" / name).write_text(content)
    shapes = f"{BESIDE}4c/1GiB,{BESIDE}8c/1GiB"
    said = cli("profile", "m", *SCALES, "--shapes", shapes, "--batches", "1,2,4", "--objective", "500ms",
               "--models", str(folder / "models"), "--state", str(folder / "state"), "--cache", str(folder / "cache"), env=TWO_CORES, timeout=120)
    assert said.returncode == 0, said.stderr
    soon = measures("1,2,4", shapes)
    soon[soon.index("--profile-after") + 1] = "2s"
    # What is sampled meanwhile would be measured instead of what was made up by hand.
    daemon = serve(models={}, folder=folder, flags=[*SCALES, *soon, "--samples-mode", "off"])
    assert instances(daemon) == [("EMULATED", "gpu0:4c/1GiB")], "a quarter, until the table is read"
    load = Load(daemon.http_address, model="m", threads=4).start()
    done = wait_for(daemon, "a choice", lambda: (p := profile(daemon)).get("adopted") and p)
    time.sleep(0.5)
    load.stop()
    # Through the exchange of the share.
    assert set(load.statuses) == {200} and load.wrong == 0, load.summary()
    assert done["drift"]["times_measured"] == 0
    shape = f"gpu0:{share_of(done['adopted']['shape'])[0]}c/1GiB"
    assert shape == "gpu0:8c/1GiB"
    wait_for(daemon, "the chosen share", lambda: instances(daemon) == [("EMULATED", shape)])
    time.sleep(1.2)  # it is kept with the next look
    daemon.ended = True
    assert daemon.stop() == 0
    later = measures("1,2,4", shapes)
    later[later.index("--profile-after") + 1] = "1h"
    again = serve(models={}, folder=folder, flags=[*SCALES, *later])
    assert f"starts on {done['adopted']['shape']}, as chosen earlier" in again.log()
    assert instances(again) == [("EMULATED", shape)]
