"""`evenkeel bench --llm` against a server that says what a test wants, and what bench/llm.py makes of traces, models and texts."""

from __future__ import annotations

import array
import base64
import contextlib
import gzip
import http.server
import json
import pathlib
import struct
import subprocess
import sys
import threading
import time
import types

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import llm as bench_llm  # noqa: E402
import llm_embeddings  # noqa: E402
import llm_genai  # noqa: E402
import llm_model  # noqa: E402
import llm_sessions  # noqa: E402
import llm_template  # noqa: E402
import llm_throughput  # noqa: E402
from serve import measure, row  # noqa: E402
from serve_figures import Goal, Reading  # noqa: E402
from serve_processes import BenchError  # noqa: E402


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that ends in the middle of an answer


@contextlib.contextmanager
def openai_server(tokens=None, pause_s=0.0, status=200, usage=True):
    """Streams `tokens` (else as many as are asked for), pausing before each; `seen` gets (path, body) of every request."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else tokens come together, when the client's kernel acknowledges the first

        def chunk(self, text):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
            self.wfile.flush()

        def event(self, document):
            self.chunk(b"data: " + json.dumps(document).encode() + b"\n\n")

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.path, body))
            if status != 200:
                text = json.dumps({"error": {"message": "no such model", "type": "x", "param": None, "code": None}}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            chat = self.path.endswith("/chat/completions")
            if chat:
                self.event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]})
            count = body["max_tokens"] if tokens is None else tokens
            for _ in range(count):
                time.sleep(pause_s)
                self.event({"choices": [{"index": 0, "delta": {"content": "x"}} if chat else {"index": 0, "text": "x"}]})
            if usage:
                self.event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": count, "prompt_tokens_details": {"cached_tokens": 2}}})
            self.chunk(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_):
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield types.SimpleNamespace(url=f"http://127.0.0.1:{server.server_address[1]}", seen=seen)
        finally:
            server.shutdown()
            thread.join()


def report_of(cli, server, *flags):
    run = cli("bench", "m", "--llm", "--url", server.url, "--warm-up", "0s", "-o", "json", *flags)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_tokens_and_their_times_are_measured(cli):
    with openai_server(pause_s=0.01) as server:
        report = report_of(cli, server, "-n", "6", "-c", "2", "--prompt-tokens", "9", "--output-tokens", "5", "--first-token", "10s",
                           "--inter-token", "1ms")
    total = report["total"]
    assert total["ok"] == 6 and total["tokens"]["output"] == 30 and total["tokens"]["prompt"] == 42 and total["tokens"]["cached"] == 12
    assert total["tokens"]["first_ms"]["p50"] >= 10 and total["tokens"]["inter_ms"]["p50"] >= 9
    assert total["tokens"]["output_per_s"] == pytest.approx(30 / report["seconds"], rel=0.01)
    # Every first token is in time, the mean between tokens never.
    assert total["within_objective"] == 0 and report["inter_token_objective_ms"] == 1 and report["first_token_objective_ms"] == 10_000
    path, body = server.seen[0]
    assert path == "/v1/completions" and body["max_tokens"] == 5 and body["stream"] and body["ignore_eos"] and body["temperature"] == 0
    assert len(body["prompt"].split()) == 9
    assert len({body["prompt"] for _, body in server.seen}) == 6, "a prompt was sent twice: the server may remember it"


def test_chat_an_open_loop_and_lengths_of_a_trace(cli, tmp_path):
    lengths = tmp_path / "lengths.csv.gz"
    lengths.write_bytes(gzip.compress(b"t_s,prompt_tokens,output_tokens\n0,3,2\n0.01,500,4\n0.02,4,0\n"))
    with openai_server() as server:
        report = report_of(cli, server, "--api", "chat", "--lengths", str(lengths), "--context", "64", "--arrivals", "trace", str(lengths),
                           "--natural-end", "--temperature", "0.5")
    assert report["total"]["ok"] == 3 and report["total"]["tokens"]["output"] == 2 + 4 + 1
    assert {path for path, _ in server.seen} == {"/v1/chat/completions"}
    sizes = sorted((len(body["messages"][0]["content"].split()), body["max_tokens"]) for _, body in server.seen)
    assert sizes == [(3, 2), (4, 1), (60, 4)]
    assert all("ignore_eos" not in body and body["temperature"] == 0.5 for _, body in server.seen)


def test_a_server_without_usage_counts_by_its_events_and_v1_in_the_url_is_taken(cli):
    with openai_server(usage=False) as server:
        server.url += "/v1/"
        report = report_of(cli, server, "-n", "2", "--output-tokens", "3")
    assert report["total"]["tokens"]["output"] == 6 and report["total"]["tokens"]["prompt"] == 0


def test_the_table_has_the_figures_of_tokens(cli):
    with openai_server() as server:
        run = cli("bench", "m", "--llm", "--url", server.url, "--warm-up", "0s", "-n", "2", "--output-tokens", "3")
    assert run.returncode == 0 and "tokens/s" in run.stdout and "inter p99" in run.stdout, run.stdout


def test_refusals_are_told_with_the_servers_words(cli):
    with openai_server(status=404) as server:
        run = cli("bench", "m", "--llm", "--url", server.url, "--warm-up", "0s", "-n", "2")
    assert run.returncode == 1 and "no such model" in run.stdout and "no request was answered well" in run.stderr


@pytest.mark.parametrize(("flags", "says"), [
    (("m", "--prompt-tokens", "9"), "--llm"),
    (("m", "--llm", "--batch", "4"), "--batch"),
    (("m", "--llm", "--protocol", "grpc"), "--protocol"),
    (("m", "--llm", "--prompt-tokens", "0"), "--prompt-tokens"),
    (("m", "--llm", "--output-tokens", "x"), "--output-tokens"),
    (("m", "--llm", "--api", "chats"), "--api"),
    (("m", "--llm", "--temperature", "nan"), "--temperature"),
    (("m", "--llm", "--context", "64"), "--lengths"),
    (("m", "--llm", "--first-token", "fast"), "--first-token"),
    (("m", "--llm", "--inter-token", "-3ms"), "--inter-token"),
    (("m", "--llm", "--url", "http://127.0.0.1:9/v1?x=1"), "--url"),
    (("--llm",), "name the model"),
])
def test_wrong_usage_is_refused_by_name(cli, flags, says):
    run = cli("bench", *flags)
    assert run.returncode == 2 and says in run.stderr, (run.returncode, run.stderr)


def test_files_of_lengths_are_read_with_care(cli, tmp_path):
    run = cli("bench", "m", "--llm", "--lengths", "/nowhere.csv")
    assert run.returncode == 1 and "/nowhere.csv" in run.stderr
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("prompt_tokens,output_tokens\n7,many\n")
    run = cli("bench", "m", "--llm", "--lengths", str(wrong))
    assert run.returncode == 2 and "wrong.csv:2" in run.stderr and "many" in run.stderr


def test_no_server_is_exit_code_three(cli):
    run = cli("bench", "m", "--llm", "--url", "http://127.0.0.1:9", "-n", "1")
    assert run.returncode == 3 and "127.0.0.1:9" in run.stderr


def gguf(path, tokens):
    """A GGUF with a tokenizer and nothing else."""
    names = b"".join(llm_model.text(token) for token in tokens)
    entries = [llm_model.entry("general.architecture", llm_model.STRING, "other"),
               llm_model.text("tokenizer.ggml.tokens") + struct.pack("<IIQ", llm_model.ARRAY, llm_model.STRING, len(tokens)) + names,
               llm_model.text("tokenizer.ggml.token_type") + struct.pack("<IIQ", llm_model.ARRAY, 5, len(tokens)) + struct.pack("<i", 1) * len(tokens)]
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, len(entries)) + b"".join(entries))


def test_the_random_model_is_a_gguf_of_its_shape(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENKEEL_CACHE", str(tmp_path / "cache"))
    for name, value in {"LAYERS": 2, "WIDTH": 64, "HEADS": 4, "KV_HEADS": 2, "INNER": 96, "HEAD_WIDTH": 16}.items():
        monkeypatch.setattr(llm_model, name, value)
    gguf(tmp_path / "vocabulary.gguf", ["a", "bb", "", "c"])
    made = llm_model.cached(tmp_path / "vocabulary.gguf")
    assert llm_model.cached(tmp_path / "vocabulary.gguf") == made and [p.name for p in made.parent.iterdir()] == ["model.gguf"]
    metadata = llm_model.Metadata(made)
    assert metadata.vocabulary() == 4 and b"llama" in metadata.entries["general.architecture"]
    assert "tokenizer.ggml.token_type" in metadata.entries and "llama.block_count" in metadata.entries
    listed = list(llm_model.tensors(4))
    assert struct.unpack_from("<Q", made.read_bytes(), 8)[0] == len(listed) == 2 * 9 + 2
    data = sum(llm_model.bytes_of(shape, kind) + llm_model.padding(llm_model.bytes_of(shape, kind)) for _, shape, kind in listed)
    assert 0 < made.stat().st_size - data < 4096
    with pytest.raises(ValueError, match="expected GGUF"):
        (tmp_path / "other").write_bytes(bytes(64))
        llm_model.Metadata(tmp_path / "other")


def test_a_template_is_replaced_and_the_tensors_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("EVENKEEL_CACHE", str(tmp_path / "cache"))
    for name, value in {"LAYERS": 1, "WIDTH": 64, "HEADS": 4, "KV_HEADS": 2, "INNER": 96, "HEAD_WIDTH": 16}.items():
        monkeypatch.setattr(llm_model, name, value)
    gguf(tmp_path / "vocabulary.gguf", ["a", "bb", "c"])
    made = llm_model.cached(tmp_path / "vocabulary.gguf")
    once, twice = tmp_path / "once.gguf", tmp_path / "twice.gguf"
    llm_template.with_template(made, once, "a template that was not there")
    llm_template.with_template(once, twice, "x")

    def tensors(path):
        metadata = llm_model.Metadata(path)
        count = struct.unpack_from("<Q", metadata.data, 8)[0]
        table = llm_template.tensor_table(metadata, count)
        return table, metadata.data[llm_template.aligned(metadata.at, llm_model.ALIGNMENT):]

    assert tensors(once) == tensors(made) == tensors(twice)
    assert b"was not there" in llm_model.Metadata(once).entries[llm_template.KEY]
    assert llm_model.Metadata(twice).entries[llm_template.KEY].endswith(b"x")
    assert {**llm_model.Metadata(twice).entries, llm_template.KEY: b""} == {**llm_model.Metadata(made).entries, llm_template.KEY: b""}


def test_sessions_keep_who_shares_what():
    prompts = list(llm_sessions.turns())
    assert len(prompts) == 109 and max(map(len, prompts)) + llm_sessions.ANSWER < llm_sessions.PROMPT
    least = llm_sessions.ideal(prompts)
    assert 0 < least < 0.2 * sum(map(len, prompts))  # 96 % of the trace's blocks are shared
    assert list(llm_sessions.turns()) == prompts


def test_the_ideal_cache_computes_each_beginning_once():
    assert llm_sessions.ideal([[1, 2, 3], [1, 2, 4], [9], [1, 2, 3], [1, 2]]) == 3 + 1 + 1 + 1 + 1


def test_a_server_that_fails_leaves_a_failed_row_for_each_figure(monkeypatch):
    def refuse(*_, **__):
        raise BenchError("no such thing here")

    monkeypatch.setattr(llm_throughput, "alternated", refuse)
    rows = measure("throughput", types.SimpleNamespace(runs=1, seconds=1), bench_llm.FIGURES)
    assert len(rows) == 5 and not any(row["pass"] for row in rows) and all("no such thing" in row["detail"] for row in rows)
    assert [row["target"] for row in rows] == [1.0, 1.0, 1.05, 1.1, 0.4]


def test_what_was_measured_before_is_kept_in_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_llm, "RESULT", tmp_path / "llm.json")
    bench_llm.write([{"name": "a", "value": 1}, {"name": "b", "value": 2}])
    bench_llm.write([{"name": "b", "value": 3}])
    assert {f["name"]: f["value"] for f in json.loads((tmp_path / "llm.json").read_text())} == {"a": 1, "b": 3}


def test_the_figures_are_listed_and_wrong_ones_refused():
    listed = subprocess.run([sys.executable, BENCH / "llm.py", "--list"], capture_output=True, text=True, check=True)
    assert {line.split()[0] for line in listed.stdout.splitlines()} == set(bench_llm.FIGURES)
    for flags in (("--only", "nothing"), ("--runs", "0"), ("--seconds", "-1")):
        wrong = subprocess.run([sys.executable, BENCH / "llm.py", *flags], capture_output=True, text=True, check=False)
        assert wrong.returncode == 2 and (flags[0] in wrong.stderr or flags[1] in wrong.stderr)


def test_a_figure_without_a_target_neither_passes_nor_fails():
    reading = Reading("speed", "x")
    assert (reading.got(2, "fine")["pass"], reading.failed("no")["pass"], reading.got(2, "fine")["target"]) == (None, None, None)
    lines = [row(figure) for figure in (reading.got(2, "fine"), reading.failed("not measured: no wheel"), Goal("speed", "x", ">=", 1).got(2, "fine"))]
    assert [line.split()[1] for line in lines] == ["2", "none", "2"] and "no wheel" in lines[1]
    assert not any(word in line for line in lines[:2] for word in ("pass", "FAIL", "None", "failed"))
    assert lines[0].index("fine") == lines[2].index("fine")


# Texts into vectors


@contextlib.contextmanager
def vector_server(vector=lambda text: [1.0, float(text[0])], lost=0):
    """Answers /v1/embeddings with a vector for each text but the last `lost`; `seen` gets the texts of every request."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            texts = body["input"]
            assert body["encoding_format"] == "base64" and self.path == "/v1/embeddings"
            seen.append(texts)
            found = [vector(text) if isinstance(text, list) else [1.0] for text in texts[: len(texts) - lost]]
            data = [{"index": i, "embedding": base64.b64encode(array.array("f", one).tobytes()).decode()} for i, one in enumerate(found)]
            text = json.dumps({"data": data[::-1]}).encode()  # the order is the index's
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield types.SimpleNamespace(url=f"http://127.0.0.1:{server.server_address[1]}", name_of_model="m", seen=seen)
        finally:
            server.shutdown()
            thread.join()


def test_tokens_of_texts_are_counted_over_the_time_that_they_took():
    with vector_server() as server:
        begin = time.monotonic()
        rate = llm_embeddings.tokens_per_s(server, 0.3, seed=1)
        took = time.monotonic() - begin
        sent = sum(len(text) for texts in server.seen for text in texts)
        assert sent == len(server.seen) * llm_embeddings.TEXTS * llm_embeddings.LENGTH > 0
        assert sent / took <= rate <= sent / 0.3
        assert len({tuple(text) for texts in server.seen for text in texts}) == len(server.seen) * llm_embeddings.TEXTS, "a text was sent twice"
        server.seen.clear()
        assert llm_embeddings.short_text_ms(server, seed=1) > 0
        assert len({text for (text,) in server.seen}) == len(server.seen) == llm_embeddings.SHORT_TEXTS


def test_vectors_are_compared_text_by_text():
    with vector_server() as ours, vector_server() as theirs:
        assert llm_embeddings.least_cosine(ours, theirs) == pytest.approx(1)
        assert ours.seen == theirs.seen
    with vector_server() as ours, vector_server(lambda text: [1.0, -float(text[0])]) as theirs, pytest.raises(BenchError, match="cosine"):
        llm_embeddings.least_cosine(ours, theirs)
    with vector_server(lost=1) as server, pytest.raises(BenchError, match="8 texts became 7 vectors"):
        llm_embeddings.vectors(server, llm_embeddings.texts(llm_embeddings.random.Random(1), 8))


def test_embeddings_give_a_ratio_with_a_target_and_one_without(monkeypatch):
    monkeypatch.setattr(llm_embeddings, "Evenkeel", lambda *_, **__: vector_server())
    monkeypatch.setattr(llm_embeddings, "llama_server", lambda step: vector_server())
    batches, alone = measure("embeddings", types.SimpleNamespace(runs=2, seconds=0.05), bench_llm.FIGURES)
    assert batches["value"] > 0 and batches["target"] == 1.0 and batches["pass"] == (batches["value"] >= 1.0)
    assert "at 512 tokens a step" in batches["detail"] and "at 2048 tokens a step" in batches["detail"] and "cosine" in batches["detail"]
    assert alone["value"] > 0 and alone["pass"] is None and " ms, llama-server " in alone["detail"]


# openvino-genai


def test_a_library_that_is_not_there_costs_its_own_figures_only(monkeypatch, tmp_path):
    """By the script that installs it, with a list that no registry has."""
    wrong = tmp_path / "requirements-none.txt"
    wrong.write_text("this is no requirement ==\n")
    monkeypatch.setattr(llm_genai, "REQUIREMENTS", wrong)
    monkeypatch.setenv("EVENKEEL_CACHE", str(tmp_path / "cache"))
    llm_genai.python.cache_clear()
    rows = measure("genai", types.SimpleNamespace(runs=1, seconds=1), bench_llm.FIGURES)
    assert [figure["name"] for figure in rows] == [reading.name for reading in llm_genai.READINGS.values()]
    assert all(figure["value"] is None and figure["pass"] is None and "could not be installed" in figure["detail"] for figure in rows)


# What bench/llm_genai_loop.py uses of the library: a step takes 2 ms and gives each sequence a token; the other pipeline does not open.
FAKE_LIBRARY = """
import time
class GenerationStatus: RUNNING, FINISHED, IGNORED = "running", "finished", "ignored"
class GenerationConfig: pass
class SchedulerConfig: pass
class Tokenizer:
    def encode(self, text, add_special_tokens=True):
        return type("Inputs", (), {"input_ids": [[1, 2, 3]]})
    def decode(self, ids): return " ".join(map(str, ids))
class Handle:
    def __init__(self, left): self.left, self.ready = left, []
    def can_read(self): return bool(self.ready)
    def read(self): return {0: type("Output", (), {"generated_ids": [self.ready.pop(0)]})}
    def get_status(self): return GenerationStatus.RUNNING if self.left else GenerationStatus.FINISHED
class ContinuousBatchingPipeline:
    def __init__(self, path, scheduler, device, properties):
        assert scheduler.cache_size > 0 and device == "CPU" and properties["INFERENCE_NUM_THREADS"] == 2
        if "GGUF_READER" not in properties: raise RuntimeError("not by this reader")
        self.handles = []
    def get_tokenizer(self): return Tokenizer()
    def add_request(self, number, prompt, config):
        assert config.ignore_eos
        self.handles.append(Handle(config.max_new_tokens))
        return self.handles[-1]
    def has_non_finished_requests(self): return any(handle.left for handle in self.handles)
    def step(self):
        print("noise of a library", flush=True)
        time.sleep(0.002)
        for handle in self.handles:
            if handle.left:
                handle.left -= 1
                handle.ready.append(7)
class LLMPipeline:
    def __init__(self, path, device, **properties): raise RuntimeError("no such\\nmodel")
def get_version(): return "1.2.3"
"""


@pytest.fixture
def fake_library(monkeypatch, tmp_path):
    (tmp_path / "openvino_genai.py").write_text(FAKE_LIBRARY)
    (tmp_path / "openvino.py").write_text("def Tensor(array): return array.tolist()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(llm_genai, "python", lambda: pathlib.Path(sys.executable))
    monkeypatch.setattr(llm_genai, "LOGS", tmp_path)
    return tmp_path


def test_the_loop_counts_the_tokens_of_its_window(fake_library):
    with llm_genai.Loop("model.gguf", "batching", "FRONTEND") as loop:
        assert loop.version == "1.2.3" and loop.says == " ".join(["7"] * 12)
        one, eight = (loop.tokens_per_s(concurrency, 0.5, seed=1) for concurrency in (1, 8))
        # A step of 2 ms gives each a token: eight times as many, whatever else the machine does.
        assert 20 < one < 500 and 4 * one < eight < 8 * 500
        with pytest.raises(BenchError, match="batching: TypeError"):
            loop.tokens_per_s("many", 0.1, seed=1)
        assert loop.tokens_per_s(2, 0.2, seed=1) > 0, "it goes on after an error"
    assert loop.process.returncode is not None
    assert "noise of a library" in (fake_library / "openvino-genai.log").read_text()


def test_each_pipeline_is_tried_with_each_reader(fake_library):
    with contextlib.ExitStack() as stack:
        loops, failed = llm_genai.open_all(stack)
        assert {kind: loop.reader for kind, loop in loops.items()} == {"batching": "FRONTEND"}
        assert list(failed) == ["single"] and failed["single"].count("RuntimeError: no such model") == 2
        figure = llm_genai.at(8, {}, {"batching": "LEGACY: no paged attention"}, types.SimpleNamespace(runs=1, seconds=1))
        assert figure["value"] is None and figure["pass"] is None and "batching could not be opened: LEGACY: no paged attention" in figure["detail"]


def test_the_better_pipeline_counts_and_both_are_named(monkeypatch):
    monkeypatch.setattr(llm_genai, "Evenkeel", lambda model, sequences: contextlib.nullcontext())
    monkeypatch.setattr(llm_genai, "load", lambda server, concurrency, seconds, seed: {"total": {"tokens": {"output_per_s": 150.0}}})
    monkeypatch.setattr(llm_genai, "completion", lambda server, **fields: {"choices": [{"text": " there was"}]})
    loops = {kind: types.SimpleNamespace(tokens_per_s=lambda concurrency, seconds, seed, rate=rate: rate, reader="LEGACY", version="1.2.3", says=f"by {kind}")
             for kind, rate in (("single", 60.0), ("batching", 100.0))}
    figure = llm_genai.at(1, loops, {}, types.SimpleNamespace(runs=2, seconds=1))
    assert figure["value"] == 1.5 and "single 60/60" in figure["detail"] and "batching 100/100" in figure["detail"] and "'by batching'" in figure["detail"]
    figure = llm_genai.at(1, {"single": loops["single"]}, {"batching": "LEGACY: no"}, types.SimpleNamespace(runs=1, seconds=1))
    assert figure["value"] == 2.5 and "batching could not be opened: LEGACY: no" in figure["detail"]


def test_a_library_that_ends_or_hangs_is_said_to(fake_library, monkeypatch):
    (fake_library / "openvino_genai.py").write_text("raise ImportError('libtbb.so.12: no such file')\n")
    with pytest.raises(BenchError, match="ended with 1"):
        llm_genai.Loop("model.gguf", "single", "LEGACY").__enter__()
    assert "libtbb" in (fake_library / "openvino-genai.log").read_text()
    (fake_library / "openvino_genai.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(llm_genai, "OPEN_S", 0.5)
    with pytest.raises(BenchError, match="ended with -9"):
        llm_genai.Loop("model.gguf", "single", "LEGACY").__enter__()
