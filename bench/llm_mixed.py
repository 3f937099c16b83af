"""Short chats while prompts of 2,000 tokens arrive: does a long prompt hold up the tokens of others, and first tokens?

Chats are a closed loop with the lengths of the Azure conversation trace (prompts up to 400 tokens); long prompts come at a constant rate with
lengths of agentic coding sessions, cut to 2,048 tokens and answers of 32: a third of the prompt tokens that llama-server's defaults compute alone, 0.15 a second at most.
"""

import contextlib

from serve_figures import Goal, promises, spread
from serve_processes import BenchError, median

from llm_load import Load, pause, rows_of, write_lengths
from llm_servers import SMOLLM2, Evenkeel, LlamaServer

CHATS = 6              # in flight
MOST_LONG_PER_S = 0.15  # 300 prompt tokens a second
LONG_SHARE = 1 / 3      # of what the machine computes of prompts
LONG_PROMPT, LONG_ANSWER = 2048, 32
SLOTS = 8
CONTEXT = SLOTS * 3072
BATCH_SIZES = (64, 128, 256, 512)


def lengths():
    chats = [(row["prompt_tokens"], row["output_tokens"]) for row in rows_of("azure_conv_2023_short_lengths.csv.gz")]
    long = [(min(int(row["prompt_tokens"]), LONG_PROMPT), min(int(row["output_tokens"]), LONG_ANSWER))
            for row in rows_of("agentic_sessions_turns.csv.gz")]
    return write_lengths("chats.csv", chats), write_lengths("long.csv", long)


class Outcome:
    """What both loads saw of one run."""

    def __init__(self, chats, long):
        tokens = chats["total"]["tokens"]
        self.inter_p99 = tokens["inter_ms"]["p99"]
        self.first_p50, self.first_p99 = tokens["first_ms"]["p50"], tokens["first_ms"]["p99"]
        self.long_first_p50 = long["total"]["tokens"]["first_ms"]["p50"]
        # Answers and prompts of what was answered: both are work.
        self.tokens_per_s = sum(r["total"]["tokens"]["output_per_s"] + r["total"]["tokens"]["prompt"] / r["seconds"] for r in (chats, long))


def long_rate(options):
    """Long prompts a second for this machine."""
    _, long = lengths()
    with LlamaServer(SMOLLM2, SLOTS, CONTEXT) as server:
        total = Load(server, "--warm-up", "0s", "--lengths", long, "-c", 1, "--seed", 50, seconds=max(options.seconds, 8)).report()["total"]
    alone = total["tokens"]["prompt"] / total["ok"] / (total["tokens"]["first_ms"]["mean"] / 1e3)
    return min(MOST_LONG_PER_S, LONG_SHARE * alone / LONG_PROMPT), f"llama-server's defaults compute {alone:.0f} prompt tokens a second alone"


def play(server, seconds, seed, rate):
    """`seconds`: long enough for a long prompt to come."""
    chats, long = lengths()
    # The long prompts begin with the chats' warm-up and go on behind their end, so that all that counts has them beside it.
    beside = Load(server, "--warm-up", "0s", "--lengths", long, "-r", f"{rate:.4f}", "--arrivals", "constant", "--seed", seed + 100, seconds=seconds + 4)
    chat = Load(server, "--warm-up", "3s", "--lengths", chats, "-c", CHATS, "--seed", seed, seconds=seconds)
    with contextlib.ExitStack() as stack:
        for load in (beside, chat):
            stack.callback(load.process.kill)
        outcome = Outcome(chat.report(), beside.report())
    pause()
    return outcome


def servers_of(sizes):
    def server(size):
        return LlamaServer(SMOLLM2, SLOTS, CONTEXT, () if size is None else ("--batch-size", size, "--ubatch-size", min(size, 512)))
    return {"evenkeel": Evenkeel(SMOLLM2, SLOTS, CONTEXT), **{size: server(size) for size in sizes}}


def best_size(options, rate):
    """llama-server's --batch-size with the least p99 between tokens, each tried once."""
    found = {}
    for size in BATCH_SIZES:
        with LlamaServer(SMOLLM2, SLOTS, CONTEXT, ("--batch-size", size, "--ubatch-size", min(size, 512))) as server:
            with contextlib.suppress(BenchError):
                found[size] = play(server, max(options.seconds, 1.5 / rate), 50, rate).inter_p99
    if not found:
        raise BenchError("llama-server answered with no --batch-size")
    return min(found, key=found.get), ", ".join(f"{size}: {value:.0f} ms" for size, value in found.items())


INTER_DEFAULT = Goal("mixed: p99 between tokens / llama-server's defaults", "x", "<=", 0.3)
INTER_BEST = Goal("mixed: p99 between tokens / its best --batch-size", "x", "<=", 0.7)
FIRST_DEFAULT = Goal("mixed: p99 to first token of chats / its defaults", "x", "<=", 0.5)
FIRST_BEST = Goal("mixed: p99 to first token of chats / its best size", "x", "<=", 0.5)
TOTAL = Goal("mixed: tokens/s in all / the better of the two", "x", ">=", 0.95)


@promises(INTER_DEFAULT, INTER_BEST, FIRST_DEFAULT, FIRST_BEST, TOTAL)
def mixed(options):
    """SmolLM2: six short chats while prompts of 2,000 tokens arrive, beside llama-server's defaults and its best --batch-size"""
    rate, alone = long_rate(options)
    size, tried = best_size(options, rate)
    runs = {"evenkeel": [], None: [], size: []}
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(server) for name, server in servers_of((None, size)).items()}
        for run in range(options.runs):
            for name, server in servers.items():
                runs[name].append(play(server, max(3 * options.seconds, 2 / rate), run + 1, rate))

    def of(name, what):
        return [getattr(outcome, what) for outcome in runs[name]]

    def compared(goal, what, peer, unit):
        ours, theirs = of("evenkeel", what), of(peer, what)
        return goal.got(median([a / b for a, b in zip(ours, theirs)]), f"{spread(ours)} {unit}, llama-server {spread(theirs)}")

    yield compared(INTER_DEFAULT, "inter_p99", None, "ms")
    best = compared(INTER_BEST, "inter_p99", size, "ms")
    best["detail"] += f"; --batch-size {size} of {tried}"
    yield best
    yield compared(FIRST_DEFAULT, "first_p99", None, "ms")
    yield compared(FIRST_BEST, "first_p99", size, "ms")
    peer = max((None, size), key=lambda name: median(of(name, "tokens_per_s")))
    total = compared(TOTAL, "tokens_per_s", peer, "tokens/s of prompts and answers")
    total["detail"] += (f" ({'defaults' if peer is None else peer}); first token of the long prompts p50 {median(of('evenkeel', 'long_first_p50')):.0f} ms, "
                        f"defaults {median(of(None, 'long_first_p50')):.0f}, best size {median(of(size, 'long_first_p50')):.0f}; "
                        f"{rate:.3f} long prompts a second ({alone})")
    yield total


FIGURES = {"mixed": mixed}
