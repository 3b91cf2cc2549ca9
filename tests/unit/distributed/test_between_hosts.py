"""Without a process group of the hosts, a line says so and the device carries what they tell."""

import paddle
import pytest
from paddle import distributed

from plsc.distributed import between_hosts


@pytest.fixture(autouse=True)
def beside_nccl(monkeypatch):
    """The group of the devices, of one rank, is not of gloo."""
    monkeypatch.setattr(distributed, "get_backend", lambda: "NCCL")
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor, group=None: None)
    between_hosts.group.cache_clear()
    yield
    between_hosts.group.cache_clear()


@pytest.mark.parametrize(
    ("said", "told"), [("no interface\nwith a trace", "no interface"), ("", "RuntimeError")]
)
def test_a_group_that_cannot_be_made_is_told_once(monkeypatch, caplog, said, told):
    def fails(**named):
        raise RuntimeError(said)

    monkeypatch.setattr(distributed, "new_group", fails)
    assert between_hosts.group() is None and between_hosts.group() is None
    (record,) = caplog.records
    assert "over the device" in record.message and record.message.endswith(told)


def test_a_group_that_adds_up_wrongly_is_not_used(monkeypatch, caplog):
    monkeypatch.setattr(distributed, "new_group", lambda **named: "hosts")
    monkeypatch.setattr(distributed, "all_reduce", all_reduce(hosts=7, devices=1))
    assert between_hosts.group() is None
    assert "gave 7" in caplog.text


def test_no_rank_uses_a_group_that_another_could_not_join(monkeypatch, caplog):
    monkeypatch.setattr(distributed, "new_group", lambda **named: "hosts")
    assert between_hosts.group() == "hosts"
    between_hosts.group.cache_clear()

    def joined_elsewhere(tensor, group=None):
        if group is None:
            paddle.assign(tensor + 1, output=tensor)

    monkeypatch.setattr(distributed, "all_reduce", joined_elsewhere)
    assert between_hosts.group() is None
    assert "another rank" in caplog.text


def all_reduce(*, hosts, devices):
    """Sums that come out so many times too large."""
    return lambda tensor, group=None: tensor.scale_(hosts if group else devices)


def test_cpu_ranks_have_their_group_already(monkeypatch):
    """A second gloo group may meet under the first one's addresses: some starts would fail."""
    monkeypatch.setattr(distributed, "get_backend", lambda: "GLOO")
    monkeypatch.setattr(distributed, "get_group", lambda: "hosts and devices")
    monkeypatch.setattr(distributed, "new_group", lambda **named: pytest.fail("a second group"))
    assert between_hosts.group() == "hosts and devices"


def test_one_process_needs_no_group():
    assert between_hosts.describe() == ""
