"""`python -m aggregator user`: accounts, from the command line of the server.

    user add anna --role operator          asks for the password; or one line on standard input
    user list                              who there is
    user password anna                     set a new password, ending all sessions
    user role anna viewer                  change what somebody may, ending all sessions
    user disable anna                      shut out at once; `user enable anna` lets in again
    user end-sessions anna                 sign out everywhere, scripts too
    user token anna --days 365             a token for a script, shown once
    user link --port 8080                  a new link to the first run
    user link anna --port 8080             a link that signs in, as when a password is lost

Exit code 0 done, 1 refused with the reason on standard error, 2 usage. No password is ever an
argument: other users of the machine could read it.
"""

import argparse
import getpass
import sys
from pathlib import Path
from typing import Final

import msgspec

from aggregator.accounts.account import Account, Role
from aggregator.accounts.entry import link
from aggregator.accounts.rules import (
    PASSWORD_MAX,
    PASSWORD_MIN,
    AccountError,
    Fault,
    PasswordRefused,
    checked_name,
    password_faults,
)
from aggregator.accounts.service import Accounts
from aggregator.accounts.start import login_name
from aggregator.config import DataFolder
from aggregator.db.migrate import NewerData, open_databases
from aggregator.scope import Right, Scope, process

EXAMPLES: Final = (__doc__ or "").split("\n\n")[1]
FAULTS: Final = {
    Fault.SHORT: f"it is shorter than {PASSWORD_MIN} characters",
    Fault.LONG: f"it is longer than {PASSWORD_MAX} characters",
    Fault.MONOTONOUS: "it uses too few different characters",
    Fault.COMMON: "it is one that is tried first",
    Fault.NAME: "it contains the name",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `user`, for the parser of the whole program."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"examples:\n{EXAMPLES}"
    parser.add_argument("--data", type=Path, default=Path("data"), help="data folder (default: data)")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, text: str, *, named: bool = True) -> argparse.ArgumentParser:
        of_action = actions.add_parser(name, help=text, description=text)
        if named:
            of_action.add_argument("name", metavar="NAME")
        return of_action

    roles = [role.value for role in Role]
    add = action("add", "make an account; asks for its password")
    add.add_argument("--role", choices=roles, default=Role.OPERATOR.value, help="(default: %(default)s)")
    add.add_argument("--display-name", default="", metavar="TEXT", help="shown instead of the name")
    add.add_argument("--language", choices=["", "de", "en"], default="", help="of the pages")
    add.add_argument("--no-password", action="store_true", help="for scripts: nobody signs in by password")
    action("list", "who there is", named=False)
    action("password", "set a new password, ending all sessions")
    action("role", "change what somebody may, ending all sessions").add_argument("role", choices=roles)
    action("disable", "shut somebody out at once")
    action("enable", "let somebody in again")
    action("end-sessions", "sign somebody out everywhere, scripts too")
    token = action("token", "make a token for a script; it is shown once")
    token.add_argument("--days", type=_days, default=365, help="until it ends (default: %(default)s)")
    token.add_argument("--label", default="", metavar="TEXT", help="what it is for")
    of_link = action("link", "make a link to the first run, or one that signs in", named=False)
    of_link.add_argument("name", metavar="NAME", nargs="?", help="whom it signs in")
    of_link.add_argument("--port", type=int, default=8080, help="of the server (default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; gives the exit code."""
    if not DataFolder(arguments.data).main.exists() and arguments.action not in {"add", "link"}:
        print(f"user: {arguments.data} holds no accounts; is it the server's data folder?", file=sys.stderr)
        return 1
    try:
        databases = open_databases(DataFolder(arguments.data))
    except NewerData as error:
        print(f"user: {error}", file=sys.stderr)
        return 1
    scope = process(f"user command of {login_name()}", {Right.ACCOUNTS})
    try:
        _do(arguments, Accounts(databases), scope)
    except PasswordRefused as error:
        why = ", ".join(FAULTS[fault] for fault in error.faults)
        print(f"user: the password will not do: {why}", file=sys.stderr)
        return 1
    except (AccountError, _NotTyped) as error:
        print(f"user: {error}", file=sys.stderr)
        return 1
    finally:
        databases.dispose()
    return 0


def _do(arguments: argparse.Namespace, accounts: Accounts, scope: Scope) -> None:
    name: str = getattr(arguments, "name", None) or ""
    match arguments.action:
        case "list":
            _list(arguments, accounts.listed(scope))
            return
        case "token":
            token = accounts.new_token(scope, name, arguments.days, arguments.label)
            _say(arguments, {"token": token}, token)
            return
        case "link":
            key = accounts.sign_in_link(scope, name) if name else accounts.first_run_link()
            address = link("127.0.0.1", arguments.port, key)
            _say(arguments, {"link": address}, address)
            return
        case "add":
            password = None if arguments.no_password else _typed_password(checked_name(name))
            role = Role(arguments.role)
            accounts.add(
                scope,
                name,
                password,
                role,
                display_name=arguments.display_name,
                language=arguments.language,
            )
            done = f"{name} is {role}"
        case "password":
            accounts.set_password(scope, name, _typed_password(checked_name(name)))
            done = f"{name} has a new password and is signed out everywhere"
        case "role":
            accounts.set_role(scope, name, Role(arguments.role))
            done = f"{name} is {arguments.role} and signs in anew"
        case "disable" | "enable":
            accounts.set_disabled(scope, name, is_disabled=arguments.action == "disable")
            done = f"{name} is {arguments.action}d"
        case _:
            ended = accounts.end_sessions(scope, name)
            done = f"{ended} sessions of {name} ended"
    _say(arguments, {"done": done}, done)


class _NotTyped(ValueError):
    """No password came, or two different ones."""


def _typed_password(name: str) -> str:
    """From a prompt, twice; or the first line of standard input if that is no terminal."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise _NotTyped("no password on standard input; give it as one line, or run this in a terminal")
        return line.rstrip("\r\n")
    password = getpass.getpass(f"Password of {name}: ")
    faults = password_faults(password, name)
    if faults:
        raise PasswordRefused(faults)
    if getpass.getpass("Once more: ") != password:
        raise _NotTyped("the two passwords are not the same")
    return password


def _list(arguments: argparse.Namespace, found: list[Account]) -> None:
    machine = [
        {
            "name": one.name,
            "display_name": one.display_name,
            "role": one.role,
            "disabled": one.is_disabled,
            "has_password": bool(one.password),
            "signed_in_us": one.signed_in_us,
        }
        for one in found
    ]
    lines = [
        f"{one.name:24} {one.role:9} {one.display_name}{'  (disabled)' if one.is_disabled else ''}"
        for one in found
    ]
    _say(arguments, machine, "\n".join(lines) or "nobody has an account yet")


def _days(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 3650:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days, 1 to 3650")
    return int(text)


def _say(arguments: argparse.Namespace, machine: object, human: str) -> None:
    print(msgspec.json.encode(machine).decode() if arguments.json else human)
