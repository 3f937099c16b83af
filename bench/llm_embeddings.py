"""Texts into vectors: tokens a second of /v1/embeddings in batches, and one short text alone, beside llama-server run for nothing else.

Requests of many texts, given as token ids so that both count the same, two in flight: one is computed while the other is on its way. Both servers pool
by the last token, and their vectors of the same texts are compared before anything is timed.
"""

import array
import base64
import concurrent.futures
import contextlib
import http.client
import json
import random
import time

from serve_figures import Goal, Reading, promises, spread
from serve_processes import BenchError, median

from llm_servers import CONTEXT, SMOLLM2, Evenkeel, LlamaServer, port_of, request
from llm_sessions import FIRST_TOKEN, TOKENS

TEXTS, LENGTH = 32, 64  # of a request: texts, tokens of each
IN_FLIGHT = 2
SHORT_TEXTS = 40        # asked one after the other
SAME = 0.95             # cosine of the two servers' vectors of one text, at least: a batch of another size adds up in another order
# What a step of llama-server takes: 512 tokens by default, which it keeps to in embeddings, or a request's worth.
STEPS = (512, TEXTS * LENGTH)

BATCHES = Goal("embeddings: tokens/s in batches / llama-server", "x", ">=", 1.0)
ALONE = Reading("embeddings: one short text alone / llama-server", "x")


def texts(rng, count=TEXTS):
    return [[FIRST_TOKEN + rng.randrange(TOKENS) for _ in range(LENGTH)] for _ in range(count)]


def body_of(server, inputs):
    return {"model": server.name_of_model, "input": inputs, "encoding_format": "base64"}


def checked(server, status, text, count):
    """The answer as a dictionary, once it is known to have a vector for each text."""
    if status != 200:
        raise BenchError(f"{type(server).__name__}: /v1/embeddings: {status} {text[:300]}")
    answer = json.loads(text)
    if len(answer["data"]) != count:
        raise BenchError(f"{type(server).__name__}: {count} texts became {len(answer['data'])} vectors")
    return answer


def vectors(server, inputs):
    status, text = request(port_of(server), "POST", "/v1/embeddings", body_of(server, inputs))
    result = []
    for item in sorted(checked(server, status, text, len(inputs))["data"], key=lambda item: item["index"]):
        numbers = array.array("f")
        numbers.frombytes(base64.b64decode(item["embedding"]))
        result.append(numbers)
    return result


def cosine(a, b):
    if len(a) != len(b):
        raise BenchError(f"vectors of {len(a)} and of {len(b)} numbers")
    dot, aa, bb = (sum(x * y for x, y in zip(*pair)) for pair in ((a, b), (a, a), (b, b)))
    return dot / (aa * bb) ** 0.5


def least_cosine(ours, theirs):
    """Of the two servers' vectors of the same texts."""
    inputs = texts(random.Random(0), 8)
    least = min(cosine(a, b) for a, b in zip(vectors(ours, inputs), vectors(theirs, inputs)))
    if not least >= SAME:
        raise BenchError(f"the servers' vectors of one text differ: cosine {least:.3f}, expected at least {SAME}")
    return least


def tokens_per_s(server, seconds, seed):
    """Of requests that begin within `seconds`, over the time until the last of them is answered."""
    begin = time.monotonic()

    def client(number):
        rng, sent = random.Random(f"{seed}/{number}"), 0
        connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=120)
        try:
            while time.monotonic() < begin + seconds:
                connection.request("POST", "/v1/embeddings", json.dumps(body_of(server, texts(rng))), {"Content-Type": "application/json"})
                answer = connection.getresponse()
                checked(server, answer.status, answer.read(), TEXTS)
                sent += TEXTS * LENGTH
        finally:
            connection.close()
        return sent

    with concurrent.futures.ThreadPoolExecutor(IN_FLIGHT) as pool:
        tokens = sum(pool.map(client, range(IN_FLIGHT)))
    return tokens / (time.monotonic() - begin)


def short_text_ms(server, seed):
    """Median time of one sentence, from connecting to the whole answer."""
    times = []
    for number in range(SHORT_TEXTS):
        inputs = [f"The train to town number {seed * SHORT_TEXTS + number} leaves at noon."]  # another each time: nothing to remember
        begin = time.monotonic()
        status, text = request(port_of(server), "POST", "/v1/embeddings", body_of(server, inputs))
        times.append((time.monotonic() - begin) * 1e3)
        checked(server, status, text, 1)
    return median(times)


def llama_server(step):
    return LlamaServer(SMOLLM2, TEXTS, CONTEXT, ("--embeddings", "--pooling", "last", "--batch-size", step, "--ubatch-size", step))


@promises(BATCHES, ALONE)
def embeddings(options):
    """SmolLM2: tokens a second of texts that become vectors, 32 a request, and the time of one short text, beside llama-server --embeddings"""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Evenkeel(SMOLLM2, 4, pooling="last"))
        servers = {"evenkeel": ours, **{step: stack.enter_context(llama_server(step)) for step in STEPS}}
        least = min(least_cosine(ours, servers[step]) for step in STEPS)
        tokens, times = ({name: [] for name in servers} for _ in range(2))
        for server in servers.values():
            tokens_per_s(server, 0.5, seed=0)  # warm
        for run in range(options.runs):
            for name in list(servers) if run % 2 == 0 else list(servers)[::-1]:
                tokens[name].append(tokens_per_s(servers[name], options.seconds, seed=run + 1))
                times[name].append(short_text_ms(servers[name], seed=run + 1))

    def compared(goal, values, best, unit):
        peer = best(STEPS, key=lambda step: median(values[step]))
        others = ", ".join(f"{spread(values[step])} at {step} tokens a step" for step in STEPS)
        return goal.got(median([a / b for a, b in zip(values["evenkeel"], values[peer])]), f"{spread(values['evenkeel'])} {unit}, llama-server {others}")

    batches = compared(BATCHES, tokens, max, "tokens/s")
    batches["detail"] += f"; {TEXTS} texts of {LENGTH} tokens a request, {IN_FLIGHT} in flight; cosine of the vectors at least {least:.4f}"
    yield batches
    yield compared(ALONE, times, min, "ms")


FIGURES = {"embeddings": embeddings}
