"""Turns of agentic coding sessions with their shared beginnings: how many prompt tokens are computed, over what an ideal prefix cache would.

The trace's blocks of 64 tokens become two tokens each (1/32), which keeps who shares what and fits the model's context; a block's tokens are made
of its session and number. Four sessions take turns. The ideal cache keeps all that was sent and answered, and computes at least one token.
"""

import random

from serve_figures import Goal, promises
from serve_processes import BenchError

from llm_load import rows_of
from llm_servers import SMOLLM2, Evenkeel, LlamaServer, completion

BLOCK, CUT_BLOCK = 64, 2
FIRST_TOKEN, TOKENS = 1000, 40000  # of the vocabulary: plain ones
ANSWER = 8
SESSIONS = 4
SLOTS = 16
PROMPT = 3072         # tokens, more than the longest
CONTEXT = SESSIONS * PROMPT


def tokens_of(session, block):
    rng = random.Random(f"{session}/{block}")
    return [FIRST_TOKEN + rng.randrange(TOKENS) for _ in range(CUT_BLOCK)]


def blocks_of(text):
    for run in text.split(";"):
        first, _, last = run.partition("-")
        yield from range(int(first), int(last or first) + 1)


def turns():
    """Prompts as tokens, in the order in which they are asked: by turns of the sessions."""
    sessions = {}
    for row in rows_of("agentic_sessions_turns.csv.gz"):
        prompt = [token for block in blocks_of(row["blocks"]) for token in tokens_of(row["session"], block)]
        # The rest that fills no block is new each time.
        rest = int(row["prompt_tokens"]) % BLOCK * CUT_BLOCK // BLOCK + 1
        prompt += [FIRST_TOKEN + random.Random(f"{row['session']}:{row['seq']}:{i}").randrange(TOKENS) for i in range(rest)]
        sessions.setdefault(row["session"], []).append(prompt)
    for turn in range(max(map(len, sessions.values()))):
        for prompts in sessions.values():
            if turn < len(prompts):
                yield prompts[turn]


def common(a, b):
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return i
    return min(len(a), len(b))


def ideal(prompts):
    """Prompt tokens that a cache without limits leaves to compute."""
    seen, computed = [], 0
    for prompt in prompts:
        reused = max((common(prompt, old) for old in seen), default=0)
        computed += len(prompt) - min(reused, len(prompt) - 1)
        seen.append(prompt)
    return computed


def computed_by(server, prompts):
    """As the server says: prompt tokens less those that it took from its cache."""
    total = 0
    for prompt in prompts:
        usage = completion(server, prompt=prompt, max_tokens=ANSWER, ignore_eos=True)["usage"]
        if not len(prompt) <= usage["prompt_tokens"] <= len(prompt) + 1:
            raise BenchError(f"a prompt of {len(prompt)} tokens was taken as {usage['prompt_tokens']}")
        total += usage["prompt_tokens"] - usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    return total


@promises(Goal("sessions: prompt tokens computed / ideal prefix cache", "x", "<=", 1.05))
def sessions(_):
    """SmolLM2: turns of four agentic sessions by turns: prompt tokens computed over an ideal prefix cache's"""
    prompts = list(turns())
    least = ideal(prompts)
    with Evenkeel(SMOLLM2, SLOTS, CONTEXT) as server:
        ours = computed_by(server, prompts)
    with LlamaServer(SMOLLM2, SLOTS, SLOTS * PROMPT) as server:
        theirs = computed_by(server, prompts)
    yield sessions.goals[0].got(ours / least, f"{ours} of {sum(map(len, prompts))} tokens in {len(prompts)} prompts, ideal {least}; llama-server "
                                              f"{theirs} ({theirs / least:.3f} x); {SLOTS} slots, {CONTEXT} cells for all, llama-server {PROMPT} for each")


FIGURES = {"sessions": sessions}
