"""Which rank is named: endings and their order in, one line out."""

import itertools

import pytest

from plsc.supervise.diagnosis import Ending, Outcome
from plsc.supervise.verdict import LINK_SETTLING, SETTLING, Alive, judge

OWN = (Outcome.FAILED, Outcome.LOST)
REST = [kind for kind in Outcome if kind not in OWN]


def ending(rank, kind, time, code=1):
    return Ending(rank, f"node{rank}", kind, code, f"reason {rank}", "step 7", time)


def alive(rank, position=None, since=31.0):
    return Alive(rank, f"node{rank}", f"step {rank}", position, since)


def decide(size, endings, running=(), waited=0.0):
    by_rank = {item.rank: item for item in endings}
    here = {item.rank: item for item in running}
    return judge(size, by_rank, here, waited=waited, patience=30.0)


@pytest.mark.parametrize("own, other", [*itertools.product(OWN, REST)])
def test_a_failure_of_its_own_goes_before_any_other_even_if_seen_later(own, other):
    verdict = decide(2, [ending(0, other, 1.0), ending(1, own, 2.0, code=7)])
    assert (verdict.rank, verdict.code) == (1, 7)
    assert verdict.line == (
        "plsc: rank 1 on host node1 failed first: reason 1; the other ranks stopped because of it"
    )


def test_the_earliest_of_several_own_failures_then_the_lowest_rank():
    assert decide(2, [ending(0, Outcome.FAILED, 2.0), ending(1, Outcome.LOST, 1.0)]).rank == 1
    assert decide(2, [ending(1, Outcome.FAILED, 1.0), ending(0, Outcome.FAILED, 1.0)]).rank == 0


def test_an_own_failure_waits_for_earlier_ones_only_so_long():
    seen = [ending(0, Outcome.FAILED, 1.0)]
    assert decide(3, seen, [alive(1)], waited=SETTLING - 0.1) is None
    assert decide(3, seen, [alive(1)], waited=SETTLING).rank == 0


def test_a_consequence_waits_for_its_cause():
    seen = [ending(0, Outcome.DISCONNECTED, 1.0)]
    assert decide(2, seen, waited=29.0) is None
    assert decide(2, seen, waited=30.0).rank == 0
    assert decide(2, [*seen, ending(1, Outcome.FAILED, 1.1)], waited=0.1).rank == 1


@pytest.mark.parametrize("consequence", [Outcome.DISCONNECTED, Outcome.WAITED])
def test_an_abort_goes_before_a_broken_connection(consequence):
    assert decide(2, [ending(0, consequence, 1.0), ending(1, Outcome.ABORTED, 1.1)]).rank == 1


def test_of_aborts_alone_the_first():
    assert decide(2, [ending(0, Outcome.ABORTED, 1.1), ending(1, Outcome.ABORTED, 1.0)]).rank == 1


def test_a_rank_that_others_waited_for_is_the_one_furthest_behind():
    waited = [ending(0, Outcome.WAITED, 1.0), ending(3, Outcome.DISCONNECTED, 1.1)]
    verdict = decide(4, waited, [alive(1, position=8), alive(2, position=7, since=20.0)])
    assert verdict.rank == 2 and "last phase: step 2, for 20 s" in verdict.line
    verdict = decide(4, waited, [alive(1, since=20.0), alive(2, since=31.0)])
    assert (verdict.rank, verdict.code) == (2, 1)


def test_a_living_rank_is_not_to_blame_for_a_broken_connection():
    broken = [ending(0, Outcome.DISCONNECTED, 1.0), ending(2, Outcome.DISCONNECTED, 1.1)]
    assert decide(3, broken, [alive(1)]).rank == 0


def test_a_rank_that_ended_too_early_is_to_blame_for_what_followed():
    early = [ending(1, Outcome.CLEAN, 1.0, code=0), ending(0, Outcome.DISCONNECTED, 1.1)]
    verdict = decide(2, early)
    assert (verdict.rank, verdict.code) == (1, 1)
    late = [ending(1, Outcome.CLEAN, 1.2, code=0), ending(0, Outcome.DISCONNECTED, 1.1)]
    assert decide(2, late).rank == 0
    aborted = [ending(1, Outcome.CLEAN, 1.0, code=0), ending(0, Outcome.ABORTED, 1.1, code=134)]
    assert decide(2, aborted).rank == 0


def test_no_verdict_without_a_failure():
    assert decide(2, [ending(0, Outcome.CLEAN, 1.0, 0), ending(1, Outcome.CLEAN, 1.0, 0)]) is None
    assert decide(2, [ending(0, Outcome.STOPPED, 1.0)], waited=99.0) is None


def test_a_failure_is_never_reported_as_success():
    assert decide(1, [ending(0, Outcome.FAILED, 1.0, code=0)]).code == 1


def test_ranks_that_end_alike_are_told_in_one_line():
    same = [Ending(rank, "node", Outcome.FAILED, 2, "no such file", "", 1.0) for rank in range(3)]
    assert decide(3, same).line == (
        "plsc: rank 0 on host node failed first: no such file; all 3 ranks ended alike"
    )


HINT = "look at the interface"


def apart(rank, host, time=1.0):
    reason = "never came: waited 30 s for the others to join"
    return Ending(rank, host, Outcome.WAITED, 137, reason, "joining the other ranks", time)


def test_a_rank_that_never_appeared_is_named_with_the_hint():
    gone = Ending(1, "unknown", Outcome.LOST, 137, "never came: no sign of it within 40 s")
    verdict = judge(2, {1: gone}, {}, waited=SETTLING, patience=30.0, hint=HINT)
    assert verdict.rank == 1 and "rank 1 never came: no sign of it within 40 s" in verdict.line
    assert HINT in verdict.line


def test_ranks_that_find_no_connection_name_both_hosts():
    ends = {rank: apart(rank, host) for rank, host in enumerate("aab")}
    verdict = judge(3, ends, {}, waited=0.0, patience=30.0, hint=HINT)
    assert verdict.rank == 2
    assert "rank 2 never came to rank 0: b and a found no connection" in verdict.line
    assert HINT in verdict.line


@pytest.mark.parametrize("kind", [Outcome.DISCONNECTED, Outcome.WAITED])
def test_a_broken_connection_between_hosts_is_no_ranks_failure(kind):
    verdict = decide(2, [ending(0, kind, 1.0), ending(1, Outcome.DISCONNECTED, 1.1)])
    assert verdict.line.startswith("plsc: connection between node0 and node1 lost: rank 0 on ")
    assert "reason 0" in verdict.line


def test_gloos_name_for_the_other_end_tells_which_connection_broke():
    first = Ending(0, "a", Outcome.DISCONNECTED, 1, "gloo self_rank = 0 pair_rank = 2", "", 1.0)
    rest = [Ending(rank, "bcd"[rank - 1], Outcome.DISCONNECTED, 1, "", "", 1.1) for rank in (1, 2)]
    assert "connection between a and c lost" in decide(3, [first, *rest]).line


def test_on_one_host_there_is_no_connection_to_lose():
    ends = [Ending(rank, "a", Outcome.DISCONNECTED, 1, f"r{rank}", "", 1.0) for rank in (0, 1)]
    assert decide(2, ends).line.startswith("plsc: rank 0 on host a failed first: r0")


def test_the_other_end_of_a_connection_has_time_to_notice():
    """It is in the same step and lives: it may be about to give up as well."""
    waited = ending(0, Outcome.WAITED, 1.0)
    other = Alive(1, "node1", waited.phase, 7, 31.0)
    assert decide(2, [waited], [other], waited=LINK_SETTLING - 1) is None
    assert decide(2, [waited], [other], waited=LINK_SETTLING).rank == 1
