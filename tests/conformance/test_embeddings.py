"""Embeddings and rerank with the unmodified openai package: tiny BERT models against numpy, and SmolLM2."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import pathlib
import signal
import threading
import time

import numpy as np
import openai
import pytest

import tiny_gguf
from daemon import BINARY, STOP_SECONDS, launch, place_models, sanitizer_report, wait_for_announcement
from demo import FOLDER
from questions import QUESTIONS

WORKER = BINARY.parent / "libexec" / "evenkeel" / "evenkeel-worker-llamacpp"
pytestmark = pytest.mark.skipif(not WORKER.exists(), reason="no worker for language models was built")

WEIGHTS = tiny_gguf.weights(seed=1)
RANKER = tiny_gguf.weights(seed=2, head=True)
# The engine looks BERT's activation up by half-precision numbers, which neighbours in a product of another shape may tip. The largest difference
# of any number was 2.7e-4 to numpy, 1.6e-4 to the same text alone.
CLOSE = 2e-3
APART = 2e-2  # what the vectors of two texts differ by at least
# Of two batches of one text with SmolLM2, whose weights are quantised.
NOISE = 2e-2


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    models: dict[str, bytes | str | pathlib.Path] = {"ranker/model.gguf": tiny_gguf.gguf(RANKER, "rank")}
    for pooling in ("mean", "cls", "last"):
        models[f"bert-{pooling}/model.gguf"] = tiny_gguf.gguf(WEIGHTS, pooling)
    models["bert-asked/model.gguf"] = tiny_gguf.gguf(WEIGHTS, "mean")
    models["bert-asked/evenkeel.yaml"] = "language: {pooling: cls}\n"
    models["bert-plain/model.gguf"] = tiny_gguf.gguf(WEIGHTS, None)
    models["bert-rank/model.gguf"] = tiny_gguf.gguf(WEIGHTS, "mean")
    models["bert-rank/evenkeel.yaml"] = "language: {pooling: rank}\n"
    models["smollm2"] = FOLDER / "smollm2"
    for pooling in ("mean", "none"):
        models[f"smollm2-{pooling}/model.gguf"] = FOLDER / "smollm2" / "model.gguf"
        models[f"smollm2-{pooling}/evenkeel.yaml"] = f"language: {{pooling: {pooling}, context: 512, sequences: 2}}\n"
    place_models(folder / "models", models)
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


def vectors(client, texts, model="bert-mean", **more) -> np.ndarray:
    answer = client.embeddings.create(model=model, input=texts, **more)
    assert [item.index for item in answer.data] == list(range(len(answer.data)))
    assert answer.model == model and answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    return np.array([item.embedding for item in answer.data])


def rerank(client, **body):
    return client.post("/rerank", body=body, cast_to=object)


def words(random, count: int) -> str:
    return " ".join(f"w{i}" for i in random.integers(0, tiny_gguf.WORDS - len(tiny_gguf.SPECIAL), count))


def describe(daemon, name):
    return next(m for m in daemon.json("GET", "/v2/evenkeel/models")["models"] if m["name"] == name)


# What vectors are


@pytest.mark.parametrize("model, pooling", [("bert-mean", "mean"), ("bert-cls", "cls"), ("bert-last", "last"), ("bert-asked", "cls"), ("bert-plain", "mean")])
def test_vectors_are_what_numpy_says(client, model, pooling):
    random = np.random.default_rng(3)
    texts = [words(random, count) for count in (1, 2, 5, 17, 60, 120, 126)]
    got = vectors(client, texts, model)
    wanted = np.array([tiny_gguf.vector(WEIGHTS, text, pooling) for text in texts])
    print(model, "largest difference to numpy:", np.abs(got - wanted).max())
    assert np.abs(got - wanted).max() < CLOSE
    assert np.linalg.norm(got, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_vector_does_not_depend_on_its_neighbours(client):
    """Alone, in a list, and while others ask: the same text, the same vector."""
    random = np.random.default_rng(4)
    texts = [words(random, int(count)) for count in random.integers(1, 100, 64)]
    together = vectors(client, texts)
    alone = np.concatenate([vectors(client, [text]) for text in texts])
    print("largest difference to itself alone:", np.abs(together - alone).max())
    assert np.abs(together - alone).max() < CLOSE
    assert np.abs(vectors(client, list(reversed(texts)))[::-1] - together).max() < CLOSE
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for row, one in zip(together, pool.map(lambda text: vectors(client, [text])[0], texts)):
            assert np.abs(row - one).max() < CLOSE
    assert np.abs(vectors(client, [texts[0], texts[0]])[0] - together[0]).max() < CLOSE
    apart = np.abs(together[:, None] - together[None, :]).max(-1) + np.eye(len(texts))
    assert apart.min() > APART, "two texts have one vector"


def test_texts_of_several_requests_share_steps(client, daemon):
    random = np.random.default_rng(5)
    before = describe(daemon, "bert-cls")["language"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: vectors(client, [words(random, 5) for _ in range(50)], "bert-cls"), range(8)))

    def after():
        return describe(daemon, "bert-cls")["language"]

    end = time.monotonic() + 10
    while after()["text_tokens"] - before["text_tokens"] < 8 * 50 * 7 and time.monotonic() < end:
        time.sleep(0.02)
    now = after()
    assert now["text_tokens"] - before["text_tokens"] == 8 * 50 * 7
    assert now["text_steps"] - before["text_steps"] < 100, "400 texts of 7 tokens"
    assert now["texts_running"] == now["texts_waiting"] == 0 and now["text_memory_bytes"] > 0
    assert now["pooling"] == "cls" and not now["generates"]


def test_forms_of_input_and_output(client):
    text = "w1 w2 w3"
    plain = vectors(client, text)
    assert np.abs(plain - vectors(client, text, encoding_format="float")).max() < 1e-6
    ids = [tiny_gguf.CLS, *map(tiny_gguf.word_id, text.split()), tiny_gguf.SEP]
    assert np.abs(plain - vectors(client, ids)).max() < CLOSE
    assert np.abs(plain - vectors(client, [ids, ids])).max() < CLOSE
    raw = client.post("/embeddings", body={"model": "bert-mean", "input": text, "encoding_format": "base64"}, cast_to=object)
    assert np.abs(np.frombuffer(base64.b64decode(raw["data"][0]["embedding"]), "<f4") - plain[0]).max() < 1e-6
    short = vectors(client, text, dimensions=10)
    assert short.shape == (1, 10)
    assert short[0] == pytest.approx(plain[0, :10] / np.linalg.norm(plain[0, :10]), abs=CLOSE)


def test_text_is_text(client):
    """What looks like a control token is none: else a text could end itself, or begin another."""
    assert np.abs(vectors(client, "w1 [SEP] w2") - vectors(client, [[tiny_gguf.CLS, 6, tiny_gguf.SEP, 7, tiny_gguf.SEP]])).max() > APART


# SmolLM2, which generates too


def test_a_model_that_generates_gives_vectors_too(client, daemon):
    texts = ["The cat sat on the mat.", "A cat is sitting on a rug.", "Interest rates rose by half a percent."]
    got = vectors(client, texts, "smollm2")
    assert got.shape == (3, 576) and np.linalg.norm(got, axis=1) == pytest.approx(1, abs=1e-5)
    assert got[0] @ got[1] > got[0] @ got[2]
    alone = np.concatenate([vectors(client, [text], "smollm2") for text in texts])
    many = vectors(client, texts * 5 + ["word " * 200], "smollm2")
    for row, one, first in zip(got, alone, many):
        assert row @ one > 1 - NOISE and row @ first > 1 - NOISE
    mean = vectors(client, texts, "smollm2-mean")
    assert (mean * got).sum(1).max() < 0.99, "another pooling, another vector"
    assert describe(daemon, "smollm2")["language"]["text_memory_bytes"] > 0
    capabilities = client.models.retrieve("smollm2").model_extra["capabilities"]
    assert capabilities == {"completions": True, "chat": True, "embeddings": True, "rerank": False}


def found(client, model: str) -> int:
    """Questions to which their own answer is the nearest of all."""
    asked, answers = (vectors(client, list(texts), model) for texts in zip(*QUESTIONS))
    return int(((asked @ answers.T).argmax(1) == np.arange(len(QUESTIONS))).sum())


def test_the_default_pooling_finds_more_than_the_mean(client):
    """Why a model that generates pools by the last token where nothing is said."""
    last, mean = found(client, "smollm2"), found(client, "smollm2-mean")
    print(f"of {len(QUESTIONS)} questions found: last {last}, mean {mean}")
    assert last > mean


def test_a_long_text_is_computed_in_pieces(client):
    long = "The cat sat on the mat and looked at the dog. " * 250
    got = vectors(client, [long, "The cat."], "smollm2")
    assert np.linalg.norm(got, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors(client, ["The cat."], "smollm2")[0] @ got[1] > 1 - NOISE


def test_long_lists_of_texts_do_not_stop_an_answer(client):
    """Tokens keep coming while one list of 40 texts after the other is computed."""
    done = threading.Event()

    def embed():
        while not done.is_set():
            vectors(client, ["The quick brown fox jumps over the lazy dog. " * 5] * 40, "smollm2")

    story = {"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 60, "temperature": 0, "stream": True, "extra_body": {"ignore_eos": True}}
    alone = np.median(np.diff([time.monotonic() for _ in client.completions.create(**story)]))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        embedding = pool.submit(embed)
        time.sleep(0.3)
        times = []
        stream = client.completions.create(**story)
        for _ in stream:
            times.append(time.monotonic())
        done.set()
        embedding.result()
    between = np.diff(times)
    print("between two tokens beside texts, s: p50", np.median(between), "most", between.max())
    # A step full of texts takes longer than this; the objective is 50 ms.
    assert np.median(between) < max(0.2, 16 * alone), alone


# Rerank


def test_documents_are_ranked_as_numpy_says(client):
    random = np.random.default_rng(6)
    query = words(random, 5)
    documents = [words(random, int(count)) for count in random.integers(1, 60, 20)]
    answer = rerank(client, model="ranker", query=query, documents=documents, return_documents=True)
    wanted = [tiny_gguf.score(RANKER, query, document) for document in documents]
    got = {result["index"]: result["relevance_score"] for result in answer["results"]}
    assert [got[i] for i in range(20)] == pytest.approx(wanted, abs=CLOSE)
    scores = [result["relevance_score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    assert all(result["document"]["text"] == documents[result["index"]] for result in answer["results"])
    assert answer["usage"]["prompt_tokens"] == sum(len(d.split()) for d in documents) + 20 * (len(query.split()) + 2)
    best = rerank(client, model="ranker", query=query, documents=documents, top_n=3)["results"]
    assert [result["index"] for result in best] == [result["index"] for result in answer["results"][:3]]
    alone = rerank(client, model="ranker", query=query, documents=[documents[7]])["results"]
    assert alone[0]["relevance_score"] == pytest.approx(got[7], abs=CLOSE)


# What is refused


def test_who_can_what(client, daemon):
    for model in ("bert-mean", "ranker"):
        for ask in (lambda: client.chat.completions.create(model=model, messages=[{"role": "user", "content": "w1"}]),
                    lambda: client.completions.create(model=model, prompt="w1")):
            with pytest.raises(openai.BadRequestError) as caught:
                ask()
            assert caught.value.param == "model" and caught.value.code == "unsupported_model"
    for model in ("ranker", "smollm2-none"):
        with pytest.raises(openai.BadRequestError) as caught:
            vectors(client, "w1", model)
        assert caught.value.code == "unsupported_model"
    for model in ("bert-mean", "smollm2"):
        with pytest.raises(openai.BadRequestError) as caught:
            rerank(client, model=model, query="w1", documents=["w2"])
        assert "does not rank" in caught.value.message
    index = {m["name"]: m for m in daemon.json("POST", "/v2/repository/index")}
    assert index["bert-rank"]["state"] == "UNAVAILABLE" and "classification head" in index["bert-rank"]["reason"]


def test_a_text_beyond_the_context(client):
    long = words(np.random.default_rng(7), 127)
    with pytest.raises(openai.BadRequestError) as caught:
        vectors(client, ["w1", long])
    assert "text 1 has 129 tokens" in caught.value.message and "128" in caught.value.message
    assert caught.value.code == "context_length_exceeded"
    # It loses its end, but not the token that the model wants there.
    cut = vectors(client, ["w1", long], extra_body={"truncation": "auto"})
    assert np.abs(cut[1] - tiny_gguf.vector(WEIGHTS, " ".join(long.split()[:126]), "mean")).max() < CLOSE
    ids = [tiny_gguf.CLS] + [7] * 200
    with pytest.raises(openai.BadRequestError):
        vectors(client, ids)
    assert vectors(client, ids, extra_body={"truncation": "auto"}).shape == (1, 64)
    with pytest.raises(openai.BadRequestError):
        rerank(client, model="ranker", query="w1", documents=[long])
    cut = rerank(client, model="ranker", query="w1", documents=[long], truncation="auto")["results"][0]["relevance_score"]
    assert cut == pytest.approx(tiny_gguf.score(RANKER, "w1", " ".join(long.split()[:125])), abs=CLOSE)
    with pytest.raises(openai.BadRequestError):
        rerank(client, model="ranker", query=long, documents=["w1"], truncation="auto")


@pytest.mark.parametrize("fields, param", [({"input": []}, "input"), ({"input": ["a", ""]}, "input[1]"), ({"input": [400]}, "input"),
                                           ({"input": [-1]}, "input"), ({"dimensions": 65}, "dimensions"), ({"dimensions": 0}, "dimensions"),
                                           ({"encoding_format": "hex"}, "encoding_format"), ({"model": "nobody"}, "model")])
def test_bad_fields(client, fields, param):
    with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
        client.post("/embeddings", body={"model": "bert-mean", "input": "w1", **fields}, cast_to=object)
    assert caught.value.param == param


def test_a_deadline_ends_a_call(client):
    with pytest.raises(openai.APIStatusError) as caught:
        vectors(client, ["The quick brown fox jumps over the lazy dog. " * 20] * 500, "smollm2-mean", extra_headers={"X-Request-Timeout-Ms": "200"})
    assert caught.value.status_code == 504


def test_a_client_that_leaves_is_not_computed_for(client, daemon):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).embeddings.create(model="smollm2-mean", input=["The quick brown fox jumps over the lazy dog. " * 20] * 1000)

    def state():
        return describe(daemon, "smollm2-mean")["language"]

    end = time.monotonic() + 20
    while (state()["texts_running"] + state()["texts_waiting"] or state()["open_calls"]) and time.monotonic() < end:
        time.sleep(0.05)
    assert state()["open_calls"] == state()["texts_running"] == state()["texts_waiting"] == 0
    assert state()["text_tokens"] < 500 * 200


def test_a_worker_that_dies_costs_nothing_but_time(client, daemon):
    texts = [f"Sentence number {i} of quite a few that are to be computed here. " * 3 for i in range(40)]
    wanted = vectors(client, texts, "smollm2-mean")
    before = describe(daemon, "smollm2-mean")["instances"][0]
    tokens = describe(daemon, "smollm2-mean")["language"]["text_tokens"]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(vectors, client, texts, "smollm2-mean")
        while describe(daemon, "smollm2-mean")["language"]["text_tokens"] < tokens + 200:
            time.sleep(0.01)
        os.kill(before["pid"], signal.SIGKILL)
        got = asked.result()
    assert describe(daemon, "smollm2-mean")["instances"][0]["restarts"] == before["restarts"] + 1
    assert ((got * wanted).sum(1) > 1 - NOISE).all()


def test_metrics_count_texts(daemon):
    status, _, page = daemon.request("GET", "/metrics")
    assert status == 200
    values = dict(line.rsplit(" ", 1) for line in page.decode().splitlines() if line.startswith("evenkeel_llm_text"))
    assert float(values['evenkeel_llm_text_tokens_total{model="bert-mean"}']) > 0
    assert json.loads(values['evenkeel_llm_text_steps_total{model="bert-mean"}']) > 0
