"""From the device's answer to the pixel: a real plant, gateway, broker, ingest, web server and browser.

`hil.counter` is polled each 100 ms; its log says when each cycle was answered, its values in which
cycle. A page in Chromium follows the live channel as the shell does, writes a value into its text
and notes the time after the frame that shows it. Of every cycle it is asked when the page showed it,
or a later one: what was never shown waited for the next. 200 others watch everything meanwhile.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench.figures import Sheet
from bench.rig import ROOT, START_S, Starter
from bench.usage import usage
from fakes.broker import HOST, free_port, is_listening, running_broker
from fakes.centre import Web, serving
from fakes.chromium import Page, browser
from fakes.databases import opened
from fakes.processes import wait_until

from hil.counter import Field, Served, read_log

SIGNALS = 50
CYCLE_S = 0.1
OTHERS = 200
WARM_UP_S = 5.0
UID = "s000"

FOLLOW = """
(() => {
  document.body.replaceChildren(document.createElement("output"));
  const place = document.querySelector("output");
  const shown = globalThis.shown = [];
  const after = new MessageChannel();
  let value = null, isAsked = false;
  const nowUs = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
  after.port1.onmessage = (event) => shown.push([event.data, nowUs()]);
  const socket = new WebSocket(`ws://${location.host}/live?watch=none`);
  socket.onopen = () => socket.send(JSON.stringify({watch: ["%s"]}));
  socket.onclose = (event) => shown.push([-event.code, 0]);
  socket.onmessage = (event) => {
    const found = (JSON.parse(event.data).values ?? {})["%s"];
    if (!found || found[0] === null) return;
    value = found[0];
    if (isAsked) return;
    isAsked = true;
    requestAnimationFrame(() => {
      isAsked = false;
      place.textContent = String(value);
      after.port2.postMessage(value); // comes after the frame was painted
    });
  };
})()
"""


class Rig(NamedTuple):
    """All that runs."""

    web: Web
    page: Page
    served: Path
    edge_pid: int
    starter: Starter


def measure(sheet: Sheet, folder: Path, seconds: float) -> None:
    """Run for `seconds` after the warm-up, and write the figures."""
    with running(folder) as rig, others(rig.web) as watching:
        rig.page.run(FOLLOW % (UID, UID))
        rig.page.wait_for("shown.length > 0")
        time.sleep(WARM_UP_S)
        rig.page.run("shown.length = 0")
        begun_us, before = time.time_ns() // 1000, usage(rig.web.process.pid)
        time.sleep(seconds)
        shown = rig.page.run("shown")
        ended_us, after = time.time_ns() // 1000, usage(rig.web.process.pid)
        rig.starter.check()
        told = end(watching)
        field, served = read_log(rig.served)
    elapsed_s = (ended_us - begun_us) / 1e6
    lags = latencies_ms(field, served, shown, begun_us, ended_us)
    web_cpu = 100 * (after.cpu_s - before.cpu_s) / elapsed_s
    conditions = (
        f"{len(lags)} polls of {SIGNALS} signals, cycle {CYCLE_S * 1e3:.0f} ms, {len(shown)} shown; "
        f"{OTHERS} other sockets watch all of them; window {elapsed_s:.0f} s; web {web_cpu:.0f} % of a core"
    )
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        sheet.put(f"latency_browser_{name}", float(np.quantile(lags, share)), "ms", conditions)
    sheet.put("latency_browser_worst", max(lags), "ms", conditions)
    others_conditions = f"poll stamp of the newest value to another socket; {told['frames']} messages in all"
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        sheet.put(
            f"latency_socket_{name}", float(np.quantile(told["lags_ms"], share)), "ms", others_conditions
        )
    sheet.put("live_web_cpu", web_cpu, "% of a core", conditions)


def latencies_ms(
    field: Field, served: Sequence[Served], shown: Sequence[tuple[float, int]], begun_us: int, ended_us: int
) -> list[float]:
    """Of each cycle answered in the window but its last second, until it or a later one was shown."""
    assert all(value >= 0 for value, _ in shown), f"the channel was closed with {shown[-1]}"
    cycles = np.array([value // field.signals for value, _ in shown])
    moments = np.array([moment for _, moment in shown])
    assert (np.diff(cycles) >= 0).all(), "a page went back in time"
    found: list[float] = []
    for one in served:
        if one.first == 0 and begun_us <= one.time_us < ended_us - 1_000_000:
            at = int(np.searchsorted(cycles, one.cycle))
            assert at < len(moments), f"cycle {one.cycle} was never shown, nor a later one"
            found.append((int(moments[at]) - one.time_us) / 1e3)
    assert len(found) > 0.9 * (ended_us - begun_us - 1_000_000) / 1e6 / CYCLE_S, "polls are missing"
    return found


@contextmanager
def running(folder: Path) -> Iterator[Rig]:
    """Everything started, and a page of the server open."""
    shutil.rmtree(folder, ignore_errors=True)
    centre = folder / "centre"
    centre.mkdir(parents=True)
    with ExitStack() as stack:
        broker = stack.enter_context(running_broker(centre))
        starter = Starter(folder)
        stack.callback(starter.end)
        for name in ("_ingest", "_web"):
            broker.central(name)
        with opened(centre):
            pass  # brought up to date by one process
        central = f"{HOST}:{broker.central_port}"
        starter.start(
            "ingest",
            [sys.executable, "-m", "aggregator", "ingest", "--data", str(centre), "--broker", central],
        )
        web = stack.enter_context(serving(centre, broker, "--sockets", str(OTHERS + 20)))
        port, log = free_port(), folder / "served.jsonl"
        counter = ("--signals", str(SIGNALS), "--type", "uint32", "--port", str(port), "--log", str(log))
        starter.start("served", [sys.executable, "-m", "hil.counter", *counter])
        wait_until(lambda: is_listening(port), "the plant listens", START_S)
        data, configuration = folder / "edge", folder / "quick.json"
        shutil.copytree(broker.issue("quick"), data / "identity")
        configuration.write_text(json.dumps(document(port, broker.gateway_port)), encoding="utf-8")
        edge = starter.start(
            "edge", [sys.executable, "-m", "edge", "run", "--config", str(configuration), "--data", str(data)]
        )
        chromium = stack.enter_context(browser(folder))
        page = chromium.page()
        page.open(web.link)
        page.open(f"{web.base}/api/v1/health")  # a page of the same origin that does nothing itself
        wait_until(lambda: is_live(web), "values are there", START_S)
        yield Rig(web, page, log, edge, starter)


def document(port: int, broker_port: int) -> dict[str, Any]:
    """A gateway that polls the counter ten times a second."""
    return {
        "format": 1,
        "gateway": {"id": "quick", "name": "Ten polls a second", "site": "Bench"},
        "uplinks": [{"host": HOST, "port": broker_port}],
        "devices": {"counter": {"driver": "modbus", "settings": {"host": HOST, "port": port, "unit": 1}}},
        "groups": {"all": {"device": "counter", "cycle_s": CYCLE_S}},
        "signals": {
            f"s{i:03}": {"group": "all", "address": {"register": 2 * i, "type": "uint32"}}
            for i in range(SIGNALS)
        },
    }


def is_live(web: Web) -> bool:
    """Whether the page would show a value of now."""
    values = web.ask("/api/v1/values").json["values"]
    return UID in values and values[UID]["state"] == "good"


@contextmanager
def others(web: Web) -> Iterator["subprocess.Popen[str]"]:
    """Two hundred who watch, in a process of their own."""
    command = [sys.executable, str(Path(__file__).with_name("watchers.py"))]
    with subprocess.Popen(
        [*command, "--port", str(web.port), "--count", str(OTHERS)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin
            assert process.stdout
            process.stdin.write(web.key + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "all are there\n"
            yield process
        finally:
            process.kill()


def end(watching: "subprocess.Popen[str]") -> dict[str, Any]:
    """What came to the others; all must have been there to the end."""
    said, _ = watching.communicate("\n", timeout=30)
    told: dict[str, Any] = json.loads(said)
    assert told["lost"] == 0, f"{told['lost']} of {OTHERS} lost their connection"
    return told
