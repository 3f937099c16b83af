"""`evenkeel key`, and how the other verbs send a key: what is printed where, and that a key is never shown twice."""

import json
import os
import re
import stat
import time

import pytest

from daemon import ECHO

KEY = re.compile(r"ek_[a-z2-7]{8}_[a-z2-7]{52}\n")


@pytest.fixture
def key(cli, tmp_path):
    """key("create", ...) on a state folder of its own."""

    def run(*arguments: str, **more):
        return cli("key", *arguments, env={"EVENKEEL_STATE": str(tmp_path / "state")}, **more)

    return run


def ok(result):
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_key_is_alone_on_stdout_and_shown_once(key, tmp_path):
    made = key("create", "--name", "ci", "--scope", "infer:digits", "--scope", "metrics", "--expires", "90d")
    assert KEY.fullmatch(ok(made))
    text = made.stdout.strip()
    assert "'ci'" in made.stderr and "infer:digits metrics" in made.stderr and text not in made.stderr
    for format in ("table", "wide", "json", "yaml", "name"):
        listed = key("ls", "--all", "-o", format)
        assert "ci" in ok(listed)
        assert text not in listed.stdout + listed.stderr and text[12:] not in listed.stdout
    assert text[12:].encode() not in (tmp_path / "state" / "api_keys.db").read_bytes()
    assert stat.S_IMODE((tmp_path / "state" / "api_keys.db").stat().st_mode) == 0o600


def test_create_for_programs(key):
    document = json.loads(ok(key("create", "--name", "ci", "--scope", "manage", "--expires", "12h", "-o", "json")))
    assert document["schema"] == "evenkeel.key/v1" and KEY.fullmatch(document["key"] + "\n")
    assert document["id"] == document["key"][:11] and document["name"] == "ci" and document["scopes"] == ["manage"]
    expires = time.mktime(time.strptime(document["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert abs(expires - time.time() - 12 * 3600) < 60
    forever = json.loads(ok(key("create", "--name", "x", "--scope", "manage", "-o", "json")))
    assert forever["expires"] is None and forever["state"] == "valid"


def test_ls_says_who_may_do_what(key):
    first = key("ls")
    assert ok(first).split()[:2] == ["ID", "NAME"] and "No key was ever made" in first.stderr
    ok(key("create", "--name", "a", "--scope", "infer:*"))
    ok(key("create", "--name", "b", "--scope", "manage"))
    ok(key("revoke", "b"))
    assert ok(key("ls", "-o", "name")).split() == ["a"]
    assert sorted(ok(key("list", "--all", "-o", "name")).split()) == ["a", "b"]
    document = json.loads(ok(key("ls", "--all", "-o", "json")))
    assert document["schema"] == "evenkeel.keys/v1"
    assert {k["name"]: k["state"] for k in document["keys"]} == {"a": "valid", "b": "revoked"}


def test_revoke_by_name_id_or_the_key_itself(key):
    for form in range(3):
        text = ok(key("create", "--name", "ci", "--scope", "manage")).strip()
        which = ["ci", text[:11], text][form]
        assert "would revoke the API key 'ci'" in ok(key("revoke", "--dry-run", which))
        revoked = key("revoke", which)
        assert ok(revoked) == "" and "'ci'" in revoked.stderr and text not in revoked.stderr
        again = key("revoke", which)
        assert again.returncode == 1 and text[12:] not in again.stderr
    several = key("revoke", "nobody", "ci")
    assert several.returncode == 1 and "'nobody'" in several.stderr


def test_a_taken_name_is_refused_and_a_dry_run_makes_nothing(key, tmp_path):
    assert "would make the API key 'ci'" in ok(key("create", "--dry-run", "--name", "ci", "--scope", "manage"))
    assert not (tmp_path / "state").exists()
    ok(key("create", "--name", "ci", "--scope", "manage"))
    taken = key("create", "--name", "ci", "--scope", "manage")
    assert taken.returncode == 1 and taken.stdout == "" and "'ci'" in taken.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["create"], "--name"),
        (["create", "--name", "ci"], "--scope"),
        (["create", "--name", "ci", "--scope", "admin"], "expected infer:MODEL"),
        (["create", "--name", "ci", "--scope", "infer:a/b"], "infer:a/b"),
        (["create", "--name", "a b", "--scope", "manage"], "a key's name"),
        (["create", "--name", "ek_x", "--scope", "manage"], "ek_"),
        (["create", "--name", "ci", "--scope", "manage", "--expires", "soon"], "90d"),
        (["create", "--name", "ci", "--scope", "manage", "--expires", "0s"], "90d"),
        (["create", "--name", "ci", "--scope", "manage", "--expires", "9999d"], "3650d"),
        (["revoke"], "KEY"),
    ],
)
def test_wrong_usage_is_exit_code_2_with_a_message(key, tmp_path, arguments, words):
    result = key(*arguments)
    assert result.returncode == 2, result
    assert result.stdout == "" and words in result.stderr
    assert not (tmp_path / "state").exists()


def test_a_damaged_store_is_said_and_left_alone(key, tmp_path):
    (tmp_path / "state").mkdir()
    store = tmp_path / "state" / "api_keys.db"
    store.write_bytes(b"this is no database at all")
    for arguments in (["ls"], ["revoke", "ci"], ["create", "--name", "ci", "--scope", "manage"]):
        result = key(*arguments)
        assert result.returncode == 1 and result.stdout == "" and str(store) in result.stderr
    assert store.read_bytes() == b"this is no database at all"


# The other verbs


@pytest.fixture
def closed(serve, cli, tmp_path):
    """(daemon, file with an infer key, file with a manage key)"""
    folder = tmp_path / "closed"
    folder.mkdir()
    files = {}
    for name, scopes in {"infer": ["infer:*"], "manage": ["manage", "metrics"]}.items():
        flags = [word for scope in scopes for word in ("--scope", scope)]
        made = cli("key", "create", "--name", name, *flags, "--state", str(folder / "state"))
        files[name] = tmp_path / f"{name}.key"
        files[name].write_text(ok(made))
    return serve(models={"echo.fake": ECHO}, folder=folder), str(files["infer"]), str(files["manage"])


def test_without_a_key_a_verb_says_how_to_give_one(cli, closed):
    daemon, infer, _ = closed
    refused = cli("ls", server=daemon)
    assert refused.returncode == 1 and "--api-key-file" in refused.stderr and "EVENKEEL_API_KEY_FILE" in refused.stderr
    denied = cli("unload", "echo", "--api-key-file", infer, server=daemon)
    assert denied.returncode == 1 and "no scope manage" in denied.stderr and "--api-key-file" not in denied.stderr


def test_the_key_comes_from_the_file_of_the_flag_or_of_the_settings(cli, closed, tmp_path):
    daemon, infer, manage = closed
    assert ok(cli("ls", "-o", "name", "--api-key-file", infer, server=daemon)) == "echo\n"
    assert ok(cli("ls", "-o", "name", server=daemon, env={"EVENKEEL_API_KEY_FILE": infer})) == "echo\n"
    config = tmp_path / "config" / "evenkeel" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("api_key_file: ~/infer.key\n")  # the home of the tests is tmp_path
    assert ok(cli("ls", "-o", "name", server=daemon)) == "echo\n"
    assert cli("ls", "--api-key-file", manage, server=daemon, env={"EVENKEEL_API_KEY_FILE": "/nothere"}).returncode == 0


def test_a_key_in_a_variable_is_not_used_and_that_is_said(cli, closed):
    daemon, infer, _ = closed
    text = open(infer).read().strip()
    refused = cli("ls", server=daemon, env={"EVENKEEL_API_KEY": text})
    assert refused.returncode == 2 and "--api-key-file" in refused.stderr and text not in refused.stderr
    assert ok(cli("ls", "-o", "name", server=daemon, env={"EVENKEEL_API_KEY": "wrong", "EVENKEEL_API_KEY_FILE": infer})) == "echo\n"


def test_a_key_does_not_leave_the_machine_unencrypted(cli, closed):
    daemon, infer, _ = closed
    port = daemon.http_url.rsplit(":", 1)[1]
    elsewhere = f"http://0.0.0.0:{port}"  # reaches this machine, and is no loopback address
    for verb in (["ls", "--server", elsewhere], ["bench", "echo", "--url", elsewhere, "-n", "1", "--warm-up", "0s"]):
        refused = cli(*verb, "--api-key-file", infer)
        assert refused.returncode == 2 and "unencrypted" in refused.stderr, verb
    assert ok(cli("ls", "-o", "name", "--server", elsewhere, "--api-key-file", infer, env={"EVENKEEL_INSECURE": "true"})) == "echo\n"
    without = cli("ls", "--server", elsewhere)  # no key, nothing to lose
    assert without.returncode == 1 and "unencrypted" not in without.stderr


def test_a_key_is_no_setting_and_is_not_shown(cli, closed):
    _, infer, _ = closed
    text = open(infer).read().strip()
    for arguments in (["config", "show", "--origin", "-o", "json"], ["doctor"], ["version"]):
        result = cli(*arguments, env={"EVENKEEL_API_KEY": text, "EVENKEEL_API_KEY_FILE": infer})
        assert text not in result.stdout + result.stderr and "EVENKEEL_API_KEY is no setting" not in result.stderr


@pytest.mark.parametrize("content", [b"", b"\n", b"two words\n", b"\xc3\xa9\n", b"x" * 5000, b"a\r\nInjected: yes\r\n"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(cli, tmp_path, content):
    file = tmp_path / "key"
    file.write_bytes(content)
    result = cli("ls", "--api-key-file", str(file), "--server", "http://127.0.0.1:9")
    assert result.returncode == 2 and str(file) in result.stderr
    assert "Injected" not in result.stderr and "words" not in result.stderr and "xxx" not in result.stderr
    missing = cli("ls", "--api-key-file", str(tmp_path / "nothere"), "--server", "http://127.0.0.1:9")
    assert missing.returncode == 2 and "nothere" in missing.stderr


def test_every_verb_that_asks_a_server_sends_the_key(cli, closed, tmp_path):
    daemon, infer, manage = closed
    for arguments in (["ls"], ["ps"], ["show", "echo"], ["show", "echo", "--config"]):
        ok(cli(*arguments, "--api-key-file", infer, server=daemon))
    for arguments in (["load", "echo"], ["samples", "ls"], ["samples", "rm", "--all"], ["top", "--once", "--interval", "200ms"]):
        ok(cli(*arguments, "--api-key-file", manage, server=daemon))
        assert cli(*arguments, server=daemon).returncode == 1
    asked = cli("run", "nothere", "hi", "--api-key-file", infer, server=daemon)
    assert asked.returncode == 1 and "nothere" in asked.stderr and "API key" not in asked.stderr


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_bench_sends_the_key(cli, closed, protocol):
    daemon, infer, manage = closed
    url = daemon.http_url if protocol == "http" else daemon.grpc_address
    flags = ["bench", "echo", "--protocol", protocol, "--url", url, "-n", "50", "--warm-up", "0s", "--check-stable", "-o", "json"]
    report = ok(cli(*flags, "--api-key-file", infer))
    assert json.loads(report)["total"]["ok"] == 50
    assert open(infer).read().strip() not in report
    without = cli(*flags)
    assert without.returncode == 1 and "API key" in without.stderr
    narrow = cli(*flags, "--api-key-file", manage)
    assert narrow.returncode in (1, 2) and "no scope" in narrow.stderr


def test_doctor_says_whether_keys_are_needed(cli, closed, tmp_path):
    def check(name, **env):
        checks = json.loads(cli("doctor", "-o", "json", env=env).stdout)["checks"]
        return next(c for c in checks if c["name"] == name)

    state = str(tmp_path / "closed" / "state")
    none = check("api keys", EVENKEEL_STATE=str(tmp_path / "nothing"))
    assert none["result"] == "pass" and "none was ever made" in none["finding"]
    assert check("api keys", EVENKEEL_STATE=state)["finding"] == "needed; 2 in force"
    assert check("api keys", EVENKEEL_STATE=state, EVENKEEL_AUTH="off")["result"] == "warn"
    nobody = check("api keys", EVENKEEL_STATE=str(tmp_path / "nothing"), EVENKEEL_AUTH="required")
    assert nobody["result"] == "warn" and "evenkeel key create" in nobody["fix"]
    os.chmod(os.path.join(state, "api_keys.db"), 0o666)
    assert check("api keys", EVENKEEL_STATE=state)["result"] == "fail"
    outside = check("addresses", EVENKEEL_STATE=str(tmp_path / "nothing"), EVENKEEL_HTTP_ADDRESS="0.0.0.0")
    assert outside["result"] == "fail" and "0.0.0.0" in outside["finding"]
    assert check("addresses")["result"] == "pass"


def test_doctor_knows_a_running_server_that_needs_a_key(cli, closed):
    daemon = closed[0]
    port = daemon.http_url.rsplit(":", 1)[1]
    result = cli("doctor", env={"EVENKEEL_HTTP_PORT": port, "EVENKEEL_STATE": str(daemon.folder / "state")})
    assert "is an Evenkeel server already" in result.stdout
