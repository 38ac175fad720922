"""Very many gateways with long names, dead links and standing alarms, for pages that must bear it.

with centre(tmp_path, broker) as here, serving(tmp_path, broker) as web:
    crowd = Crowd(here, gateways=200, signals=25)
    crowd.report(); crowd.raise_alarms(1000); crowd.speak()
"""

import random
from typing import Any, Final

from fakes.centre import RETAINED, Centre, Said, Speaker, now_us

from contract.wire import topics
from contract.wire.envelope import pack
from contract.wire.records import EventKind

LONG: Final = "Wärmemengenzähler Rücklauftemperaturfühler Hauptverteilung Heizzentrale Nordost"
"""Eighty characters, as German plants have them."""
PLACES: Final = ("Feldkirch", "Großenlüder", "Bad Königshofen im Grabfeld", "Unterschleißheim", "Röthenbach")
TEXTS: Final = (
    "Vorlauftemperatur über Grenzwert",
    "Pumpe ausgefallen",
    "Druckabfall in der Nachspeisung, bitte Leckage prüfen und Füllstand kontrollieren",
    "Filter verschmutzt",
)


def _document(index: int, signals: int) -> dict[str, Any]:
    name = f"gw-{index:03d}"
    place = PLACES[index % len(PLACES)]
    members: dict[str, Any] = {
        f"{name}.s{i:02d}": {
            "group": f"{name}.fast",
            "name": f"{LONG} {i}"[:80] if i % 7 == 0 else f"Temperatur {i}",
            "unit": "°C" if i % 3 else "m³/h",
            "type": "boolean" if i % 11 == 10 else "float",
            "writable": i % 5 == 0,
            "limits": {"low": 0, "high": 100},
        }
        for i in range(signals)
    }
    return {
        "format": 1,
        "gateway": {
            "id": name,
            "name": f"{LONG[:70]} {index}" if index % 10 == 0 else f"Heizzentrale {place} {index}",
            "site": f"{place} {index // 20}",
            "zone": "Europe/Berlin",
        },
        "devices": {"plc": {"driver": "modbus", "name": "Regler", "settings": {"host": "192.0.2.1"}}},
        "groups": {f"{name}.fast": {"device": "plc", "cycle_s": 1.0, "name": "Heizkreis"}},
        "signals": members,
        "messages": {
            f"{name}.m{i}": {
                "number": i + 1,
                "text": TEXTS[i % len(TEXTS)],
                "priority": 1 + (index + i) % 4,
                "any_of": [[{"signal": f"{name}.s00", "operator": ">", "limit": 90.0}]],
            }
            for i in range(8)
        },
    }


class Crowd:
    """Gateways of one centre; every twentieth has lost its link."""

    def __init__(self, here: Centre, *, gateways: int = 200, signals: int = 25, seed: int = 1) -> None:
        self._here = here
        self._random = random.Random(seed)
        self.speakers = [
            Speaker(f"gw-{i:03d}", _document(i, signals), store=1000 + i) for i in range(gateways)
        ]
        self.lost = [one for i, one in enumerate(self.speakers) if i % 20 == 7]

    def report(self) -> None:
        """Births, configurations and states of all; some are gone, some are in trouble."""
        for speaker in self.speakers:
            is_lost = speaker in self.lost
            trouble = "the card is nearly full" if self._random.random() < 0.03 else ""
            status = speaker.status(online=not is_lost, trouble=trouble, unsent_segments=7 if is_lost else 0)
            self._say([speaker.birth(), speaker.applied(), status])
        self._commit()

    def speak(self) -> None:
        """One round of values of all that are there."""
        for speaker in self.speakers:
            if speaker in self.lost:
                continue
            values: dict[str, float | bool | tuple[float, int]] = {}
            for uid, signal in speaker.configuration.signals.items():
                if signal.type == "boolean":
                    values[uid] = self._random.random() < 0.5
                    continue
                value = round(self._random.uniform(20, 90), 1)
                values[uid] = (value, 0x81) if self._random.random() < 0.02 else value
            self._say([speaker.tail(values)])
        self._commit()

    def raise_alarms(self, count: int) -> None:
        """So many alarms stand at once, every fifth of them acknowledged."""
        began = now_us() - 3_600_000_000
        for i in range(count):
            speaker = self.speakers[i % len(self.speakers)]
            uid, message = list(speaker.configuration.messages.items())[i // len(self.speakers)]
            at = began + i * 3_000_000
            fields = {"number": message.number, "text": message.text, "priority": message.priority}
            signal = message.any_of[0][0].signal
            said = [speaker.event(EventKind.RAISED, uid, at, signal=signal, value=93.4, **fields)]
            if i % 5 == 0:
                said.append(
                    speaker.event(
                        EventKind.ACKNOWLEDGED,
                        uid,
                        at,
                        time_us=at + 60_000_000,
                        actor="schichtleiter",
                        **fields,
                    )
                )
            self._say(said)
        self._commit()

    def _say(self, said: list[Said]) -> None:
        here = self._here
        for one in said:
            topic, payload = topics.up(one.gateway, one.lane), pack(one.message)
            if here.broker is not None:
                here.client(one.gateway).publish(topic, payload, is_retained=one.lane in RETAINED)
            here.ingest.take(topic, payload, now_us())

    def _commit(self) -> None:
        for outgoing in self._here.ingest.commit(now_us()):
            if self._here.broker is not None and outgoing.topic == topics.CHANGED:
                self._here.client("_ingest").publish(outgoing.topic, outgoing.payload)
