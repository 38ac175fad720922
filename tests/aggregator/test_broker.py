"""What the generated configuration promises, asked of the real mosquitto by real clients."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from fakes.broker import HOST, Broker, identity_context, running_broker
from fakes.mqtt import NOT_AUTHORIZED, PACKET_TOO_LARGE, Client, Refused
from fakes.processes import is_alive, wait_until

from aggregator import broker as ours
from aggregator.broker import BrokerSettings, access_list, configuration
from aggregator.pki.certificates import Authority, Issuer, client_certificate, new_key, pem_of, pem_of_key
from aggregator.pki.folder import Identity, save_identity
from contract.wire import topics
from contract.wire.topics import Down, Up

pytestmark = pytest.mark.broker

GATEWAYS = ["gw-1", "aggregator", "ingest", "web"]
DONE = {0, 16}  # 16: accepted, nobody is listening
# MQTT 5.0 §3.1: fixed header, "MQTT", version 5, clean start, keep alive 60 s, no properties, "gw-1".
CONNECT = bytes([0x10, 17, 0, 4]) + b"MQTT" + bytes([5, 2, 0, 60, 0, 0, 4]) + b"gw-1"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """For tests that stop it, or count on its memory."""
    with running_broker(tmp_path) as running:
        yield running


def gateway(broker: Broker, name: str = "gw-1", identifier: str | None = None) -> Client:
    return Client(broker.gateway_port, broker.context(broker.issue(name)), identifier or name)


def central(broker: Broker, name: str = "_ingest", identifier: str | None = None) -> Client:
    return Client(broker.central_port, broker.context(broker.central(name)), identifier or f"{name}-test")


# --- The text -----------------------------------------------------------------------------------


def listeners(text: str) -> list[dict[str, str]]:
    """Settings below each `listener`, and first those above all of them."""
    blocks: list[dict[str, str]] = [{}]
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        key, _, value = line.partition(" ")
        if key == "listener":
            blocks.append({})
        blocks[-1][key] = value
    return blocks


@pytest.mark.parametrize("as_root", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        BrokerSettings(),
        BrokerSettings(gateway_port=443, gateway_address="192.0.2.1", central_address="10.0.0.1"),
    ],
)
def test_no_listener_is_ever_without_tls_and_certificate(settings: BrokerSettings, as_root: bool) -> None:
    above, *opened = listeners(configuration(settings, as_root=as_root))
    assert [block["listener"].split()[0] for block in opened] == [
        str(settings.gateway_port),
        str(settings.central_port),
    ]
    # "port" or "bind_address" would open another one.
    assert not {"port", "bind_address", "bind_interface", "include_dir"} & set(above)
    for block, name in zip(opened, ("gateway", "central"), strict=True):
        assert block["tls_version"] == "tlsv1.3"
        assert block["require_certificate"] == block["use_identity_as_username"] == "true"
        assert block["allow_anonymous"] == block["allow_zero_length_clientid"] == "false"
        files = [block[key] for key in ("cafile", "certfile", "keyfile", "crlfile", "acl_file")]
        assert all(file.startswith(name) for file in files)
    assert opened[0]["use_username_as_clientid"] == "true"


def test_central_processes_are_reached_on_loopback_unless_told_otherwise() -> None:
    assert listeners(configuration(BrokerSettings()))[2]["listener"] == "8884 127.0.0.1"


def test_rights_are_these_and_no_others() -> None:
    lanes = ["birth", "status", "applied", "tail", "event", "segment", "answer"]
    assert access_list("gateway").splitlines() == [
        *(f"pattern write fw/1/%u/up/{lane}" for lane in lanes),
        "pattern read fw/1/%u/down/#",
    ]
    assert access_list("central").splitlines() == [
        "user _ingest",
        "topic read fw/1/+/up/#",
        "topic write fw/1/+/down/#",
        "topic write fwc/1/#",
        "",
        "user _web",
        "topic read fw/1/+/up/#",
        "topic read fwc/1/#",
        "topic read $SYS/broker/#",
        "topic write fw/1/+/down/command",
    ]


# --- Who gets in --------------------------------------------------------------------------------


@pytest.mark.parametrize("port", ["gateway_port", "central_port"])
def test_plain_mqtt_is_not_spoken(broker: Broker, port: str) -> None:
    with socket.create_connection((HOST, getattr(broker, port)), timeout=10) as plain:
        try:
            plain.sendall(CONNECT)
            answer = plain.recv(100)
        except ConnectionResetError:
            answer = b""
    assert not answer.startswith(b"\x20")  # no CONNACK; at most a TLS alert


def test_the_broker_listens_nowhere_else(broker: Broker) -> None:
    mine = {str(link.readlink()) for link in Path(f"/proc/{broker.pid}/fd").iterdir()}
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in mine:  # LISTEN
                ports.add(int(words[1].rpartition(":")[2], 16))
    assert ports == {broker.gateway_port, broker.central_port}


def is_let_in(port: int, context: ssl.SSLContext) -> bool:
    """Whether a CONNECT as "gw-1" is accepted; with TLS 1.3 a refusal shows at the first answer."""
    try:
        with (
            socket.create_connection((HOST, port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as secured,
        ):
            secured.sendall(CONNECT)
            answer = secured.recv(100)
    except OSError:
        return False
    return answer[:1] == b"\x20" and answer[3] == 0


def trusting(context: ssl.SSLContext, broker: Broker) -> ssl.SSLContext:
    """The same, believing both listeners: a refusal must come from the other side."""
    for listener in ("gateway", "central"):
        context.load_verify_locations(broker.broker_folder / f"{listener}-ca.pem")
    return context


def test_each_side_has_its_own_door(broker: Broker) -> None:
    as_gateway = trusting(broker.context(broker.issue("gw-1")), broker)
    as_ingest = trusting(broker.context(broker.central("_ingest")), broker)
    assert is_let_in(broker.gateway_port, as_gateway)
    assert is_let_in(broker.central_port, as_ingest)
    assert not is_let_in(broker.central_port, as_gateway)
    assert not is_let_in(broker.gateway_port, as_ingest)


def test_older_tls_is_refused(broker: Broker) -> None:
    context = broker.context(broker.issue("gw-1"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    assert is_let_in(broker.gateway_port, context)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert not is_let_in(broker.gateway_port, context)


def test_nobody_gets_in_without_a_certificate(broker: Broker) -> None:
    context = trusting(ssl.create_default_context(), broker)
    assert not is_let_in(broker.gateway_port, context)
    assert not is_let_in(broker.central_port, context)


def test_nobody_gets_in_with_an_authority_that_only_calls_itself_like_ours(
    broker: Broker, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    key = new_key()
    for authority, name in ((Authority.GATEWAY, "gw-1"), (Authority.CENTRAL, "_ingest")):
        real = x509.load_pem_x509_certificate(broker.pki.listener(authority).authority.read_bytes())
        rogue = client_certificate(Issuer(real, key), key.public_key(), name, now, timedelta(days=1))
        save_identity(Identity(pem_of(real), pem_of(rogue), pem_of_key(key)), tmp_path / name)
        context = trusting(identity_context(tmp_path / name), broker)
        assert not is_let_in(broker.gateway_port, context)
        assert not is_let_in(broker.central_port, context)


def test_an_expired_certificate_gets_nobody_in(broker: Broker, tmp_path: Path) -> None:
    for days, is_good in ((89, True), (91, False)):
        issued = datetime.now(UTC) - timedelta(days=days)
        save_identity(broker.pki.issue(Authority.GATEWAY, "gw-old", issued), tmp_path / str(days))
        assert is_let_in(broker.gateway_port, identity_context(tmp_path / str(days))) is is_good


def test_an_empty_client_id_is_refused(broker: Broker) -> None:
    with pytest.raises(Refused), Client(broker.gateway_port, broker.context(broker.issue("gw-1")), ""):
        pass


# --- Who may do what ----------------------------------------------------------------------------


def test_a_gateway_speaks_up_and_hears_down(broker: Broker) -> None:
    with central(broker) as ingest, gateway(broker) as one:
        ingest.subscribe(topics.ALL_UP)
        one.subscribe(topics.all_down("gw-1"))
        for lane in Up:
            assert one.publish(topics.up("gw-1", lane)) == 0
        for down in Down:
            assert ingest.publish(topics.down("gw-1", down)) == 0
        ingest.wait_for(lambda: len(ingest.messages) == len(Up))
        one.wait_for(lambda: len(one.messages) == len(Down))
        assert one.topics() == [topics.down("gw-1", lane) for lane in Down]


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_refused_publish_says_135_and_goes_nowhere(broker: Broker, name: str) -> None:
    forged = [
        topics.up("gw-2", Up.EVENT),
        topics.down(name, Down.COMMAND),
        topics.down("gw-2", Down.COMMAND),
        topics.CHANGED,
        f"fw/1/{name}",
        f"fw/1/{name}x/up/event",
        "fw/1//up/event",
        f"fw/2/{name}/up/event",
        f"/fw/1/{name}/up/event",
        "anything",
        "$SYS/broker/uptime",
    ]
    with central(broker, "_web") as web, central(broker) as ingest, gateway(broker, "gw-2") as victim:
        web.subscribe(topics.ALL_UP)
        web.subscribe("fwc/1/#")
        ingest.subscribe("#")
        victim.subscribe("#")
        with gateway(broker, name) as attacker:
            assert [attacker.publish(topic) for topic in forged if topic[0] != "$"] == [NOT_AUTHORIZED] * 10
            assert attacker.publish(forged[-1]) >= 128
            assert attacker.publish(topics.up(name, Up.EVENT), b"fence") == 0
        ingest.publish(topics.down("gw-2", Down.COMMAND), b"fence")
        for listener in (web, ingest, victim):
            listener.wait_for(lambda listener=listener: listener.messages)  # type: ignore[misc]  # lambda default
            assert [message.payload for message in listener.messages] == [b"fence"]


@pytest.mark.parametrize("name", GATEWAYS)
def test_a_gateway_hears_nothing_but_its_own(broker: Broker, name: str) -> None:
    wishes = [
        "#",
        "+/#",
        "fw/1/+/down/#",
        "fw/1/+/up/#",
        topics.all_down("gw-2"),
        "fw/1/gw-2/up/#",
        "fwc/1/#",
        "fwc/#",
        "$SYS/#",
        "$SYS/broker/uptime",
        "$share/all/fw/1/+/down/#",
    ]
    with central(broker) as ingest, gateway(broker, "gw-2") as other, gateway(broker, name) as curious:
        # Retained messages would arrive at the moment of subscribing.
        assert other.publish(topics.up("gw-2", Up.STATUS), b"kept", is_retained=True) in DONE
        assert ingest.publish(topics.down("gw-2", Down.CONFIG), b"kept", is_retained=True) in DONE
        for wish in wishes:
            curious.subscribe(wish)
        assert other.publish(topics.up("gw-2", Up.EVENT)) in DONE
        assert ingest.publish(topics.down("gw-2", Down.COMMAND)) in DONE
        assert ingest.publish(topics.CHANGED) in DONE
        assert ingest.publish(topics.down(name, Down.COMMAND), b"fence") == 0
        curious.wait_for(lambda: any(message.payload == b"fence" for message in curious.messages))
        assert {message.payload for message in curious.messages} == {b"fence"}
    with central(broker, "_web") as web:  # those who may do hear it
        web.subscribe("$SYS/broker/uptime")
        web.subscribe("fw/1/gw-2/up/#")
        web.wait_for(lambda: len(web.messages) >= 2)
        assert {"$SYS/broker/uptime", topics.up("gw-2", Up.STATUS)} <= set(web.topics())
    with central(broker) as ingest, gateway(broker, "gw-2") as other:  # leave nothing for the next test
        other.publish(topics.up("gw-2", Up.STATUS), b"", is_retained=True)
        ingest.publish(topics.down("gw-2", Down.CONFIG), b"", is_retained=True)


def test_a_gateway_cannot_leave_a_will_for_others(broker: Broker) -> None:
    context = broker.context(broker.issue("gw-1"))
    foreign = topics.up("gw-2", Up.STATUS)
    with central(broker) as ingest, gateway(broker, "gw-2") as fence:
        ingest.subscribe(topics.ALL_UP)
        with suppress(Refused), Client(broker.gateway_port, context, "gw-1", will=foreign) as evil:
            evil.drop()
        with gateway(broker, "gw-1"):  # whatever was left of the session ends here, and its will is said
            pass
        fence.publish(topics.up("gw-2", Up.EVENT), b"fence")
        ingest.wait_for(lambda: ingest.messages)
        assert [message.payload for message in ingest.messages] == [b"fence"]


def test_another_client_id_or_user_name_changes_nothing(broker: Broker) -> None:
    with gateway(broker, "gw-2") as victim, central(broker) as ingest:
        victim.subscribe(topics.all_down("gw-2"))
        context = broker.context(broker.issue("gw-1"))
        with Client(broker.gateway_port, context, "gw-2", username="gw-2") as attacker:
            assert attacker.publish(topics.up("gw-2", Up.EVENT)) == NOT_AUTHORIZED
            assert attacker.publish(topics.up("gw-1", Up.EVENT)) in DONE
            assert ingest.publish(topics.down("gw-2", Down.COMMAND), b"for the victim") == 0
            victim.wait_for(lambda: victim.messages)
            assert attacker.publish(topics.up("gw-1", Up.EVENT)) in DONE
            assert attacker.messages == []
        assert victim.is_connected


@pytest.mark.parametrize("name", GATEWAYS)
def test_no_gateway_throws_a_central_process_off(broker: Broker, name: str) -> None:
    held = ours.client_id("_ingest", "test")
    with central(broker, "_ingest", held) as ingest:
        ingest.subscribe(topics.ALL_UP)
        for wish in (held, name):
            context = broker.context(broker.issue(name))
            with Client(broker.gateway_port, context, wish) as attacker:
                attacker.publish(topics.up(name, Up.EVENT))
        ingest.wait_for(lambda: len(ingest.messages) == 2)
        assert ingest.is_connected


def test_central_processes_do_only_their_work(broker: Broker) -> None:
    with central(broker, "_web") as web, central(broker) as ingest, central(broker, "_other") as other:
        assert web.publish(topics.down("gw-1", Down.COMMAND)) in DONE
        for topic in (topics.down("gw-1", Down.RECEIPT), topics.down("gw-1", Down.CONFIG), topics.CHANGED):
            assert web.publish(topic) == NOT_AUTHORIZED
            assert ingest.publish(topic) in DONE
            assert other.publish(topic) == NOT_AUTHORIZED
        for everyone in (web, ingest, other):
            assert everyone.publish(topics.up("gw-1", Up.EVENT)) == NOT_AUTHORIZED


def test_a_reload_changes_no_rights(own_broker: Broker) -> None:
    with gateway(own_broker) as before, central(own_broker) as ingest:
        os.kill(own_broker.pid, signal.SIGHUP)
        wait_until(lambda: "Reloading config" in own_broker.log(), "reload")
        with gateway(own_broker, "gw-2") as after:
            for client, name in ((before, "gw-1"), (after, "gw-2")):
                assert client.publish(topics.up(name, Up.EVENT)) in DONE
                assert client.publish(topics.up("gw-3", Up.EVENT)) == NOT_AUTHORIZED
        assert ingest.publish(topics.down("gw-1", Down.COMMAND)) in DONE
        assert ingest.publish(topics.up("gw-1", Up.EVENT)) == NOT_AUTHORIZED


# --- Size and memory ----------------------------------------------------------------------------


def test_the_largest_segment_passes(broker: Broker) -> None:
    with central(broker) as ingest, gateway(broker) as one:
        ingest.subscribe(topics.ALL_UP)
        segment = os.urandom(4 * 1024 * 1024 + 32 * 1024)
        assert one.publish(topics.up("gw-1", Up.SEGMENT), segment) == 0
        ingest.wait_for(lambda: ingest.messages)
        assert ingest.messages[0].payload == segment


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_two_hundred_megabytes_are_refused_and_disturb_nobody(own_broker: Broker) -> None:
    size = 200 * 1000 * 1000
    remaining = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21])
    topic = topics.up("gw-1", Up.SEGMENT).encode()
    context = own_broker.context(own_broker.issue("gw-1"))
    with central(own_broker) as ingest, gateway(own_broker, "gw-2") as other:
        ingest.subscribe(topics.ALL_UP)
        before = resident_bytes(own_broker.pid)
        with (
            socket.create_connection((HOST, own_broker.gateway_port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as evil,
        ):
            evil.sendall(CONNECT)
            assert evil.recv(100)[0] == 0x20
            # Header, topic, packet id, no properties; then as much as the broker will take.
            evil.sendall(b"\x32" + remaining + len(topic).to_bytes(2) + topic + b"\0\1\0")
            answer = evil.recv(100)
            assert (answer[0], answer[2]) == (0xE0, PACKET_TOO_LARGE)  # DISCONNECT with its reason
            sent = 0
            with pytest.raises(OSError):  # noqa: PT011, PT012 - cut off, in whatever way
                while sent < size:
                    sent += evil.send(bytes(65536))
                    assert other.publish(topics.up("gw-2", Up.TAIL)) == 0
        assert sent < 8 * 1024 * 1024
        assert resident_bytes(own_broker.pid) - before < 8 * 1024 * 1024
        assert other.publish(topics.up("gw-2", Up.EVENT), b"fence") == 0
        ingest.wait_for(lambda: ingest.messages and ingest.messages[-1].payload == b"fence")
        assert set(ingest.topics()) <= {topics.up("gw-2", Up.TAIL), topics.up("gw-2", Up.EVENT)}
        assert other.is_connected
        assert ingest.is_connected


def test_a_stop_keeps_what_waits_and_an_empty_start_forgets_it(own_broker: Broker) -> None:
    def waiting() -> Client:
        context = own_broker.context(own_broker.issue("gw-1"))
        return Client(own_broker.gateway_port, context, "gw-1", keeps_session=True)

    with waiting() as one:
        one.subscribe(topics.all_down("gw-1"))
    with central(own_broker) as ingest:
        ingest.publish(topics.down("gw-1", Down.RECEIPT), b"queued")
    own_broker.restart()
    with waiting() as one:
        one.wait_for(lambda: one.messages)
    own_broker.restart(empty=True)
    with waiting() as one, central(own_broker) as ingest:
        one.subscribe(topics.all_down("gw-1"))
        ingest.publish(topics.down("gw-1", Down.RECEIPT), b"fence")
        one.wait_for(lambda: one.messages)
        assert [message.payload for message in one.messages] == [b"fence"]


# --- The process --------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_root_gives_up_its_rights(broker: Broker) -> None:
    account = ours.unprivileged_account()
    if account is None:
        pytest.skip("no account mosquitto on this host")
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{broker.pid}/status").read_text().splitlines()
    )
    assert status["Uid"].split() == [str(account.uid)] * 4
    assert status["CapEff"].strip("0") == ""
    assert {path.stat().st_uid for path in broker.broker_folder.iterdir()} == {account.uid}
    assert (broker.folder / "pki").stat().st_uid == 0


def test_everything_the_broker_reads_is_for_it_alone(broker: Broker) -> None:
    assert broker.broker_folder.stat().st_mode & 0o777 == 0o700
    keys = [path for path in broker.broker_folder.iterdir() if path.suffix == ".key"]
    assert [path.stat().st_mode & 0o777 for path in keys] == [0o600, 0o600]


def test_a_broker_that_is_not_ours_is_left_alone(own_broker: Broker, tmp_path: Path) -> None:
    assert ours.running(own_broker.broker_folder) == own_broker.pid
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(own_broker.broker_folder / ours.PID_FILE, other)
    assert ours.running(other) is None
    assert not ours.end_sessions(other)
    with subprocess.Popen(["sleep", "600"], cwd=other) as sleeper:
        (other / ours.PID_FILE).write_text(f"{sleeper.pid}\n")
        assert not ours.end_sessions(other)
        assert is_alive(sleeper.pid)
        sleeper.kill()
    for nonsense in ("", "x", "-1", "99999999"):
        (other / ours.PID_FILE).write_text(nonsense)
        assert ours.running(other) is None
    assert is_alive(own_broker.pid)


def test_a_broker_that_hangs_is_killed(own_broker: Broker) -> None:
    os.kill(own_broker.pid, signal.SIGSTOP)
    assert ours.end_sessions(own_broker.broker_folder, patience_s=0.1)
    assert not is_alive(own_broker.pid)


def test_a_missing_mosquitto_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    with pytest.raises(ours.BrokerMissing, match="apt-get install mosquitto"):
        ours.program()
