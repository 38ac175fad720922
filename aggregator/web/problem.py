"""What a refused request gets: which parameter, which value, and the way out; as JSON or as text."""

import msgspec
from flask import Response, request


class Problem(ValueError):
    """A request cannot be answered; becomes the answer by itself."""

    def __init__(self, text: str, *, status: int = 400, parameter: str = "", value: str = "") -> None:
        super().__init__(text)
        self.text, self.status, self.parameter, self.value = text, status, parameter, value


def problem(status: int, text: str, *, parameter: str = "", value: str = "") -> Response:
    """The answer for machines below /api/ and to sockets, plain text elsewhere."""
    if request.path.startswith("/api/"):
        error = {"parameter": parameter, "value": value[:200], "text": text}
        return Response(msgspec.json.encode({"error": error}), status, mimetype="application/json")
    return Response(text + "\n", status, mimetype="text/plain")
