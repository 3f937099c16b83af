"""A GGUF model in openvino-genai, in a closed loop; started by llm_genai.py with the Python that has the package.

usage: llm_genai_loop.py MODEL.gguf THREADS KIND READER

KIND: batching or single, the pipeline; READER: LEGACY or FRONTEND, of GGUF files. The first line of the output is {"version", "says"}, or {"error"} if the model
can't be opened so. Then each line of the input, {"concurrency", "seconds", "warm_up_s", "seed"}, is answered by {"tokens_per_s"} or {"error"}. It ends with its input.
"""

import json
import os
import random
import sys
import time

import numpy
import openvino
import openvino_genai as genai

PROMPT_TOKENS = OUTPUT_TOKENS = 64
FIRST_TOKEN, TOKENS = 1000, 40000  # of the vocabulary: plain ones
CACHE_GB = 1                       # keys and values of all sequences
SAID, SAID_TOKENS = "Once upon a time", 12
DEFAULT_READER = "LEGACY"          # what the package takes unasked


def tensor(ids):
    return openvino.Tensor(numpy.array([ids], dtype=numpy.int64))


def random_prompt(rng):
    return tensor([FIRST_TOKEN + rng.randrange(TOKENS) for _ in range(PROMPT_TOKENS)])


def greedy(tokens):
    config = genai.GenerationConfig()
    config.max_new_tokens = tokens
    config.ignore_eos = True
    return config


class Batching:
    """Sequences that join and leave the pipeline's steps."""

    def __init__(self, path, properties):
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = CACHE_GB
        self.pipe = genai.ContinuousBatchingPipeline(path, scheduler, "CPU", properties)
        self.requests = 0

    def add(self, prompt, tokens=OUTPUT_TOKENS):
        self.requests += 1
        return self.pipe.add_request(self.requests, prompt, greedy(tokens))

    def new_tokens(self, handle):
        found = []
        while handle.can_read():
            for output in handle.read().values():
                found += output.generated_ids
        return found

    def ended(self, handle):
        status = handle.get_status()
        if status == genai.GenerationStatus.RUNNING:
            return False
        if status != genai.GenerationStatus.FINISHED:
            raise RuntimeError(f"an answer ended as {status}")
        return True

    def drain(self):
        while self.pipe.has_non_finished_requests():
            self.pipe.step()

    def answer(self, prompt, tokens):
        handle = self.add(prompt, tokens)
        self.drain()
        return self.new_tokens(handle)

    def tokens_per_s(self, concurrency, seconds, warm_up_s, rng):
        """Tokens count when they come; a sequence that ends makes room for the next at once."""
        running = [self.add(random_prompt(rng)) for _ in range(concurrency)]
        warm, begin, counted = time.monotonic() + warm_up_s, None, 0
        while True:
            self.pipe.step()
            now = time.monotonic()
            new = sum(len(self.new_tokens(handle)) for handle in running)
            if begin is None:
                begin = now if now >= warm else None
            else:
                counted += new
                if now >= begin + seconds:
                    break
            running = [self.add(random_prompt(rng)) if self.ended(handle) else handle for handle in running]
        self.drain()
        return counted / (now - begin)


class Single:
    """One answer after the other, with the cache of keys and values inside the model."""

    def __init__(self, path, properties):
        self.pipe = genai.LLMPipeline(path, "CPU", ATTENTION_BACKEND="SDPA", **properties)

    def answer(self, prompt, tokens=OUTPUT_TOKENS):
        return list(self.pipe.generate(prompt, greedy(tokens)).tokens[0])

    def tokens_per_s(self, concurrency, seconds, warm_up_s, rng):
        """Of whole answers; `concurrency` is 1."""
        warm = time.monotonic() + warm_up_s
        while time.monotonic() < warm:
            self.answer(random_prompt(rng))
        begin, counted = time.monotonic(), 0
        while time.monotonic() < begin + seconds:
            counted += len(self.answer(random_prompt(rng)))
        return counted / (time.monotonic() - begin)


KINDS = {"batching": Batching, "single": Single}


def said(opened):
    """Does the model talk sense? A short greedy answer."""
    tokenizer = opened.pipe.get_tokenizer()
    ids = tokenizer.encode(SAID, add_special_tokens=False).input_ids
    return tokenizer.decode(opened.answer(ids, SAID_TOKENS))


def opened_as(kind, path, threads, reader):
    # The cores are those that this process may use. The default is not named: older versions don't know that it could be another.
    properties = {"INFERENCE_NUM_THREADS": threads, **({} if reader == DEFAULT_READER else {"GGUF_READER": reader})}
    return KINDS[kind](path, properties)


def attempt(tell, action):
    """Tells what the action gives, or why it failed. Whatever it is, whoever asked goes on."""
    try:
        tell(action())
    except Exception as error:
        tell({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


def main():
    if len(sys.argv) != 5 or sys.argv[3] not in KINDS:
        sys.exit(__doc__)
    path, threads, kind, reader = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    # What the libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    opened = []

    def tell(document):
        print(json.dumps(document), file=answers, flush=True)

    def begin():
        opened.append(opened_as(kind, path, threads, reader))
        return {"version": genai.get_version(), "says": said(opened[0])}

    def measured(asked):
        return {"tokens_per_s": opened[0].tokens_per_s(asked["concurrency"], asked["seconds"], asked["warm_up_s"], random.Random(asked["seed"]))}

    attempt(tell, begin)
    for line in sys.stdin:
        attempt(tell, lambda asked=json.loads(line): measured(asked))


if __name__ == "__main__":
    main()
