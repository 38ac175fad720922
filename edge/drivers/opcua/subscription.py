"""A subscription at the server: which nodes it watches, and that no message of it goes missing.

Messages are numbered. One that comes twice is dropped, one that is missing is asked for once
more (Republish), and silence beyond the keep-alive means that the subscription is dead.
Source: OPC 10000-4, 5.14.
"""

from collections.abc import Callable, Sequence
from typing import Final

from asyncua import ua

from edge.drivers.driver import ConnectionLost
from edge.drivers.opcua import decode
from edge.drivers.opcua.link import Link, Refused
from edge.drivers.opcua.settings import Settings

KEEP_ALIVE_S: Final = 2.0
"""An idle server says so this often …"""
PATIENT: Final = 4
"""… and may stay silent for so many times that."""
LIFETIME_S: Final = 60.0
"""So long the server keeps what it has to send while nobody asks for it."""
MOST_MISSING: Final = 1000
NUMBERS: Final = 2**32 - 1
"""After the highest number comes 1: 0 is none."""

Take = Callable[[int, ua.DataValue, int | None], None]


class Subscription:
    """One subscription of a session.

    Args:
        take: gets signal, value and the server's time of sending.
        news: called when there is something to do.

    Attributes:
        lost: messages that the server had and could not give once more.
    """

    def __init__(self, link: Link, settings: Settings, take: Take, news: Callable[[], None]) -> None:
        self._link = link
        self._settings = settings
        self._take = take
        self._news = news
        self._id = 0
        self._newest = 0
        self._missing: list[int] = []
        self._fault: str | None = None
        self._monotonic_s: Callable[[], float] = lambda: 0.0
        self._heard_s = 0.0
        self._interval_s = settings.publishing_s
        self._caught_up_s: float | None = None
        self._keep_alive_s = KEEP_ALIVE_S
        self.lost = 0

    @property
    def patience_s(self) -> float:
        """How long it may be silent."""
        return PATIENT * self._keep_alive_s + self._settings.timeout_s

    @property
    def is_catching_up(self) -> bool:
        """After a break, until what was queued has come."""
        return self._caught_up_s is not None

    async def begin(self, monotonic_s: Callable[[], float]) -> None:
        """Have the server make it.

        Raises:
            ConnectionLost: it does not.
        """
        self._monotonic_s = monotonic_s
        asked_s = self._settings.publishing_s
        parameters = ua.CreateSubscriptionParameters()
        parameters.RequestedPublishingInterval = ua.Double(asked_s * 1000)
        parameters.RequestedMaxKeepAliveCount = ua.UInt32(max(1, round(KEEP_ALIVE_S / asked_s)))
        parameters.RequestedLifetimeCount = ua.UInt32(max(10, round(LIFETIME_S / asked_s)))
        parameters.MaxNotificationsPerPublish = ua.UInt32(10_000)
        parameters.PublishingEnabled = True
        parameters.Priority = ua.Byte(0)
        session = self._link.client.uaclient.session
        try:
            made = await self._link.ask(session.create_subscription(parameters, self._published))
        except Refused as err:
            raise ConnectionLost(f"{self._settings.url}: no subscription: {err}") from err
        self._id = made.SubscriptionId
        self._heard_s = monotonic_s()
        self._interval_s = made.RevisedPublishingInterval / 1000
        self._keep_alive_s = max(KEEP_ALIVE_S, self._interval_s * made.RevisedMaxKeepAliveCount)

    async def monitor(self, wanted: Sequence[tuple[int, ua.NodeId, int]]) -> list[tuple[int, int | None]]:
        """Watch nodes: (signal, node, cycle in µs); gives (signal, None or the bad StatusCode).

        Raises:
            ConnectionLost: no answer.
        """
        parameters = ua.CreateMonitoredItemsParameters()
        parameters.SubscriptionId = ua.IntegerId(self._id)
        parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        parameters.ItemsToCreate = [self._request(*one) for one in wanted]
        session = self._link.client.uaclient.session
        try:
            results = await self._link.ask(session.create_monitored_items(parameters))
        except Refused as err:
            return [(signal, err.code) for signal, _, _ in wanted]
        return [
            (signal, None if result.StatusCode.is_good() else result.StatusCode.value)
            for (signal, _, _), result in zip(wanted, results, strict=True)
        ]

    def _request(self, signal: int, node: ua.NodeId, cycle_us: int) -> ua.MonitoredItemCreateRequest:
        parameters = ua.MonitoringParameters()
        parameters.ClientHandle = ua.IntegerId(signal)
        parameters.SamplingInterval = ua.Double(cycle_us / 1000)
        parameters.QueueSize = ua.Counter(self._settings.queue)
        parameters.DiscardOldest = True
        request = ua.MonitoredItemCreateRequest()
        request.ItemToMonitor.NodeId = node
        request.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        request.MonitoringMode = ua.MonitoringMode.Reporting
        request.RequestedParameters = parameters
        return request

    # --- What comes --------------------------------------------------------------------------

    def _published(self, result: ua.PublishResult) -> None:
        """A message of the server; called by the library."""
        self._heard_s = self._monotonic_s()
        message = result.NotificationMessage
        if not message.NotificationData:
            self._settled(result)
            return
        number = int(message.SequenceNumber)
        ahead = (number - self._newest) % NUMBERS
        if self._newest and not 0 < ahead < NUMBERS // 2:
            if number in self._missing:
                self._missing.remove(number)
                self._unpack(message)
            return
        if self._newest and ahead > 1:
            first = max(1, ahead - MOST_MISSING)
            self.lost += first - 1
            self._missing += [(self._newest + i - 1) % NUMBERS + 1 for i in range(first, ahead)]
        self._newest = number
        self._unpack(message)
        self._settled(result)
        self._news()

    def _settled(self, result: ua.PublishResult) -> None:
        """Nothing more is queued at the server."""
        if self._caught_up_s is not None and not result.MoreNotifications:
            self._caught_up_s = self._heard_s
            self._news()

    def _unpack(self, message: ua.NotificationMessage) -> None:
        sent_us = decode.time_us(message.PublishTime)
        for one in message.NotificationData or ():
            if isinstance(one, ua.DataChangeNotification):
                for item in one.MonitoredItems:
                    self._take(int(item.ClientHandle), item.Value, sent_us)
            elif isinstance(one, ua.StatusChangeNotification):
                self._fault = str(Refused(one.Status.value))
                self._news()

    # --- What is to be done ------------------------------------------------------------------

    def catch_up(self, now_s: float) -> None:
        """The same session goes on after a break: wait for what the server has queued."""
        self._heard_s = now_s
        self._caught_up_s = now_s + 2 * self._interval_s + self._settings.timeout_s

    def has_caught_up(self, now_s: float) -> bool:
        """True once after a break, when what was queued has come."""
        if self._caught_up_s is None or now_s < self._caught_up_s:
            return False
        self._caught_up_s = None
        return True

    def check(self, now_s: float) -> None:
        """Raises ConnectionLost where the subscription is no more.

        The library stops asking for messages where the server had no subscription for a moment,
        as between two sessions; it is told to go on.
        """
        self._link.client.uaclient.ensure_publish_loop()
        if self._fault is not None:
            raise ConnectionLost(f"{self._settings.url}: the server ended the subscription: {self._fault}")
        if now_s - self._heard_s > self.patience_s:
            raise ConnectionLost(
                f"{self._settings.url}: the subscription was silent for {self.patience_s:g} s"
            )

    async def fetch_missing(self) -> None:
        """Ask for messages that did not come; what the server no longer has is counted as lost.

        Raises:
            ConnectionLost: no answer.
        """
        session = self._link.client.uaclient.session
        while self._missing:
            number = self._missing[0]
            try:
                message = await self._link.ask(session.republish(self._id, number))
            except Refused:
                message = None
            if number not in self._missing:
                continue  # it came by itself meanwhile
            self._missing.remove(number)
            if message is None:
                self.lost += 1
            else:
                self._unpack(message)
                self._news()
