"""Messages of a subscription by their numbers: one that comes twice, one that is missing, none at all."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import ua

from edge.drivers.driver import ConnectionLost
from edge.drivers.opcua.link import Refused
from edge.drivers.opcua.settings import Settings
from edge.drivers.opcua.subscription import Subscription


class FakeServer:
    """What a subscription asks of its link; messages are `{number: value}` it can give once more."""

    def __init__(self) -> None:
        self.kept: dict[int, int] = {}
        self.uaclient = SimpleNamespace(session=self, ensure_publish_loop=lambda: None)
        self.client = self

    async def ask(self, request: Any) -> Any:
        return await request

    async def create_subscription(self, parameters: Any, callback: Any) -> ua.CreateSubscriptionResult:
        return ua.CreateSubscriptionResult(
            ua.IntegerId(7), parameters.RequestedPublishingInterval, parameters.RequestedLifetimeCount, 20
        )

    async def republish(self, _: int, number: int) -> ua.NotificationMessage:
        if number not in self.kept:
            raise Refused(ua.StatusCodes.BadMessageNotAvailable)
        return message(number, self.kept[number])


def message(number: int, value: int | None) -> ua.NotificationMessage:
    data: list[Any] = []
    if value is not None:
        item = ua.MonitoredItemNotification(ua.IntegerId(1), ua.DataValue(ua.Variant(value)))
        data = [ua.DataChangeNotification([item])]
    return ua.NotificationMessage(ua.Counter(number), NotificationData=data)


class Story:
    """A subscription, its server, and what arrived."""

    def __init__(self) -> None:
        self.server = FakeServer()
        self.now_s = 100.0
        self.taken: list[int] = []
        link: Any = self.server
        self.subscription = Subscription(
            link,
            Settings("opc.tcp://plc", "none", publishing_s=0.1),
            lambda _, value, __: self.taken.append(value.Value.Value if value.Value else 0),
            lambda: None,
        )
        asyncio.run(self.subscription.begin(lambda: self.now_s))

    def comes(self, number: int, value: int | None = None) -> None:
        result = ua.PublishResult(ua.IntegerId(7), NotificationMessage=message(number, value))
        self.subscription._published(result)

    def fetch(self) -> None:
        asyncio.run(self.subscription.fetch_missing())


def test_a_message_that_comes_twice_is_taken_once() -> None:
    story = Story()
    story.comes(1, 10)
    story.comes(1, 10)
    story.comes(2, 20)
    story.comes(1, 10)
    assert story.taken == [10, 20]


def test_what_is_missing_is_asked_for_once_more_and_what_is_gone_is_counted() -> None:
    story = Story()
    story.server.kept = {3: 30}
    story.comes(1, 10)
    story.comes(4, 40)
    story.fetch()
    assert story.taken == [10, 40, 30]
    assert story.subscription.lost == 1  # number 2
    story.comes(5, 50)
    story.fetch()
    assert story.taken[-1] == 50
    assert story.subscription.lost == 1


def test_a_message_that_was_only_late_is_not_asked_for() -> None:
    story = Story()
    story.comes(1, 10)
    story.comes(3, 30)
    story.comes(2, 20)
    story.fetch()
    assert story.taken == [10, 30, 20]
    assert story.subscription.lost == 0


def test_a_keep_alive_bears_the_number_of_the_next_message_and_is_none() -> None:
    story = Story()
    story.comes(1, 10)
    story.comes(2)
    story.comes(2, 20)
    assert story.taken == [10, 20]


def test_after_the_last_number_comes_one() -> None:
    story = Story()
    story.comes(2**32 - 1, 10)
    story.comes(1, 20)
    story.fetch()
    assert story.taken == [10, 20]
    assert story.subscription.lost == 0


def test_silence_beyond_the_keep_alive_is_the_end() -> None:
    story = Story()
    story.now_s = 105.0
    story.comes(1)
    story.subscription.check(105.0 + story.subscription.patience_s)
    with pytest.raises(ConnectionLost, match="silent"):
        story.subscription.check(105.1 + story.subscription.patience_s)


def test_a_subscription_that_the_server_ends_is_the_end() -> None:
    story = Story()
    over = ua.StatusChangeNotification(ua.StatusCode(ua.UInt32(ua.StatusCodes.BadTimeout)))
    data: list[Any] = [over]
    ended = ua.NotificationMessage(ua.Counter(1), NotificationData=data)
    story.subscription._published(ua.PublishResult(ua.IntegerId(7), NotificationMessage=ended))
    with pytest.raises(ConnectionLost, match="BadTimeout"):
        story.subscription.check(100.0)
