"""Figures of a live cluster under load: answers at saturation, latency below it beside other rules, and a node that becomes half as fast."""

import concurrent.futures
import time

from cluster_losses import FIGURES as LOSSES
from cluster_nodes import FILES, NODES, TEXT, Watch, cluster, failed, load
from serve_figures import figure, spread
from serve_processes import median


ROUNDS, LONGEST_S = 4, 90  # a window has the time of so many answers, where all wait for each other, unless that is longer


def window_s(kind, seconds, answers_per_s):
    """A window of a few answers says more of where it begins and ends than of what is measured."""
    return max(seconds, min(LONGEST_S, ROUNDS * kind.in_flight / answers_per_s))


def alone_together(kind, seconds):
    """(speeds of all nodes saturated at once, each on its own, with as many calls in flight together as through the gateway; the window, s)."""
    total = sum(NODES.values())
    with cluster(kind, together=False) as daemons, concurrent.futures.ThreadPoolExecutor(len(daemons)) as pool:

        def all_loaded(length):
            return list(pool.map(lambda daemon: load(kind, daemon.url, "-c", max(2, round(kind.in_flight * NODES[daemon.host.name] / total)), seconds=length), daemons))

        reports = all_loaded(seconds)
        window = window_s(kind, seconds, sum(report["total"]["requests_per_s"] for report in reports))
        if window > seconds:
            reports = all_loaded(window)
    return {daemon.host.name: kind.speed(report) for daemon, report in zip(daemons, reports)}, window


def know_each_other(kind, daemons, options):
    """What each node takes is known afterwards."""
    load(kind, daemons[0].url, "-c", 4, seconds=options.seconds * kind.longer / 2)


def saturated_with(kind, options):
    own, through, sent = [], [], {}
    for _ in range(options.runs):
        alone, window = alone_together(kind, options.seconds * kind.longer)
        own.append(sum(alone.values()))
        with cluster(kind) as daemons:
            know_each_other(kind, daemons, options)
            through.append(kind.speed(load(kind, daemons[0].url, "-c", kind.in_flight, seconds=window)))
            sent = {name: view["sent"] for name, view in daemons[0].views().items()}
    parts = ", ".join(f"{name} {speed:.1f}" for name, speed in alone.items())
    return figure(f"cluster, saturated, {kind.name}: over the sum of its nodes", median([t / o for t, o in zip(through, own)]), "x", ">=", 0.9,
                  f"through one gateway {spread(through)} {kind.unit}; the nodes at once on their own {spread(own)}, last {parts}; calls sent {sent}")


def saturated(options):
    """Nodes of 1, 0.5 and 0.25 core: answers (file type) and tokens (SmolLM2) a second through one gateway over the sum of the nodes on their own"""
    return [saturated_with(kind, options) for kind in (FILES, TEXT)]


def latency_with(kind, options):
    seconds = options.seconds * kind.longer
    with cluster(kind) as daemons:
        know_each_other(kind, daemons, options)
        full = load(kind, daemons[0].url, "-c", kind.in_flight, seconds=seconds)["total"]["requests_per_s"]
        if (window := window_s(kind, seconds, full)) > seconds:
            full = load(kind, daemons[0].url, "-c", kind.in_flight, seconds=window)["total"]["requests_per_s"]
    seconds = 2 * window
    rate = 0.7 * full
    p99 = {"utility": [], "weighted": [], "least-loaded": []}
    lost = dict.fromkeys(p99, 0)
    for run in range(options.runs):
        order = list(p99) if run % 2 == 0 else list(p99)[::-1]
        for route in order:
            with cluster(kind, route=route) as daemons:
                know_each_other(kind, daemons, options)
                report = load(kind, daemons[0].url, "--rate", f"{rate:.2f}", "--seed", run + 1, seconds=seconds, check=False)
            p99[route].append(report["total"]["latency_ms"]["p99"])
            lost[route] += failed(report)
    notes = (f"{rate:.1f} a second, 0.7 of {full:.1f}, {rate * seconds:.0f} a run; " + "; ".join(f"{route} {spread(values)} ms" for route, values in p99.items()) +
             f"; failed {lost}; weights are measured speeds")
    figures = [figure(f"cluster, 70 % load, {kind.name}: p99 of utility over {other}", median([u / o for u, o in zip(p99["utility"], p99[other])]), "x", "<=", target, notes)
               for other, target in (("weighted", 0.8), ("least-loaded", 1.0))]
    # p99 is of answers: what fails must not make it better.
    return [*figures, figure(f"cluster, 70 % load, {kind.name}: calls not answered, by utility", lost["utility"], "", "<=", 0, notes)]


def latency(options):
    """The same at 70 % load: p99 by utility over p99 by weighted round robin and by least loaded"""
    return [one for kind in (FILES, TEXT) for one in latency_with(kind, options)]


def levels(seen, speeds, width_s):
    """[(time, {node: its calls under way over its speed, over that of all together, less 1})], each the mean of `width_s` before it."""
    result = []
    for end, _ in seen:
        window = [load_ for at, load_ in seen if end - width_s < at <= end]
        mean = {name: sum(one[name] for one in window) / len(window) for name in speeds}
        whole = sum(mean.values()) / sum(speeds.values())
        result.append((end, {name: mean[name] / speeds[name] / whole - 1 if whole > 0 else 0 for name in speeds}))
    return result


def settling(series, node, allowed, begin, hold_s):
    """(seconds from `begin` until all levels are within what is allowed and stay for `hold_s`, how often the node's went over to the other side)."""
    after = [(at, level) for at, level in series if at >= begin]
    out = [(at, [name for name, value in level.items() if abs(value) > allowed[name]]) for at, level in after]
    settled = next((at - begin for at, wrong in out if not wrong and not any(w for later, w in out if at <= later <= at + hold_s) and at + hold_s <= after[-1][0]), None)
    sides = [value > 0 for _, level in after for value in [level[node]] if abs(value) > allowed[node]]
    return settled, sum(a != b for a, b in zip(sides, sides[1:]))


def halved_with(kind, options, width_s, in_flight):
    """A closed loop, so that something always waits: a node's load is its calls under way, its capacity what it gets done."""
    before_s, after_s, steady_s = 8, 24, 10
    with cluster(kind) as daemons, concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(load, kind, daemons[0].url, "-c", in_flight, seconds=before_s + after_s + 2, check=False)
        with Watch(daemons[0]) as watch:
            time.sleep(before_s)
            daemons[1].host.set_cores(NODES["b"] / 2)
            begin = watch.seen[-1][0]
            time.sleep(after_s - steady_s)
            first = {daemon.host.name: daemon.done(kind) for daemon in daemons}
            time.sleep(steady_s)
            speeds = {daemon.host.name: (daemon.done(kind) - first[daemon.host.name]) / steady_s for daemon in daemons}
        report = running.result()
    series = levels(watch.seen, speeds, width_s)
    # Calls are whole: one more or less is within it.
    calls = {name: sum(load_[name] for at, load_ in watch.seen if at > begin + after_s - steady_s) / max(1, sum(at > begin + after_s - steady_s for at, _ in watch.seen))
             for name in speeds}
    allowed = {name: max(0.1, 1 / max(calls[name], 1)) for name in speeds}
    settled, overshoots = settling(series, "b", allowed, begin, 3)
    told = "; ".join(f"{second} s {', '.join(f'{name} {level[name]:+.2f}' for name in speeds)}" for second in (1, 2, 3, 5, 8, 10, 15, 20)
                     for level in [next((level for at, level in series if at >= begin + second), None)] if level)
    detail = (f"{in_flight} in flight; speeds after it {', '.join(f'{name} {speed:.1f}' for name, speed in speeds.items())} {kind.unit}; loads over capacity beside the "
              f"mean's: {told}; allowed {', '.join(f'{name} {part:.2f}' for name, part in allowed.items())} (10 %, or one call)")
    return [figure(f"cluster, a quota halved, {kind.name}: seconds until loads are level", settled, "s", "<=", 10, detail),
            figure(f"cluster, a quota halved, {kind.name}: overshoots", overshoots, "", "<=", 1, detail),
            figure(f"cluster, a quota halved, {kind.name}: calls not answered", failed(report), "", "<=", 0, f"of {report['total']['sent']}")]


def halved(options):
    """One node's quota halved under load, file type and sequences: seconds until loads per capacity are within 10 % of each other again, overshoots, errors"""
    return halved_with(FILES, options, 1.0, 96) + halved_with(TEXT, options, 3.0, TEXT.in_flight)


FIGURES = {**{f.__name__: f for f in (saturated, latency, halved)}, **LOSSES}
