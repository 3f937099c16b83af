"""The tour of the openai package, as openai_tour.py plays it for people: all of it is as it should be."""

from __future__ import annotations

import pytest
from daemon import BINARY
from openai_tour import MODEL, MODELS, Tour, play

pytestmark = pytest.mark.skipif(not (MODELS / MODEL).is_dir() or not (BINARY.parent / "libexec" / "evenkeel" / "evenkeel-worker-llamacpp").exists(),
                                reason="no language model, or no worker for one")


def test_everything_that_is_shown_is_as_it_should_be(serve):
    daemon = serve(models={MODEL: MODELS / MODEL})
    said = []
    tour = Tour(show=said.append)
    play(daemon, tour)
    assert not tour.wrong, "\n".join(said)
    assert tour.count >= 24, "\n".join(said)


def test_what_is_not_as_it_should_be_is_kept():
    said = []
    tour = Tour(show=said.append)
    tour.came("a", True, "fine")
    tour.failed("b", KeyError, lambda: {}["b"])
    tour.failed("c", KeyError, lambda: 1)
    tour.failed("d", KeyError, lambda: [][0])
    with tour.trying("e"):
        raise ValueError("no JSON")
    assert tour.count == 5 and [line[0] for line in tour.wrong] == ["K", "K", "e"]
    assert [line[:3] for line in said] == ["ok ", "ok ", "BAD", "BAD", "BAD"] and "no JSON" in said[-1]
