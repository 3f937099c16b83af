"""Batched = unbatched = ONNX Runtime, for every demo model, whatever a batch is made of."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import random
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from demo import (  # noqa: F401
    MODELS, OUTPUTS, check, client_inputs, demo, draw, engine_cache, folder_of, oracle, pixels, serving, statistics,
)

CONCURRENCY = 16


def infer(client, module, model, inputs):
    return client.infer(model, client_inputs(module, inputs)).as_numpy(OUTPUTS[model])


def row(inputs, i):
    return {name: value[i : i + 1] for name, value in inputs.items()}


@dataclasses.dataclass
class Work:
    model: str
    inputs: dict[str, np.ndarray]
    expected: np.ndarray


def run_all(daemon, work: list[Work]) -> collections.Counter:
    """Sends the work over 16 connections, half of them HTTP; each answer is compared with its own request's oracle.

    Returns how often requests of each model were shed (and asked again)."""
    todo = collections.deque(work)
    shed: collections.Counter = collections.Counter()
    failures: list[str] = []

    def run(number: int) -> None:
        module = http if number % 2 else grpc
        address = daemon.http_address if number % 2 else daemon.grpc_address
        options = {} if number % 2 == 0 else {"network_timeout": 120, "connection_timeout": 120}
        with module.InferenceServerClient(address, **options) as client:
            while not failures:
                try:
                    one = todo.popleft()
                except IndexError:
                    return
                try:
                    got = infer(client, module, one.model, one.inputs)
                    check(got, one.expected, f"{one.model}, {len(one.expected)} rows")
                except InferenceServerException as error:
                    if error.status() not in ("429", "StatusCode.RESOURCE_EXHAUSTED"):
                        failures.append(f"{one.model}, {len(one.expected)} rows: {error}")
                        return
                    shed[one.model] += 1  # more was asked for than this machine does in time
                    todo.append(one)
                    time.sleep(0.1)
                except Exception as error:  # noqa: BLE001: whatever it is, it is the test's result
                    failures.append(f"{one.model}, {len(one.expected)} rows: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=(i,)) for i in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]
    assert not todo
    return shed


@pytest.mark.parametrize("model", MODELS)
def test_one_by_one_together_and_oracle_agree(demo, model):
    rows = 9
    inputs = draw(model, rows, seed=5)
    expected = oracle(model, inputs)
    with http.InferenceServerClient(demo.http_address, network_timeout=60) as client:
        check(infer(client, http, model, inputs), expected, "one request of nine rows")
        alone = [infer(client, http, model, row(inputs, i)) for i in range(rows)]
    check(np.concatenate(alone), expected, "nine requests of one row")


BATCHED = [m for m in MODELS if m != "ctr"]  # a copy of ctr's tables is 333 MB


@pytest.fixture(scope="module")
def batched(tmp_path_factory, engine_cache):
    """A daemon whose models wait for sixteen rows."""
    files = {}
    for model in BATCHED:
        files |= folder_of(model, batching="{policy: fixed, max_batch: 16, max_delay: 300ms}")
    with serving(tmp_path_factory.mktemp("batched"), files, engine_cache) as daemon:
        yield daemon


@pytest.mark.parametrize("model", BATCHED)
def test_rows_of_many_requests_in_one_batch(batched, model):
    inputs = draw(model, CONCURRENCY, seed=6)
    expected = oracle(model, inputs)
    work = [Work(model, row(inputs, i), expected[i : i + 1]) for i in range(CONCURRENCY)]
    run_all(batched, work)
    stats = statistics(batched, model)
    assert stats["inference_count"] == CONCURRENCY
    assert stats["execution_count"] <= CONCURRENCY // 2, stats["batch_stats"]


@pytest.mark.parametrize("model", ["digits", "ctr", "textcnn", "lstm"])
@pytest.mark.parametrize("rows", [63, 64, 65, 128, 150])
def test_requests_around_the_largest_batch(demo, model, rows):
    inputs = draw(model, rows, seed=rows)
    with grpc.InferenceServerClient(demo.grpc_address) as client:
        check(infer(client, grpc, model, inputs), oracle(model, inputs))


# Requests, rows in the pool, and rows of the largest request.
MIX = {
    "digits": (5000, 4000, 150),
    "ctr": (2000, 1500, 100),
    "textcnn": (2300, 1000, 80),
    "lstm": (400, 400, 70),
    "filetype": (100, 60, 5),
    "textline-orientation": (160, 80, 12),
}
WIDTHS = {24: 8, 64: 14, 100: 8, 160: 6, 320: 4}  # pixels: requests; together with MIX 10,000


def requests_of(model: str, pool: dict, count: int, largest: int, rng: random.Random) -> list[Work]:
    """Random choices of the pool's rows: mostly few, some up to `largest`. The oracle sees each row once."""
    expected = oracle(model, pool)
    available = len(expected)
    work = []
    for i in range(count):
        rows = rng.randint(1, 4) if rng.random() < 0.95 else rng.randint(1, largest)
        if i < 2:
            rows = (1, largest)[i]
        chosen = np.array(rng.choices(range(available), k=rows))
        work.append(Work(model, {name: value[chosen] for name, value in pool.items()}, expected[chosen]))
    return work


def mixed_work(seed: int) -> list[Work]:
    rng = random.Random(seed)
    work = []
    for model, (requests, rows, largest) in MIX.items():
        work += requests_of(model, draw(model, rows, seed), requests, largest, rng)
    for width, requests in WIDTHS.items():
        pool = pixels(width)(np.random.default_rng(seed + width), 4)
        work += requests_of("textline-recognition", pool, requests, 3, rng)
    rng.shuffle(work)
    return work


def seen_to_share(demo, models: tuple[str, ...], until: threading.Event) -> set[str]:
    """Those of the models of which requests shared a batch, looking until then and once more."""
    shared, last = set(), False
    while not last:
        last = until.wait(0.5)
        for model in models:
            if any(batch["requests"] > 1 for batch in demo.json("GET", f"/v2/evenkeel/models/{model}")["recent_batches"]):
                shared.add(model)
    return shared


def check_mix(demo, work: list[Work]) -> None:
    before = {model: statistics(demo, model) for model in MODELS}
    # Requests do share batches where work waits for the engine. Their count does not tell: where the machine is busy, the
    # sizes that meet the objective are small, and one request of many rows becomes many batches.
    batched, done = ("textcnn", "lstm"), threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        looking = pool.submit(seen_to_share, demo, batched, done)
        try:
            shed = run_all(demo, work)
        finally:
            done.set()
        shared = looking.result()
    for model in MODELS:
        mine = [one for one in work if one.model == model]
        now, then = statistics(demo, model), before[model]
        assert now["inference_count"] - then["inference_count"] == sum(len(one.expected) for one in mine), model
        assert now["inference_stats"]["success"]["count"] - then["inference_stats"]["success"]["count"] == len(mine), model
        assert now["inference_stats"]["fail"]["count"] - then["inference_stats"]["fail"]["count"] == shed[model], model
        ran = {b["batch_size"]: b["compute_infer"]["count"] for b in now["batch_stats"]}
        assert max(ran) > 1, model
    assert shared == set(batched)


def test_ten_thousand_random_requests(demo):
    work = mixed_work(seed=7)
    assert len(work) == 10_000
    check_mix(demo, work)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_random_requests(demo):
    for seed in range(10):
        check_mix(demo, mixed_work(seed=100 + seed))
