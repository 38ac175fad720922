"""The bare loop our daemon is held against: the same registers, the same broker, nothing else.

    python tests/bench/bare.py --plant-port 1502 --broker-port 8883 --identity DIR --queue queue.db

Reads 8 x 125 registers a second with pymodbus, puts them as one row into an SQLite queue (WAL,
synchronous FULL), publishes the row over TLS with QoS 1 and deletes it at the PUBACK. No signals,
no quality, no scaling, no alarms, no history: a floor, not a product.
"""

import argparse
import sqlite3
import ssl
import struct
import time
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.client import ModbusTcpClient

HOST = "127.0.0.1"
REGISTERS = 1000
AT_ONCE = 125
CYCLE_S = 1.0
PUBACK_S = 10.0


def connected(port: int, identity: Path) -> paho.Client:
    """A client of the broker with its network thread running."""
    client = paho.Client(CallbackAPIVersion.VERSION2, identity.name, protocol=paho.MQTTv5)
    context = ssl.create_default_context(cafile=str(identity / "ca.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity / "certificate.pem", identity / "key.pem")
    client.tls_set_context(context)
    client.connect(HOST, port)
    client.loop_start()
    return client


def queue(path: Path) -> sqlite3.Connection:
    """The queue, in autocommit: each statement is its own durable transaction."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE IF NOT EXISTS queue (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)")
    return database


def read(device: ModbusTcpClient) -> bytes:
    """All registers, packed, with the time in front."""
    words: list[int] = []
    for first in range(0, REGISTERS, AT_ONCE):
        answer = device.read_holding_registers(first, count=AT_ONCE, device_id=1)
        if answer.isError():
            raise OSError(f"registers {first}: {answer}")
        words += answer.registers
    return struct.pack(f">q{REGISTERS}H", time.time_ns() // 1000, *words)


def main() -> None:
    """Until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plant-port", type=int, required=True)
    parser.add_argument("--broker-port", type=int, required=True)
    parser.add_argument("--identity", type=Path, required=True)
    parser.add_argument("--queue", type=Path, required=True)
    arguments = parser.parse_args()
    broker = connected(arguments.broker_port, arguments.identity)
    database = queue(arguments.queue)
    device = ModbusTcpClient(HOST, port=arguments.plant_port)
    device.connect()  # type: ignore[no-untyped-call]  # pymodbus leaves it untyped
    topic = f"fw/1/{arguments.identity.name}/up/tail"
    due = time.monotonic()
    while True:
        row = database.execute("INSERT INTO queue (payload) VALUES (?)", (read(device),)).lastrowid
        (payload,) = database.execute("SELECT payload FROM queue WHERE id = ?", (row,)).fetchone()
        sent = broker.publish(topic, payload, qos=1)
        sent.wait_for_publish(PUBACK_S)
        if sent.is_published():
            database.execute("DELETE FROM queue WHERE id = ?", (row,))
        due += CYCLE_S
        time.sleep(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
