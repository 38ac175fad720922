"""What lies below a node: objects and variables, with the address a signal of theirs would have.

Source: OPC 10000-4, 5.9 (Browse), OPC 10000-3, 5.6 (Variable).
"""

from collections.abc import Sequence
from typing import Final

from asyncua import ua

from contract.model.signal import DataType
from edge.drivers.driver import AddressError, Node
from edge.drivers.opcua.decode import FLOATS, INTEGER_RANGE
from edge.drivers.opcua.link import Link, Refused
from edge.drivers.opcua.settings import node_name

TEXTS: Final = frozenset({ua.VariantType.String, ua.VariantType.LocalizedText, ua.VariantType.DateTime})
ABSTRACT: Final = {
    26: ua.VariantType.Double,  # Number
    27: ua.VariantType.Int64,  # Integer
    28: ua.VariantType.UInt64,  # UInteger
    29: ua.VariantType.Int32,  # Enumeration
    290: ua.VariantType.Double,  # Duration
    294: ua.VariantType.DateTime,  # UtcTime
}
"""Data types of namespace 0 that are not built in. Source: OPC 10000-5, NodeIds."""

WRITABLE: Final = 0x02
"""CurrentWrite, of AccessLevel."""


async def below(link: Link, node: str | None) -> Sequence[Node]:
    """Children of a node, of the Objects folder for None.

    Raises:
        AddressError: no such node. ConnectionLost, DriverError.
    """
    parent = _parent(link, node)
    found = await _references(link, parent, node or "Objects")
    variables = [one for one in found if one.NodeClass is ua.NodeClass.Variable]
    ids = [_local(one) for one in variables]
    types = await link.read(ids, ua.AttributeIds.DataType)
    access = await link.read(ids, ua.AttributeIds.UserAccessLevel)
    of = {id(one): (types[i], access[i]) for i, one in enumerate(variables)}
    nodes = []
    for one in found:
        name = link.named(_local(one))
        label = one.DisplayName.Text or one.BrowseName.Name or name
        if id(one) not in of:
            nodes.append(Node(name, label, has_children=True))
            continue
        declared, level = of[id(one)]
        type_ = data_type(variant_type(declared.Value.Value if declared.Value is not None else None))
        bits = level.Value.Value if level.Value is not None else None
        nodes.append(
            Node(
                name,
                label,
                address={"node": name} if type_ is not None else None,
                type=type_,
                writable=isinstance(bits, int) and bool(bits & WRITABLE),
            )
        )
    return nodes


def _parent(link: Link, node: str | None) -> ua.NodeId:
    if node is None:
        return ua.NodeId(ua.Int32(ua.ObjectIds.ObjectsFolder))
    name = node_name(node)
    found = link.node_id(name) if name is not None else None
    if found is None:
        raise AddressError(f"{node!r} is no node of this server; e.g. nsu=urn:maker:plc;s=Pump")
    return found


async def _references(link: Link, parent: ua.NodeId, said: str) -> list[ua.ReferenceDescription]:
    wanted = ua.BrowseDescription()
    wanted.NodeId = parent
    wanted.BrowseDirection = ua.BrowseDirection.Forward
    wanted.ReferenceTypeId = ua.NodeId(ua.Int32(ua.ObjectIds.HierarchicalReferences))
    wanted.IncludeSubtypes = True
    wanted.NodeClassMask = ua.UInt32(ua.NodeClass.Object | ua.NodeClass.Variable)
    wanted.ResultMask = ua.UInt32(ua.BrowseResultMask.All)
    parameters = ua.BrowseParameters()
    parameters.NodesToBrowse = [wanted]
    found: list[ua.ReferenceDescription] = []
    session = link.client.uaclient.session
    try:
        (result,) = await link.ask(session.browse(parameters))
        while True:
            if not result.StatusCode.is_good():
                raise Refused(result.StatusCode.value)
            found += result.References or []
            if not result.ContinuationPoint:
                break
            more = ua.BrowseNextParameters()
            more.ContinuationPoints = [result.ContinuationPoint]
            (result,) = await link.ask(session.browse_next(more))
    except Refused as err:
        raise AddressError(f"{said}: {err}") from err
    return found


def _local(one: ua.ReferenceDescription) -> ua.NodeId:
    expanded = one.NodeId
    return ua.NodeId(expanded.Identifier, expanded.NamespaceIndex, expanded.NodeIdType)


def variant_type(declared: object) -> ua.VariantType | None:
    """The built-in type of a DataType node; None where only its server knows."""
    if (
        not isinstance(declared, ua.NodeId)
        or declared.NamespaceIndex
        or not isinstance(declared.Identifier, int)
    ):
        return None
    if declared.Identifier in ABSTRACT:
        return ABSTRACT[declared.Identifier]
    try:
        return ua.VariantType(declared.Identifier)
    except ValueError:
        return None


def data_type(kind: ua.VariantType | None) -> DataType | None:
    """What a signal of such a node would be; None where it cannot be one."""
    if kind is ua.VariantType.Boolean:
        return DataType.BOOLEAN
    if kind in INTEGER_RANGE:
        return DataType.INTEGER
    if kind in FLOATS:
        return DataType.FLOAT
    return DataType.TEXT if kind in TEXTS else None
