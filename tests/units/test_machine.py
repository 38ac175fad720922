"""Gateway and centre as systemd runs them, on a machine of their own: started, hung, probed, stopped.

One boot, and one story from first start to power-off; see `fakes.machine`.
"""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes.front import self_signed
from fakes.machine import ROOT, Machine, machine
from fakes.processes import wait_until

GATEWAY = "gw-1"
CONFIGURATION = {
    "format": 1,
    "gateway": {"id": GATEWAY, "name": "Box", "site": "Field", "zone": "Europe/Berlin"},
    "uplinks": [{"host": "127.0.0.1", "port": 8883}],
    "devices": {"plant": {"driver": "simulation", "settings": {}}},
    "groups": {"plant.fast": {"device": "plant", "cycle_s": 0.5}},
    "signals": {
        "plant.level": {"group": "plant.fast", "unit": "m", "address": {"function": "sine", "period_s": 10}}
    },
}
EDGE, INGEST, WEB, BROKER, FRONT = (
    f"feldwarte-{name}.service" for name in ("edge", "ingest", "web", "broker", "front")
)
CENTRE = Path("var/lib/feldwarte/centre")
WATCHDOG_S = 6.0
"""Instead of the half minute as delivered, which only takes longer."""
SHORTER = f"[Service]\nWatchdogSec={WATCHDOG_S:g}\n"

# Tries what a broken-in service would, from inside a unit's sandbox; prints what went through.
PROBE = """
import ctypes, json, mmap, os, socket, sys, time
from pathlib import Path

def tried(deed):
    try:
        return {"done": repr(deed())}
    except BaseException as error:
        return {"refused": type(error).__name__ + ": " + str(error)}

libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)

own = sys.argv[1]
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": next(l.split()[1] for l in open("/proc/self/status") if l.startswith("CapBnd")),
    "write own": tried(lambda: Path(own, "probe").write_text("mine")),
    "write /etc": tried(lambda: Path("/etc/feldwarte-probe").write_text("x")),
    "write /usr": tried(lambda: Path("/usr/feldwarte-probe").write_text("x")),
    "write program": tried(lambda: Path("/opt/feldwarte/venv/probe").write_text("x")),
    "see /root": tried(lambda: os.listdir("/root")),
    "see /home": tried(lambda: os.listdir("/home/secret")),
    "raw packets": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "memory device": tried(lambda: open("/dev/mem", "rb")),
    "kernel log": tried(lambda: open("/dev/kmsg", "rb")),
    "clock": tried(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
    "namespace": tried(lambda: call("unshare", 0x10000000)),
    "mount": tried(lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None)),
    "trace": tried(lambda: call("ptrace", 16, 1, 0, 0)),
    "code made at run time": tried(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
    "become root": tried(lambda: os.setuid(0)),
    "kernel setting": tried(lambda: Path("/proc/sys/kernel/hostname").write_text("x")),
    "credentials": sorted(os.listdir(os.environ.get("CREDENTIALS_DIRECTORY", "/media"))),
    "read": {path: "refused" not in tried(lambda: open(path, "rb").read(1)) for path in sys.argv[2:]},
}))
"""
REFUSED = [
    *("write /etc", "write /usr", "write program", "see /root", "see /home", "kernel setting"),
    *("raw packets", "memory device", "kernel log", "clock", "namespace", "mount", "trace"),
    *("code made at run time", "become root"),
]
PKI = "/var/lib/feldwarte/centre/pki"
SECRETS = {
    "gateway's key": f"{PKI}/gateway-ca.key",
    "central key": f"{PKI}/central-ca.key",
    "ingest": f"{PKI}/central/_ingest/key.pem",
    "web": f"{PKI}/central/_web/key.pem",
    "databases": "/var/lib/feldwarte/centre/main.db",
    "broker": "/var/lib/feldwarte/centre/broker/gateway-server.key",
    "gateway's data": "/var/lib/feldwarte/edge/journal.db",
    "identity as laid down": "/etc/feldwarte/edge/identity/key.pem",
    "identity as handed over": "/run/credentials/feldwarte-edge.service/identity_key.pem",
}
OWN = {
    EDGE: ("/var/lib/feldwarte/edge", {"gateway's data"}),
    INGEST: ("/var/lib/feldwarte/centre", {"ingest", "databases"}),
    WEB: ("/var/lib/feldwarte/centre", {"web", "databases"}),
    BROKER: ("/var/lib/feldwarte/centre/broker", {"broker"}),
}


@pytest.fixture(scope="module")
def box() -> Iterator[Machine]:
    """Booted, everything started as docs/operating.md says."""
    certificate, key = self_signed(datetime.now(UTC))
    files = [
        ("/etc/feldwarte/front/certificate.pem", certificate.decode()),
        ("/etc/feldwarte/front/key.pem", key.decode()),
        ("/etc/feldwarte/centre/options", "WEB_OPTIONS=--behind-proxy --host localhost\n"),
        ("/etc/feldwarte/edge/gateway.json", json.dumps(CONFIGURATION)),
        ("/home/secret/key", "not for daemons"),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
        ("/opt/probe.py", PROBE),
        *(
            (f"/etc/systemd/system/{unit}.d/shorter.conf", SHORTER)
            for unit in ("feldwarte-edge.service", "feldwarte-ingest.service", "feldwarte-web.service")
        ),
    ]
    with machine(files) as box:
        box.start("feldwarte.target", BROKER, INGEST, WEB)
        box.run("chmod", "600", "/etc/feldwarte/front/key.pem")
        box.start(FRONT)
        identity = f"/var/lib/feldwarte/centre/identities/{GATEWAY}"
        box.run("feldwarte-centre", "pki", "gateway", GATEWAY, "--out", identity)
        box.run("sh", "-c", f"mv {identity}/*.pem /etc/feldwarte/edge/identity/")
        box.run("chown", "-R", "root:root", "/etc/feldwarte/edge/identity")
        box.start(EDGE)
        yield box


def rows(box: Machine) -> int:
    """Tail rows that the centre has committed."""
    return int(query(box, "SELECT count(*) FROM tail"))


def query(box: Machine, sql: str) -> Any:
    connection = sqlite3.connect(f"file:{box.root / CENTRE / 'history.db'}?mode=ro", uri=True, timeout=20)
    try:
        return connection.execute(sql).fetchone()[0]
    finally:
        connection.close()


def grows(box: Machine, why: str) -> None:
    before = rows(box)
    wait_until(lambda: rows(box) > before, f"new values are at the centre {why}\n{box.log()}", 40)


def test_values_reach_the_centre_and_nothing_has_failed(box: Machine) -> None:
    grows(box, "after the start")
    assert box.run("systemctl", "list-units", "--failed", "--plain", "--no-legend").strip() == ""
    for unit in (EDGE, INGEST, WEB, BROKER, FRONT):
        assert box.show(unit, "NRestarts") == "0", box.log(unit)
    assert "1 devices, 1 signals" in box.show(EDGE, "StatusText")


def test_the_front_serves_by_https_what_the_web_process_says(box: Machine) -> None:
    asks = (
        "import http.client, ssl;"
        " clear = http.client.HTTPConnection('localhost'); clear.request('GET', '/alarms');"
        " answer = clear.getresponse(); print(answer.status, answer.headers['Location']);"
        " trust = ssl.create_default_context(cafile='/etc/feldwarte/front/certificate.pem');"
        " sealed = http.client.HTTPSConnection('localhost', context=trust);"
        " sealed.request('GET', '/api/v1/health'); print(sealed.getresponse().status)"
    )
    assert box.run("/usr/bin/python3", "-c", asks).split() == ["308", "https://localhost/alarms", "200"]
    owner = box.run("stat", "-c", "%U", f"/proc/{box.main_pid(FRONT)}").strip()
    assert owner == "feldwarte-front"


def test_systemd_itself_finds_no_fault_in_the_units(box: Machine) -> None:
    said = box.run("systemd-analyze", "verify", *(f"/etc/systemd/system/{name}" for name in laid(box)))
    assert [line for line in said.splitlines() if "feldwarte" in line] == []
    ignored = re.findall(r"^.*(?:Unknown key|Failed to|ignoring).*feldwarte.*$", box.log(), re.MULTILINE)
    assert ignored == []


def laid(box: Machine) -> list[str]:
    return sorted(
        path.name for path in (box.root / "etc/systemd/system").glob("feldwarte*.*") if path.is_file()
    )


@pytest.mark.parametrize("unit", [EDGE, INGEST, WEB, BROKER])
def test_a_service_that_was_broken_into_can_do_little(box: Machine, unit: str) -> None:
    """The unit as delivered, its program replaced by a probe."""
    text = (ROOT / "systemd" / unit).read_text()
    folder, readable = OWN[unit]
    probe = f"/usr/bin/python3 /opt/probe.py {folder} {' '.join(SECRETS.values())}"
    # PROBE.service shares nothing with the running one but the folders.
    dropped = r"^(Type|NotifyAccess|Exec\w+|Watchdog\w+|Restart\w*|WorkingDirectory|PartOf|Timeout\w+)=.*\n"
    text = re.sub(dropped, "", text, flags=re.MULTILINE)
    head, _, rest = text.partition("[Service]\n")
    text = (
        f"{head}[Service]\nType=oneshot\nExecStart={probe}\nStandardOutput=truncate:/opt/{unit}.json\n{rest}"
    )
    (box.root / "etc/systemd/system/probe.service").write_text(text)
    box.run("systemctl", "daemon-reload")
    said = box.run("systemctl", "start", "probe.service", check=False)
    result = box.root / "opt" / f"{unit}.json"
    assert result.stat().st_size > 0, f"{said}\n{box.log('probe.service')}"
    found = json.loads(result.read_text())
    assert {deed: found[deed] for deed in REFUSED if "refused" not in found[deed]} == {}
    assert "refused" not in found["write own"], found["write own"]
    assert found["uid"] != 0
    assert int(found["capabilities"], 16) == 0
    assert {name for name, path in SECRETS.items() if found["read"][path]} == readable
    if unit == EDGE:
        assert found["credentials"] == ["identity_ca.pem", "identity_certificate.pem", "identity_key.pem"]


def test_the_gateways_key_is_readable_by_its_daemon_alone(box: Machine) -> None:
    folder = "/run/credentials/feldwarte-edge.service"
    for account in ("feldwarte", "feldwarte-broker", "feldwarte-front", "nobody"):
        said = box.run(
            *("setpriv", f"--reuid={account}", "--clear-groups", "cat", f"{folder}/identity_key.pem"),
            check=False,
        )
        assert "Permission denied" in said, account
    said = box.run(
        *("setpriv", "--reuid=feldwarte-edge", "--clear-groups", "head", "-n1", f"{folder}/identity_key.pem")
    )
    assert "PRIVATE KEY" in said


def test_what_hangs_is_started_again_in_time_and_goes_on(box: Machine) -> None:
    """SIGSTOP: the process is there and does nothing. Web hangs in its worker."""
    before = {unit: box.main_pid(unit) for unit in (EDGE, INGEST, WEB)}
    worker = int(box.run("cat", f"/proc/{before[WEB]}/task/{before[WEB]}/children").split()[0])
    stopped_s = time.monotonic()
    box.run("sh", "-c", f"kill -STOP {before[EDGE]} {before[INGEST]} {worker}")
    took: dict[str, float] = {}

    def all_are_new() -> bool:
        for unit in before.keys() - took.keys():
            if box.main_pid(unit) not in {0, before[unit]}:
                took[unit] = time.monotonic() - stopped_s
        return took.keys() == before.keys()

    wait_until(all_are_new, f"the watchdog has started them again: {took}", 4 * WATCHDOG_S)
    print("hung, then started again after", {unit: f"{s:.1f} s" for unit, s in sorted(took.items())})
    # The promise is systemd's: its patience, the abort, the pause before a start.
    assert max(took.values()) <= WATCHDOG_S + 2.0, took
    for unit in before:
        wait_until(lambda unit=unit: box.show(unit, "ActiveState") == "active", f"{unit} is up", 30)  # type: ignore[misc]
        assert box.show(unit, "NRestarts") == "1"
        assert "Watchdog timeout" in box.log(unit)
    grows(box, "after the restart")


def test_a_revoked_gateway_loses_its_session_without_anyone_restarting_the_broker(box: Machine) -> None:
    grows(box, "before the revocation")
    before = box.main_pid(BROKER)
    box.run("feldwarte-centre", "pki", "revoke", GATEWAY)
    wait_until(lambda: box.main_pid(BROKER) not in {0, before}, f"a fresh broker\n{box.log()}", 20)
    wait_until(lambda: "lost:" in box.log(EDGE), f"the gateway was refused\n{box.log(EDGE)}", 20)
    assert box.show(BROKER, "Result") == "success"
    # Renewal, as every day, leaves the broker another list: it starts afresh once, not for ever.
    before = box.main_pid(BROKER)
    box.run("systemctl", "start", "feldwarte-prepare.service")
    wait_until(lambda: box.main_pid(BROKER) not in {0, before}, "a fresh broker after renewal", 20)
    fresh = box.main_pid(BROKER)
    box.run("systemctl", "restart", INGEST)  # takes a second or two, in which nothing else may happen
    assert box.main_pid(BROKER) == fresh


def test_all_stop_in_order_on_request(box: Machine) -> None:
    box.run("systemctl", "stop", "feldwarte.target", EDGE, FRONT)
    for unit in (EDGE, INGEST, WEB, BROKER, FRONT):
        wait_until(lambda unit=unit: box.show(unit, "ActiveState") == "inactive", box.log(unit), 30)  # type: ignore[misc]
        assert box.show(unit, "Result") == "success", box.log(unit)
    assert "stopped" in box.log(EDGE)
    running = box.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "systemd-journald" in running
    assert not re.search("aggregator|-m edge|mosquitto|nginx", running), running
