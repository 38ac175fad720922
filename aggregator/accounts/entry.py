"""What whoever starts a server is told: the link that lets in, and the way to it from elsewhere."""

from collections.abc import Mapping


def address(host: str, port: int, *, is_https: bool = False) -> str:
    """Where the pages are."""
    host = f"[{host}]" if ":" in host else host
    return f"http{'s' if is_https else ''}://{host}:{port}/"


def link(host: str, port: int, key: str) -> str:
    """Address that lets in whoever opens it; printed for them and written nowhere else."""
    return f"{address(host, port)}enter?key={key}"


def tunnel(port: int, user: str, host: str, environment: Mapping[str, str]) -> str:
    """The ssh command that brings a port of this machine's loopback to another; empty with a screen.

    Args:
        port: on loopback, here and there.
        user: who started the server.
        host: this machine's own idea of its name.
        environment: a screen shows itself there; so does the address by which ssh was reached.
    """
    if environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        return ""
    # client address, client port, our address, our port
    connection = environment.get("SSH_CONNECTION", "").split()
    reached = connection[2] if len(connection) == 4 else host
    return f"ssh -L {port}:127.0.0.1:{port} {user}@{reached}"


def invitation(link: str, tunnel: str) -> str:
    """Both, as lines to print."""
    text = f"first run: open this link, it makes the first account (24 h, once):\n\n    {link}\n"
    if tunnel:
        text += f"\n  from another computer, first:\n\n    {tunnel}\n"
    return text
