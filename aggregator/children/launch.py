"""Starts a program that cannot outlive the process that wanted it, under a lesser account if asked.

    python -I -S launch.py PARENT_PID UID:GID|- PROGRAM ARGUMENT…

Runs as a file of its own with the standard library alone, so that it costs little and
needs no rights on our folders. PROGRAM is a path: looking it up would need modules that the lesser
account may not be able to read. `aggregator.children.child` calls it; a child that forks workers uses
`die_with_parent` in each of them.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_OPEN_FILES = 65_536


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process as soon as its parent, `parent`, is gone.

    The wish survives exec but not a change of account, so it comes after that. Exits at once if
    the parent died before the wish was made.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit(f"the process {parent} that wanted this one is gone")


def become(uid: int, gid: int) -> None:
    """Give up the present account for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def allow_many_files() -> None:
    """Raise the soft limit of open files; the usual 1024 is fewer than a broker's gateways."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments: list[str]) -> None:
    """Become the program named in `arguments`; see the top of this file."""
    parent, account, *program = arguments
    allow_many_files()
    if account != "-":
        uid, gid = account.split(":")
        become(int(uid), int(gid))
    die_with_parent(int(parent))
    try:
        os.execv(program[0], program)  # noqa: S606 - replacing ourselves is the purpose
    except OSError as err:
        sys.exit(f"{program[0]}: {err.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
