"""Rounds of faults on one rig: drawn from a seed, done, and held against the oracle.

    Rounds(rig, random.Random(seed), tell).run(500)

Each round does one or two faults; each puts right again what it broke, but not at once. Every few
rounds everything that was served must have arrived. `FAULTS` is the list of what can happen.
"""

import random
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from fakes.processes import wait_until
from fault import oracle
from fault.link import FAIR, Mistreated
from fault.oracle import Gap, Group, Stay, Verdict
from fault.rig import FAST, SLOW, START_S, Program, Rig, now_us

CHECK_EVERY: Final = 5
CATCH_UP_S: Final = 60.0
LOOK_BACK_US: Final = 60_000_000
"""How far before the last check the next one looks again."""
GROUPS: Final = (Group("fast", 1, FAST), Group("slow", 2, SLOW))
STORES_MAX: Final = 3
AIM_S: Final = 3.0
"""A kill that is aimed at a commit happens at the latest after this time, commit or not."""


class Copy(NamedTuple):
    """An old copy of the centre's databases, and when it was made."""

    folder: Path | None
    made_us: int


class Rounds:
    """See the top of this file. `done` counts what happened."""

    def __init__(
        self,
        rig: Rig,
        rng: random.Random,
        tell: Callable[[str], None],
        *,
        kinds: Sequence[str] = (),
        check_every: int = CHECK_EVERY,
        catch_up_s: float = CATCH_UP_S,
    ) -> None:
        self.rig = rig
        self.kinds = sorted(kinds or FAULTS)
        self.check_every = check_every
        self.catch_up_s = catch_up_s
        self.rng = rng
        self.tell = tell
        self.done: Counter[str] = Counter()
        self.gaps: list[Gap] = []
        self.copies: list[Copy] = [Copy(None, 0)]
        self.store = "store-0"
        self.stays: list[Stay] = [Stay(self.store, 0, oracle.TO_US)]
        self.away: dict[str, Path] = {}
        self.drained_us: dict[str, int] = {}
        self.restored_us: list[int] = []
        self.checked_us = 0
        self.claims_hold = True
        """Neither centre nor store was exchanged since the last check: all receipts are true."""
        self.is_suspect = False
        """The centre was put back: the next check looks at everything."""

    # -- the course

    def run(self, count: int) -> Verdict:
        """All rounds and the final reckoning."""
        for number in range(1, count + 1):
            faults = self.rng.sample(self.kinds, k=min(len(self.kinds), self.rng.choice((1, 1, 2))))
            self.tell(f"round {number}: {' + '.join(faults)}")
            for name in faults:
                self.done[name] += 1
                FAULTS[name](self)
            self._pause(0.2, 1.0)
            if number % self.check_every == 0:
                self.check()
        return self.reckon()

    def _pause(self, least_s: float, most_s: float) -> None:
        """Let the chain work: this is the plant's time, nothing is waited for."""
        time.sleep(self.rng.uniform(least_s, most_s))

    def check(self) -> Verdict:
        """Everything served until now arrives within `catch_up_s`; fails with the difference."""
        self._mend()
        until_us = now_us()
        from_us = 0 if self.is_suspect else max(0, self.checked_us - LOOK_BACK_US)
        begun = time.monotonic()
        verdict = self._judged(from_us, until_us)
        while verdict.missing and time.monotonic() < begun + self.catch_up_s:
            self._all_run()
            time.sleep(0.2)
            verdict = self._judged(from_us, until_us)
        if not verdict.is_sound:
            listed = "\n".join(verdict.wrong[:20])
            raise AssertionError(
                f"{len(verdict.wrong)} findings after {time.monotonic() - begun:.0f} s:\n{listed}"
            )
        self.checked_us = until_us
        self.is_suspect = False
        self.claims_hold = True
        self.tell(
            f"  sound after {time.monotonic() - begun:.1f} s: {verdict.samples} samples, "
            f"{verdict.excused} open at a kill, {verdict.bad_samples} mark gaps, {verdict.events} events"
        )
        return verdict

    def _judged(self, from_us: int, until_us: int) -> Verdict:
        owed = [stay for stay in self.stays if stay.store != self.store and not self._is_drained(stay.store)]
        with self.rig.databases() as databases:
            samples = oracle.judge(
                self.rig.served,
                databases,
                GROUPS,
                self.gaps,
                self.stays,
                owed_elsewhere=owed,
                from_us=from_us,
                until_us=until_us,
            )
            events = oracle.judge_events(
                databases, "flip", "flipped", self.stays, until_us=until_us, owed_elsewhere=owed
            )
        return Verdict(
            samples.wrong + events.wrong,
            samples.missing + events.missing,
            samples.excused,
            samples.samples,
            samples.bad_samples,
            events.events,
        )

    def _is_drained(self, store: str) -> bool:
        """Whether all of a store that is away came to the centre, and no older copy took its place since."""
        drained = self.drained_us.get(store, -1)
        return drained >= 0 and all(made >= drained for made in self.restored_us)

    def reckon(self) -> Verdict:
        """Bring every store back once, then everything must be there, and both sides verify clean."""
        self.check()
        for store in list(self.away):
            self._swap(store)
            self.check()
            wait_until(self._owes_nothing, f"{store} is receipted", CATCH_UP_S)
            self.drained_us[store] = now_us()
        self.is_suspect = True
        verdict = self.check()
        wait_until(self._owes_nothing, "all is receipted", CATCH_UP_S)
        assert self.rig.verify_edge() == []
        assert self.rig.verify_centre() == []
        return verdict

    def _owes_nothing(self) -> bool:
        health = self.rig.ask("status")["health"]
        return bool(health["unsent_segments"] <= 1 and health["unsent_events"] <= 1)

    def _all_run(self) -> None:
        for program in self.rig.programs:
            if not program.is_running:
                raise AssertionError(f"{program.name} ended by itself:\n{program.tail()}")

    def _mend(self) -> None:
        link = self.rig.link
        link.receipts = link.records = FAIR
        link.delay_s = 0.0
        link.mend()

    # -- how processes end

    def _kill(self, program: Program) -> None:
        """At a random moment, or aimed at a commit: by a look at the WAL, or by the n-th system call."""
        how = self.rng.choice(("anywhen", "anywhen", "wal", "call"))
        self.done[f"  {program.name} killed: {how}"] += 1
        if how == "wal":
            self._await_commit(program)
        ended_us = self._kill_at_call(program) if how == "call" and shutil.which("strace") else program.kill()
        if program in (self.rig.edge, self.rig.plant):
            self.gaps.append(Gap(ended_us, program.name))

    def _await_commit(self, program: Program) -> None:
        folder = self.rig.edge_data if program is self.rig.edge else self.rig.centre
        names = (
            ("store.db-wal", "journal.db-wal")
            if program is self.rig.edge
            else ("history.db-wal", "main.db-wal")
        )
        files = [folder / name for name in names]

        def state() -> list[tuple[int, int]]:
            return [(s.st_size, s.st_mtime_ns) for s in (f.stat() for f in files if f.exists())]

        before, deadline = state(), time.monotonic() + AIM_S
        while state() == before and time.monotonic() < deadline:
            time.sleep(0.0005)

    def _kill_at_call(self, program: Program) -> int:
        call, nth = self.rng.choice(("pwrite64", "fdatasync")), self.rng.randint(1, 6)
        strace = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
             "-e", f"inject={call}:signal=SIGKILL:when={nth}", "-p", str(program.pid)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + AIM_S
        while program.is_running and time.monotonic() < deadline:
            time.sleep(0.002)
        ended_us = program.kill()
        strace.kill()
        strace.wait()
        return ended_us

    def _restart(self, program: Program) -> None:
        self._pause(0.0, 0.8)
        program.start()
        if program is self.rig.edge:
            wait_until(self.rig.edge_answers, "the gateway answers", START_S)
        if program is self.rig.ingest:
            wait_until(self.rig.databases_are_there, "ingest has its databases", START_S)

    # -- the faults

    def kill_edge(self) -> None:
        self._kill(self.rig.edge)
        self._restart(self.rig.edge)

    def stop_edge(self) -> None:
        self.gaps.append(Gap(self.rig.edge.stop(), "edge"))
        self._restart(self.rig.edge)

    def kill_ingest(self) -> None:
        self._kill(self.rig.ingest)
        self._receipts_are_true()
        self._maybe_copy()
        self._restart(self.rig.ingest)

    def _receipts_are_true(self) -> None:
        """Ingest is dead: what the gateway took for receipted must be in the databases, all of it."""
        if not self.claims_hold:
            return
        self.rig.link.receipts = FAIR
        self._pause(0.2, 0.5)  # receipts that are still on their way
        with closing(sqlite3.connect(self.rig.centre / "history.db")) as db:
            query = "SELECT count(*) FROM segment WHERE store = ?"
            status = self.rig.ask("status")
            held = db.execute(query, (status["store"],)).fetchone()[0]
        with closing(sqlite3.connect(self.rig.edge_data / "store.db")) as db:
            given = db.execute("SELECT next_seq FROM state").fetchone()[0] - 1
        # Read in this order the claim is too low when a segment is sealed in between, never too high.
        claimed = given - self.rig.ask("status")["health"]["unsent_segments"]
        if claimed > held:
            raise AssertionError(
                f"the gateway took {claimed} segments for receipted, the centre holds {held}"
            )
        self.done["  receipts held against the databases"] += 1

    def _maybe_copy(self) -> None:
        if self.rng.random() < 0.4:
            folder = self.rig.folder / f"copy-{len(self.copies)}"
            self.rig.back_up(folder)
            self.copies.append(Copy(folder, now_us()))

    def kill_web(self) -> None:
        self.rig.web.kill()
        self._restart(self.rig.web)

    def kill_broker(self) -> None:
        self.rig.broker.restart(empty=True)

    def kill_both(self) -> None:
        self._kill(self.rig.edge)
        self._kill(self.rig.ingest)
        self._restart(self.rig.ingest)
        self._restart(self.rig.edge)

    def cut_link(self) -> None:
        self.rig.link.cut()
        self._pause(0.2, 2.0)
        self.rig.link.mend()

    def half_open_link(self) -> None:
        self.rig.link.stall()
        self._pause(0.5, 2.0)
        if self.rng.random() < 0.5:
            self.rig.link.reset()
        self.rig.link.mend()

    def delay_link(self) -> None:
        self.rig.link.delay_s = self.rng.uniform(0.01, 0.1)

    def mistreat_receipts(self) -> None:
        self.rig.link.receipts = Mistreated(*(self.rng.uniform(0.1, 0.33) for _ in range(3)))
        self._pause(0.5, 2.0)

    def forget_records(self) -> None:
        """What a broker does that is killed between PUBACK and delivery."""
        self.rig.link.records = Mistreated(drop=self.rng.uniform(0.2, 0.9))
        self._pause(0.3, 1.5)
        self.rig.link.records = FAIR
        if self.rng.random() < 0.8:
            self.rig.link.reset()

    def restore_centre(self) -> None:
        self.rig.ingest.kill()
        self.rig.web.kill()
        copy = self.rng.choice(self.copies[-4:])
        self.rig.restore(copy.folder)
        self.restored_us.append(copy.made_us)
        self.claims_hold = False
        self.is_suspect = True
        self._restart(self.rig.ingest)
        self._restart(self.rig.web)

    def swap_store(self) -> None:
        """Another card in the gateway: a fresh one, or one that was in it before."""
        known = [*self.away, *([""] if len(self.away) + 1 < STORES_MAX else [])]
        self._swap(self.rng.choice(known))

    def _swap(self, into: str) -> None:
        ended_us = self.rig.edge.kill()
        self.claims_hold = False
        self.gaps.append(Gap(ended_us, "swap"))
        out = self.rig.folder / f"{self.store}-away"
        self.rig.swap_store(out, self.away.pop(into, None))
        self.away[self.store] = out
        self.drained_us.pop(self.store, None)
        self.stays[-1] = self.stays[-1]._replace(to_us=ended_us)
        self.store = into or f"store-{len({stay.store for stay in self.stays})}"
        self.stays.append(Stay(self.store, ended_us + 1, oracle.TO_US))
        self._restart(self.rig.edge)

    def restart_plant(self) -> None:
        self.gaps.append(Gap(self.rig.plant.stop(), "plant"))
        self._pause(0.0, 0.5)
        self.rig.plant.start()


FAULTS: Final[dict[str, Callable[[Rounds], None]]] = {
    "the gateway is killed": Rounds.kill_edge,
    "the gateway is stopped": Rounds.stop_edge,
    "ingest is killed": Rounds.kill_ingest,
    "gateway and ingest are killed": Rounds.kill_both,
    "web is killed": Rounds.kill_web,
    "the broker is killed and comes back empty": Rounds.kill_broker,
    "the link is cut": Rounds.cut_link,
    "the link is half open": Rounds.half_open_link,
    "the link is slow": Rounds.delay_link,
    "receipts are dropped, doubled and reordered": Rounds.mistreat_receipts,
    "the broker forgets records it confirmed": Rounds.forget_records,
    "an old copy of the centre is restored": Rounds.restore_centre,
    "the gateway's store is swapped": Rounds.swap_store,
    "the plant restarts": Rounds.restart_plant,
}
