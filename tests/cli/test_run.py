"""`evenkeel run` against a server that says what a test wants: one prompt, standard input, a conversation on a terminal."""

import contextlib
import fcntl
import http.server
import json
import os
import pty
import select
import signal
import subprocess
import termios
import threading
import time

import pytest

from daemon import BINARY, environment


def piece(text="", reason=None, reasoning=None):
    delta = {"content": text} if reasoning is None else {"reasoning_content": reasoning}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def words(text, reason="stop"):
    return [piece(word + " ") for word in text.split()] + [piece(reason=reason)]


@contextlib.contextmanager
def scripted(answers, chat=True):
    """A server with one model, `m`. Each answer is a list of events, (status, message), or "hang" after one event; the last one repeats."""
    seen, gone, left = [], threading.Event(), list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def whole(self, status, document):
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/v1/models/m":
                self.whole(200, {"id": "m", "capabilities": {"chat": chat}})
            else:
                self.whole(404, {"error": {"message": "unknown language model", "type": "x", "param": "model", "code": "model_not_found"}})

        def send(self, text):
            data = text.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, body))
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, tuple):
                status, message = answer
                return self.whole(status, {"error": {"message": message, "type": "x", "param": None, "code": None}})
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if answer == "hang":
                self.send(f"data: {json.dumps(piece('thinking'))}\n\n")
                try:
                    while True:
                        self.send(": ping\n\n")
                        time.sleep(0.05)
                except OSError:
                    gone.set()
                self.close_connection = True
                return None
            for event in answer:
                self.send(f"data: {json.dumps(event)}\n\n: a comment\n\n")
            self.send("data: [DONE]\n\n")
            return self.send("")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"EVENKEEL_SERVER": f"http://127.0.0.1:{server.server_address[1]}"}, seen, gone
    finally:
        server.shutdown()
        server.server_close()


def test_one_prompt_is_answered_on_stdout(cli):
    with scripted([words("red green blue")]) as (env, seen, _):
        result = cli("run", "m", "Name", "three", "--system", "Be brief.", "--temperature", "0", "--seed", "7", "--max-tokens", "20", env=env)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "red green blue \n"
    assert result.stderr == ""
    path, body = seen[0]
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m", "stream": True, "temperature": 0.0, "seed": 7, "max_tokens": 20,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name three"}],
    }


def test_standard_input_is_the_prompt_when_there_is_none(cli):
    with scripted([words("yes")]) as (env, seen, _):
        result = cli("run", "m", env=env, stdin="first line\nsecond, ä\n")
    assert result.stdout == "yes \n"
    assert seen[0][1]["messages"] == [{"role": "user", "content": "first line\nsecond, ä\n"}]


def test_figures_and_the_cut_are_told_on_stderr(cli):
    events = [piece("a"), piece(reason="length"), {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}}]
    with scripted([events]) as (env, seen, _):
        result = cli("run", "m", "x", "--verbose", env=env)
    assert result.stdout == "a\n"
    assert seen[0][1]["stream_options"] == {"include_usage": True}
    assert "cut off at the limit" in result.stderr
    assert "5 prompt tokens" in result.stderr and "2 tokens" in result.stderr


def test_what_a_model_thinks_does_not_go_into_a_pipe(cli):
    with scripted([[piece(reasoning="let me see"), piece("42", reason="stop")]]) as (env, _, _):
        assert cli("run", "m", "x", env=env).stdout == "42\n"


def test_a_model_without_a_chat_template_goes_on_with_the_text(cli):
    events = [{"choices": [{"index": 0, "text": " upon a time", "finish_reason": "length"}]}]
    with scripted([events], chat=False) as (env, seen, _):
        result = cli("run", "m", "Once", env=env)
    assert result.stdout == " upon a time\n"
    path, body = seen[0]
    assert path == "/v1/completions" and body["prompt"] == "Once" and body["max_tokens"] == 256
    assert "no chat template" in result.stderr


@pytest.mark.parametrize(
    "answers, arguments, code, said",
    [
        ([(503, "model 'm' is not ready")], ["m", "x"], 1, "model 'm' is not ready"),
        ([[piece("a"), {"error": {"message": "the worker died"}}]], ["m", "x"], 1, "the worker died"),
        ([words("a")], ["other", "x"], 1, "unknown language model"),
        ([words("a")], ["m"], 2, "there is no prompt"),
        ([words("a")], ["m", "x", "--temperature", "3"], 2, "temperature"),
        ([words("a")], ["", "x"], 2, "cannot be empty"),
    ],
)
def test_failures_have_a_message_and_a_code(cli, answers, arguments, code, said):
    with scripted(answers) as (env, _, _):
        result = cli("run", *arguments, env=env)
    assert result.returncode == code
    assert said in result.stderr


def test_without_a_server_it_says_how_to_start_one(cli):
    result = cli("run", "m", "x", env={"EVENKEEL_SERVER": "http://127.0.0.1:9"})
    assert result.returncode == 3
    assert "evenkeel serve" in result.stderr


def test_ctrl_c_stops_one_answer_and_tells_the_server(tmp_path):
    with scripted(["hang"]) as (env, _, gone):
        start = time.monotonic()
        process = subprocess.Popen([str(BINARY), "run", "m", "x"], env={**environment(tmp_path), **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL)
        assert process.stdout.read(8) == b"thinking"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130
        assert time.monotonic() - start < 5
        assert gone.wait(5), "the server was not told"
        process.stdout.close()
        process.stderr.close()


class Terminal:
    """`evenkeel run m` on a terminal of its own; `screen` is all that it wrote."""

    def __init__(self, folder, env, *flags):
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen([str(BINARY), "run", "m", *flags], stdin=follower, stdout=follower, stderr=follower, cwd=folder,
                                        env={**environment(folder), **env, "TERM": "xterm"}, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(follower)
        self.screen = ""

    def until(self, text, seconds=10):
        """Waits for `text` behind what was waited for before."""
        end = time.monotonic() + seconds
        while text not in self.screen:
            assert time.monotonic() < end, self.screen
            if select.select([self.leader], [], [], 0.1)[0]:
                try:
                    self.screen += os.read(self.leader, 65536).decode()
                except OSError:
                    break
        assert text in self.screen
        before, self.screen = self.screen.split(text, 1)
        return before

    def type(self, text):
        os.write(self.leader, text.encode())

    def end(self, seconds=5):
        try:
            return self.process.wait(timeout=seconds)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.leader)


def test_a_conversation_keeps_what_was_said(tmp_path):
    with scripted([words("hello you"), words("as said")]) as (env, seen, _):
        terminal = Terminal(tmp_path, env)
        terminal.until(">>> ")
        terminal.type("hi\n")
        terminal.until("hello you")
        terminal.until(">>> ")
        terminal.type("one\\\ntwo\n")
        terminal.until("... ")
        terminal.until("as said")
        terminal.until(">>> ")
        terminal.type('"""a\nb\nc"""\n')
        terminal.until("as said")
        terminal.until(">>> ")
        terminal.type("/clear\n")
        terminal.until("anew")
        terminal.type("again\n")
        terminal.until("as said")
        terminal.until(">>> ")
        terminal.type("/bye\n")
        assert terminal.end() == 0
    said = [body["messages"] for _, body in seen]
    assert said[1] == [
        {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello you "}, {"role": "user", "content": "one\ntwo"},
    ]
    assert said[2][-1]["content"] == "a\nb\nc"
    assert len(said[2]) == 5
    assert said[3] == [{"role": "user", "content": "again"}]


def test_ctrl_c_stops_the_answer_and_at_the_prompt_the_program(tmp_path):
    with scripted(["hang", words("still here")]) as (env, seen, gone):
        terminal = Terminal(tmp_path, env)
        terminal.until(">>> ")
        terminal.type("hi\n")
        terminal.until("thinking")
        terminal.type("\x03")
        terminal.until(">>> ")
        assert gone.wait(5), "the server was not told"
        terminal.type("go on\n")
        terminal.until("still here")
        terminal.until(">>> ")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert seen[1][1]["messages"][1] == {"role": "assistant", "content": "thinking"}


def test_ctrl_d_ends_and_errors_do_not(tmp_path):
    with scripted([(429, "the queue is full"), words("now")]) as (env, seen, _):
        terminal = Terminal(tmp_path, env)
        terminal.until(">>> ")
        terminal.type("hi\n")
        terminal.until("the queue is full")
        terminal.until(">>> ")
        terminal.type("/nonsense\n")
        terminal.until("no command here")
        terminal.type("hi\n")
        terminal.until("now")
        terminal.until(">>> ")
        terminal.type("\x04")
        assert terminal.end() == 0
    assert len(seen[1][1]["messages"]) == 1, "a prompt that failed is not kept"


def test_a_model_cannot_steer_the_terminal(tmp_path):
    with scripted([[piece("a\x1b[31mb\x9bc\rd\te", reason="stop")]]) as (env, _, _):
        terminal = Terminal(tmp_path, env)
        terminal.until(">>> ")
        terminal.type("hi\n")
        terminal.until("a?[31mb?c?d")
        terminal.type("/bye\n")
        assert terminal.end() == 0
