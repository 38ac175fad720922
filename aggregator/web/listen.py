"""Where the pages may be listened on, and by which names they are reached there."""

import socket
from collections.abc import Sequence
from contextlib import closing, suppress
from ipaddress import ip_address
from typing import NamedTuple


class ListenRefused(ValueError):
    """The address must not be listened on."""


class Listen(NamedTuple):
    """One address and port."""

    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it: there alone clear text is spoken."""
        return self.address == "localhost" or ip_address(self.address).is_loopback


def checked_listen(text: str) -> Listen:
    """Address and port of an option.

    Raises:
        ListenRefused: no address with a port.
    """
    address, port = host_and_port(text)
    try:
        if address != "localhost":
            ip_address(address)
    except ValueError as error:
        raise ListenRefused(f"--listen {text}: {address!r} is no address; e.g. 127.0.0.1:8080") from error
    return Listen(address, port)


def host_and_port(text: str) -> tuple[str, int]:
    """Of an option.

    Raises:
        ListenRefused: it is no such pair.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ListenRefused(f"{text!r} is no ADDRESS:PORT; e.g. 127.0.0.1:8080")
    return host, int(port)


def reached_by(listen: Listen, hosts: Sequence[str]) -> list[str]:
    """Names and addresses by which the pages are reached, those given by --host first.

    An address that means all of them stands for what this machine calls itself and where it would
    send from; further ones are to be given.
    """
    found = [host.lower() for host in hosts]
    if listen.is_loopback:
        return found
    if not ip_address(listen.address).is_unspecified:
        return [*found, listen.address]
    name = socket.gethostname().lower()
    with suppress(OSError):  # a machine need not know its own address
        found += [str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None)]
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        # Connecting a datagram socket sends nothing; it only chooses the address to send from.
        with suppress(OSError), closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.connect((outside, 9))
            found.append(probe.getsockname()[0])
    # An underscore is allowed to a machine, not to a certificate.
    return list(dict.fromkeys([*found, name] if "_" not in name else found))


def account_first(listen: Listen, data: str) -> str:
    """Why the pages may not be listened on yet, and the ways out."""
    return (
        f"--listen {listen.address}:{listen.port}: nobody has an account yet, and the first is made on"
        f" loopback only. Start once with --listen 127.0.0.1:{listen.port} and open the link it prints,"
        f" or: python -m aggregator user --data {data} add NAME --role admin"
    )
