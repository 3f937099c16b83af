"""Goodput: the largest factor on a load that is kept. Searches of several servers take turns, so that a slow minute hits all of them."""

import math
import time

from serve_processes import BenchError

STRIDE = 1.2    # while nothing is known on one side
FASTER = 1.15   # the stride's own growth
MOST_STRIDE = 3
STEP = 1.05     # how close the largest factor that was kept and the least that was not have to be
KEPT = 0.99     # share of every model's requests that has to be answered within its objective
NEAR = 0.95     # a run that misses by less than that is repeated once: a hiccup of the machine is no limit
GIVE_UP = 200   # below the guess over this, nothing is kept


def left(options):
    """Seconds until the time of the figure that is being measured is up."""
    return options.until - time.monotonic()


class Search:
    """`probe(factor, seed)` gives the least share over the models; next factors come from the bracket."""

    def __init__(self, name, probe, guess, seed=1, stride=STRIDE):
        self.name, self.probe, self.guess, self.seed, self.stride = name, probe, guess, seed, stride
        self.kept = None
        self.missed = None
        self.probes = 0
        self.error = None

    def next(self):
        """The factor to try; None: done."""
        if self.error:
            return None
        if self.kept is None and self.missed is None:
            return self.guess
        if self.missed is None:
            return self.kept * self.stride
        if self.kept is None:
            return self.missed / self.stride if self.missed > self.guess / GIVE_UP else None
        return math.sqrt(self.kept * self.missed) if self.missed > self.kept * STEP else None

    def step(self):
        """One probe; False when there was nothing to do."""
        factor = self.next()
        if factor is None:
            return False
        try:
            share = self.probe(factor, self.seed)
            if NEAR <= share < KEPT:
                share = max(share, self.probe(factor, self.seed + 1000))
        except (BenchError, OSError) as error:
            self.error = f"{self.name} at factor {factor:.3g}: {error}"
            return False
        self.probes += 1
        if (self.kept is None) != (self.missed is None):  # the guess was far off: go on faster
            self.stride = min(self.stride * FASTER, MOST_STRIDE)
        if share >= KEPT:
            self.kept = factor
        else:
            self.missed = factor
        return True

    @property
    def found(self):
        return self.kept or 0.0

    @property
    def settled(self):
        return self.error is None and self.probes > 0 and self.next() is None

    def __str__(self):
        if self.error:
            return f"{self.name} not measured ({self.error})"
        if self.settled:
            return f"{self.name} {self.found:.4g}"
        return f"{self.name} {self.found:.4g} (time was up; {'nothing missed' if self.missed is None else f'missed {self.missed:.4g}'})"


def with_doubt(figure, search, others):
    """The same figure (ours over the best of others); it fails when others that ran out of time could have kept enough to turn it."""
    cut = [other for other in others if not other.error and not other.settled]
    if figure["value"] is None or not cut:
        return figure
    most = max(other.missed or math.inf for other in cut)
    if search.found / most < figure["target"]:
        figure["pass"] = False
        figure["detail"] = f"time was up before {', '.join(other.name for other in cut)} missed anything that settles it; {figure['detail']}"
    return figure


def take_turns(searches, options, reserve_s=0.0):
    """Probes of each search in turn, until all are done or only `reserve_s` of the figure's time is left."""
    busy = True
    while busy and left(options) > reserve_s:
        busy = False
        for search in searches:
            busy = search.step() or busy


def again(search, seed):
    """The same once more with other arrivals, from where it ended, in small steps."""
    return Search(search.name, search.probe, search.found or search.guess, seed, STEP)
