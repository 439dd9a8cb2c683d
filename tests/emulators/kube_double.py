#!/usr/bin/env python3
"""A double of the Kubernetes API server for tests: plain HTTP on loopback, objects in memory.

    kube_double.py [--port 0] [--kubeconfig PATH] [--context NAME] [--token TOKEN] [--deny RULE]...

The first line on stdout is `Running on http://127.0.0.1:PORT`; SIGTERM and SIGINT end it.

It serves what Bailiwick calls, and nothing else: discovery, namespaces, service accounts, claims, pods,
deployments and InferenceService, with GET, LIST, POST, PUT, PATCH (apply, merge, strategic merge, JSON) and
DELETE. What it promises stands in kube_contract.py, which a real kube-apiserver passes as well. There is no
watch, no OpenAPI document and no YAML body. Like a server without controllers it leaves a deleted namespace
in Terminating and a deleted claim behind its finalizer; --controllers finishes both at once and gives each
new namespace its `default` service account.

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
import urllib.parse
import uuid

from kube_apiserver import INFERENCE_SERVICE, kubeconfig, write_private

VERSION = {"major": "1", "minor": "36", "gitVersion": "v1.36.0", "platform": "linux/amd64"}
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
SNAPSHOTS_KEPT = 256
ANNOTATIONS_LIMIT = 256 * 1024
FIELD_MANAGER_LIMIT = 128
MISSING = object()


# --- Refusals: the Status objects of the real server -------------------------------------------------------


class Refusal(Exception):
    """An answer that is an error: HTTP code and the Status object's reason, message and details."""

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


def stale(kind, name, why="the object has been modified; please apply your changes to the latest version and try again"):
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
    """The type of an OpenAPI v3 schema as a custom resource definition gives it."""
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
    """Every path a configuration speaks about."""
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
    """Which paths came, went and changed between two objects."""
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
    """`live` with the fields of `config` laid over it."""
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
    """`value` with the members at `paths` taken out; null when nothing is left of a map or list."""
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
    for name in ("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion")
}


@dataclasses.dataclass(frozen=True)
class Manager:
    """Who wrote. An applier is the same one at every API version, an updater is not."""

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
            entry.get("manager", ""), entry["operation"], entry.get("apiVersion", ""), entry.get("subresource", "")
        )
        paths = from_fields_v1(entry.get("fieldsV1") or {})
        owners[manager.identity()] = Owned(manager, paths, entry.get("time", ""))
    return owners


def encode_managers(owners):
    rows = sorted(owners.values(), key=lambda row: (row.manager.operation, row.time, row.manager.name, row.manager.api_version))
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
    """A plain write owns what it changed; whoever owned that before no longer does."""
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
    """Takes out what this applier owned alone and no longer mentions."""
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
    conflicts = sorted(((who.text(), sorted(path_text(path) for path in paths)) for who, paths in conflicts))
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path}
        for who, paths in conflicts
        for path in paths
    ]
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        parts = [line for who, paths in conflicts for line in [f"conflicts with {who}:", *(f"- {path}" for path in paths)]]
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
    for part in patch:
        if not isinstance(part, dict) or None in key(part):
            raise bad_request(f"map: {part} does not contain declared merge key: {kind.keys[0]}")
        changed = strategic_patch(kind.of, present.get(key(part)), part)
        if changed is None:
            present.pop(key(part), None)
        else:
            present[key(part)] = changed
    return list(present.values())


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
