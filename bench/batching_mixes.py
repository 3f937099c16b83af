"""Figures of several models on two cores: goodput of the mixes by policy, and mix B at twice its capacity."""

import contextlib
import itertools

import batching_live as live
import batching_tables as sim
from batching_search import STEP, Search, again, left, take_turns, with_doubt
from serve_figures import figure, spread
from serve_processes import BenchError, median

POLICIES = ("auto", "gated-greedy", "method", "greedy", "none")
TARGETS = {"A": 1.2, "B": 1.5, "C": 1.35}  # auto over greedy
LIVE_FIXED = 5
BELOW_CLOSED = 0.8  # of what a closed loop gets: where searches begin
SIM_SECONDS = 6


def fixed_flags(setting):
    return [part for model, (delay_ms, size) in setting.items()
            for part in ("--delay", f"{model}={delay_ms * 1000:.0f}us", "--max-batch", f"{model}={size}")]


def tuned_fixed(options, mix, count):
    """The `count` best settings of `fixed`, one delay and size a model, searched in the simulator one model after the other."""
    tried = {}

    def goodput_of(settings):
        new = [s for s in settings if tuple(s.items()) not in tried]
        factors = sim.in_parallel(lambda s: sim.sim_goodput(options, mix.sim_arrivals(), "fixed", SIM_SECONDS, *mix.sim_objectives(),
                                                            *fixed_flags(s)), new)
        tried.update({tuple(s.items()): factor for s, factor in zip(new, factors)})

    best = {model: (0.0, 64) for model in mix.rates}
    goodput_of([best])
    for model, objective in mix.objectives.items():
        choices = itertools.product([0.0, objective / 20, objective / 5], [1, 8, 24, 64])
        goodput_of([{**best, model: choice} for choice in choices])
        best = dict(max(tried, key=tried.get))
    ranked = sorted(tried, key=tried.get, reverse=True)
    return [(dict(setting), tried[setting]) for setting in ranked[:count]]


def started(stack, mix, policy, options, fixed=None):
    daemon = stack.enter_context(live.node(mix, policy, fixed))
    return live.Prober(mix, daemon, options.seconds)


def begun(stack, mix, policy, options):
    """A search for one policy; one that cannot begin costs that policy only."""
    try:
        prober = started(stack, mix, policy, options)
        return Search(policy, prober, live.saturation(mix, prober.daemon, min(options.seconds, 2)) * BELOW_CLOSED)
    except (BenchError, OSError) as error:
        search = Search(policy, None, 1.0)
        search.error = str(error)
        return search


def race(stack, mix, settings, guess, options, reserve_s):
    """The best of several settings of `fixed`, live: one that misses what the best so far keeps is out after a run or two. Also what was
    noted, and the searches that time cut short: those of settings that were not even begun among them."""
    best, notes, cut = None, [], []
    for number, (setting, _) in enumerate(settings):
        if best and left(options) < reserve_s:
            notes.append(f"no time for {len(settings) - number} of the {len(settings)} settings")
            cut += [Search(f"fixed ({describe(skipped)})", None, guess) for skipped, _ in settings[number:]]
            break
        with contextlib.ExitStack() as own:
            prober = started(own, mix, "fixed", options, setting)
            live.saturation(mix, prober.daemon, 1)
            search = Search("fixed", prober, best.kept * STEP if best else guess)
            while search.next() is not None and (left(options) > reserve_s / 2 or (number == 0 and search.probes < 2)):
                search.step()
                if best and search.kept is None:
                    break
            notes.append(f"{describe(setting)}: {outcome(search)}")
            if search.error:
                cut.append(Search(search.name, None, guess))
            elif not search.settled and not (best and search.missed and search.kept is None):
                cut.append(search)
            if search.kept and (best is None or search.kept > best.kept):
                best = search
                stack.push(own.pop_all())  # it stays up, to alternate with the others
    return best, notes, cut


def outcome(search):
    return search.error or (f"{search.kept:.4g}" if search.kept else "not above the best")


def describe(setting):
    return ",".join(f"{model} {delay:g}ms/{size}" for model, (delay, size) in setting.items())


def mix_goodput(options, name):
    mix = live.MIXES[name]
    settings = tuned_fixed(options, mix, LIVE_FIXED)
    with contextlib.ExitStack() as stack:
        searches = [begun(stack, mix, policy, options) for policy in POLICIES]
        allotted = left(options)
        take_turns(searches, options, 0.45 * allotted)
        start = max((s.kept for s in searches if s.kept), default=max(s.guess for s in searches))
        fixed, notes, cut = race(stack, mix, settings, start * 0.9, options, 0.2 * allotted)
        rounds = [searches + ([fixed] if fixed else [])]
        for seed in range(2, options.runs + 1):
            if left(options) < 12 * options.seconds:
                break
            more = [again(search, seed) for search in rounds[0] if not search.error]
            take_turns(more, options)
            rounds.append([search for search in more if search.settled])
        return mix_figures(options, name, rounds, notes, settings, cut)


def mix_figures(options, name, rounds, notes, settings, cut):
    """`cut`: searches of `fixed` that are not among the rounds' and might have kept more, had there been time."""
    found, texts = {}, []
    errors = {"fixed": "; ".join(notes)}
    for search in rounds[0]:
        values = [s.found for later in rounds for s in later if s.name == search.name and (s.kept or s.settled)]
        if values:
            found[search.name] = median(values)
        texts.append(f"{search} ({spread(values)})")
        errors[search.name] = None if values else str(search)
    options.shared[f"mix {name}"] = found.get("auto", 0.0)
    overhead = rounds[0][0].probe.overhead() if rounds[0][0].probe else "not known"
    detail = (f"factors kept: {'; '.join(texts)}. At auto's: {overhead}. fixed, live: {'; '.join(notes)}; "
              f"simulated best {settings[0][1]:.4g}. {options.seconds:.1f} s a run")
    figures = []
    for other, target in (("greedy", TARGETS[name]), ("method", 1.0), ("gated-greedy", 1.0), ("fixed", 1.0)):
        value = found["auto"] / found[other] if "auto" in found and found.get(other) else None
        note = ""
        if value is None:
            reason = f"{other} kept no factor that was tried" if "auto" in found and other in found else errors.get("auto") or errors[other]
            note = f"not measured: {reason}; "
        result = figure(f"mix {name}: auto over {other}", value, "x", ">=", target, note + detail)
        rivals = [search for search in rounds[0] if search.name == other]
        if other == "fixed":
            rivals += [search for search in cut if search not in rivals]
        figures.append(with_doubt(result, rounds[0][0], rivals))
        detail = f"the factors and the rest as of '{figures[0]['name']}'"
    return figures


def mix_a(options):
    """Goodput of mix A by policy: auto over greedy, method, gated-greedy, best fixed"""
    return mix_goodput(options, "A")


def mix_b(options):
    """Goodput of mix B by policy"""
    return mix_goodput(options, "B")


def mix_c(options):
    """Goodput of mix C by policy"""
    return mix_goodput(options, "C")


def overload(options):
    """Mix B at twice its capacity with deadlines: each model's goodput over that at the peak; how soon refusals come"""
    mix = live.MIXES["B"]
    deadlines = [part for model, ms in mix.objectives.items() for part in ("--deadline", f"{model}={ms}ms")]
    ratios, refusals, notes = {model: [] for model in mix.rates}, [], []
    with live.node(mix) as daemon:
        peak = options.shared.get("mix B")
        guess = live.saturation(mix, daemon, min(options.seconds, 2))
        if not peak:
            search = Search("auto", live.Prober(mix, daemon, options.seconds), guess * BELOW_CLOSED)
            take_turns([search], options, 0.5 * left(options))
            peak = search.found
        if not peak:
            raise BenchError("at no factor did every model keep its objective, so there is no peak")
        for run in range(max(options.runs, 1)):
            if run and left(options) < 3 * options.seconds + 6:
                break
            once, twice = (live.offered(mix, daemon, factor, options.seconds, run + 1, *deadlines) for factor in (peak, 2 * peak))
            live.check_alive(daemon)
            for model in mix.rates:
                ratios[model].append(twice["models"][model]["goodput_per_s"] / max(once["models"][model]["goodput_per_s"], 1e-9))
            refused = twice["total"]["errors_by_status"].get("429")
            if refused:
                refusals.append(refused["latency_ms"]["p99"])
            notes.append(f"{twice['total']['sent']} sent, {twice['total']['ok']} answered, {refused['count'] if refused else 0} refused, "
                         f"{twice['total']['unanswered']} unanswered, {twice['in_flight']['not_sent']} not sent; "
                         f"daemon {twice['daemon_cores']:.2f}, generator {twice['client']['cores_used']:.2f} cores")
    figures = [figure(f"mix B at 2x: goodput of {model} over peak", median(values), "x", ">=", 0.95,
                      f"runs {spread(values)}; peak factor {peak:.4g}; {notes[-1]}") for model, values in ratios.items()]
    figures.append(figure("mix B at 2x: refusal latency p99", median(refusals) if refusals else None, "ms", "<=", 10,
                          f"runs {spread(refusals)}; from the intended send time" if refusals else "not measured: nothing was refused"))
    return figures


FIGURES = {"mix_a": mix_a, "mix_b": mix_b, "mix_c": mix_c, "overload": overload}
