"""Closed loops of 64 tokens in and 64 out: tokens a second by concurrency, time to the first token, and a core that another process burns."""

import contextlib

from serve_figures import Goal, promises, spread
from serve_processes import median

import llm_model
from llm_load import text_bench, tokens_per_s
from llm_servers import SMOLLM2, Evenkeel, LlamaServer, burner

MODELS = {"smollm2": lambda: SMOLLM2, "llama-350m": lambda: llm_model.cached(SMOLLM2)}
LEAST = {1: 1.0, 4: 1.0, 8: 1.05, 16: 1.1}  # times llama-server's tokens a second
FIRST_TOKEN = Goal("time to first token p50 at 16 / llama-server", "x", "<=", 0.4)
BURNT_AT = (1, 8)
# A round is the time of 64 tokens at that concurrency: a window has a few, so that where it begins in them matters little.
ROUNDS = {"smollm2": 4, "llama-350m": 2}
STEP_S = {"smollm2": {1: 0.012, 4: 0.03, 8: 0.05, 16: 0.09}, "llama-350m": {1: 0.03, 4: 0.08, 8: 0.14, 16: 0.25}}


def window_s(model, concurrency, options):
    return max(options.seconds, ROUNDS[model] * 64 * STEP_S[model][concurrency]) if options.seconds >= 4 else options.seconds


def load(server, concurrency, seconds, seed, must_end=True):
    return text_bench(server, "--prompt-tokens", 64, "--output-tokens", 64, "-c", concurrency, "--seed", seed, seconds=seconds, must_end=must_end)


def alternated(model, concurrency, options, **settings):
    """Reports of both, by turns: {"evenkeel": [...], "llama-server": [...]}."""
    path = MODELS[model]()
    reports = {"evenkeel": [], "llama-server": []}
    with Evenkeel(path, concurrency, **settings) as ours, LlamaServer(path, concurrency) as theirs:
        servers = {"evenkeel": ours, "llama-server": theirs}
        for run in range(options.runs):
            order = list(servers) if run % 2 == 0 else list(servers)[::-1]
            for name in order:
                # Other prompts in each run: what a server remembers of the last is of no use.
                reports[name].append(load(servers[name], concurrency, window_s(model, concurrency, options), seed=run + 1))
    return reports


def ratio(ours, theirs):
    return median([a / b for a, b in zip(ours, theirs)])


def first_p50(report):
    return report["total"]["tokens"]["first_ms"]["p50"]


def described(reports, value, unit):
    ours, theirs = ([value(r) for r in reports[name]] for name in ("evenkeel", "llama-server"))
    return ours, theirs, f"{spread(ours)} {unit}, llama-server {spread(theirs)}"


def throughput_of(model):
    goals = {n: Goal(f"tokens/s at {n} / llama-server, {model}", "x", ">=", least) for n, least in LEAST.items()}
    first = Goal(f"{FIRST_TOKEN.name}, {model}", *FIRST_TOKEN[1:])

    @promises(*goals.values(), first)
    def throughput(options):
        for concurrency, goal in goals.items():
            reports = alternated(model, concurrency, options)
            ours, theirs, detail = described(reports, tokens_per_s, "tokens/s")
            inter = [median([r["total"]["tokens"]["inter_ms"][p] for r in reports[name]]) for name in reports for p in ("p50", "p99")]
            yield goal.got(ratio(ours, theirs), f"{detail}; between tokens p50, p99 {inter[0]:.1f}, {inter[1]:.1f} ms, llama-server "
                                                f"{inter[2]:.1f}, {inter[3]:.1f}; two threads each, 64 in, 64 out")
            if concurrency == 16:
                ours, theirs, detail = described(reports, first_p50, "ms")
                yield first.got(ratio(ours, theirs), detail)

    throughput.__doc__ = f"{model}: tokens a second at 1, 4, 8 and 16, and time to the first token at 16, beside llama-server"
    return throughput


@promises(*(Goal(f"tokens/s with a core burnt / calm, at {n}", "x", ">=", 0.6) for n in BURNT_AT))
def burnt(options):
    """SmolLM2: tokens a second while another process burns one of the two cores, over the calm figure"""
    for goal, concurrency in zip(burnt.goals, BURNT_AT):
        with contextlib.ExitStack() as stack:
            servers = {"evenkeel": stack.enter_context(Evenkeel(SMOLLM2, concurrency)),
                       "llama-server": stack.enter_context(LlamaServer(SMOLLM2, concurrency))}
            kept = {name: [] for name in servers}
            calm = {name: [] for name in servers}
            for run in range(options.runs):
                for name, server in servers.items():
                    seconds = window_s("smollm2", concurrency, options)
                    before = tokens_per_s(load(server, concurrency, seconds, seed=2 * run + 1))
                    with burner():
                        # An answer may take longer than the window then.
                        during = tokens_per_s(load(server, concurrency, seconds, seed=2 * run + 2, must_end=False))
                    calm[name].append(before)
                    kept[name].append(during / before)
        yield goal.got(median(kept["evenkeel"]), f"{spread(kept['evenkeel'])} of {spread(calm['evenkeel'])} tokens/s; llama-server "
                                                 f"{spread(kept['llama-server'])} of {spread(calm['llama-server'])}")


FIGURES = {"throughput": throughput_of("smollm2"), "throughput_350m": throughput_of("llama-350m"), "burnt": burnt}
