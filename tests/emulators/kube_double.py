#!/usr/bin/env python3
"""A double of the Kubernetes API server for tests: plain HTTP on loopback, objects in memory.

    kube_double.py [--port 0] [--kubeconfig PATH] [--context NAME] [--token TOKEN] [--deny RULE]...

The first line on stdout is `Running on http://127.0.0.1:PORT`; SIGTERM and SIGINT end it.

It serves only what Bailiwick calls: discovery, namespaces, service accounts, claims, pods,
config maps, deployments and InferenceService, with GET, LIST, POST, PUT, PATCH (apply, merge, strategic merge,
JSON) and DELETE. Its promises are in kube_contract.py, which a real kube-apiserver passes as well. There is no
watch, no OpenAPI document and no YAML body. Like a server without controllers it leaves a deleted namespace
in Terminating and a deleted claim behind its finalizer; --controllers finishes both at once and gives each
new namespace its `default` service account.

Beside the Kubernetes API:
    POST /bailiwick/pages   {"most": N, "expire": false}: no page has more than N entries if a limit was asked for, 0 for as
                            many as the limit says; with `expire` every continue token is answered with 410 Expired

Server-side apply follows https://kubernetes.io/docs/reference/using-api/server-side-apply/ and the merge rules of
sigs.k8s.io/structured-merge-diff.
"""

import argparse
import base64
import collections
import copy
import dataclasses
import http.server
import json
import random
import re
import signal
import sys
import threading
import time
import traceback
import urllib.parse
import uuid

from kube_apiserver import INFERENCE_SERVICE, kubeconfig, write_private

VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"}
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
SNAPSHOTS_KEPT = 256
POLICY_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}
ANNOTATIONS_LIMIT = 256 * 1024
FIELD_MANAGER_LIMIT = 128
MISSING = object()


# --- Refusals: the Status objects of the real server -------------------------------------------------------


class Refusal(Exception):
    """An error response: HTTP code and the Status object's reason, message and details."""

    def __init__(self, code, reason, message, details=None, list_meta=None):
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": list_meta or {},
            "status": "Failure",
            "message": message,
            "code": code,
        }
        if reason:
            self.status["reason"] = reason
        if details is not None:
            self.status["details"] = details


def resource_details(kind, name=None):
    details = {"group": kind.group, "kind": kind.plural}
    return {key: value for key, value in {**details, "name": name}.items() if value}


def bad_request(message):
    return Refusal(400, "BadRequest", message)


def not_found(kind, name):
    return Refusal(404, "NotFound", f'{kind.resource} "{name}" not found', resource_details(kind, name))


def no_such_resource():
    return Refusal(404, "NotFound", "the server could not find the requested resource", {})


def stale(
    kind, name, why="the object has been modified; please apply your changes to the latest version and try again"
):
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return Refusal(409, "Conflict", message, resource_details(kind, name))


def precondition_failed(kind, name, why):
    """The real server names the kind here, not the resource."""
    message = f'Operation cannot be fulfilled on {kind.qualified_kind} "{name}": {why}'
    details = {"name": name, "group": kind.group, "kind": kind.kind}
    return Refusal(409, "Conflict", message, {key: value for key, value in details.items() if value})


def unsupported_media_type(accepted):
    text = "the body of the request was in an unknown format - accepted media types include: "
    return Refusal(415, "UnsupportedMediaType", text + ", ".join(accepted))


def invalid(kind, group, name, causes):
    """422 from a list of (field, reason, message)."""
    qualified = f"{kind}.{group}" if group else kind
    texts = [f"{field}: {message}" for field, _, message in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {
        "name": name,
        "group": group,
        "kind": kind,
        "causes": [{"reason": reason, "message": message, "field": field} for field, reason, message in causes],
    }
    details = {key: value for key, value in details.items() if value}
    return Refusal(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details)


def invalid_value(field, value, why):
    shown = json.dumps(value) if isinstance(value, str) else value
    return field, "FieldValueInvalid", f"Invalid value: {shown}: {why}"


def required_value(field, why=""):
    return field, "FieldValueRequired", "Required value" + (f": {why}" if why else "")


def unsupported_value(field, value, supported):
    shown = ", ".join(json.dumps(choice) for choice in supported)
    return field, "FieldValueNotSupported", f"Unsupported value: {value}: supported values: {shown}"


# --- Types: what a field is, for checking, merging and ownership ---------------------------------------------


@dataclasses.dataclass(frozen=True)
class Type:
    """One type of the schema. `atomic` values are owned and replaced as a whole."""

    shape: str  # scalar, struct, map, list
    accepts: str = "any"  # scalars: string, integer, boolean, quantity, any
    fields: dict = dataclasses.field(default_factory=dict)  # structs
    open: bool = False  # structs: fields beside `fields` are kept
    of: "Type" = None  # maps and lists
    keys: tuple = ()  # lists merged by these keys
    is_set: bool = False  # lists merged by value
    atomic: bool = False


STRING = Type("scalar", "string")
INTEGER = Type("scalar", "integer")
BOOLEAN = Type("scalar", "boolean")
QUANTITY = Type("scalar", "quantity")
SCALAR = Type("scalar")
ANY_MAP = Type("map")
ANY_LIST = Type("list", atomic=True)


def struct(_open=False, _atomic=False, **fields):
    return Type("struct", fields=fields, open=_open, atomic=_atomic)


def map_of(of, atomic=False):
    return Type("map", of=of, atomic=atomic)


def list_of(of, *keys, is_set=False):
    return Type("list", of=of, keys=keys, is_set=is_set, atomic=not keys and not is_set)


def resolved(kind, value):
    """A field outside the schema has the type its value shows."""
    if kind is not None:
        return kind
    if isinstance(value, dict):
        return ANY_MAP
    return ANY_LIST if isinstance(value, list) else SCALAR


def from_openapi(schema):
    """The type of an OpenAPI v3 schema in a custom resource definition."""
    shape = schema.get("type")
    if shape == "object":
        fields = {name: from_openapi(part) for name, part in schema.get("properties", {}).items()}
        return Type("struct", fields=fields, open=schema.get("x-kubernetes-preserve-unknown-fields", False))
    if shape == "array":
        return list_of(from_openapi(schema["items"]))
    return Type("scalar", shape)


def fits(accepts, value):
    if accepts == "any":
        return not isinstance(value, (dict, list))
    if accepts == "string":
        return isinstance(value, str)
    if accepts == "boolean":
        return isinstance(value, bool)
    if accepts == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def check(kind, value, path=""):
    """([(path, expected, value)] of wrong types, [path] of unknown fields)."""
    wrong, unknown = [], []
    kind = resolved(kind, value)
    if value is None:
        return wrong, unknown
    if kind.shape == "scalar":
        if not fits(kind.accepts, value):
            wrong.append((path, kind.accepts, value))
    elif kind.shape == "list":
        if not isinstance(value, list):
            return [(path, "list", value)], []
        for index, member in enumerate(value):
            deeper = check(kind.of, member, f"{path}[{index}]")
            wrong += deeper[0]
            unknown += deeper[1]
    elif not isinstance(value, dict):
        wrong.append((path, "map", value))
    else:
        for name, member in value.items():
            at = f"{path}.{name}"
            if kind.shape == "struct" and name not in kind.fields and not kind.open:
                unknown.append(at)
                continue
            deeper = check(kind.fields.get(name) if kind.shape == "struct" else kind.of, member, at)
            wrong += deeper[0]
            unknown += deeper[1]
    return wrong, unknown


def pruned(kind, value):
    """`value` without the fields its type does not know."""
    kind = resolved(kind, value)
    if isinstance(value, dict) and kind.shape == "struct":
        known = {name: part for name, part in value.items() if kind.open or name in kind.fields}
        return {name: pruned(kind.fields.get(name), part) for name, part in known.items()}
    if isinstance(value, dict) and kind.shape == "map":
        return {name: pruned(kind.of, part) for name, part in value.items()}
    if isinstance(value, list) and kind.shape == "list":
        return [pruned(kind.of, part) for part in value]
    return value


def omit_empty(kind, value):
    """What a round through the server's own structs leaves of a value: no nulls, no empty maps or lists."""
    kind = resolved(kind, value)
    if kind.shape == "struct" and isinstance(value, dict):
        kept = {}
        for name, part in value.items():
            of = kind.fields.get(name)
            part = omit_empty(of, part)
            if part is None or (of and of.shape in ("map", "list") and not part):
                continue
            kept[name] = part
        return kept
    if kind.shape == "map" and isinstance(value, dict) and kind.of is STRING:
        return {name: "" if part is None else part for name, part in value.items()}
    if kind.shape == "list" and isinstance(value, list):
        return [omit_empty(kind.of, part) for part in value]
    return value


# --- Field sets: who owns which path -------------------------------------------------------------------------
#
# A path is a tuple of elements: ("f", name), ("k", JSON of the key fields) or ("v", JSON of a set's member).


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def path_text(path):
    texts = []
    for tag, text in path:
        if tag == "f":
            texts.append(f".{text}")
        elif tag == "k":
            pairs = sorted(json.loads(text).items())
            texts.append("[" + ",".join(f"{name}={json.dumps(value)}" for name, value in pairs) + "]")
        else:
            texts.append(f"[={text}]")
    return "".join(texts)


def reading_order(path):
    """The real server names the fields of a map before it goes into its deeper ones."""
    return [(depth < len(path) - 1, element) for depth, element in enumerate(path)]


def fields_v1(paths):
    root = {}
    for path in sorted(paths):
        node = root
        for tag, text in path:
            node = node.setdefault(f"{tag}:{text}", {})
        node["."] = {}
    return without_lone_dots(root)


def without_lone_dots(node):
    """A member without children is written `{}`; the dot marks only a member that has children."""
    children = {name: without_lone_dots(part) for name, part in node.items() if name != "."}
    return {".": {}, **children} if "." in node and children else children


def from_fields_v1(node, path=()):
    paths = set()
    for name, part in node.items():
        if name == ".":
            paths.add(path)
            continue
        at = path + (tuple(name.split(":", 1)),)
        if not part:
            paths.add(at)
        paths |= from_fields_v1(part, at)
    return paths


def members(kind, value):
    """(element, type, value, is a named field) of everything inside a map or a merged list."""
    if kind.shape == "list":
        for part in value or ():
            yield list_element(kind, part), kind.of, part, False
        return
    for name, part in (value or {}).items():
        named = kind.shape == "struct" and name in kind.fields
        yield ("f", name), kind.fields[name] if named else kind.of, part, named


def list_element(kind, part):
    if kind.is_set:
        return ("v", canonical(part))
    return ("k", canonical({key: part.get(key) for key in kind.keys}))


def is_leaf(kind):
    return kind.shape == "scalar" or kind.atomic


def field_set(kind, value, path=()):
    """Every path in a configuration."""
    kind = resolved(kind, value)
    if is_leaf(kind):
        return {path}
    paths = set()
    for element, of, part, named in members(kind, value):
        at = path + (element,)
        paths |= field_set(of, part, at)
        if element[0] != "f" or part is None or part == {} or not named:
            paths.add(at)
    return paths


@dataclasses.dataclass
class Changes:
    added: set
    modified: set
    removed: set


def compare(kind, old, new, path=(), changes=None):
    """Which paths were added, removed and changed between two objects."""
    changes = Changes(set(), set(), set()) if changes is None else changes
    present = new if old is MISSING else old
    kind = resolved(kind, present)
    same_shape = MISSING in (old, new) or None in (old, new) or isinstance(old, type(new))
    empty = old in (MISSING, None, {}, []) and new in (MISSING, None, {}, [])
    if is_leaf(kind) or empty or not same_shape:
        if old is MISSING:
            changes.added.add(path)
        elif new is MISSING:
            changes.removed.add(path)
        elif old != new:
            changes.modified.add(path)
        if not same_shape:
            for value, side in ((old, changes.removed), (new, changes.added)):
                side |= {below for below in field_set(None, value, path) if below != path}
        return changes
    before = {member[0]: member for member in members(kind, None if old is MISSING else old)}
    after = {member[0]: member for member in members(kind, None if new is MISSING else new)}
    for element in {**before, **after}:
        _, of, left, _ = before.get(element, (None, None, MISSING, None))
        if element in after:
            of = after[element][1]
        right = after[element][2] if element in after else MISSING
        compare(of, left, right, path + (element,), changes)
    if old is MISSING:
        changes.added.add(path)
    elif new is MISSING:
        changes.removed.add(path)
    return changes


def merged(kind, live, config):
    """`live` merged with the fields of `config`."""
    kind = resolved(kind, config)
    if is_leaf(kind) or not isinstance(config, (dict, list)) or not isinstance(live, type(config)):
        return copy.deepcopy(config)
    if kind.shape == "list":
        by_element = {element: part for element, _, part, _ in members(kind, live)}
        for element, of, part, _ in members(kind, config):
            by_element[element] = merged(of, by_element.get(element), part)
        return list(by_element.values())
    result = dict(live)
    for (_, name), of, part, _ in members(kind, config):
        result[name] = merged(of, live.get(name), part)
    return result


def without(kind, value, paths, path=()):
    """`value` without the members at `paths`; null when a map or list becomes empty."""
    kind = resolved(kind, value)
    if is_leaf(kind) or not isinstance(value, (dict, list)):
        return value
    above = {taken[:length] for taken in paths for length in range(len(taken))}
    kept = []
    for element, of, part, _ in members(kind, value):
        at = path + (element,)
        if at in paths:
            continue
        kept.append((element, without(of, part, paths, at) if at in above else part))
    if kind.shape == "list":
        return [part for _, part in kept] or None
    return {name: part for (_, name), part in kept} or None


def with_named_fields(kind, paths):
    """`paths` and every struct field on the way to one of them."""
    result = set(paths)
    for path in paths:
        at = kind
        for depth, (tag, text) in enumerate(path[:-1]):
            if at is None:
                break
            if tag == "f" and at.shape == "struct":
                if text in at.fields:
                    result.add(path[: depth + 1])
                at = at.fields.get(text)
            else:
                at = at.of
    return result


# --- Field managers ------------------------------------------------------------------------------------------

UNOWNED = {(("f", name),) for name in ("apiVersion", "kind", "metadata")} | {
    (("f", "metadata"), ("f", name))
    for name in (
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    )
}


@dataclasses.dataclass(frozen=True)
class Manager:
    """Identifies a writer. An applier is the same one at every API version, an updater is not."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def identity(self):
        version = "" if self.operation == "Apply" else self.api_version
        return self.name, self.operation, version, self.subresource

    def text(self):
        """As the real server names it in a conflict."""
        text = json.dumps(self.name)
        if self.subresource:
            text += f" with subresource {json.dumps(self.subresource)}"
        return text if self.operation == "Apply" else f"{text} using {self.api_version}"


@dataclasses.dataclass
class Owned:
    manager: Manager
    paths: set
    time: str


def decode_managers(entries):
    owners = {}
    for entry in entries or ():
        manager = Manager(
            entry.get("manager", ""),
            entry.get("operation", "Update"),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        )
        paths = from_fields_v1(entry.get("fieldsV1") or {})
        owners[manager.identity()] = Owned(manager, paths, entry.get("time", ""))
    return owners


def encode_managers(owners):
    rows = sorted(
        owners.values(), key=lambda row: (row.manager.operation, row.time, row.manager.name, row.manager.api_version)
    )
    entries = []
    for row in rows:
        entry = {
            "manager": row.manager.name,
            "operation": row.manager.operation,
            "apiVersion": row.manager.api_version,
            "time": row.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields_v1(row.paths),
        }
        if row.manager.subresource:
            entry["subresource"] = row.manager.subresource
        entries.append(entry)
    return entries


def disown(owners, paths):
    for identity in list(owners):
        owners[identity].paths = owners[identity].paths - paths
        if not owners[identity].paths:
            del owners[identity]


def record_update(kind, old, new, owners, manager, now):
    """A plain write owns the changed fields; their previous owners lose them."""
    changes = compare(kind.type, old, new)
    taken = changes.added | changes.modified
    identity = manager.identity()
    former = set(owners[identity].paths) if identity in owners else None
    disown(owners, taken | changes.removed)
    own = (owners[identity].paths if identity in owners else set()) | (taken - UNOWNED)
    if not own:
        owners.pop(identity, None)
        return
    time_before = owners[identity].time if identity in owners else now
    owners[identity] = Owned(manager, own, time_before if own == former else now)


def apply_config(kind, live, config, owners, manager, force, now):
    """Server-side apply: the new object; `owners` is brought up to date. Refuses on conflict."""
    identity = manager.identity()
    last = owners.get(identity)
    result = merged(kind.type, live, config)
    claimed = field_set(kind.type, config)
    before = {key: set(row.paths) for key, row in owners.items()}
    owners[identity] = Owned(manager, claimed, last.time if last else now)
    if last:
        result = prune_dropped(kind, result, owners, last.paths)
    changes = compare(kind.type, live, result)
    taken = changes.added | changes.modified
    conflicts = [(row.manager, row.paths & taken) for key, row in owners.items() if key != identity]
    conflicts = [(who, paths) for who, paths in conflicts if paths]
    if conflicts and not force:
        raise conflict_refusal(conflicts)
    for key in [key for key in owners if key != identity]:
        owners[key].paths = owners[key].paths - taken
    disown(owners, changes.removed)
    if identity in owners:
        owners[identity].paths = owners[identity].paths - UNOWNED
        if not owners[identity].paths:
            del owners[identity]
    if identity in owners and (before != {key: row.paths for key, row in owners.items()} or result != live):
        owners[identity].time = now
    return result


def prune_dropped(kind, result, owners, last_paths):
    """Removes what this applier owned alone and no longer mentions."""
    last = with_named_fields(kind.type, last_paths)
    candidate = without(kind.type, result, last)
    everything = with_named_fields(kind.type, field_set(kind.type, result))
    owned = set()
    for row in owners.values():
        owned |= row.paths
    owned = with_named_fields(kind.type, owned)
    left = with_named_fields(kind.type, field_set(kind.type, candidate)) if candidate else set()
    candidate = without(kind.type, result, everything - (left | owned))
    left = with_named_fields(kind.type, field_set(kind.type, candidate)) if candidate else set()
    return without(kind.type, result, (everything - left) & last) or {}


def conflict_refusal(conflicts):
    rows = [(who.text(), [path_text(path) for path in sorted(paths, key=reading_order)]) for who, paths in conflicts]
    conflicts = sorted(rows)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
        for who, paths in conflicts
        for path in paths
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        parts = [
            line for who, paths in conflicts for line in [f"conflicts with {who}:", *(f"- {path}" for path in paths)]
        ]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(parts)
    return Refusal(409, "Conflict", message, {"causes": causes})


# --- Patches -------------------------------------------------------------------------------------------------


def merge_patch(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def strategic_patch(kind, target, patch):
    """A merge patch in which keyed lists merge by key and `$patch` deletes or replaces."""
    if isinstance(patch, list) and kind is not None and kind.shape == "list" and kind.keys:
        return strategic_list(kind, target or [], patch)
    if isinstance(patch, list) and kind is not None and kind.is_set:
        return [*(target or []), *(part for part in patch if part not in (target or []))]
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch")
    body = {name: value for name, value in patch.items() if not name.startswith("$")}
    if directive == "delete":
        return None
    result = dict(target) if isinstance(target, dict) and directive != "replace" else {}
    for name, value in body.items():
        of = None
        if kind is not None:
            of = kind.fields.get(name) if kind.shape == "struct" else kind.of
        value = None if value is None else strategic_patch(of, result.get(name), value)
        if value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def strategic_list(kind, target, patch):
    def key(part):
        return tuple(part.get(name) for name in kind.keys)

    if any(part == {"$patch": "replace"} for part in patch):
        return [part for part in patch if part != {"$patch": "replace"}]
    present = {key(part): part for part in target}
    added = []
    for part in patch:
        if not isinstance(part, dict) or None in key(part):
            raise bad_request(f"map: {part} does not contain declared merge key: {kind.keys[0]}")
        changed = strategic_patch(kind.of, present.get(key(part)), part)
        if key(part) in present:
            present[key(part)] = changed
        else:
            added.append(changed)
    return [part for part in (*added, *present.values()) if part is not None]


def json_patch(target, operations):
    """RFC 6902."""
    rejected = Refusal(422, "Invalid", "the server rejected our request due to an error in our request", {})
    try:
        for operation in operations:
            target = json_patch_step(target, operation)
    except (LookupError, ValueError, TypeError) as error:
        raise rejected from error
    return target


def json_patch_step(target, operation):
    op, path = operation["op"], pointer(operation["path"])
    if op == "test":
        if pointed(target, path) != operation.get("value"):
            raise ValueError(path)
        return target
    if op in ("move", "copy"):
        source = pointer(operation["from"])
        value = copy.deepcopy(pointed(target, source))
        target = json_patch_step(target, {"op": "remove", "path": operation["from"]}) if op == "move" else target
        return json_patch_step(target, {"op": "add", "path": operation["path"], "value": value})
    if op not in ("add", "remove", "replace"):
        raise ValueError(op)
    if not path:
        return operation["value"]
    target = copy.deepcopy(target)
    parent, last = pointed(target, path[:-1]), path[-1]
    if isinstance(parent, list):
        index = len(parent) if last == "-" and op == "add" else int(last)
        if not 0 <= index < len(parent) + (op == "add"):
            raise IndexError(index)
        parent[index : index + (op != "add")] = [] if op == "remove" else [operation["value"]]
    elif op == "add":
        parent[last] = operation["value"]
    else:
        del parent[last]
        if op == "replace":
            parent[last] = operation["value"]
    return target


def pointer(text):
    if text and not text.startswith("/"):
        raise ValueError(text)
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def pointed(target, path):
    for part in path:
        target = target[int(part)] if isinstance(target, list) else target[part]
    return target


# --- Kinds ---------------------------------------------------------------------------------------------------

META = struct(
    annotations=map_of(STRING),
    creationTimestamp=STRING,
    deletionGracePeriodSeconds=INTEGER,
    deletionTimestamp=STRING,
    finalizers=list_of(STRING, is_set=True),
    generateName=STRING,
    generation=INTEGER,
    labels=map_of(STRING),
    managedFields=list_of(struct(_open=True, manager=STRING, operation=STRING, fieldsV1=struct(_open=True))),
    name=STRING,
    namespace=STRING,
    ownerReferences=list_of(struct(_open=True, uid=STRING, name=STRING, kind=STRING, apiVersion=STRING), "uid"),
    resourceVersion=STRING,
    selfLink=STRING,
    uid=STRING,
)
NAME_REFERENCE = struct(name=STRING)
RESOURCES = struct(_open=True, limits=map_of(QUANTITY), requests=map_of(QUANTITY))
CONTAINER = struct(
    _open=True,
    name=STRING,
    image=STRING,
    imagePullPolicy=STRING,
    command=list_of(STRING),
    args=list_of(STRING),
    env=list_of(struct(_open=True, name=STRING, value=STRING), "name"),
    envFrom=list_of(struct(_open=True)),
    volumeMounts=list_of(struct(_open=True, name=STRING, mountPath=STRING), "mountPath"),
    resources=RESOURCES,
    securityContext=struct(_open=True),
)
POD_SPEC = struct(
    _open=True,
    serviceAccountName=STRING,
    serviceAccount=STRING,
    automountServiceAccountToken=BOOLEAN,
    nodeName=STRING,
    nodeSelector=map_of(STRING, atomic=True),
    containers=list_of(CONTAINER, "name"),
    initContainers=list_of(CONTAINER, "name"),
    volumes=list_of(struct(_open=True, name=STRING), "name"),
    imagePullSecrets=list_of(NAME_REFERENCE, "name"),
    securityContext=struct(_open=True),
)
STATUS = struct(_open=True, phase=STRING, conditions=list_of(struct(_open=True, type=STRING), "type"))
SELECTOR = struct(_atomic=True, matchLabels=map_of(STRING), matchExpressions=list_of(struct(_open=True)))
SERVICE_ACCOUNT = {
    "secrets": list_of(struct(_open=True, name=STRING), "name"),
    "imagePullSecrets": list_of(NAME_REFERENCE),
    "automountServiceAccountToken": BOOLEAN,
}
CLAIM_SPEC = struct(
    accessModes=list_of(STRING),
    dataSource=struct(_atomic=True, apiGroup=STRING, kind=STRING, name=STRING),
    dataSourceRef=struct(apiGroup=STRING, kind=STRING, name=STRING, namespace=STRING),
    resources=struct(limits=map_of(QUANTITY), requests=map_of(QUANTITY)),
    selector=SELECTOR,
    storageClassName=STRING,
    volumeAttributesClassName=STRING,
    volumeMode=STRING,
    volumeName=STRING,
)
DEPLOYMENT_SPEC = struct(
    _open=True,
    replicas=INTEGER,
    selector=SELECTOR,
    strategy=struct(_open=True, type=STRING, rollingUpdate=struct(_open=True)),
    template=struct(metadata=META, spec=POD_SPEC),
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One served resource. `blank` is the empty object a new one is compared with."""

    group: str
    version: str
    plural: str
    singular: str
    kind: str
    short_names: tuple
    type: Type
    blank: dict
    namespaced: bool = True
    custom_schema: dict = None  # the OpenAPI schema of a custom resource
    has_status: bool = True
    counts_generations: bool = False
    returns_deleted: bool = False
    selectable: tuple = ()
    defaults: object = lambda obj: None
    prepare: object = lambda obj: None  # what the server drops after ownership is recorded
    validate: object = lambda obj, old: []

    @property
    def resource(self):
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self):
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def api_version(self):
        return f"{self.group}/{self.version}" if self.group else self.version

    def patch_types(self):
        return [JSON_PATCH, MERGE, APPLY] if self.custom_schema else [JSON_PATCH, MERGE, STRATEGIC, APPLY]


def object_type(**fields):
    return struct(apiVersion=STRING, kind=STRING, metadata=META, **fields)


def namespace_defaults(obj):
    obj.setdefault("status", {}).setdefault("phase", "Active")
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]


def keep_secret_names(obj):
    """Only the names of a service account's secrets are stored."""
    if "secrets" in obj:
        obj["secrets"] = [{"name": secret["name"]} for secret in obj["secrets"] if secret.get("name")]


def claim_defaults(obj):
    spec = obj.setdefault("spec", {})
    spec.setdefault("volumeMode", "Filesystem")
    obj.setdefault("status", {}).setdefault("phase", "Pending")
    for amounts in spec.setdefault("resources", {}).values():
        for name, amount in amounts.items():
            amounts[name] = canonical_quantity(amount)


def canonical_quantity(amount):
    """`1024Mi` is stored as `1Gi`. https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/"""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?", str(amount))
    if not match:
        return str(amount)
    number, suffix = int(match[1]), match[2] or ""
    scale, step = (["Ki", "Mi", "Gi", "Ti", "Pi"], 1024) if "i" in suffix else (["", "k", "M", "G", "T", "P"], 1000)
    while number and number % step == 0 and suffix != scale[-1]:
        number, suffix = number // step, scale[scale.index(suffix) + 1]
    return f"{number}{suffix}"


QUANTITY_FORM = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?\d+)?")
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")


def claim_causes(obj, old):
    spec = obj["spec"]
    if old:
        before, after = copy.deepcopy(old["spec"]), copy.deepcopy(spec)
        if old.get("status", {}).get("phase") == "Bound":
            before["resources"].pop("requests", None)
            after["resources"].pop("requests", None)
        if before != after:
            why = "Forbidden: spec is immutable after creation except resources.requests for bound claims"
            return [("spec", "FieldValueForbidden", why)]
        return []
    causes = []
    if not spec.get("accessModes"):
        causes.append(required_value("spec.accessModes", "at least 1 access mode is required"))
    for mode in spec.get("accessModes", ()):
        if mode not in ACCESS_MODES:
            causes.append(unsupported_value("spec.accessModes", json.dumps(mode), ACCESS_MODES))
    if "storage" not in spec["resources"].get("requests", {}):
        causes.append(required_value("spec.resources[storage]"))
    return causes


def pod_spec_defaults(spec):
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    fixed = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    for name, value in fixed.items():
        spec.setdefault(name, value)
    for container in spec.get("containers", []) + spec.get("initContainers", []):
        tag = container.get("image", "").rsplit("/", 1)[-1].partition(":")[2]
        container.setdefault("imagePullPolicy", "Always" if tag in ("", "latest") else "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("resources", {})


def pod_defaults(obj):
    spec = obj.setdefault("spec", {})
    pod_spec_defaults(spec)
    spec.setdefault("enableServiceLinks", True)
    status = obj.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", "BestEffort")


def pod_spec_causes(spec, path):
    causes = [] if spec.get("containers") else [required_value(f"{path}.containers")]
    for index, container in enumerate(spec.get("containers", ())):
        for name in ("name", "image"):
            if not container.get(name):
                causes.append(required_value(f"{path}.containers[{index}].{name}"))
    return causes


def pod_causes(obj, old):
    if not old:
        return pod_spec_causes(obj["spec"], "spec")
    before, after = copy.deepcopy(old["spec"]), copy.deepcopy(obj["spec"])
    for spec in (before, after):
        spec.pop("activeDeadlineSeconds", None)
        spec.pop("tolerations", None)
        for container in spec.get("containers", []) + spec.get("initContainers", []):
            container.pop("image", None)
    why = "Forbidden: pod updates may not change fields other than the images, activeDeadlineSeconds and tolerations"
    return [] if before == after else [("spec", "FieldValueForbidden", why)]


def deployment_defaults(obj):
    spec = obj.setdefault("spec", {})
    for name, value in {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600}.items():
        spec.setdefault(name, value)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    pod_spec_defaults(spec.setdefault("template", {}).setdefault("spec", {}))
    obj.setdefault("status", {})


def deployment_causes(obj, old):
    spec = obj["spec"]
    wanted = spec.get("selector", {}).get("matchLabels", {})
    labels = spec["template"].get("metadata", {}).get("labels", {})
    causes = []
    if not spec.get("selector"):
        causes.append(required_value("spec.selector"))
    elif not wanted.items() <= labels.items():
        shown = "map[string]string{" + ", ".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in labels.items()) + "}"
        causes.append(
            invalid_value("spec.template.metadata.labels", Shown(shown), "`selector` does not match template `labels`")
        )
    if old and old["spec"].get("selector") != spec.get("selector"):
        causes.append(invalid_value("spec.selector", canonical(spec.get("selector")), "field is immutable"))
    return causes + pod_spec_causes(spec["template"]["spec"], "spec.template.spec")


class Shown:
    """A value that is already text as the server would print it."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


def schema_causes(schema, value, path=""):
    """The violations of a custom resource's OpenAPI schema in a value."""
    expected = schema.get("type")
    shape = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    got = shape.get(type(value), "null")
    if expected and got != expected and (expected, got) != ("number", "integer"):
        why = f'{path} in body must be of type {expected}: "{got}"'
        return [invalid_value(path, got, why)]
    causes = []
    if "minimum" in schema and value < schema["minimum"]:
        why = f"{path} in body should be greater than or equal to {schema['minimum']}"
        causes.append(invalid_value(path, value, why))
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        causes += [required_value(prefix + name) for name in schema.get("required", ()) if name not in value]
        for name, part in schema.get("properties", {}).items():
            if name in value:
                causes += schema_causes(part, value[name], prefix + name)
    return causes


def custom_kind(definition):
    spec, version = definition["spec"], definition["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    fields = {name: from_openapi(part) for name, part in schema["properties"].items()}
    return Kind(
        spec["group"],
        version["name"],
        spec["names"]["plural"],
        spec["names"]["singular"],
        spec["names"]["kind"],
        tuple(spec["names"]["shortNames"]),
        object_type(**fields),
        {},
        custom_schema=schema,
        counts_generations=True,
        validate=lambda obj, old: schema_causes(schema, obj),
    )


KINDS = [
    Kind(
        "",
        "v1",
        "namespaces",
        "namespace",
        "Namespace",
        ("ns",),
        object_type(spec=struct(finalizers=list_of(STRING)), status=STATUS),
        {"spec": {}, "status": {}},
        namespaced=False,
        returns_deleted=True,
        selectable=("status.phase",),
        defaults=namespace_defaults,
    ),
    Kind(
        "",
        "v1",
        "serviceaccounts",
        "serviceaccount",
        "ServiceAccount",
        ("sa",),
        object_type(**SERVICE_ACCOUNT),
        {},
        has_status=False,
        returns_deleted=True,
        prepare=keep_secret_names,
    ),
    Kind(
        "",
        "v1",
        "persistentvolumeclaims",
        "persistentvolumeclaim",
        "PersistentVolumeClaim",
        ("pvc",),
        object_type(spec=CLAIM_SPEC, status=STATUS),
        {"spec": {"resources": {}}, "status": {}},
        returns_deleted=True,
        defaults=claim_defaults,
        validate=claim_causes,
    ),
    Kind(
        "",
        "v1",
        "pods",
        "pod",
        "Pod",
        ("po",),
        object_type(spec=POD_SPEC, status=STATUS),
        {"spec": {"containers": None}, "status": {}},
        returns_deleted=True,
        defaults=pod_defaults,
        validate=pod_causes,
        selectable=(
            "spec.serviceAccountName",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "status.phase",
        ),
    ),
    Kind(
        "",
        "v1",
        "configmaps",
        "configmap",
        "ConfigMap",
        ("cm",),
        object_type(binaryData=map_of(STRING), data=map_of(STRING), immutable=BOOLEAN),
        {},
        has_status=False,
    ),
    Kind(
        "apps",
        "v1",
        "deployments",
        "deployment",
        "Deployment",
        ("deploy",),
        object_type(spec=DEPLOYMENT_SPEC, status=STATUS),
        {
            "spec": {"selector": None, "template": {"metadata": {}, "spec": {"containers": None}}, "strategy": {}},
            "status": {},
        },
        counts_generations=True,
        defaults=deployment_defaults,
        validate=deployment_causes,
    ),
    custom_kind(INFERENCE_SERVICE),
]
NAMESPACES, SERVICE_ACCOUNTS, CLAIMS, PODS = KINDS[:4]


# --- Validation common to all kinds --------------------------------------------------------------------------

LABEL_FORM = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN_FORM = rf"{LABEL_FORM}(\.{LABEL_FORM})*"
NAME_PART_FORM = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
VALUE_FORM = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
LABEL_WHY = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{LABEL_FORM}')"
)
SUBDOMAIN_WHY = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN_FORM}')"
)
NAME_PART_WHY = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{NAME_PART_FORM}')"
)
VALUE_WHY = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{VALUE_FORM}')"
)


def name_problems(name, form, why, limit):
    problems = [] if re.fullmatch(form, name) else [why]
    return problems + ([f"must be no more than {limit} characters"] if len(name) > limit else [])


def key_problems(key):
    """The rules for a label's or an annotation's key."""
    prefix, slash, name = key.rpartition("/")
    problems = []
    if slash:
        problems += [f"prefix part {why}" for why in name_problems(prefix, SUBDOMAIN_FORM, SUBDOMAIN_WHY, 253)]
    if not re.fullmatch(NAME_PART_FORM, name):
        problems.append(NAME_PART_WHY)
    return problems + (["name part must be no more than 63 characters"] if len(name) > 63 else [])


def meta_causes(kind, obj):
    meta = obj["metadata"]
    name = meta.get("name", "")
    if not name:
        return [required_value("metadata.name", "name or generateName is required")]
    rules = (SUBDOMAIN_FORM, SUBDOMAIN_WHY, 253) if kind.namespaced else (LABEL_FORM, LABEL_WHY, 63)
    causes = [invalid_value("metadata.name", name, why) for why in name_problems(name, *rules)]
    for key, value in meta.get("labels", {}).items():
        causes += [invalid_value("metadata.labels", key, why) for why in key_problems(key)]
        causes += [
            invalid_value("metadata.labels", value, why) for why in name_problems(value, VALUE_FORM, VALUE_WHY, 63)
        ]
    annotations = meta.get("annotations", {})
    for key in annotations:
        causes += [invalid_value("metadata.annotations", key, why) for why in key_problems(key.lower())]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > ANNOTATIONS_LIMIT:
        why = f"Too long: must have at most {ANNOTATIONS_LIMIT} bytes"
        causes.append(("metadata.annotations", "FieldValueTooLong", why))
    for finalizer in meta.get("finalizers", ()):
        causes += [invalid_value("metadata.finalizers", finalizer, why) for why in key_problems(finalizer)]
    return causes


# --- Selectors -----------------------------------------------------------------------------------------------


def label_selector(text):
    """A test of labels. https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/"""
    parts = re.split(r",(?![^(]*\))", text) if text.strip() else []
    tests = [label_requirement(part) for part in parts]
    return lambda labels: all(test(labels) for test in tests)


def label_requirement(text):
    def refuse(why):
        return bad_request(f"unable to parse requirement: {why}")

    match = re.fullmatch(r"\s*(!?)\s*([^\s!=<>,()]+)\s*(?:(==|=|!=|\bin\b|\bnotin\b)\s*(.*?))?\s*", text)
    if not match or (match[1] and match[3]):
        raise refuse(f"found '{text.strip()}', expected: '=', '!=', '==', 'in', notin'")
    key, operator, operand = match[2], match[3], match[4]
    for why in key_problems(key):
        raise refuse(f"invalid label key {json.dumps(key)}: {why}")
    if operator in ("in", "notin"):
        if not re.fullmatch(r"\(.*\)", operand):
            raise refuse(f"found '{operand}', expected: '('")
        values = {value.strip() for value in operand[1:-1].split(",")}
    else:
        values = {operand}
    for value in values if operator else ():
        for why in name_problems(value, VALUE_FORM, VALUE_WHY, 63):
            raise refuse(f"invalid label value: {json.dumps(value)}: {why}")
    if not operator:
        return lambda labels: (key in labels) != bool(match[1])
    if operator in ("!=", "notin"):
        return lambda labels: labels.get(key) not in values
    return lambda labels: labels.get(key) in values


def field_selector(kind, text):
    known = ("metadata.name", *(["metadata.namespace"] if kind.namespaced else []), *kind.selectable)
    tests = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]+)(==|!=|=)([^=!]*)", part)
        if not match:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if match[1] not in known:
            only = ", ".join(json.dumps(name) for name in known)
            raise bad_request(f'"{match[1]}" is not a known field selector: only {only}')
        tests.append((match[1].split("."), match[2] != "!=", match[3]))

    def selects(obj):
        for path, equal, value in tests:
            at = obj
            for name in path:
                at = at.get(name, {}) if isinstance(at, dict) else {}
            if ((at or "") == value) != equal:
                return False
        return True

    return selects


# --- The store and its verbs ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Options:
    """The query of a write."""

    dry_run: bool
    manager: str
    validation: str
    force: bool


def now_text():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def deep_without(obj, *paths):
    """A copy without some metadata fields."""
    result = copy.deepcopy(obj)
    for name in paths:
        result.get("metadata", {}).pop(name, None)
    return result


def same_but_for_times(left, right):
    """Whether two stored objects differ in nothing but the times of their field managers."""

    def bare(obj):
        result = deep_without(obj, "resourceVersion")
        for entry in result["metadata"].get("managedFields", ()):
            entry.pop("time", None)
        return result

    return bare(left) == bare(right)


class Store:
    """All objects. One caller at a time; stored objects are never changed in place."""

    def __init__(self, controllers=False, expire_lists=False):
        self.controllers = controllers
        self.expire_lists = expire_lists
        self.most = 0
        self.revision = 1
        self.objects = {kind.resource: {} for kind in KINDS}
        self.snapshots = collections.OrderedDict()
        system = Manager("kube-apiserver", "Update", "v1")
        for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}}, system, dry_run=False)

    # reading

    def find(self, kind, namespace, name):
        return self.objects[kind.resource].get((namespace, name))

    def get(self, kind, namespace, name):
        obj = self.find(kind, namespace, name)
        if obj is None:
            raise not_found(kind, name)
        return obj

    def list(self, kind, namespace, query):
        limit = query.get("limit", "") or "0"
        if not re.fullmatch(r"-?\d+", limit):
            raise bad_request(f'strconv.ParseInt: parsing "{limit}": invalid syntax')
        limit = max(int(limit), 0)
        limit = min(limit, self.most or limit)
        with_labels = label_selector(query.get("labelSelector", ""))
        with_fields = field_selector(kind, query.get("fieldSelector", ""))
        selective = bool(query.get("labelSelector") or query.get("fieldSelector"))
        token = query.get("continue")
        if token and query.get("resourceVersion") not in (None, "", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        revision, start = self.continued(token, kind, namespace) if token else (self.revision, "")
        rows = self.snapshot(kind, namespace, revision)
        rows = [row for row in rows if row[0] >= start]
        chosen = [
            (key, obj) for key, obj in rows if with_labels(obj["metadata"].get("labels", {})) and with_fields(obj)
        ]
        page = chosen[:limit] if limit else chosen
        meta = {"resourceVersion": str(revision)}
        if len(page) < len(chosen):
            self.keep_snapshot(kind, namespace, revision)
            meta["continue"] = self.token(revision, page[-1][0])
            if not selective:
                meta["remainingItemCount"] = len(chosen) - len(page)
        return meta, [obj for _, obj in page]

    def snapshot(self, kind, namespace, revision):
        if revision != self.revision:
            return self.snapshots[kind.resource, namespace, revision]
        table = self.objects[kind.resource]
        rows = [(f"{at[0]}/{at[1]}", obj) for at, obj in table.items() if namespace in ("", at[0])]
        return sorted(rows, key=lambda row: row[0])

    def keep_snapshot(self, kind, namespace, revision):
        self.snapshots[kind.resource, namespace, revision] = self.snapshot(kind, namespace, revision)
        while len(self.snapshots) > SNAPSHOTS_KEPT:
            self.snapshots.popitem(last=False)

    @staticmethod
    def token(revision, last):
        text = canonical({"v": "meta.k8s.io/v1", "rv": revision, "start": f"{last}\0"})
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def continued(self, token, kind, namespace):
        """(revision, first key) of a continue token; a revision of -1 asks for the newest state."""
        try:
            padded = token + "=" * (-len(token) % 4)
            fields = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            revision, start = fields["rv"], fields["start"]
            if fields["v"] != "meta.k8s.io/v1" or not isinstance(revision, int) or not isinstance(start, str):
                raise ValueError(fields)
        except (ValueError, KeyError, TypeError) as error:
            raise bad_request(f"invalid continue token: continue key is not valid: {error}") from error
        if revision == -1:
            return self.revision, start
        kept = revision == self.revision or (kind.resource, namespace, revision) in self.snapshots
        if not kept or self.expire_lists:
            message = (
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue token in this response to retrieve the "
                "remainder of the results. Continuing with the provided token results in an inconsistent list - "
                "objects that were created, modified, or deleted between the time the first chunk was returned and "
                "now may show up in the list."
            )
            again = {"continue": self.token(-1, start.rstrip("\0"))}
            raise Refusal(410, "Expired", message, list_meta=again)
        return revision, start

    # writing

    def put(self, kind, obj):
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        meta = obj["metadata"]
        self.objects[kind.resource][meta.get("namespace", ""), meta["name"]] = obj
        return obj

    def remove(self, kind, obj):
        self.revision += 1
        meta = obj["metadata"]
        del self.objects[kind.resource][meta.get("namespace", ""), meta["name"]]

    def admit(self, kind, namespace, name):
        """Nothing is created in a namespace that is absent or terminating."""
        if not kind.namespaced:
            return
        home = self.find(NAMESPACES, "", namespace)
        if home is None:
            raise not_found(NAMESPACES, namespace)
        if "deletionTimestamp" in home["metadata"]:
            message = (
                f'{kind.resource} "{name}" is forbidden: unable to create new content in namespace {namespace} '
                "because it is being terminated"
            )
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise Refusal(403, "Forbidden", message, {**resource_details(kind, name), "causes": [cause]})

    def create(self, kind, namespace, obj, manager, dry_run):
        """POST."""
        obj = copy.deepcopy(obj)
        meta = obj.setdefault("metadata", {})
        if meta.get("namespace", namespace) not in ("", namespace):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if meta.get("resourceVersion"):
            raise Refusal(500, None, "resourceVersion should not be set on objects to be created")
        if not meta.get("name") and meta.get("generateName"):
            letters = "bcdfghjklmnpqrstvwxz2456789"
            meta["name"] = meta["generateName"] + "".join(random.choices(letters, k=5))
        self.admit(kind, namespace, meta.get("name", ""))
        owners = decode_managers(meta.pop("managedFields", None))
        if kind.has_status:
            obj.pop("status", None)
        obj = self.settled(kind, obj)
        if meta.get("name"):
            kind.defaults(obj)
        tracked = {name: value for name, value in obj.items() if name != "status"}
        record_update(kind, kind.blank, tracked, owners, manager, now_text())
        return self.add(kind, namespace, obj, owners, dry_run)

    def settled(self, kind, obj):
        """An object after a round trip through the server's own types or the schema."""
        obj = {name: part for name, part in pruned(kind.type, obj).items() if name not in ("kind", "apiVersion")}
        if kind.custom_schema:
            return {**obj, "metadata": omit_empty(META, obj["metadata"])}
        return omit_empty(kind.type, obj)

    def add(self, kind, namespace, obj, owners, dry_run):
        """The common end of POST and of an apply that creates."""
        meta = obj["metadata"]
        for name in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion"):
            meta.pop(name, None)
        if kind.namespaced:
            meta["namespace"] = namespace
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = now_text()
        if kind.counts_generations:
            meta["generation"] = 1
        self.refuse_invalid(kind, obj, None)
        kind.defaults(obj)
        kind.prepare(obj)
        if kind is NAMESPACES:
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
        if kind is CLAIMS and "kubernetes.io/pvc-protection" not in meta.get("finalizers", ()):
            meta["finalizers"] = [*meta.get("finalizers", ()), "kubernetes.io/pvc-protection"]
        self.set_managers(obj, owners)
        present = self.find(kind, namespace, meta["name"])
        if present:
            going = "object is being deleted: " if "deletionTimestamp" in present["metadata"] else ""
            message = f'{going}{kind.resource} "{meta["name"]}" already exists'
            raise Refusal(409, "AlreadyExists", message, resource_details(kind, meta["name"]))
        if dry_run:
            return obj
        self.put(kind, obj)
        if self.controllers and kind is NAMESPACES:
            system = Manager("kube-controller-manager", "Update", "v1")
            self.create(SERVICE_ACCOUNTS, meta["name"], {"metadata": {"name": "default"}}, system, dry_run=False)
        return obj

    @staticmethod
    def set_managers(obj, owners):
        obj["metadata"].pop("managedFields", None)
        if owners:
            obj["metadata"]["managedFields"] = encode_managers(owners)

    @staticmethod
    def refuse_invalid(kind, obj, old):
        causes = meta_causes(kind, obj)
        if not causes and obj["metadata"].get("name"):
            checked = copy.deepcopy(obj)
            kind.defaults(checked)
            causes = kind.validate(checked, old)
        if causes:
            raise invalid(kind.kind, kind.group, obj["metadata"].get("name", ""), causes)

    def apply(self, kind, namespace, name, subresource, config, options, may_create):
        """PATCH with an apply configuration; (object, whether it was created)."""
        given = config.get("apiVersion", "")
        if given != kind.api_version:
            raise bad_request(
                "Incorrect version specified in apply patch. "
                f"Specified patch version: {given}, expected: {kind.api_version}"
            )
        meta = config.get("metadata") or {}
        if meta.get("managedFields") is not None:
            raise bad_request("metadata.managedFields must be nil")
        live = self.find(kind, namespace, name)
        if live is None:
            if subresource:
                raise not_found(kind, name)
            may_create()
            self.admit(kind, namespace, name)
        self.refuse_mistyped_config(kind, namespace, name, config)
        now = now_text()
        if live is None:
            base, owners = kind.blank, {}
        else:
            base, owners = deep_without(live, "managedFields"), decode_managers(live["metadata"].get("managedFields"))
            if not owners:
                before = Manager("before-first-apply", "Update", kind.api_version)
                record_update(kind, kind.blank, base, owners, before, now)
        config = self.within_subresource(kind, config, subresource)
        manager = Manager(options.manager, "Apply", kind.api_version, subresource)
        result = apply_config(kind, base, config, owners, manager, options.force, now)
        result.setdefault("metadata", {})
        self.refuse_other_name(namespace, name, result)
        if live is None:
            if meta.get("uid"):
                why = f"uid mismatch: the provided object specified uid {meta['uid']}, and no existing object was found"
                raise stale(kind, name, why)
            return self.add(kind, namespace, self.settled(kind, result), owners, options.dry_run), True
        return self.finish_update(kind, live, result, owners, subresource, options.dry_run), False

    @staticmethod
    def within_subresource(kind, config, subresource):
        """The main resource does not write status, and the status resource writes only status."""
        if not kind.has_status:
            return config
        if subresource == "status":
            return {name: part for name, part in config.items() if name in ("apiVersion", "kind", "status", "metadata")}
        return {name: part for name, part in config.items() if name != "status"}

    @staticmethod
    def refuse_mistyped_config(kind, namespace, name, config):
        where = (
            f"failed to create typed patch object ({namespace}/{name}; {kind.api_version}, Kind={config.get('kind')})"
        )
        if config.get("kind") != kind.kind:
            raise Refusal(500, None, f"{where}: expected kind {kind.kind}")
        wrong, unknown = check(kind.type, config)
        texts = [f"{path}: field not declared in schema" for path in unknown]
        texts += [
            f"{path}: expected {expected}, got &value.valueUnstructured{{Value:{json.dumps(value)}}}"
            for path, expected, value in wrong
        ]
        texts += [] if texts else duplicate_entries(kind.type, config)
        if texts:
            raise Refusal(500, None, f"{where}: " + "\n".join(texts))

    @staticmethod
    def refuse_other_name(namespace, name, obj):
        given = obj["metadata"].get("name")
        if not given:
            raise bad_request(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        if given != name:
            raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        home = obj["metadata"].get("namespace")
        if home and home != namespace:
            raise bad_request(
                f"the namespace of the object ({home}) does not match the namespace on the URL ({namespace})"
            )

    def replace(self, kind, namespace, name, subresource, obj, options):
        """PUT, and the end of every patch that is not an apply."""
        live = self.get(kind, namespace, name)
        obj = copy.deepcopy(obj)
        obj.setdefault("metadata", {})
        given = obj["metadata"].get("managedFields")
        if given is not None and given in ([], [{}]):
            owners = {}
        else:
            owners = decode_managers(given or live["metadata"].get("managedFields"))
        obj = self.settled(kind, deep_without(obj, "managedFields"))
        for key in ("uid", "creationTimestamp", "resourceVersion"):
            obj["metadata"].setdefault(key, live["metadata"][key])
        if subresource == "status":
            obj = {**live, "metadata": deep_without(live, "managedFields")["metadata"], "status": obj.get("status", {})}
        elif kind.has_status and "status" in live:
            obj["status"] = copy.deepcopy(live["status"])
        elif kind.has_status:
            obj.pop("status", None)
        kind.defaults(obj)
        if owners:
            manager = Manager(options.manager, "Update", kind.api_version, subresource)
            record_update(kind, deep_without(live, "managedFields"), obj, owners, manager, now_text())
        return self.finish_update(kind, live, obj, owners, subresource, options.dry_run)

    def finish_update(self, kind, live, obj, owners, subresource, dry_run):
        """The common end of PUT and every PATCH of an existing object."""
        old, obj = live["metadata"], self.settled(kind, obj)
        meta, name = obj["metadata"], live["metadata"]["name"]
        if meta.get("resourceVersion", old["resourceVersion"]) != old["resourceVersion"]:
            raise stale(kind, name)
        if meta.get("uid", old["uid"]) != old["uid"]:
            raise invalid(
                kind.kind, kind.group, name, [invalid_value("metadata.uid", meta["uid"], "field is immutable")]
            )
        for key in (
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "namespace",
        ):
            meta.pop(key, None)
            if key in old:
                meta[key] = old[key]
        meta["resourceVersion"] = old["resourceVersion"]
        added = sorted(set(meta.get("finalizers", ())) - set(old.get("finalizers", ())))
        if "deletionTimestamp" in old and added:
            shown = "[]string{" + ", ".join(json.dumps(finalizer) for finalizer in added) + "}"
            why = "no new finalizers can be added if the object is being deleted, found new finalizers"
            why = f"Forbidden: {why} {shown}"
            raise invalid(kind.kind, kind.group, name, [("metadata.finalizers", "FieldValueForbidden", why)])
        kind.defaults(obj)
        kind.prepare(obj)
        self.refuse_invalid(kind, obj, live)

        def desired(of):
            return {name: part for name, part in of.items() if name not in ("metadata", "status")}

        if kind.counts_generations and not subresource and desired(obj) != desired(live):
            meta["generation"] = old["generation"] + 1
        self.set_managers(obj, owners)
        if same_but_for_times(obj, live):
            return live
        if dry_run:
            return obj
        if "deletionTimestamp" in old and not meta.get("finalizers"):
            self.remove(kind, live)
            return obj
        return self.put(kind, obj)

    def delete(self, kind, namespace, name, body, dry_run):
        """DELETE; (object, whether it is gone)."""
        live = self.get(kind, namespace, name)
        old = live["metadata"]
        wanted = body.get("preconditions") or {}
        if wanted.get("uid", old["uid"]) != old["uid"]:
            why = (
                f"the UID in the precondition ({wanted['uid']}) does not match the UID in record ({old['uid']}). "
                "The object might have been deleted and then recreated"
            )
            raise precondition_failed(kind, name, why)
        if wanted.get("resourceVersion", old["resourceVersion"]) != old["resourceVersion"]:
            why = (
                f"the ResourceVersion in the precondition ({wanted['resourceVersion']}) does not match the "
                f"ResourceVersion in record ({old['resourceVersion']}). The object might have been modified"
            )
            raise precondition_failed(kind, name, why)
        if kind is NAMESPACES and name in ("default", "kube-system", "kube-public"):
            message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
            raise Refusal(403, "Forbidden", message, resource_details(kind, name))
        finalizers = list(old.get("finalizers", ()))
        policy = body.get("propagationPolicy")
        if policy and kind is not NAMESPACES:
            finalizers = [finalizer for finalizer in finalizers if finalizer not in POLICY_FINALIZERS.values()]
            finalizers += [POLICY_FINALIZERS[policy]] if policy in POLICY_FINALIZERS else []
        obj = copy.deepcopy(live)
        meta = obj["metadata"]
        meta.pop("finalizers", None)
        if not finalizers and kind is not NAMESPACES:
            if not dry_run:
                self.remove(kind, live)
            return (obj if dry_run else live), True
        if "deletionTimestamp" not in old:
            meta["deletionTimestamp"] = now_text()
            if kind is NAMESPACES:
                obj["status"]["phase"] = "Terminating"
            else:
                meta["deletionGracePeriodSeconds"] = 0
            if "generation" in meta:
                meta["generation"] += 1
        if finalizers:
            meta["finalizers"] = finalizers
        if obj == live or dry_run:
            return obj, False
        self.put(kind, obj)
        if self.controllers:
            self.finish_delete(kind, obj)
        return obj, False

    def finish_delete(self, kind, obj):
        """Imitates a cluster's controllers on an object that is being deleted."""
        meta = obj["metadata"]
        if kind is NAMESPACES:
            for other in KINDS:
                for at in [at for at in self.objects[other.resource] if at[0] == meta["name"] and other.namespaced]:
                    del self.objects[other.resource][at]
            self.remove(kind, obj)
            return
        volumes = [
            volume.get("persistentVolumeClaim", {}).get("claimName")
            for (namespace, _), pod in self.objects[PODS.resource].items()
            if namespace == meta.get("namespace")
            for volume in pod["spec"].get("volumes", ())
        ]
        done = set(POLICY_FINALIZERS.values())
        if meta["name"] not in volumes:
            done.add("kubernetes.io/pvc-protection")
        left = [finalizer for finalizer in meta["finalizers"] if finalizer not in done]
        if not left:
            self.remove(kind, obj)
        elif left != meta["finalizers"]:
            self.put(kind, {**obj, "metadata": {**meta, "finalizers": left}})


def duplicate_entries(kind, value, path=()):
    """Texts about keyed lists whose members lack the key or share it."""
    kind = resolved(kind, value)
    if is_leaf(kind) or not isinstance(value, (dict, list)):
        return []
    texts, seen = [], set()
    if kind.shape == "list" and kind.keys:
        for index, part in enumerate(value):
            if any(key not in part for key in kind.keys):
                why = "associative list with keys has an element that omits key field"
                return [f"{path_text(path)}: element {index}: {why} {json.dumps(kind.keys[0])}"]
    for element, of, part, _ in members(kind, value):
        if element in seen:
            texts.append(f"{path_text(path)}: duplicate entries for key {path_text((element,))}")
        seen.add(element)
        texts += duplicate_entries(of, part, path + (element,))
    return texts


# --- Requests ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Denial:
    """One --deny rule."""

    method: str
    resource: str
    namespace: str

    def __call__(self, method, verb, resource, namespace):
        return (
            self.method.lower() in ("*", method.lower(), verb)
            and self.resource in ("*", resource)
            and self.namespace in ("*", namespace)
        )


def parse_denial(text):
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise argparse.ArgumentTypeError(f"`{text}` is not METHOD:RESOURCE[:NAMESPACE]")
    return Denial(*parts, *["*"] * (3 - len(parts)))


@dataclasses.dataclass
class Request:
    method: str
    path: str
    query: dict
    headers: object
    body: bytes
    warnings: list = dataclasses.field(default_factory=list)

    def json_body(self, what):
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise bad_request(f"{what}: {error}") from error


class Api:
    """Routes requests to the store, and checks who may send them."""

    def __init__(self, store, token, limited_token, denials):
        self.store = store
        self.token = token
        self.limited_token = limited_token
        self.denials = denials
        self.lock = threading.Lock()

    def answer(self, request):
        """(code, JSON value)."""
        try:
            accept = request.headers.get("Accept") or "*/*"
            plain = [part for part in accept.split(",") if "as=" not in part]
            if not any(part.split(";")[0].strip() in ("application/json", "application/*", "*/*") for part in plain):
                raise Refusal(406, "NotAcceptable", "only the following media types are accepted: application/json")
            with self.lock:
                return self.route(request, self.authenticated(request))
        except Refusal as refusal:
            return refusal.code, refusal.status
        except Exception as error:  # a bug in this double, or a body that no check caught
            traceback.print_exc()
            refusal = Refusal(500, "InternalError", f"Internal error occurred: {error!r}")
            return refusal.code, refusal.status

    def authenticated(self, request):
        scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
        if self.limited_token and (scheme, token) == ("Bearer", self.limited_token):
            return "limited"
        if self.token and (scheme, token) != ("Bearer", self.token):
            raise Refusal(401, "Unauthorized", "Unauthorized")
        return "admin"

    def refuse_forbidden(self, user, method, verb, kind, namespace, name, subresource):
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        if kind is NAMESPACES:
            namespace = name
        if user != "limited" and not any(denial(method, verb, resource, namespace) for denial in self.denials):
            return
        target = f'{kind.resource} "{name}"' if name else kind.resource
        scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        message = (
            f'{target} is forbidden: User "{user}" cannot {verb} resource "{resource}" '
            f'in API group "{kind.group}" {scope}'
        )
        raise Refusal(403, "Forbidden", message, resource_details(kind, name))

    def route(self, request, user):
        if request.path in ("/healthz", "/livez", "/readyz"):
            return 200, "ok"
        if (request.method, request.path) == ("POST", "/bailiwick/pages"):
            asked = json.loads(request.body)
            self.store.most, self.store.expire_lists = int(asked["most"]), bool(asked.get("expire"))
            return 200, {}
        parts = request.path.strip("/").split("/")
        found = discovery(parts)
        if found is not None:
            if request.method != "GET":
                raise method_not_allowed()
            return 200, found
        if parts[0] == "api" and len(parts) > 2:
            group, version, rest = "", parts[1], parts[2:]
        elif parts[0] == "apis" and len(parts) > 3:
            group, version, rest = parts[1], parts[2], parts[3:]
        else:
            raise no_such_resource()
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kinds = [kind for kind in KINDS if (kind.group, kind.version, kind.plural) == (group, version, rest[0])]
        if not kinds or len(rest) > 3 or (namespace and not kinds[0].namespaced):
            raise no_such_resource()
        name, subresource = (*rest[1:], "", "")[:2]
        return self.resource(request, user, kinds[0], namespace, name, subresource)

    def resource(self, request, user, kind, namespace, name, subresource):
        method = request.method
        if subresource and not (subresource == "status" and kind.has_status):
            raise no_such_resource()
        verbs = {
            "GET": "get" if name else "list",
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete",
        }
        allowed = ("GET", "PUT", "PATCH", *(() if subresource else ("DELETE",))) if name else ("GET", "POST")
        if kind.namespaced and not namespace:
            allowed = ("GET",)
        if method not in verbs or method not in allowed or (kind.namespaced and name and not namespace):
            raise method_not_allowed()
        self.refuse_forbidden(user, method, verbs[method], kind, namespace, name, subresource)
        if method == "GET" and request.query.get("watch") in ("1", "true"):
            raise method_not_allowed()
        if method == "GET" and not name:
            meta, rows = self.store.list(kind, namespace, request.query)
            # Only custom resources carry kind and apiVersion inside a list.
            rows = [shown(kind, obj) for obj in rows] if kind.custom_schema else rows
            return 200, {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": rows}
        if method == "GET":
            return 200, shown(kind, self.store.get(kind, namespace, name))
        if method == "DELETE":
            return self.delete(request, kind, namespace, name)
        if method == "POST":
            options = write_options(request, "CreateOptions")
            obj = self.decoded(request, kind, options)
            manager = Manager(options.manager, "Update", kind.api_version)
            return 201, shown(kind, self.store.create(kind, namespace, obj, manager, options.dry_run))
        if method == "PUT":
            return self.put(request, kind, namespace, name, subresource)

        def may_create():
            self.refuse_forbidden(user, "POST", "create", kind, namespace, name, "")

        return self.patch(request, kind, namespace, name, subresource, may_create)

    def decoded(self, request, kind, options):
        """The object in the body of a POST or PUT."""
        if media_type(request) not in ("", "application/json"):
            raise unsupported_media_type(["application/json"])
        what = f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind"
        what = f"{what}; json parse error"
        obj = request.json_body(what)
        if not isinstance(obj, dict):
            raise bad_request(f"{what}: expected an object")
        default = {} if kind.custom_schema else {"apiVersion": kind.api_version, "kind": kind.kind}
        given = {**default, **{name: obj[name] for name in ("apiVersion", "kind") if obj.get(name)}}
        where = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        if "kind" not in given:
            raise bad_request(f"{where}: Object 'Kind' is missing")
        if given.get("apiVersion") != kind.api_version:
            raise bad_request(
                f"the API version in the data ({given.get('apiVersion', '')}) does not match "
                f"the expected API version ({kind.api_version})"
            )
        if given["kind"] != kind.kind:
            raise bad_request(f'{given["kind"]} in version "{kind.version}" cannot be handled as a {kind.kind}')
        wrong = self.check_fields(request, kind, obj, options, where)
        if wrong:
            path, expected, _ = wrong[0]
            raise bad_request(f"{where}: json: cannot unmarshal {path.lstrip('.')} into Go value of type {expected}")
        return obj

    def check_fields(self, request, kind, obj, options, where):
        """Wrong types; unknown fields become warnings or, when strict, the refusal of the real server."""
        wrong, unknown = check(kind.type, obj)
        if kind.custom_schema:
            wrong = [row for row in wrong if row[0].startswith(".metadata")]
        wrong += [(path, "resource.Quantity", value) for path, value in bad_quantities(kind.type, obj)]
        texts = [f'unknown field "{path.lstrip(".")}"' for path in unknown]
        if texts and options.validation == "Strict":
            raise bad_request(f"{where}: strict decoding error: {', '.join(texts)}")
        if options.validation == "Warn":
            request.warnings += texts
        return wrong

    def put(self, request, kind, namespace, name, subresource):
        options = write_options(request, "UpdateOptions")
        obj = self.decoded(request, kind, options)
        obj.setdefault("metadata", {}).setdefault("name", "")
        self.store.refuse_other_name(namespace, name, obj)
        live = self.store.get(kind, namespace, name)["metadata"]
        if obj["metadata"].get("uid", live["uid"]) != live["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {obj['metadata']['uid']}, UID in object meta: {live['uid']}"
            )
            raise stale(kind, name, why)
        if kind.custom_schema and not obj["metadata"].get("resourceVersion"):
            cause = invalid_value("metadata.resourceVersion", Shown("0x0"), "must be specified for an update")
            raise invalid(kind.plural, kind.group, name, [cause])
        return 200, shown(kind, self.store.replace(kind, namespace, name, subresource, obj, options))

    def patch(self, request, kind, namespace, name, subresource, may_create):
        content = media_type(request)
        if content not in kind.patch_types():
            raise unsupported_media_type(kind.patch_types())
        options = write_options(request, "PatchOptions", applies=content == APPLY)
        if content == APPLY:
            config = request.json_body("error decoding YAML (this server reads JSON only)")
            if not isinstance(config, dict):
                raise bad_request("error decoding YAML: expected an object")
            obj, created = self.store.apply(kind, namespace, name, subresource, config, options, may_create)
            return (201 if created else 200), shown(kind, obj)
        live = shown(kind, self.store.get(kind, namespace, name))
        if content == JSON_PATCH:
            patch = request.json_body("error decoding patch")
            if not isinstance(patch, list):
                raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
            obj = json_patch(live, patch)
        else:
            try:
                patch = json.loads(request.body)
            except ValueError as error:
                raise Refusal(500, None, "Invalid JSON Patch") from error
            if not isinstance(patch, dict):
                raise invalid("", "", "", [invalid_value("patch", canonical(patch), "must be an object")])
            obj = merge_patch(live, patch) if content == MERGE else strategic_patch(kind.type, live, patch)
        if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
            raise invalid("", "", "", [invalid_value("patch", canonical(obj), "must leave an object with metadata")])
        where = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
        wrong = self.check_fields(request, kind, obj, options, where)
        if wrong:
            path, expected, _ = wrong[0]
            raise invalid(
                "", "", "", [invalid_value("patch", canonical(obj), f"{path.lstrip('.')} must be of type {expected}")]
            )
        if obj.get("apiVersion") != kind.api_version or obj.get("kind") != kind.kind:
            raise bad_request(f"the patch changes the kind or apiVersion of {kind.kind} in version {kind.api_version}")
        self.store.refuse_other_name(namespace, name, obj)
        return 200, shown(kind, self.store.replace(kind, namespace, name, subresource, obj, options))

    def delete(self, request, kind, namespace, name):
        # With a body the real server reads the options from it alone: dryRun in the query is then ignored.
        body = {**request.query, "dryRun": request.query.get("dryRun")}
        if request.body:
            if media_type(request) not in ("", "application/json"):
                raise unsupported_media_type(["application/json"])
            body = request.json_body("couldn't get version/kind; json parse error")
            if not isinstance(body, dict) or body.get("kind", "DeleteOptions") != "DeleteOptions":
                raise Refusal(500, None, f"the body is not a DeleteOptions: {request.body.decode(errors='replace')}")
        policies = ("Foreground", "Background", "Orphan", "nil")
        causes = dry_run_causes(body.get("dryRun"))
        policy = body.get("propagationPolicy")
        if policy is not None and policy not in policies[:3]:
            causes.append(unsupported_value("propagationPolicy", json.dumps(policy), policies))
        if causes:
            raise invalid("DeleteOptions", "meta.k8s.io", "", causes)
        obj, gone = self.store.delete(kind, namespace, name, body, bool(body.get("dryRun")))
        if gone and not kind.returns_deleted:
            details = {**resource_details(kind, name), "uid": obj["metadata"]["uid"]}
            return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return 200, shown(kind, obj)


def bad_quantities(kind, value, path=""):
    kind = resolved(kind, value)
    if kind is QUANTITY and isinstance(value, str) and not QUANTITY_FORM.fullmatch(value):
        return [(path, value)]
    if kind.shape == "scalar" or not isinstance(value, (dict, list)):
        return []
    rows = value.items() if isinstance(value, dict) else ((str(index), part) for index, part in enumerate(value))
    found = []
    for name, part in rows:
        of = kind.fields.get(name) if kind.shape == "struct" else kind.of
        found += bad_quantities(of, part, f"{path}.{name}")
    return found


def method_not_allowed():
    return Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def media_type(request):
    return (request.headers.get("Content-Type") or "").split(";")[0].strip()


def shown(kind, obj):
    return {"kind": kind.kind, "apiVersion": kind.api_version, **obj}


def dry_run_causes(given):
    values = [given] if isinstance(given, str) else given or []
    if all(value == "All" for value in values):
        return []
    text = "[]string{" + ", ".join(json.dumps(value) for value in values) + "}"
    return [unsupported_value("dryRun", text, ["All"])]


def write_options(request, what, applies=False):
    query, manager = request.query, request.query.get("fieldManager", "")
    causes = dry_run_causes(query.get("dryRun"))
    force = query.get("force", "").lower()
    if applies and not manager:
        causes.append(required_value("fieldManager", "is required for apply patch"))
    if len(manager.encode()) > FIELD_MANAGER_LIMIT:
        causes.append(("fieldManager", "FieldValueTooLong", f"Too long: must have at most {FIELD_MANAGER_LIMIT} bytes"))
    if not manager.isprintable():
        causes.append(invalid_value("fieldManager", manager, "should only contain printable characters"))
    if what == "PatchOptions" and force and not applies:
        causes.append(("force", "FieldValueForbidden", "Forbidden: may not be specified for non-apply patch"))
    validation = query.get("fieldValidation", "") or "Warn"
    if validation not in ("Ignore", "Strict", "Warn"):
        causes.append(unsupported_value("fieldValidation", json.dumps(validation), ["Ignore", "Strict", "Warn"]))
    if causes:
        raise invalid(what, "meta.k8s.io", "", causes)
    if not manager:
        agent = (request.headers.get("User-Agent") or "").split("/")[0]
        manager = "".join(letter for letter in agent if letter.isprintable())[:FIELD_MANAGER_LIMIT] or "unknown"
    return Options(bool(query.get("dryRun")), manager, validation, force in ("true", "1"))


def discovery(parts):
    """The document at a discovery path, or None."""
    groups = {}
    for kind in KINDS:
        groups.setdefault(kind.group, {"groupVersion": kind.api_version, "version": kind.version})
    if parts == ["version"]:
        return VERSION
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    named = {
        group: {"name": group, "versions": [version], "preferredVersion": version}
        for group, version in groups.items()
        if group
    }
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(named.values())}
    if parts[0] == "apis" and len(parts) == 2 and parts[1] in named:
        return {"kind": "APIGroup", "apiVersion": "v1", **named[parts[1]]}
    served = {"api": "", "apis": parts[1] if len(parts) > 1 else None}.get(parts[0])
    if served not in groups or len(parts) != (3 if served else 2) or parts[-1] != groups[served]["version"]:
        return None
    resources = []
    for kind in KINDS:
        if kind.group != served:
            continue
        row = {"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind}
        resources.append(
            {
                **row,
                "verbs": ["create", "delete", "get", "list", "patch", "update"],
                "shortNames": list(kind.short_names),
            }
        )
        if kind.has_status:
            resources.append(
                {**row, "name": f"{kind.plural}/status", "singularName": "", "verbs": ["get", "patch", "update"]}
            )
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": groups[served]["groupVersion"],
        "resources": resources,
    }


class Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet per answer
    api = None

    def answer(self):
        target = urllib.parse.urlsplit(self.path)
        query = {
            name: values[0] for name, values in urllib.parse.parse_qs(target.query, keep_blank_values=True).items()
        }
        path = urllib.parse.unquote(target.path)
        request = Request(self.command, path, query, self.headers, self.read_body())
        code, value = self.api.answer(request)
        plain = isinstance(value, str)
        body = value.encode() if plain else json.dumps(value, separators=(",", ":")).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if plain else "application/json")
        self.send_header("Content-Length", str(len(body)))
        for text in request.warnings:
            self.send_header("Warning", f"299 - {json.dumps(text)}")
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def read_body(self):
        if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--kubeconfig", metavar="PATH", help="where to write a kubeconfig")
    parser.add_argument("--context", default="bailiwick-test", help="the context's name in the kubeconfig")
    parser.add_argument("--token", help="answer 401 to every request without this bearer token")
    parser.add_argument("--limited-token", help="token of a user who may do nothing")
    parser.add_argument(
        "--deny",
        action="append",
        default=[],
        type=parse_denial,
        metavar="METHOD:RESOURCE[:NAMESPACE]",
        help="answer 403; METHOD is an HTTP method, a verb such as `list`, or *; RESOURCE is a plural or *",
    )
    parser.add_argument("--expire-lists", action="store_true", help="answer 410 Expired to every continue token")
    parser.add_argument("--controllers", action="store_true", help="finish deletions as a cluster's controllers do")
    args = parser.parse_args()

    Connection.api = Api(Store(args.controllers, args.expire_lists), args.token, args.limited_token, args.deny)
    server = Server(("127.0.0.1", args.port), Connection)
    url = f"http://127.0.0.1:{server.server_port}"
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: sys.exit(0))
    if args.kubeconfig:
        write_private(args.kubeconfig, kubeconfig(url, args.context, args.token))
    print(f"Running on {url}", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()


if __name__ == "__main__":
    main()
