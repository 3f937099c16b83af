"""A GGUF model in openvino-genai, in a closed loop; started by llm_genai.py with the Python that has the package.

usage: llm_genai_loop.py MODEL.gguf THREADS

The first line of the output says what could be opened: {"version", "kinds": {name: {"reader", "says"}}, "failed": {name: reason}}. Then each line of the
input, {"kind", "concurrency", "seconds", "warm_up_s", "seed"}, is answered by {"tokens_per_s"} or {"error"}. It ends with its input.
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
READERS = ("LEGACY", "FRONTEND")   # of GGUF files; the first is the package's own choice


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


def open_all(path, threads):
    """({name: opened}, what the first line says)"""
    kinds, told, failed = {}, {}, {}
    for name, kind in KINDS.items():
        reasons = []
        for reader in READERS:
            # The cores are those that this process may use. A setting of its own where it is the default would ask older versions for what they don't know.
            properties = {"INFERENCE_NUM_THREADS": threads, **({} if reader == READERS[0] else {"GGUF_READER": reader})}
            try:
                opened = kind(path, properties)
                told[name] = {"reader": reader, "says": said(opened)}
                kinds[name] = opened
                break
            except Exception as error:  # whatever it is, it can't be measured this way
                reasons.append(f"{reader}: {' '.join(str(error).split())[:200]}")
        else:
            failed[name] = "; ".join(reasons)
    return kinds, {"version": genai.get_version(), "kinds": told, "failed": failed}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    # What the libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(document):
        print(json.dumps(document), file=answers, flush=True)

    kinds, first = open_all(sys.argv[1], int(sys.argv[2]))
    tell(first)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            rng = random.Random(asked["seed"])
            tell({"tokens_per_s": kinds[asked["kind"]].tokens_per_s(asked["concurrency"], asked["seconds"], asked["warm_up_s"], rng)})
        except Exception as error:  # said to whom asked, who goes on
            tell({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


if __name__ == "__main__":
    main()
