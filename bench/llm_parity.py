#!/usr/bin/env python3
"""Greedy answers of a language model beside llama-server's of the same source: how many are the same, and by what margin the others part.

  make bench-llm_parity                                200 prompts; builds llama-server into the cache first
  bench/llm_parity.py --prompts 40 --tokens 32 --model build/demo-models/smollm2

Each prompt is answered by llama-server alone, by Evenkeel alone, and by Evenkeel in batches of 1 to 16 that others join and leave. Two answers may part where the
likeliest token led by less than the engine's own noise: how much a token's lead differs between Evenkeel alone and in batches, and between llama-server's two kinds of
attention (`-fa on` and `off`), while the text is the same; at most 1 nat. Conversations must become the tokens that llama-server makes of them (as many, and what comes first as likely): those without tools by the model's own template, those with tools by one that
knows them (llm_template.py), since where the template knows none Evenkeel has words of its own. Prints a table, each prompt that parts with its lead, and writes
build/bench/llm_parity.json. Standard library only.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import pathlib
import random
import shutil
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import llm_template  # noqa: E402
from serve_processes import BUILD, CORES, EVENKEEL, ROOT, BenchError, free_ports, spawn, stop  # noqa: E402

MOST_NOISE = 1.0  # nats: what is more than that is no noise of an addition in another order, but a mistake, whoever shows it
RESULT = BUILD / "bench" / "llm_parity.json"
SUBJECTS = ("the sea", "a small engine", "winter", "the moon", "my neighbour", "a river", "bread", "the old clock", "a green door", "music", "the market", "a long road", "rain",
            "the teacher", "an island", "tomatoes", "the night train", "a blue whale", "the library", "chess")
END = "<end>"
FORMS = ("Write one sentence about {}.", "Once upon a time, {} was", "Three facts about {}:\n1.", "Q: What is special about {}?\nA:", "{} is important because",
         "The following poem is about {}.\n\n", "def describe():\n    # prints something about {}\n", "Translate into French: I like {}.\n", "People often say that {}", "A letter about {}:\n\nDear friend,")


def prompts(count):
    everything = [form.format(subject) for form in FORMS for subject in SUBJECTS]
    return random.Random(7).sample(everything, min(count, len(everything)))


def post(port, path, body, host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, port, timeout=300)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise BenchError(f"{path}: {answer.status} {text[:300]!r}")
    return json.loads(text)


def wait_for(port, path, process, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchError(f"{process.args[0]} ended with {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise BenchError(f"{process.args[0]} is not ready after {seconds} s")


class Answer:
    """Text of the tokens one after the other, and how far (in nats) the likeliest led the second."""

    def __init__(self, tokens, leads):
        self.tokens, self.leads = tokens, leads

    @property
    def text(self):
        return "".join(self.tokens)

    def parts_from(self, other):
        """The index of the first token that differs; None: there is none."""
        for i, (mine, theirs) in enumerate(zip(self.tokens, other.tokens)):
            if mine != theirs:
                return i
        return None if len(self.tokens) == len(other.tokens) else min(len(self.tokens), len(other.tokens))


def lead(tops):
    likeliest = sorted(tops, reverse=True)
    return likeliest[0] - likeliest[1] if len(likeliest) > 1 else float("inf")


def ours(port, prompt, tokens, host="127.0.0.1", model="m", **more):
    body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "logprobs": 2, **more}
    probabilities = post(port, "/v1/completions", body, host)["choices"][0]["logprobs"]
    return Answer([END if token.startswith("<|") else token for token in probabilities["tokens"]], [lead(tops.values()) for tops in probabilities["top_logprobs"]])


def theirs(port, prompt, tokens):
    body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "n_probs": 2, "cache_prompt": False}
    found = post(port, "/completion", body)["completion_probabilities"]
    # Control tokens have no bytes there, and their name here.
    texts = [bytes(token["bytes"]).decode(errors="surrogateescape") or END for token in found]
    return Answer(texts, [lead([top["logprob"] for top in token["top_logprobs"]]) for token in found])


user, assistant, system = (lambda text, role=role: {"role": role, "content": text} for role in ("user", "assistant", "system"))


def chats():
    """Conversations of all kinds that the templates of small models know."""
    parts = {"role": "user", "content": [{"type": "text", "text": "Name a colour."}, {"type": "text", "text": "Only one."}]}
    return [({"messages": messages, **more}) for messages, more in (
        ([user("Name three primary colours.")], {}), ([system("You are terse."), user("Hello")], {}), ([user("Hi"), assistant("Hello!"), user("And now?")], {}),
        ([system("Answer in French."), user("Hi"), assistant("Bonjour"), user("Danke")], {}), ([user("  blanks  ")], {}), ([user("Zeilen\n\nund Umlaute: äöü, 你好, 🙂")], {}),
        ([user("<|im_end|> is not the end")], {}), ([parts], {}), ([user("x" * 3000)], {}), ([user("")], {}),
        ([user(f"Turn {i}") if i % 2 == 0 else assistant(f"Answer {i}") for i in range(21)], {}))]


def tool_chats():
    """Conversations with tools: offered, called, answered."""
    weather = {"type": "function", "function": {"name": "get_weather", "description": "The weather in a city",
                                                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
    clock = {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}}
    asked = user("What is the weather in Paris?")
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": '{"celsius": 21}'}
    return [{"messages": messages, "tools": tools} for messages, tools in (
        ([asked], [weather]), ([system("You are terse."), asked], [weather, clock]), ([asked, call, result], [weather]),
        ([asked, call, result, assistant("21 degrees."), user("And in Lima? 🙂")], [weather, clock]))]


def put_into_words(port, conversations):
    """Of each: (tokens that it became, {what may come first: log probability}), the latter of exactly these tokens."""
    read = []
    for chat in conversations:
        answer = post(port, "/v1/chat/completions", {"model": "m", "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 5, **chat})
        first = (answer["choices"][0].get("logprobs") or {}).get("content") or [{}]
        read.append((answer["usage"]["prompt_tokens"], {top["token"]: top["logprob"] for top in first[0].get("top_logprobs", [])}))
    return read


def in_batches(port, asked, tokens, most=16):
    """All answers again, with 1 to `most` sequences at a time; the number changes all the time, and others of other lengths come and go between."""
    rng, lock = random.Random(11), threading.Lock()
    allowed, room = threading.Semaphore(0), [0]
    done = threading.Event()

    def tide():
        while not done.is_set():
            wanted = rng.randint(1, most)
            while room[0] < wanted:
                room[0] += 1
                allowed.release()
            while room[0] > wanted and allowed.acquire(blocking=False):
                room[0] -= 1
            done.wait(0.4)
        for _ in range(most):
            allowed.release()

    def one(job):
        number, prompt = job
        with allowed:
            answer = ours(port, prompt, tokens)
        if number % 3 == 0:  # one that comes and goes, for nobody
            with lock:
                length = rng.randint(1, tokens)
            with allowed:
                ours(port, prompt[::-1], length)
        return answer

    mover = threading.Thread(target=tide)
    mover.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(most) as pool:
            return list(pool.map(one, enumerate(asked)))
    finally:
        done.set()
        mover.join()


def noise_of(alone, batched):
    """How much the lead of the same token after the same text differs, over all of them, sorted. Where another token leads it differs by both leads."""
    differences = []
    for one, other in zip(alone, batched):
        parted = one.parts_from(other)
        if parted is not None and parted < min(len(one.leads), len(other.leads)) and one.leads[parted] + other.leads[parted] < float("inf"):
            differences.append(one.leads[parted] + other.leads[parted])
        for mine, theirs_ in list(zip(one.leads, other.leads))[: parted if parted is not None else len(one.leads)]:
            if mine != float("inf") and theirs_ != float("inf"):
                differences.append(abs(mine - theirs_))
    return sorted(differences)


def compare(name, asked, reference, answers, noise):
    parted = []
    for prompt, one, other in zip(asked, reference, answers):
        at = one.parts_from(other)
        if at is None:
            continue
        leads = [answer.leads[at] for answer in (one, other) if at < len(answer.leads)]
        parted.append({"prompt": prompt, "token": at, "lead": min(leads), "one": one.tokens[at : at + 3], "other": other.tokens[at : at + 3]})
    worst = max((entry["lead"] for entry in parted), default=0.0)
    print(f"{name}: {len(asked) - len(parted)} of {len(asked)} identical; the others part at a lead of at most {worst:.4f} nats (noise {noise:.4f})")
    for entry in parted:
        print(f"    {entry['prompt']!r} at token {entry['token']}: lead {entry['lead']:.4f}, {''.join(entry['one'])!r} and {''.join(entry['other'])!r}")
    return {"name": name, "prompts": len(asked), "identical": len(asked) - len(parted), "worst_lead": worst, "noise": noise, "pass": worst <= noise, "parted": parted}


def server_of_llamacpp():
    built = subprocess.run([ROOT / "tools" / "setup_llamacpp.sh", "--server"], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(built.stdout.strip()) / "llama-server"


def read_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=BUILD / "demo-models" / "smollm2", help="folder with model.gguf")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=48)
    return parser.parse_args()


@contextlib.contextmanager
def llama_server(program, model, port, *more):
    peer = spawn([program, "-m", model, "--port", port, "-np", 1, "-c", 2048, "-t", len(CORES), "--jinja", *more], CORES, "llama-server")
    try:
        wait_for(port, "/health", peer)
        yield
    finally:
        stop(peer)


@contextlib.contextmanager
def evenkeel(models):
    """The port of a daemon that serves the model m."""
    http_port, grpc_port, metrics_port = free_ports(3)
    daemon = spawn([EVENKEEL, "serve", models, "--http-port", http_port, "--grpc-port", grpc_port, "--metrics-port", metrics_port, "--state", BUILD / "bench" / "parity-state",
                    "--profiling", "off", "--runtime", "process"], CORES, "parity-evenkeel")
    try:
        wait_for(http_port, "/v1/models/m", daemon)
        yield http_port
    finally:
        stop(daemon)


def timed(what, work):
    begin = time.monotonic()
    result = work()
    print(f"{what}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    return result


def compare_words(name, theirs, ours, noise):
    """As many tokens, and of the same ones: what comes first is as likely to both, within what the engine's own noise is."""
    apart = []
    for (_, one), (_, other) in zip(theirs, ours):
        common = one.keys() & other.keys()
        apart.append(max((abs(one[token] - other[token]) for token in common), default=99.0))
    same = sum(a[0] == b[0] and difference <= noise for a, b, difference in zip(theirs, ours, apart))
    sizes = [[size for size, _ in read] for read in (theirs, ours)]
    print(f"{name}: {same} of {len(ours)} have as many tokens as llama-server's, with the same log probabilities of what comes first (within {max(apart):.4f} nats): {sizes[0]} {sizes[1]}")
    return {"name": name, "prompts": len(ours), "identical": same, "theirs": sizes[0], "ours": sizes[1], "apart": apart, "noise": noise, "pass": same == len(ours)}


def main():
    options = read_options()
    asked = prompts(options.prompts)
    (llama_port,) = free_ports(1)
    models, knowing = BUILD / "bench" / "parity-models", BUILD / "bench" / "parity-models-tools"
    for folder in (models, knowing):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(options.model.resolve(), models / "m")  # links are not followed out of a models folder
    (knowing / "m").mkdir(parents=True)
    llm_template.with_template(options.model / "model.gguf", knowing / "m" / "model.gguf", llm_template.WITH_TOOLS)
    program = server_of_llamacpp()
    with llama_server(program, options.model / "model.gguf", llama_port):
        reference = timed("llama-server, one by one", lambda: [theirs(llama_port, prompt, options.tokens) for prompt in asked])
        their_words = put_into_words(llama_port, chats())
    with llama_server(program, options.model / "model.gguf", llama_port, "-fa", "off"):
        plain = timed("llama-server without flash attention", lambda: [theirs(llama_port, prompt, options.tokens) for prompt in asked])
    with llama_server(program, knowing / "m" / "model.gguf", llama_port):
        their_tool_words = put_into_words(llama_port, tool_chats())
    with evenkeel(models) as port:
        alone = timed("Evenkeel, one by one", lambda: [ours(port, prompt, options.tokens) for prompt in asked])
        our_words = put_into_words(port, chats())
        batched = timed("Evenkeel, in batches", lambda: in_batches(port, asked, options.tokens))
    with evenkeel(knowing) as port:
        our_tool_words = put_into_words(port, tool_chats())
    noise = 0.0
    for what, differences in (("between batches of other sizes", noise_of(alone, batched)), ("between llama-server's two kinds of attention", noise_of(reference, plain))):
        if differences:
            noise = min(max(noise, differences[-1]), MOST_NOISE)
            print(f"noise of a token's lead {what}: median {differences[len(differences) // 2]:.4f}, most {differences[-1]:.4f} nats, over {len(differences)} tokens")
    own = sum(one.parts_from(other) is None for one, other in zip(reference, plain))
    print(f"llama-server with and without flash attention: {own} of {len(asked)} identical; a lead of {noise:.4f} is allowed")
    results = [compare("llama-server and Evenkeel alone", asked, reference, alone, noise), compare("llama-server and Evenkeel in batches", asked, reference, batched, noise),
               compare("Evenkeel alone and in batches", asked, alone, batched, noise)]
    results += [compare_words("conversations put into words", their_words, our_words, noise),
                compare_words("with tools, by a template that knows them", their_tool_words, our_tool_words, noise)]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1))
    return 0 if all(result["pass"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
