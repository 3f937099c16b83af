"""The unmodified openai package against the demo language model `smollm2`, as its users call it: whole answers, streams, tools, schemas, errors."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import math
import threading
import time

import openai
import pytest

from daemon import BINARY, STOP_SECONDS, launch, place_models, sanitizer_report, wait_for_announcement
from demo import FOLDER

WORKER = BINARY.parent / "libexec" / "evenkeel" / "evenkeel-worker-llamacpp"
pytestmark = pytest.mark.skipif(not WORKER.exists(), reason="no worker for language models was built")

MODEL = "smollm2"
QUESTION = [{"role": "user", "content": "Name three primary colours."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    found = sorted(FOLDER.glob(f"{MODEL}*"))
    assert found, f"no {MODEL} in {FOLDER}: make models"
    folder = tmp_path_factory.mktemp("openai")
    place_models(folder / "models", {path.name: path for path in found})
    (folder / "models" / MODEL / "evenkeel.yaml").write_text("language: {context: 2560}\n")  # that is soon full
    served = launch(folder, folder / "log", [])
    try:
        wait_for_announcement(served)
        yield served
        assert served.stop() == 0, served.log()[-4000:]
    finally:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait(timeout=STOP_SECONDS)
    assert not sanitizer_report(served.log()), served.log()


@pytest.fixture(scope="module")
def client(daemon):
    with openai.OpenAI(base_url=daemon.http_url + "/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield client


def ask(client, messages=None, **more):
    return client.chat.completions.create(model=MODEL, messages=QUESTION if messages is None else messages, **{"max_tokens": 24, "temperature": 0, "seed": 1, **more})


# Models


def test_models_are_listed_and_found(client):
    assert MODEL in [model.id for model in client.models.list()]
    model = client.models.retrieve(MODEL)
    assert model.object == "model" and model.owned_by == "evenkeel"
    assert model.created > 0
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody")
    assert caught.value.code == "model_not_found"


# Chat


def test_a_chat_is_answered(client):
    answer = ask(client)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.model == MODEL
    assert choice.message.role == "assistant" and choice.message.content.strip()
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert 0 < answer.usage.completion_tokens <= 24


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = ask(client)
    text, role, reason, usage = "", None, None, None
    for chunk in ask(client, stream=True, stream_options={"include_usage": True}):
        assert chunk.object == "chat.completion.chunk"
        if not chunk.choices:
            usage = chunk.usage
            continue
        delta = chunk.choices[0].delta
        role, reason = delta.role or role, chunk.choices[0].finish_reason or reason
        text += delta.content or ""
    assert role == "assistant"
    assert text == whole.choices[0].message.content
    assert reason == whole.choices[0].finish_reason
    assert usage.completion_tokens == whole.usage.completion_tokens


def test_pieces_come_one_by_one(client):
    times = [time.monotonic() for _ in ask(client, stream=True, max_tokens=48)]
    assert len(times) > 10
    assert times[-1] - times[0] > 3 * (times[1] - times[0]), "all came at once"


def test_several_choices_share_a_prompt(client):
    answer = ask(client, n=3, temperature=1.5)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert answer.usage.prompt_tokens == ask(client).usage.prompt_tokens
    streamed = {}
    for chunk in ask(client, n=3, temperature=1.5, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] = streamed.get(choice.index, "") + (choice.delta.content or "")
    assert sorted(streamed) == [0, 1, 2]


def test_the_seed_decides(client):
    first, again, other = (ask(client, temperature=1.2, seed=seed).choices[0].message.content for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_limits_and_stops_end_an_answer(client):
    short = ask(client, max_completion_tokens=3, max_tokens=openai.omit)
    assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 3
    whole = ask(client).choices[0].message.content
    stop = whole[len(whole) // 2 :][:3]
    stopped = ask(client, stop=[stop, "\x01never"])
    assert stopped.choices[0].message.content == whole[: whole.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"


def test_log_probabilities_belong_to_the_text(client):
    answer = ask(client, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert b"".join(bytes(token.bytes) for token in tokens).decode(errors="replace").startswith(answer.choices[0].message.content)
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.logprob <= 1e-6 and math.isfinite(token.logprob)
        assert token.token == token.top_logprobs[0].token, "greedy takes the likeliest"
        assert sum(math.exp(top.logprob) for top in token.top_logprobs) <= 1.001


def test_a_biased_token_is_not_said(client):
    first = ask(client, max_tokens=1, logprobs=True, top_logprobs=1)
    free = client.completions.create(model=MODEL, prompt="1 2 3 4", max_tokens=4, temperature=0, logprobs=1)
    assert first.choices[0].message.content and free.choices[0].logprobs.tokens
    biased = ask(client, logit_bias={str(token): -100 for token in range(0, 49000)}, max_tokens=2)
    assert biased.choices[0].message.content != ask(client, max_tokens=2).choices[0].message.content


def test_a_conversation_and_parts(client):
    messages = [
        {"role": "developer", "content": "Answer in English."},
        {"role": "user", "content": [{"type": "text", "text": "My name is Ada."}, {"type": "text", "text": "Say hello."}]},
        {"role": "assistant", "content": "Hello, Ada."},
        {"role": "user", "content": "Bye."},
    ]
    assert ask(client, messages).choices[0].message.content


# Forms


def test_a_schema_is_kept_to(client):
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    for seed in range(3):
        answer = ask(client, [{"role": "user", "content": "Describe a person as JSON."}], response_format=form, max_tokens=100, temperature=1, seed=seed)
        if answer.choices[0].finish_reason == "length":
            continue
        person = json.loads(answer.choices[0].message.content)
        assert set(person) == {"name", "age"} and isinstance(person["age"], int)


def test_a_json_object_is_one(client):
    answer = ask(client, [{"role": "user", "content": 'Answer with {"a": 1}'}], response_format={"type": "json_object"}, max_tokens=200)
    assert answer.choices[0].message.content.lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_a_tool_that_must_be_called_is_called(client):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = ask(client, messages, tools=[WEATHER], tool_choice=choice, max_tokens=100)
    call = answer.choices[0].message.tool_calls[0]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.type == "function" and call.function.name == "get_weather" and call.id
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    streamed = {"name": "", "arguments": "", "id": ""}
    for chunk in ask(client, messages, tools=[WEATHER], tool_choice="required", max_tokens=100, stream=True):
        for piece in chunk.choices[0].delta.tool_calls or []:
            streamed["id"] += piece.id or ""
            streamed["name"] += piece.function.name or ""
            streamed["arguments"] += piece.function.arguments or ""
    assert streamed["name"] == "get_weather" and streamed["id"]
    assert isinstance(json.loads(streamed["arguments"])["city"], str)
    # And back: what the tool said.
    messages += [
        {"role": "assistant", "tool_calls": [call.model_dump()]},
        {"role": "tool", "tool_call_id": call.id, "content": "Rain, 12 degrees."},
    ]
    assert ask(client, messages, tools=[WEATHER], tool_choice="none").choices[0].message.content


# Completions and embeddings


def test_completions_of_several_prompts(client):
    answer = client.completions.create(model=MODEL, prompt=["One, two,", "Red, green,"], max_tokens=5, temperature=0, logprobs=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.text and len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs)
    alone = client.completions.create(model=MODEL, prompt="Red, green,", max_tokens=5, temperature=0)
    assert alone.choices[0].text == answer.choices[1].text
    echoed = client.completions.create(model=MODEL, prompt="Red, green,", max_tokens=5, temperature=0, echo=True)
    assert echoed.choices[0].text == "Red, green," + alone.choices[0].text
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(model=MODEL, prompt="Red, green,", max_tokens=5, temperature=0, stream=True))
    assert streamed == alone.choices[0].text


def test_embeddings(client):
    """More of them: test_embeddings.py."""
    vectors = client.embeddings.create(model=MODEL, input=["one", "two"])
    plain = client.embeddings.create(model=MODEL, input=["one", "two"], encoding_format="float")
    assert len(vectors.data) == 2 and vectors.usage.prompt_tokens > 0
    assert vectors.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=0.05)


# Errors


@pytest.mark.parametrize(
    "fields, param",
    [
        ({"temperature": 3}, "temperature"),
        ({"n": 0}, "n"),
        ({"max_tokens": 10_000_000}, "max_tokens"),
        ({"stop": ["a"] * 10_000}, "stop"),
        ({"logit_bias": {"9999999": 1}}, "logit_bias"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]}, "messages[0].content[0]"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
    ],
)
def test_a_bad_field_is_named(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **fields)
    assert caught.value.param == param, caught.value
    assert caught.value.type == "invalid_request_error"


def test_a_prompt_beyond_the_context_is_refused_or_cut(client):
    long = [{"role": "user", "content": "word " * 200_000}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError):
            list(ask(client, long, stream=stream))
    cut = ask(client, long, extra_body={"truncation": "auto"}, max_tokens=2)
    assert cut.usage.completion_tokens > 0


def test_a_deadline_is_a_504(client):
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, max_tokens=2000, n=8, extra_headers={"X-Request-Timeout-Ms": "20"}, extra_body={"ignore_eos": True})
    assert caught.value.status_code == 504


def test_unknown_fields_are_ignored_with_a_warning(client):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION, max_tokens=1, extra_body={"mood": "good"},
                                                           extra_headers={"X-Request-Id": "r-1"})
    assert raw.headers["X-Evenkeel-Warning"] == "ignored unknown fields: mood"
    assert raw.headers["X-Request-Id"] == "r-1"
    assert "decode;dur=" in raw.headers["Server-Timing"]


@pytest.mark.parametrize(
    "method, path, body, headers, status",
    [
        ("POST", "/v1/chat/completions", b"{", {}, 400),
        ("POST", "/v1/chat/completions", b'{"model":"smollm2","messages":[{"role":"user","content":"\\ud800"}]}', {}, 400),
        ("POST", "/v1/chat/completions", b"{}", {"Content-Type": "image/png"}, 415),
        ("GET", "/v1/chat/completions", None, {}, 405),
        ("GET", "/v1/nothing", None, {}, 404),
        ("POST", "/v1/chat/completions", b"{}", {"Content-Length": "99999999999"}, 413),
    ],
)
def test_what_never_becomes_a_request_has_the_same_form(daemon, method, path, body, headers, status):
    got, _, text = daemon.request(method, path, body, headers)
    assert got == status
    assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}


# Clients that leave, and many at once


def test_a_client_that_leaves_frees_its_place(client):
    """Streams that are dropped do not hold those that come after them up."""
    alone = time.monotonic()
    ask(client, max_tokens=8)
    alone = time.monotonic() - alone
    for _ in range(24):
        stream = ask(client, max_tokens=2000, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        stream.close()
    begin = time.monotonic()
    ask(client, max_tokens=8)
    assert time.monotonic() - begin < 10 * alone + 2


def test_a_client_that_does_not_wait_for_a_whole_answer_frees_its_place(client):
    impatient = client.with_options(timeout=0.2)
    for _ in range(8):
        with pytest.raises((openai.APITimeoutError, openai.APIStatusError)):
            ask(impatient, max_tokens=2000, extra_body={"ignore_eos": True})
    begin = time.monotonic()
    ask(client, max_tokens=4)
    assert time.monotonic() - begin < 10


def test_two_hundred_at_once_are_answered_or_refused_early(client):
    slowest_refusal, lock, counts = 0.0, threading.Lock(), {"answered": 0, "refused": 0}

    def one(i):
        nonlocal slowest_refusal
        begin = time.monotonic()
        with contextlib.suppress(openai.RateLimitError, openai.InternalServerError):
            assert ask(client, max_tokens=4, seed=i).choices[0].message is not None
            with lock:
                counts["answered"] += 1
            return
        with lock:
            counts["refused"] += 1
            slowest_refusal = max(slowest_refusal, time.monotonic() - begin)

    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        list(pool.map(one, range(200)))
    assert counts["answered"] >= 8 and sum(counts.values()) == 200
    assert slowest_refusal < 20


# The generate extension of the Open Inference Protocol


def test_generate_and_its_stream_agree(daemon):
    body = {"text_input": "One, two,", "parameters": {"max_tokens": 5, "temperature": 0}}
    whole = daemon.json("POST", f"/v2/models/{MODEL}/generate", body)
    assert whole["model_name"] == MODEL and whole["text_output"]
    status, headers, text = daemon.request("POST", f"/v2/models/{MODEL}/generate_stream", body)
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream")
    pieces = [json.loads(line.removeprefix("data: ")) for line in text.decode().split("\n\n") if line.startswith("data: ")]
    assert "".join(piece["text_output"] for piece in pieces) == whole["text_output"]
