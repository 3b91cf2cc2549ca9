"""Without a process group of the hosts, a line says so and the device carries what they tell."""

import pytest
from paddle import distributed

from plsc.distributed import between_hosts


@pytest.fixture(autouse=True)
def fresh():
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
    monkeypatch.setattr(distributed, "new_group", lambda **named: None)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor, group: tensor.scale_(7))
    assert between_hosts.group() is None
    assert "gave 7" in caplog.text


def test_one_process_needs_no_group():
    assert between_hosts.describe() == ""
