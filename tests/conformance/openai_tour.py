#!/usr/bin/env python3
"""The unmodified openai package against the demo language model, one call after another: what was asked, and what came.

  make openai-tour
  python tests/conformance/openai_tour.py     (needs make build models, and the packages of tools/requirements-tests.txt)

Prints a line for each: models, a chat, a stream, a tool and what it said, a JSON schema, completions, vectors; then an error of each class of the package that
the server gives (409 and 422 it never does here), with status, class and message. The exit code is 0 only if each is what it should be.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import openai

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from daemon import BUILD, STOP_SECONDS, Daemon, launch, place_models, run_cli, wait_for_announcement  # noqa: E402

MODELS = pathlib.Path(os.environ.get("EVENKEEL_MODELS", BUILD / "demo-models"))
MODEL = "smollm2"
COLOURS = [{"role": "user", "content": "Name three primary colours."}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city",
                                         "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}}}
COUNTRY = {"type": "object", "properties": {"country": {"type": "string", "maxLength": 20}, "on_the_sea": {"type": "boolean"}}, "required": ["country", "on_the_sea"],
           "additionalProperties": False}
CROWD = 128  # choices of one request: more than run side by side and may wait, so that the next one comes to a full line


class Tour:
    """Shows each thing that came, and keeps what was not as it should be."""

    def __init__(self, show: Callable[[str], None] = print):
        self.show, self.count, self.wrong = show, 0, []

    def came(self, what: str, right: bool, text: str) -> None:
        self.count += 1
        line = f"{what}: {' '.join(text.split())[:200]}"
        self.show(f"{'ok ' if right else 'BAD'} {line}")
        if not right:
            self.wrong.append(line)

    @contextlib.contextmanager
    def trying(self, what: str):
        """What goes wrong within is shown, and the tour goes on."""
        try:
            yield
        except Exception as error:  # whatever it is, this did not come
            self.came(what, False, f"{type(error).__name__}: {error}")

    def failed(self, what: str, expected: type[Exception], call: Callable[[], object]) -> None:
        try:
            came = call()
        except Exception as error:  # its class is what is asked for
            status = getattr(error, "status_code", "no status")
            self.came(f"{expected.__name__}, {what}", isinstance(error, expected), f"{type(error).__name__}, {status}: {getattr(error, 'message', error)}")
        else:
            self.came(f"{expected.__name__}, {what}", False, f"no error came but {came!r}")


def ask(client: openai.OpenAI, messages=COLOURS, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": messages, "max_tokens": 32, "temperature": 0, **more})


def show_models(tour: Tour, client: openai.OpenAI) -> None:
    with tour.trying("models"):
        found = [model.id for model in client.models.list()]
        tour.came("models", MODEL in found, ", ".join(found))
        model = client.models.retrieve(MODEL)
        tour.came("one model", model.id == MODEL, model.model_dump_json())


def show_chats(tour: Tour, client: openai.OpenAI) -> None:
    whole = None
    with tour.trying("a chat"):
        answer = ask(client)
        whole, usage = answer.choices[0].message.content, answer.usage
        tour.came("a chat", bool(whole), f"{whole!r} ({answer.choices[0].finish_reason}, {usage.prompt_tokens} + {usage.completion_tokens} tokens)")
    with tour.trying("a stream"):
        pieces = [chunk.choices[0].delta.content for chunk in ask(client, stream=True) if chunk.choices and chunk.choices[0].delta.content]
        # Where the machine is busy steps have other numbers of threads, and a close call may fall otherwise; never among the first words.
        same = len(os.path.commonprefix(["".join(pieces), whole]))
        tour.came("a stream", len(pieces) > 5 and same >= min(25, len(whole)), f"{len(pieces)} pieces: {'|'.join(pieces)}")


def show_tools(tour: Tour, client: openai.OpenAI) -> None:
    with tour.trying("a tool"):
        answer = ask(client, WEATHER, tools=[TOOL], tool_choice="required", max_tokens=100)
        call = answer.choices[0].message.tool_calls[0]
        city = json.loads(call.function.arguments)["city"]
        tour.came("a tool", call.function.name == "get_weather" and isinstance(city, str), f"{call.function.name}({call.function.arguments}), {call.id}")
        back = [{"role": "assistant", "tool_calls": [call.model_dump()]}, {"role": "tool", "tool_call_id": call.id, "content": "Rain, 12 degrees."}]
        told = ask(client, WEATHER + back, tools=[TOOL], tool_choice="none").choices[0].message.content
        tour.came("an answer from what the tool said", bool(told), repr(told))
    with tour.trying("a tool, streamed"):
        deltas = [chunk.choices[0].delta for chunk in ask(client, WEATHER, tools=[TOOL], tool_choice="required", max_tokens=100, stream=True) if chunk.choices]
        pieces = [piece.function.arguments for delta in deltas for piece in delta.tool_calls or [] if piece.function.arguments]
        tour.came("a tool, streamed", isinstance(json.loads("".join(pieces))["city"], str), f"{len(pieces)} pieces: {'|'.join(pieces)}")


def show_forms(tour: Tour, client: openai.OpenAI) -> None:
    with tour.trying("a JSON schema"):
        form = {"type": "json_schema", "json_schema": {"name": "country", "schema": COUNTRY, "strict": True}}
        text = ask(client, [{"role": "user", "content": "Tell me about Norway, as JSON."}], response_format=form, max_tokens=200).choices[0].message.content
        country = json.loads(text)
        tour.came("a JSON schema", set(country) == {"country", "on_the_sea"} and isinstance(country["on_the_sea"], bool), text)


def show_completions_and_vectors(tour: Tour, client: openai.OpenAI) -> None:
    with tour.trying("completions of two prompts"):
        answer = client.completions.create(model=MODEL, prompt=["One, two,", "Red, green,"], max_tokens=5, temperature=0)
        tour.came("completions of two prompts", [choice.index for choice in answer.choices] == [0, 1], " / ".join(repr(choice.text) for choice in answer.choices))
    with tour.trying("embeddings"):
        texts = ["The cat sat on the mat.", "A cat is sitting on a rug.", "Interest rates rose by half a percent."]
        cat, other_cat, rates = (item.embedding for item in client.embeddings.create(model=MODEL, input=texts).data)
        near, far = (sum(x * y for x, y in zip(cat, other)) for other in (other_cat, rates))
        tour.came("embeddings", near > far, f"{len(cat)} numbers; {texts[0]!r} is {near:.3f} to {texts[1]!r}, {far:.3f} to {texts[2]!r}")


def too_many(client: openai.OpenAI):
    """A question while one request has as many choices running and waiting as may be."""
    with ask(client, n=CROWD, max_tokens=400, stream=True, temperature=1, extra_body={"ignore_eos": True}) as crowd:
        next(iter(crowd))
        return ask(client, n=CROWD)


def errors_of(client: openai.OpenAI) -> Iterator[tuple[str, type[Exception], Callable[[], object]]]:
    """(what is wrong, the class that it is, the call)."""
    endless = {"max_tokens": 1500, "extra_body": {"ignore_eos": True}}
    yield "a temperature of 3", openai.BadRequestError, lambda: ask(client, temperature=3)
    yield "a role that there is not", openai.BadRequestError, lambda: ask(client, [{"role": "wizard", "content": "x"}])
    yield "a prompt beyond the context", openai.BadRequestError, lambda: ask(client, [{"role": "user", "content": "word " * 100_000}])
    yield "a model that there is not", openai.NotFoundError, lambda: ask(client, model="nobody")
    yield "a body that is said to be a picture", openai.APIStatusError, lambda: ask(client, extra_headers={"Content-Type": "image/png"})
    yield "a deadline of 20 ms", openai.InternalServerError, lambda: ask(client, extra_headers={"X-Request-Timeout-Ms": "20"}, n=8, **endless)
    yield "a deadline within a stream", openai.APIError, lambda: list(ask(client, extra_headers={"X-Request-Timeout-Ms": "700"}, stream=True, **endless))
    yield "a client that waits 0.2 s", openai.APITimeoutError, lambda: ask(client.with_options(timeout=0.2), **endless)
    nowhere = client.with_options(base_url="http://127.0.0.1:9/v1")
    yield "a port where nobody listens", openai.APIConnectionError, lambda: ask(nowhere)
    yield "more than may wait", openai.RateLimitError, lambda: too_many(client)


def show_errors(tour: Tour, client: openai.OpenAI) -> None:
    for what, expected, call in errors_of(client):
        tour.failed(what, expected, call)
    with tour.trying("a chat after all of these"):
        # The line empties as soon as the server sees that the crowd has left; until then the package asks again.
        tour.came("a chat after all of these", True, repr(ask(client.with_options(max_retries=5)).choices[0].message.content))


def make_key(daemon: Daemon, name: str, scope: str) -> str:
    made = run_cli("key", "create", "--name", name, "--scope", scope, "--state", str(daemon.folder / "state"), folder=daemon.folder)
    if made.returncode != 0:
        raise RuntimeError(f"evenkeel key create: {made.stderr}")
    return made.stdout.strip()


def wait_for_keys(keyless: openai.OpenAI, latest: openai.OpenAI, limit_s: float = 10) -> None:
    """Until the server, which runs, refuses who has no key and knows the key that was made last."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            keyless.models.list()
        except openai.AuthenticationError:
            with contextlib.suppress(openai.AuthenticationError):
                latest.models.list()
                return
        time.sleep(0.05)


def show_keys(tour: Tour, daemon: Daemon, client: openai.OpenAI) -> None:
    """From the first key on nobody gets in without one: the last thing to show."""
    with tour.trying("a key"):
        narrow, wide = make_key(daemon, "narrow", "infer:another"), make_key(daemon, "wide", "infer:*")
        admitted = client.with_options(api_key=wide)
        wait_for_keys(client, admitted)
        tour.failed("a key that there is not", openai.AuthenticationError, lambda: ask(client))
        tour.failed("a key for another model", openai.PermissionDeniedError, lambda: ask(client.with_options(api_key=narrow)))
        tour.came("a chat with the right key", True, repr(ask(admitted).choices[0].message.content))


def play(daemon: Daemon, tour: Tour) -> None:
    """Everything, against a server that has the model and no keys yet."""
    with openai.OpenAI(base_url=daemon.http_url + "/v1", api_key="none", max_retries=0, timeout=120) as client:
        for show in (show_models, show_chats, show_tools, show_forms, show_completions_and_vectors, show_errors):
            show(tour, client)
        show_keys(tour, daemon, client)


def main() -> int:
    if not (MODELS / MODEL).is_dir():
        sys.exit(f"no model at {MODELS / MODEL}: run `make models`")
    print(f"openai {openai.__version__}, unmodified, against {MODEL}")
    with tempfile.TemporaryDirectory(prefix=f"evenkeel-openai-{os.getpid()}-") as name:
        folder = pathlib.Path(name)
        place_models(folder / "models", {MODEL: MODELS / MODEL})
        daemon = launch(folder, folder / "log", [])
        tour = Tour()
        try:
            wait_for_announcement(daemon)
            play(daemon, tour)
            code = daemon.stop()
            tour.came("the server's end", code == 0, f"exit code {code}")
        finally:
            if daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait(timeout=STOP_SECONDS)
    print(f"{tour.count} shown, {len(tour.wrong)} not as they should be")
    return 1 if tour.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
