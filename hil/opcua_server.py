"""The plant once more, on a real OPC UA server beside the Modbus one: same values, same set points.

Started by `plant.py` with `--opcua-port`. Values are in their units, no registers and no scale;
a node's name is its point's: `nsu=urn:feldwarte:hil:plant;s=heat`. Its source time is when the
replay reached the line, or when a set point was written.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

from asyncua import Server, ua
from asyncua.common.utils import ServiceError

from hil.plant import Plant
from hil.points import PlantMap, Point

URI: Final = "urn:feldwarte:hil:plant"
LOOK_S: Final = 0.1
"""How often the plant is looked at; what differs is told."""

TYPES: Final = {
    "bool": ua.VariantType.Boolean,
    "int16": ua.VariantType.Int16,
    "uint16": ua.VariantType.UInt16,
    "int32": ua.VariantType.Int32,
    "uint32": ua.VariantType.UInt32,
    "float32": ua.VariantType.Double,
}


def variant_type(point: Point) -> ua.VariantType:
    """What a point's node is: a Double where it is no whole number in its unit."""
    return ua.VariantType.Double if point.divisor > 1 else TYPES[point.type]


def variant(point: Point, value: float) -> ua.Variant:
    """A point's value as its node shows it."""
    kind = variant_type(point)
    if kind is ua.VariantType.Boolean:
        return ua.Variant(value != 0, kind)
    if kind is ua.VariantType.Double:
        return ua.Variant(float(value), kind)
    return ua.Variant(round(value), kind)


class Nodes:
    """The plant's nodes, kept at its values."""

    def __init__(self, plant: Plant, line: Callable[[], int]) -> None:
        self._plant = plant
        self._line = line
        self._nodes: dict[str, Any] = {}
        self._shown: dict[str, float] = {}

    async def add(self, server: Server, plant_map: PlantMap) -> None:
        """Make them: a folder per unit, a variable per point."""
        index = ua.Int16(await server.register_namespace(URI))
        line = self._line()
        for unit in plant_map.unit:
            folder_id = ua.NodeId(ua.String(unit.name), index)
            folder = await server.nodes.objects.add_folder(folder_id, ua.QualifiedName(unit.name, index))
            for point in plant_map.point:
                if point.unit_id != unit.id:
                    continue
                value = self._plant.value(point.name, line)
                node = await folder.add_variable(
                    ua.NodeId(ua.String(point.name), index),
                    ua.QualifiedName(point.name, index),
                    variant(point, value),
                )
                self._nodes[point.name] = node
                if point.is_writable:
                    await node.set_writable()
                    server.iserver.aspace.set_attribute_value_setter(
                        node.nodeid,
                        ua.AttributeIds.Value,
                        self._written(point),  # type: ignore[arg-type]  # it is called with the value, too
                    )
        await self.show()

    def _written(self, point: Point) -> Callable[[Any, ua.AttributeIds, ua.DataValue], None]:
        """Takes over what a client writes, or refuses it."""

        def take(node: Any, attribute: ua.AttributeIds, written: ua.DataValue) -> None:
            assert written.Value is not None
            value = float(written.Value.Value)
            if not point.minimum <= value <= point.maximum:
                raise ServiceError(ua.StatusCodes.BadOutOfRange)
            self._plant.set_points[point.name] = value
            self._shown[point.name] = value
            node.attributes[attribute].value = written

        return take

    async def show(self) -> None:
        """Tell what differs from what was told."""
        line = self._line()
        moment = datetime.now(UTC)
        now = ua.DateTime(
            moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second,
            moment.microsecond, UTC,
        )  # fmt: skip
        for name, node in self._nodes.items():
            value = self._plant.value(name, line)
            if self._shown.get(name) == value:
                continue
            self._shown[name] = value
            await node.write_value(
                ua.DataValue(
                    variant(self._plant.points[name], value), SourceTimestamp=now, ServerTimestamp=now
                )
            )

    async def keep(self) -> None:
        """Follow the plant for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.show()


@asynccontextmanager
async def serving(
    plant_map: PlantMap, plant: Plant, line: Callable[[], int], port: int
) -> AsyncIterator[None]:
    """The plant on the loopback interface, unsecured.

    Raises:
        OSError: the port is taken.
    """
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_server_name(plant_map.name)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    nodes = Nodes(plant, line)
    await nodes.add(server, plant_map)
    async with server:
        keeping = asyncio.create_task(nodes.keep())
        try:
            yield
        finally:
            keeping.cancel()
