"""The command line as people and scripts meet it: stdout, stderr and exit codes."""

import ctypes
import json
import os
import re
import select
import shutil
import socket
import stat
import struct
import subprocess
import time
import urllib.request

import pytest

from daemon import BINARY, ECHO, ROOT, environment

NO_SERVER = {"EVENKEEL_SERVER": "http://127.0.0.1:9"}  # discard: nothing listens there
VERBS = ["serve", "run", "pull", "ls", "ps", "show", "top", "load", "unload", "deploy", "undeploy", "bench", "samples", "simulate", "profile", "key", "config", "doctor", "version", "completion"]


def ok(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def row(x=(1, 2, 3, 4)):
    return [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": list(x)}]


# Without a server


@pytest.mark.parametrize("verb", [[], *[[v] for v in VERBS], ["samples", "export"], ["key", "create"], ["config", "show"]])
def test_help_starts_with_examples_and_succeeds(cli, verb):
    text = ok(cli(*verb, "--help"))
    assert text.startswith("Examples:\n  evenkeel ")


def test_every_verb_is_in_the_main_help(cli):
    text = ok(cli("--help"))
    for verb in VERBS:
        assert f"\n  {verb}" in text


@pytest.mark.parametrize(
    "arguments, meant",
    [
        (["sevre"], "evenkeel serve"),
        (["lss"], "evenkeel ls"),
        (["samples", "exprot"], "evenkeel samples export"),
        (["config", "shwo"], "evenkeel config show"),
        (["serve", "--htp-port", "1"], "--http-port"),
        (["ls", "--sever", "x"], "--server"),
    ],
)
def test_mistyped_words_get_a_suggestion(cli, arguments, meant):
    result = cli(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert f"did you mean '{meant}'?" in result.stderr or f"did you mean {meant}?" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["destroy"], ["ls", "-o", "xml"], ["show"], ["load"], ["samples"], ["config"], ["completion", "tcsh"],
     ["serve", "--http-port", "99999"], ["serve", "--max-body", "1"], ["serve", "--worker-cpus", "2-1"],
     ["serve", "--samples-mode", "maybe"], ["serve", "a", "b"], ["samples", "rm"], ["samples", "rm", "m", "--all"],
     ["ls", "--server", "ftp://x"], ["ls", "--server", "http://a/b"], ["ls", "--timeout", "soon"]],
)
def test_wrong_usage_is_exit_code_2_with_a_message(cli, arguments):
    result = cli(*arguments)
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert result.stderr.strip()


@pytest.mark.parametrize("arguments", [["ls"], ["ps"], ["show", "m"], ["load", "m"], ["samples", "ls"]])
def test_no_server_says_how_to_start_one(cli, arguments):
    result = cli(*arguments, env=NO_SERVER)
    assert result.returncode == 3
    assert result.stdout == ""
    assert "http://127.0.0.1:9" in result.stderr
    assert "evenkeel serve" in result.stderr


def test_a_server_that_is_none_is_told_apart(cli):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        result = cli("ls", "--server", url, "--timeout", "300ms")
    assert result.returncode == 1
    assert "no answer within 0.3 s" in result.stderr


def test_version(cli):
    assert ok(cli("--version")) == ok(cli("version"))
    document = json.loads(ok(cli("version", "-o", "json")))
    assert document["schema"] == "evenkeel.version/v1"
    assert ok(cli("version")) == f"evenkeel {document['version']}\n"


def test_config_shows_where_values_come_from(cli, tmp_path):
    file = tmp_path / "config" / "evenkeel" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("threads: 3\nhttp:\n  port: 9000\n")
    out = ok(cli("config", "show", "--origin", "-o", "json", env={"EVENKEEL_GRPC_PORT": "9001"}))
    document = json.loads(out)
    assert document["schema"] == "evenkeel.config/v1"
    settings = {s["key"]: s for s in document["settings"]}
    assert settings["http.port"] == {"key": "http.port", "value": "9000", "origin": f"{file}:3"}
    assert settings["grpc.port"]["origin"] == "environment EVENKEEL_GRPC_PORT"
    assert settings["metrics.port"]["origin"] == "default"
    table = ok(cli("config", "show", "--origin"))
    assert f"{file}:1" in table
    assert "ORIGIN" not in ok(cli("config", "show"))
    assert str(file) in ok(cli("config", "path", "-o", "name")).splitlines()


def documented_settings() -> dict[str, str]:
    """Keys and defaults of the table in docs/operations.md."""
    text = (ROOT / "docs" / "operations.md").read_text()
    table = text[text.index("| Key | Default | Range | Meaning |") :].split("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        keys, defaults = (cell.strip() for cell in line.split("|")[1:3])
        keys = re.findall(r"`([^`]+)`", keys)
        values = defaults.split(", ") if len(keys) > 1 else [defaults]
        assert len(keys) == len(values), line
        found |= dict(zip(keys, (value.strip("`") for value in values)))
    return found


def test_the_documented_settings_are_those_there_are_with_their_defaults(cli, tmp_path):
    settings = {s["key"]: s["value"] for s in json.loads(ok(cli("config", "show", "-o", "json", env={"EVENKEEL_RUNTIME": None})))["settings"]}
    documented = documented_settings()
    assert set(documented) == set(settings)
    # An empty default is said in words.
    differ = {key: (documented[key], value) for key, value in settings.items()
              if value and documented[key] != value.replace(str(tmp_path), "~")}
    assert not differ


def test_every_metric_is_documented(server):
    text = (ROOT / "docs" / "operations.md").read_text()
    metrics = urllib.request.urlopen(server.metrics_url, timeout=10).read().decode()
    names = set(re.findall(r"^# TYPE (evenkeel_\w+) ", metrics, re.M))
    assert len(names) > 40
    # Those of clusters and language models too, which this server has not.
    for source in (ROOT / "src" / "server").rglob("*.cc"):
        if not source.name.endswith("_test.cc"):
            names |= set(re.findall(r'"(evenkeel_\w+)"', source.read_text()))
    assert "evenkeel_llm_inter_token_seconds" in names
    assert {name for name in names if not re.search(rf"`{name}[`{{]", text)} == set()


def test_every_path_is_documented():
    text = (ROOT / "docs" / "operations.md").read_text()
    routes = (ROOT / "src" / "frontends" / "routes.cc").read_text()
    paths = set(re.findall(r'\{"(/[^"]*)", "', routes)) - {"/"}
    assert len(paths) > 40
    below_version = "/v2/models/{model}/versions/{version}"
    documented = lambda path: path.replace("{model}", "NAME").replace("{node}", "NODE").replace("...", "…")
    # Below a version the same as without one: said once.
    assert {path for path in paths if not path.startswith(below_version) and f"{documented(path)}`" not in text} == set()
    assert "/v2/models/NAME/versions/N`" in text


def test_doctor_says_that_version_2_of_control_groups_is_untested(tmp_path):
    # In a mount namespace that shows version 2, whatever the machine has.
    show = 'mount -t cgroup2 none /sys/fs/cgroup || exit 99; exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", show, "sh", str(BINARY), "doctor", "-o", "json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    if result.returncode not in (0, 1) or not result.stdout:
        pytest.skip(f"no mount of version 2 can be made here: {result.stderr.strip()}")
    checks = {c["name"]: c for c in json.loads(result.stdout)["checks"]}
    assert "version 2" in checks["cgroup"]["finding"] and "untested on a real version 2" in checks["cgroup"]["finding"]


def test_bad_settings_file_names_file_line_and_key(cli, tmp_path):
    file = tmp_path / "config" / "evenkeel" / "config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("threads: 3\nlog_levle: info\n")
    for verb in (["config", "show"], ["serve"], ["ls"]):
        result = cli(*verb)
        assert result.returncode == 2
        assert f"{file}:2" in result.stderr
        assert "did you mean log_level?" in result.stderr


def test_mistyped_variable_is_a_warning(cli):
    result = cli("config", "show", env={"EVENKEEL_HTTP_PROT": "1"})
    assert result.returncode == 0
    assert "did you mean EVENKEEL_HTTP_PORT?" in result.stderr


def test_doctor_lists_checks_with_fixes(cli, tmp_path):
    out = cli("doctor", "-o", "json").stdout
    document = json.loads(out)
    assert document["schema"] == "evenkeel.doctor/v1"
    checks = {c["name"]: c for c in document["checks"]}
    for name in ("kernel", "cores", "memory", "cgroup", "container runtime", "devices", "clock", "state folder",
                 "cache folder", "state lock", "http port", "grpc port", "metrics port", "settings"):
        assert checks[name]["result"] in ("pass", "warn", "fail")
    assert any(name.startswith("engine") for name in checks)
    for check in checks.values():
        assert (check["fix"] == "") == (check["result"] == "pass"), check
    assert document["ok"] == all(c["result"] != "fail" for c in checks.values())


def test_doctor_fails_where_serve_would(cli, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        (tmp_path / "file").write_text("")
        result = cli("doctor", env={"EVENKEEL_GRPC_PORT": port, "EVENKEEL_STATE": str(tmp_path / "file" / "below")})
    assert result.returncode == 1
    assert f"127.0.0.1:{port} is in use" in result.stdout
    assert "state folder: " in result.stdout.split("What to do")[1]


def test_doctor_reports_settings_that_are_wrong(cli):
    result = cli("doctor", env={"EVENKEEL_THREADS": "many"})
    assert result.returncode == 1
    assert "EVENKEEL_THREADS" in result.stdout


def test_no_escape_sequences_off_a_terminal(cli):
    for flags in ([], ["--no-color"]):
        assert "\033" not in cli("doctor", *flags).stdout


def test_colour_on_a_terminal_obeys_the_switches(tmp_path):
    import pty

    def on_terminal(*flags, **env):
        parent, child = pty.openpty()
        plain = {k: v for k, v in environment(tmp_path).items() if k != "NO_COLOR"}
        process = subprocess.Popen([str(BINARY), "doctor", *flags], stdout=child, stderr=child, cwd=tmp_path,
                                   env={**plain, "TERM": "xterm", **env})
        os.close(child)
        text = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:  # the other end was closed
                break
            if not part:
                break
            text += part
        process.wait()
        os.close(parent)
        return text

    assert b"\033[3" in on_terminal()
    assert b"\033" not in on_terminal("--no-color")
    assert b"\033" not in on_terminal(NO_COLOR="1")
    assert b"\033" not in on_terminal(TERM="dumb")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_verb_and_parses(cli, tmp_path, shell):
    script = ok(cli("completion", shell))
    for verb in VERBS + ["export"]:
        assert verb in script
    path = tmp_path / "script"
    path.write_text(script)
    check = subprocess.run(["sh", "-c", f"command -v {shell}"], capture_output=True, check=False)
    if check.returncode == 0:
        subprocess.run([shell, "-n", str(path)], check=True)


def bash_completions(cli, tmp_path, *words):
    path = tmp_path / "evenkeel.bash"
    path.write_text(ok(cli("completion", "bash")))
    line = " ".join(f"'{w}'" for w in ("evenkeel", *words))
    out = subprocess.run(
        ["bash", "-c", f"source {path}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _evenkeel; "
                       "printf '%s\\n' \"${COMPREPLY[@]}\""],
        capture_output=True, text=True, check=True)
    return out.stdout.split()


def test_bash_completion_completes(cli, tmp_path):
    assert bash_completions(cli, tmp_path, "sa") == ["samples"]
    assert bash_completions(cli, tmp_path, "samples", "") == ["ls", "export", "rm"]
    assert bash_completions(cli, tmp_path, "samples", "ls", "--ser") == ["--server"]
    assert bash_completions(cli, tmp_path, "serve", "--http-") == ["--http-address", "--http-port"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completion_completes(cli, tmp_path):
    path = tmp_path / "evenkeel.fish"
    path.write_text(ok(cli("completion", "fish")))

    def complete(line):
        out = subprocess.run(["fish", "--no-config", "-c", f"source {path}; complete -C '{line}'"], capture_output=True,
                             text=True, check=True, env=environment(tmp_path))
        return [entry.split("\t")[0] for entry in out.stdout.splitlines()]

    assert complete("evenkeel sa") == ["samples"]
    assert sorted(complete("evenkeel samples ")) == ["export", "ls", "rm"]
    assert "--http-port" in complete("evenkeel serve --http-")


def test_full_disk_is_not_success(cli, tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run([str(BINARY), "config", "show"], stdout=full, stderr=subprocess.PIPE, text=True,
                                env=environment(tmp_path), check=False)
    assert result.returncode == 1
    assert "No space left" in result.stderr


# With a server


def test_ls_in_every_format(cli, serve):
    server = serve(models={"echo.fake": ECHO, "broken.fake": "fail_load: out of luck"})
    table = ok(cli("ls", server=server))
    assert table.splitlines()[0].split()[:3] == ["NAME", "VERSION", "STATE"]
    assert "READY" in table and "UNAVAILABLE" in table
    assert "out of luck" in ok(cli("ls", "-o", "wide", server=server))
    assert sorted(ok(cli("list", "-o", "name", server=server)).split()) == ["broken", "echo"]
    document = json.loads(ok(cli("ls", "-o", "json", server=server)))
    assert document["schema"] == "evenkeel.models/v1"
    echo = next(m for m in document["models"] if m["name"] == "echo")
    assert echo["state"] == "READY" and echo["engine"] == "fake"
    assert "schema: evenkeel.models/v1\n" in ok(cli("ls", "-o", "yaml", server=server))
    assert ok(cli("ls", "--ready", "-o", "name", server=server)).split() == ["echo"]


def test_ps_shows_living_processes(cli, server):
    document = json.loads(ok(cli("ps", "-o", "json", server=server)))
    assert document["schema"] == "evenkeel.instances/v1"
    for instance in document["instances"]:
        assert os.path.isdir(f"/proc/{instance['pid']}")
    assert "echo" in ok(cli("ps", server=server))
    assert ok(cli("ps", "-o", "name", server=server)) == "echo/1#0\n"


def test_show(cli, server):
    server.infer("echo", row())
    text = ok(cli("show", "echo", server=server))
    for part in ("echo", "INPUT", "OUTPUT", "FP32", "BATCH", "CLOSED BY"):
        assert part in text
    document = json.loads(ok(cli("show", "echo", "-o", "json", server=server)))
    assert document["schema"] == "evenkeel.model/v1"
    assert document["requests"] >= 1
    assert json.loads(ok(cli("show", "echo", "--config", server=server)))["name"] == "echo"
    missing = cli("show", "nothing", server=server)
    assert missing.returncode == 1 and "nothing" in missing.stderr and missing.stdout == ""


def test_load_and_unload(cli, server):
    assert "would unload echo" in ok(cli("unload", "--dry-run", "echo", server=server))
    assert server.request("GET", "/v2/models/echo/ready")[0] == 200
    unloaded = cli("unload", "echo", server=server)
    assert unloaded.returncode == 0 and unloaded.stdout == "" and "Unloaded echo" in unloaded.stderr
    assert server.request("GET", "/v2/models/echo/ready")[0] != 200
    both = cli("load", "nothing", "echo", server=server)
    assert both.returncode == 1 and "nothing" in both.stderr
    assert "Loaded echo" in both.stderr
    assert server.infer("echo", row())["outputs"][0]["data"] == [1, 2, 3, 4]


def test_samples_from_request_to_file_and_gone(cli, server, tmp_path):
    nothing = cli("samples", "ls", server=server)
    assert nothing.returncode == 0 and "No request" in nothing.stderr
    for i in range(5):
        server.infer("echo", row((i, 0, 0, 0)))
    document = json.loads(ok(cli("samples", "ls", "-o", "json", server=server)))
    assert document["schema"] == "evenkeel.samples/v1"
    assert document["samples"][0] == {"model": "echo", "signature": "x:FP32[4]", "seen": 5, "kept": 5, "bytes": 80}
    file = tmp_path / "echo.safetensors"
    exported = cli("samples", "export", "echo", "-o", str(file), server=server)
    assert exported.returncode == 0 and exported.stdout == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert b"F32" in file.read_bytes()
    assert "would remove" in ok(cli("samples", "rm", "--dry-run", "echo", server=server))
    ok(cli("samples", "rm", "echo", server=server))
    assert json.loads(ok(cli("samples", "ls", "-o", "json", server=server)))["samples"] == []
    assert cli("samples", "export", "echo", "-o", str(file), server=server).returncode == 1


def test_samples_on_disk_survive_a_restart(cli, serve):
    first = serve(flags=["--samples-mode", "disk"])
    for i in range(3):
        first.infer("echo", row((i, 0, 0, 0)))
    assert first.stop() == 0
    second = serve(models={}, folder=first.folder, flags=["--samples-mode", "disk"])
    second.infer("echo", row())
    samples = json.loads(ok(cli("samples", "ls", "-o", "json", server=second)))["samples"]
    assert samples[0]["seen"] == 4 and samples[0]["kept"] == 4
    assert list((first.folder / "state").rglob("*.safetensors"))
    ok(cli("samples", "rm", "--all", server=second))
    assert not list((first.folder / "state").rglob("*.safetensors"))


def test_serve_refuses_what_cannot_work(serve, cli):
    server = serve()
    state = str(server.folder / "state")
    second = cli("serve", "--state", state, "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    assert second.returncode == 1
    assert state in second.stderr and str(server.pid) in second.stderr
    port = server.http_url.rsplit(":", 1)[1]
    taken = cli("serve", "--http-port", port, "--grpc-port", "0", "--metrics-port", "0")
    assert taken.returncode == 1 and port in taken.stderr
    outside = cli("serve", "--http-address", "0.0.0.0", "--http-port", "0")
    assert outside.returncode != 0 and "--insecure" in outside.stderr


def test_doctor_knows_a_running_server(cli, server):
    port = server.http_url.rsplit(":", 1)[1]
    result = cli("doctor", env={"EVENKEEL_HTTP_PORT": port, "EVENKEEL_STATE": str(server.folder / "state")})
    assert "is an Evenkeel server already" in result.stdout
    assert f"process {server.pid}" in result.stdout


def arrive_slowly(server, seconds):
    """The answer to a request of which one field a quarter of a second comes, for so many seconds, and then the rest."""
    host, port = server.http_address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        end = time.monotonic() + seconds
        while time.monotonic() < end and not select.select([client], [], [], 0.25)[0]:
            client.sendall(b"X: y\r\n")
        client.sendall(b"Connection: close\r\n\r\n")
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def test_request_timeout_is_the_time_that_a_request_may_take_whether_short_or_long(serve):
    short = serve(models={}, flags=["--request-timeout", "1s"])
    answer = arrive_slowly(short, 5)
    assert answer.startswith("HTTP/1.1 408 ")
    assert "did not arrive within 1 s" in answer
    long = serve(models={}, flags=["--request-timeout", "1m"])
    assert arrive_slowly(long, 11.5).startswith("HTTP/1.1 200 ")


def without_epoll_pwait2():
    """As on a kernel before 5.11: a filter of system calls that answers ENOSYS to that one (441 on every architecture)."""
    load, equal, end = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0), (equal, 0, 1, 441), (end, 0, 0, 0x00050000 | 38), (end, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, as a filter


def test_doctor_fails_where_the_kernel_lacks_what_the_event_loop_needs(tmp_path):
    result = subprocess.run([BINARY, "doctor", "-o", "json"], capture_output=True, text=True, timeout=30, check=False,
                            env=environment(tmp_path), cwd=tmp_path, preexec_fn=without_epoll_pwait2)
    kernel = next(c for c in json.loads(result.stdout)["checks"] if c["name"] == "kernel")
    assert kernel["result"] == "fail" and "epoll_pwait2" in kernel["finding"]
    assert "5.11" in kernel["fix"]
    assert result.returncode == 1


@pytest.mark.parametrize("how", ["--models", "argument", "environment", "file"])
def test_a_models_folder_that_was_named_and_is_missing_is_an_error(cli, tmp_path, how):
    missing = tmp_path / "nowhere"
    flags = ["--state", str(tmp_path / "state"), "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"]
    env = {"EVENKEEL_MODELS": str(missing)} if how == "environment" else {}
    if how == "file":
        file = tmp_path / "config" / "evenkeel" / "config.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"models: {missing}\n")
    named = {"--models": ["--models", str(missing)], "argument": [str(missing)]}.get(how, [])
    result = cli("serve", *named, *flags, env=env)
    assert result.returncode == 2
    assert str(missing) in result.stderr and "does not exist" in result.stderr
    assert f"mkdir -p '{missing}'" in result.stderr
    assert not missing.exists()


def test_the_default_models_folder_is_made(tmp_path):
    folder = tmp_path / ".local" / "share" / "evenkeel" / "models"
    with subprocess.Popen([BINARY, "serve", "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0"],
                          env=environment(tmp_path), cwd=tmp_path, stderr=subprocess.DEVNULL) as daemon:
        try:
            end = time.monotonic() + 20
            while not folder.is_dir() and daemon.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            assert folder.is_dir()
        finally:
            daemon.terminate()
    assert daemon.returncode == 0
