"""Figures of a live cluster that loses a node, moves an answer, or has nothing to do."""

import concurrent.futures
import contextlib
import os
import pathlib
import signal
import time

import llm_parity
from cluster_nodes import FILES, PORT, TEXT, Network, Node, Stream, cluster, failed, load, post, wait_until
from serve_figures import figure, spread
from serve_processes import BenchError, cpu_seconds, median

PROMPTS = ("The history of the lighthouse began when", "A recipe for bread starts with", "The engineer looked at the bridge and")


def killed_calls(options):
    with cluster(FILES) as daemons, concurrent.futures.ThreadPoolExecutor(1) as pool:
        full = load(FILES, daemons[0].url, "-c", FILES.in_flight, seconds=options.seconds)["total"]["requests_per_s"]
        # What is left can hold it.
        running = pool.submit(load, FILES, daemons[0].url, "--rate", f"{0.6 * full:.1f}", seconds=8, check=False)
        time.sleep(4)
        # A call lasts some milliseconds: it is killed while it has one.
        wait_until(lambda: daemons[0].views()["b"]["outstanding"] > 0, "'b' has a call", pause_s=0.002)
        daemons[1].host.kill()
        time.sleep(1)
        sent = daemons[0].views()["b"]["sent"]
        report = running.result()
        late = daemons[0].views()["b"]["sent"] - sent
    total = report["total"]
    detail = f"{total['sent']} sent at {0.6 * full:.0f} a second, {total['ok']} answered, {total['errors_by_status']}; p99 {total['latency_ms']['p99']:.0f} ms"
    return [figure("cluster, a node killed, file type: calls not answered", failed(report), "", "<=", 0, detail),
            figure("cluster, a node killed, file type: new work for it after 1 s", late, "calls", "<=", 0, detail)]


def with_leads(gateway, prompt, tokens):
    """An answer as a whole, with how far each token led."""
    return llm_parity.ours(PORT, prompt, tokens, gateway.host.address, TEXT.model, ignore_eos=True)


def lead_where_it_parts(text, undisturbed):
    """How far the likeliest token led where `text` first says something else than the undisturbed answer; 0: nowhere."""
    at = 0
    for token, lead in zip(undisturbed.tokens, undisturbed.leads):
        at += len(token)
        if text[:at] != undisturbed.text[:at]:
            return lead
    return 0.0


def killed_streams(options):
    """Answers under way, at 60 % load of others: none broken off, none with another text than it had shown, and none that goes on otherwise
    than undisturbed where the likeliest token led by more than batches of other sizes make of it."""
    with cluster(TEXT) as daemons, concurrent.futures.ThreadPoolExecutor(12) as pool:
        gateway, lost = daemons[0], daemons[1]
        undisturbed = [with_leads(gateway, prompt, 96) for prompt in PROMPTS]
        others = [pool.submit(with_leads, gateway, prompt[::-1], 96) for prompt in 3 * PROMPTS]
        noise = llm_parity.noise_of(undisturbed, list(pool.map(lambda prompt: with_leads(gateway, prompt, 96), PROMPTS)))
        concurrent.futures.wait(others)
        full = load(TEXT, gateway.url, "-c", TEXT.in_flight, seconds=options.seconds * 2)["total"]["requests_per_s"]
        running = pool.submit(load, TEXT, gateway.url, "--rate", f"{0.6 * full:.2f}", seconds=24, check=False)
        time.sleep(4)
        streams = [Stream(gateway.host.address, 96, prompt) for prompt in PROMPTS]
        for stream in streams:
            stream.start()
        wait_until(lambda: all(len(stream.pieces) > 8 for stream in streams) and gateway.views()["b"]["outstanding"] > 0, "the answers have begun")
        shown, under_way = [stream.text for stream in streams], gateway.views()["b"]["outstanding"]
        lost.host.kill()
        time.sleep(1)
        sent = gateway.views()["b"]["sent"]
        for stream in streams:
            stream.finish()
        report = running.result()
        late = gateway.views()["b"]["sent"] - sent
    broken = sum(not stream.whole or stream.ends != 1 or bool(stream.error) for stream in streams)
    changed = sum(not stream.text.startswith(text) for stream, text in zip(streams, shown))
    same = sum(stream.text == before.text for stream, before in zip(streams, undisturbed))
    parted = [lead_where_it_parts(stream.text, before) for stream, before in zip(streams, undisturbed)]
    detail = (f"{len(streams)} watched answers of 96 tokens, {under_way} calls under way on 'b' when it was killed, 60 % load of others: {report['total']['sent']} sent, "
              f"{report['total']['ok']} answered; {same} of {len(streams)} watched ones as in an undisturbed run to the end, the others part where "
              f"the likeliest token led by {spread(parted)} nats; between batches of other sizes a lead differs by up to {noise[-1]:.3f}, median {median(noise):.3f}, "
              f"over {len(noise)} tokens")
    return [figure("cluster, a node killed, SmolLM2: calls not answered", failed(report) + broken, "", "<=", 0, detail),
            figure("cluster, a node killed, SmolLM2: answers whose sent text changed", changed, "", "<=", 0, detail),
            figure("cluster, a node killed, SmolLM2: lead where an answer parts from an undisturbed one", max(parted), "nats", "<=", round(min(noise[-1], llm_parity.MOST_NOISE), 3), detail),
            figure("cluster, a node killed, SmolLM2: new work for it after 1 s", late, "calls", "<=", 0, detail)]


def killed(options):
    """kill -9 of a node that is not the gateway, at 60 % load: calls without an answer, texts that changed, new work that it gets a second later"""
    return killed_calls(options) + killed_streams(options)


def move(tokens):
    """One answer that is moved after so many tokens: (longest pause from then on, token time, longest pause before), in seconds."""
    nodes = {"gate": 0.3, "b": 0.75, "c": 0.75}
    drained = []
    with cluster(TEXT, nodes=nodes, without=("gate",)) as daemons:
        gateway = daemons[0]

        def on_piece(stream):
            if not drained and len(stream.pieces) == tokens:
                drained.append(len(stream.times))

        stream = Stream(gateway.host.address, tokens + 160, PROMPTS[0], on_piece)
        stream.start()
        wait_until(lambda: drained or not stream.is_alive(), f"{tokens} tokens have come", 120)
        at = next((name for name, view in gateway.views().items() if view["outstanding"]), None)
        if at is None:
            raise BenchError(f"the answer is over before it could be moved: {stream.error or len(stream.pieces)}")
        before = gateway.views()
        post(gateway, f"/v2/evenkeel/cluster/nodes/{at}/drain")
        stream.finish()
        after = gateway.views()
    other = "c" if at == "b" else "b"
    if not stream.whole or after[other]["sent"] <= before[other]["sent"]:
        raise BenchError(f"the answer was not moved from {at}: {stream.error or 'it went on there'}")
    gaps = [later - earlier for earlier, later in zip(stream.times, stream.times[1:])]
    first = drained[0] - 1
    return max(gaps[first:]), median(gaps), max(gaps[first - 160:first])


def moved(options):
    """An answer of 512 tokens moved to another node (node drain): its longest pause over the time of a token"""
    runs = [move(512) for _ in range(options.runs)]
    ratios = [pause / token for pause, token, _ in runs]
    detail = (f"pauses {spread([1e3 * pause for pause, _, _ in runs])} ms, a token takes {spread([1e3 * token for _, token, _ in runs])} ms; the longest of the 160 "
              f"before the move {spread([1e3 * usual for _, _, usual in runs])} ms; two nodes of 0.75 cores")
    return [figure("cluster, an answer of 512 tokens moved: pause over a token's time", median(ratios), "x", "<=", 2, detail)]


def stores(daemons):
    """The process ids of all nodes' etcd."""
    found = []
    for daemon in daemons:
        for pid in daemon.host.group.processes():
            with contextlib.suppress(OSError):
                if (pathlib.Path("/proc") / str(pid) / "comm").read_text().strip() == "etcd":
                    found.append(pid)
    return found


def send(pids, what):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


def store_away(options):
    """Every member of the cluster's store stopped for 60 s, under calls at 60 % load"""
    with cluster(FILES) as daemons, concurrent.futures.ThreadPoolExecutor(1) as pool:
        full = load(FILES, daemons[0].url, "-c", FILES.in_flight, seconds=options.seconds)["total"]["requests_per_s"]
        members = len(stores(daemons))
        if members == 0:
            raise BenchError("no node runs a member of the store")
        running = pool.submit(load, FILES, daemons[0].url, "--rate", f"{0.6 * full:.1f}", seconds=70, check=False)
        time.sleep(4)
        try:
            # A member that does not answer is started again by its node: the next one is stopped as well.
            end = time.monotonic() + 60
            while time.monotonic() < end:
                send(stores(daemons), signal.SIGSTOP)
                time.sleep(0.5)
            alive = sum(view["state"] == "alive" for view in daemons[0].views().values())
        finally:
            send(stores(daemons), signal.SIGCONT)
        report = running.result()
    total = report["total"]
    detail = (f"{members} members stopped, and those that were started in their place; {total['sent']} sent at {0.6 * full:.0f} a second, {total['ok']} answered, {total['errors_by_status']}; "
              f"p99 {total['latency_ms']['p99']:.0f} ms; {alive} of {len(daemons)} nodes alive to the gateway after 60 s")
    return [figure("cluster, the store stopped for 60 s: calls not answered", failed(report), "", "<=", 0, detail)]


def own_seconds(host):
    """Core time of all that runs on the host but etcd."""
    total = 0.0
    for pid in host.group.processes():
        try:
            if (pathlib.Path("/proc") / str(pid) / "comm").read_text().strip() != "etcd":
                total += cpu_seconds(pid)
        except OSError:
            continue
    return total


def moved_bytes(host, name):
    return int((pathlib.Path("/sys/class/net") / host._outside / "statistics" / name).read_text())


def at_rest(options, count=16):
    """16 nodes without calls: core time and traffic of a node"""
    with Network() as network:
        daemons = [Node(network.add(f"n{i:02d}", 1), ("digits",)) for i in range(count)]
        first, *others = daemons
        first.make_cluster()
        first.serve("--min-instances", 0)
        first.wait_ready()
        for daemon in others:
            daemon.join(first)
            daemon.serve("--min-instances", 0)
        for daemon in daemons:
            daemon.wait_ready()
        for daemon in (first, others[-1]):
            wait_until(lambda daemon=daemon: sum(view["state"] == "alive" for view in daemon.views().values()) == count, f"{daemon.host.name} knows all {count} nodes")
        time.sleep(75)  # the links are tried out in that time

        def look():
            # From the switch's side: what the host sends is what its cable receives.
            return [(own_seconds(d.host), moved_bytes(d.host, "rx_bytes"), moved_bytes(d.host, "tx_bytes")) for d in daemons]

        begin, before = time.monotonic(), look()
        time.sleep(max(30, options.seconds))
        wall, after = time.monotonic() - begin, look()
    cores = [100 * (b[0] - a[0]) / wall for a, b in zip(before, after)]
    out, into = ([(b[i] - a[i]) / wall / 1e3 for a, b in zip(before, after)] for i in (1, 2))
    where = f"{count} nodes, encrypted, over {wall:.0f} s"
    return [figure(f"cluster at rest, {count} nodes: of one core a node", max(cores), "%", "<=", 1, f"the worst; median {median(cores):.2f}; {where}"),
            figure(f"cluster at rest, {count} nodes: sent by a node", max(out), "kB/s", "<=", 20,
                   f"the worst; median {median(out):.1f} sent, {median(into):.1f} received; {where}")]


FIGURES = {f.__name__: f for f in (killed, store_away, moved, at_rest)}
