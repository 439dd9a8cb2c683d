#!/usr/bin/env python3
"""What Bailiwick relies on in a Kubernetes API server, one check per promise.

    kube_contract.py --url URL [--token T] [--limited-token T] [--ca FILE] [--lists-expire] [--only TEXT]

Runs against any server that serves InferenceService (serving.kserve.io/v1beta1): the double in kube_double.py and a
real kube-apiserver have to pass alike. Every check works in a namespace of its own. One line per check, then
`N passed, N failed`; exit code 1 when one failed. --limited-token is the token of a user without any rights;
without it the checks that need one are left out, as are those a server is too old for. --lists-expire asks for expired
lists as well: of kube_double.py --expire-lists, or a kube-apiserver with --etcd-compaction-interval=1s.
"""

import argparse
import concurrent.futures
import http.client
import json
import re
import secrets
import ssl
import sys
import urllib.parse

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
ROLE = "eks.amazonaws.com/role-arn"
RUN = secrets.token_hex(3)
DEFAULT = object()
CHECKS = []


class Failed(Exception):
    """A promise was broken; the text explains how."""


class Skipped(Exception):
    """The check does not apply to this server; the text gives the reason."""


def check(text):
    def register(function):
        CHECKS.append((text, function))
        return function

    return register


def equal(got, wanted):
    if got != wanted:
        raise Failed(f"got {got!r}, wanted {wanted!r}")


def holds(truth, why):
    if not truth:
        raise Failed(why)


# --- Talking to the server -----------------------------------------------------------------------------------


class Reply:
    def __init__(self, code, text, headers):
        self.code, self.text, self.headers = code, text, headers

    @property
    def value(self):
        return json.loads(self.text)

    @property
    def meta(self):
        return self.value["metadata"]

    def expect(self, code, reason=None, message=None):
        """Fails unless code, and when given the Status reason and message, are these."""
        if self.code != code:
            raise Failed(f"got {self.code}, wanted {code}: {self.text[:300]}")
        if code >= 400:
            status = self.value
            equal(
                [status["kind"], status["apiVersion"], status["status"], status["code"]],
                ["Status", "v1", "Failure", code],
            )
        if reason:
            equal(self.value.get("reason"), reason)
        if message:
            equal(self.value.get("message"), message)
        return self


class Api:
    def __init__(self, url, token, limited_token, ca, lists_expire):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.context = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
        self.token, self.limited_token, self.lists_expire = token, limited_token, lists_expire
        self.kept = None

    def connect(self):
        if self.context:
            return http.client.HTTPSConnection(self.host, self.port, context=self.context, timeout=30)
        return http.client.HTTPConnection(self.host, self.port, timeout=30)

    def call(
        self,
        method,
        path,
        body=None,
        content="application/json",
        token=DEFAULT,
        agent="contract/1",
        connection=None,
        **query,
    ):
        query = {name: value for name, value in query.items() if value is not None}
        path += "?" + urllib.parse.urlencode(query) if query else ""
        headers = {"Accept": "application/json", "User-Agent": agent}
        token = self.token if token is DEFAULT else token
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = content
            body = body if isinstance(body, str) else json.dumps(body)
        if connection:
            return self.once(connection, method, path, body, headers)
        try:
            self.kept = self.kept or self.connect()
            return self.once(self.kept, method, path, body, headers)
        except (http.client.HTTPException, OSError):
            self.kept = self.connect()
            return self.once(self.kept, method, path, body, headers)

    @staticmethod
    def once(connection, method, path, body, headers):
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Reply(response.status, response.read().decode(), response.headers)

    def get(self, path, **rest):
        return self.call("GET", path, **rest)

    def post(self, path, body, **rest):
        return self.call("POST", path, body, **rest)

    def put(self, path, body, **rest):
        return self.call("PUT", path, body, **rest)

    def delete(self, path, body=None, **rest):
        return self.call("DELETE", path, body, **rest)

    def patch(self, path, body, content=MERGE, **rest):
        return self.call("PATCH", path, body, content=content, **rest)

    def apply(self, path, body, manager="a", **rest):
        return self.call("PATCH", path, body, content=APPLY, fieldManager=manager, **rest)

    def minor(self):
        return int(re.match(r"v1\.(\d+)", self.get("/version").value["gitVersion"])[1])


class Space:
    """A namespace for one check, created on first use and deleted afterwards."""

    def __init__(self, api, number):
        self.api = api
        self.name = f"contract-{RUN}-{number}"
        self.extra = []
        self.made = False

    def namespace(self):
        if not self.made:
            self.made = True
            self.api.post("/api/v1/namespaces", {"metadata": {"name": self.name}}).expect(201)
        return self.name

    def spare(self, tail):
        """The name of another namespace that is cleaned up."""
        self.extra.append(f"{self.name}-{tail}")
        return self.extra[-1]

    def core(self, plural):
        return f"/api/v1/namespaces/{self.namespace()}/{plural}"

    @property
    def accounts(self):
        return self.core("serviceaccounts")

    @property
    def claims(self):
        return self.core("persistentvolumeclaims")

    @property
    def pods(self):
        return self.core("pods")

    @property
    def deployments(self):
        return f"/apis/apps/v1/namespaces/{self.namespace()}/deployments"

    @property
    def services(self):
        return f"/apis/serving.kserve.io/v1beta1/namespaces/{self.namespace()}/inferenceservices"

    def clean(self):
        """Without controllers a namespace stays in Terminating, so its contents are deleted first."""
        for name in [self.name] * self.made + self.extra:
            for group, plural in (
                ("/api/v1", "serviceaccounts"),
                ("/api/v1", "persistentvolumeclaims"),
                ("/api/v1", "pods"),
                ("/apis/apps/v1", "deployments"),
                ("/apis/serving.kserve.io/v1beta1", "inferenceservices"),
            ):
                path = f"{group}/namespaces/{name}/{plural}"
                for row in self.api.get(path).value.get("items", ()):
                    one = f"{path}/{row['metadata']['name']}"
                    self.api.delete(one)
                    if row["metadata"].get("finalizers"):
                        self.api.patch(one, {"metadata": {"finalizers": None}})
            self.api.delete(f"/api/v1/namespaces/{name}")


# --- Objects -------------------------------------------------------------------------------------------------


def account(name, _fields=None, **meta):
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, **meta}, **(_fields or {})}


def annotated(name, **annotations):
    return account(name, annotations=annotations)


def role(name, value):
    return account(name, annotations={ROLE: value})


def claim(name, **spec):
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def pod(name, **spec):
    spec = {"containers": [{"name": "main", "image": "example.com/model:1"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "model"}}, "spec": spec}


def deployment(name, selected="model"):
    template = {"metadata": {"labels": {"app": "model"}}, "spec": {**pod("x")["spec"], "serviceAccountName": "loader"}}
    spec = {"selector": {"matchLabels": {"app": selected}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def service(name, **predictor):
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"predictor": predictor},
    }


def owners(meta):
    """{(manager, operation): fieldsV1}"""
    return {(row["manager"], row["operation"]): row["fieldsV1"] for row in meta.get("managedFields", ())}


def annotation_fields(*names):
    return {"f:metadata": {"f:annotations": {f"f:{name}": {} for name in names}}}


def names(reply):
    return [row["metadata"]["name"] for row in reply.expect(200).value["items"]]


def causes(reply):
    return [(cause["reason"], cause["field"]) for cause in reply.value["details"]["causes"]]


def limited(space):
    if not space.api.limited_token:
        raise Skipped("no --limited-token")
    return space.api.limited_token


# --- Discovery -----------------------------------------------------------------------------------------------


@check("version: names a release of Kubernetes 1")
def _(api, space):
    holds(api.minor() > 0, api.get("/version").text)


@check("readyz: answers ok")
def _(api, space):
    equal(api.get("/readyz").expect(200).text, "ok")


@check("discovery: the core group has v1")
def _(api, space):
    holds("v1" in api.get("/api").expect(200).value["versions"], "no v1")


@check("discovery: groups carry their preferred version")
def _(api, space):
    groups = {group["name"]: group for group in api.get("/apis").expect(200).value["groups"]}
    equal(groups["apps"]["preferredVersion"], {"groupVersion": "apps/v1", "version": "v1"})
    wanted = {"groupVersion": "serving.kserve.io/v1beta1", "version": "v1beta1"}
    equal(groups["serving.kserve.io"]["preferredVersion"], wanted)
    equal(groups["serving.kserve.io"]["versions"], [wanted])
    equal(api.get("/apis/serving.kserve.io").expect(200).value["preferredVersion"], wanted)


@check("discovery: resources carry kind, scope and verbs")
def _(api, space):
    for path, plural, kind, namespaced in (
        ("/api/v1", "namespaces", "Namespace", False),
        ("/api/v1", "serviceaccounts", "ServiceAccount", True),
        ("/api/v1", "persistentvolumeclaims", "PersistentVolumeClaim", True),
        ("/api/v1", "pods", "Pod", True),
        ("/apis/apps/v1", "deployments", "Deployment", True),
        ("/apis/serving.kserve.io/v1beta1", "inferenceservices", "InferenceService", True),
    ):
        document = api.get(path).expect(200).value
        equal(document["kind"], "APIResourceList")
        rows = {row["name"]: row for row in document["resources"]}
        row = rows[plural]
        equal([row["kind"], row["namespaced"]], [kind, namespaced])
        holds({"get", "list", "create", "update", "patch", "delete"} <= set(row["verbs"]), row["verbs"])


@check("discovery: the status of a custom resource is a subresource")
def _(api, space):
    rows = api.get("/apis/serving.kserve.io/v1beta1").value["resources"]
    holds("inferenceservices/status" in [row["name"] for row in rows], rows)


@check("absent group: 404")
def _(api, space):
    equal(api.get("/apis/absent.example.com/v1/things").code, 404)
    equal(api.get("/apis/absent.example.com/v1").code, 404)


@check("absent resource: 404 with a Status")
def _(api, space):
    reply = api.get("/api/v1/namespaces/default/things")
    reply.expect(404, "NotFound", "the server could not find the requested resource")


@check("connection: several requests share one")
def _(api, space):
    connection = api.connect()
    for path in ("/version", "/api/v1/namespaces/absent-entirely", "/api"):
        api.get(path, connection=connection)
        holds(connection.sock is not None, f"the connection was closed after {path}")
    connection.close()


# --- Authentication and authorization ------------------------------------------------------------------------


@check("wrong token: 401")
def _(api, space):
    if not api.token:
        raise Skipped("no --token")
    reply = api.get("/api/v1/namespaces/default/serviceaccounts", token="wrong")
    reply.expect(401, "Unauthorized", "Unauthorized")
    holds("details" not in reply.value, reply.text)


@check("no token: 401")
def _(api, space):
    if not api.token:
        raise Skipped("no --token")
    api.get("/api/v1/namespaces/default/serviceaccounts", token=None).expect(401, "Unauthorized")


@check("forbidden get: 403 names user, verb, resource and namespace")
def _(api, space):
    reply = api.get(f"{space.accounts}/x", token=limited(space))
    reply.expect(403, "Forbidden")
    holds(
        re.fullmatch(
            rf'serviceaccounts "x" is forbidden: User "[^"]+" cannot get resource "serviceaccounts" in API group "" '
            rf'in the namespace "{space.name}"',
            reply.value["message"],
        ),
        reply.value["message"],
    )
    equal(reply.value["details"], {"name": "x", "kind": "serviceaccounts"})


@check("forbidden list: 403, with and without a namespace")
def _(api, space):
    token = limited(space)
    message = api.get(space.accounts, token=token).expect(403, "Forbidden").value["message"]
    holds(
        message.startswith("serviceaccounts is forbidden: User ")
        and message.endswith(f'in the namespace "{space.name}"'),
        message,
    )
    message = api.get("/api/v1/serviceaccounts", token=token).expect(403, "Forbidden").value["message"]
    holds(' cannot list resource "serviceaccounts" ' in message and message.endswith(" at the cluster scope"), message)


@check("forbidden namespace: 403 counts the namespace as the scope")
def _(api, space):
    reply = api.get("/api/v1/namespaces/default", token=limited(space)).expect(403, "Forbidden")
    holds(reply.value["message"].endswith('in the namespace "default"'), reply.value["message"])


@check("forbidden custom resource: 403 names the group")
def _(api, space):
    reply = api.apply(f"{space.services}/m", service("m"), token=limited(space)).expect(403, "Forbidden")
    text = 'cannot patch resource "inferenceservices" in API group "serving.kserve.io" in the namespace'
    holds(text in reply.value["message"], reply.value["message"])
    equal(reply.value["details"], {"name": "m", "group": "serving.kserve.io", "kind": "inferenceservices"})


@check("forbidden writes: 403, and nothing is written")
def _(api, space):
    token = limited(space)
    api.post(space.accounts, account("kept")).expect(201)
    api.post(space.accounts, account("x"), token=token).expect(403, "Forbidden")
    api.apply(f"{space.accounts}/x", account("x"), token=token).expect(403, "Forbidden")
    api.put(f"{space.accounts}/kept", annotated("kept", a="1"), token=token).expect(403, "Forbidden")
    api.patch(f"{space.accounts}/kept", {"metadata": {"labels": {"a": "1"}}}, token=token).expect(403, "Forbidden")
    api.delete(f"{space.accounts}/kept", token=token).expect(403, "Forbidden")
    equal(names(api.get(space.accounts, fieldSelector="metadata.name=x")), [])
    holds("labels" not in api.get(f"{space.accounts}/kept").meta, "the patch was written")


# --- Namespaces ----------------------------------------------------------------------------------------------


@check("namespace: created Active")
def _(api, space):
    name = space.spare("new")
    reply = api.post(
        "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    ).expect(201)
    equal([reply.value["status"]["phase"], reply.value["spec"]["finalizers"]], ["Active", ["kubernetes"]])
    equal(names(api.get("/api/v1/namespaces", fieldSelector=f"metadata.name={name}")), [name])


@check("namespace: a second one of the name is 409 AlreadyExists")
def _(api, space):
    name = space.namespace()
    reply = api.post("/api/v1/namespaces", {"metadata": {"name": name}})
    reply.expect(409, "AlreadyExists", f'namespaces "{name}" already exists')
    equal(reply.value["details"], {"name": name, "kind": "namespaces"})


@check("namespace: a name that is no DNS label is 422")
def _(api, space):
    for name in ("Bad_Name", "with.dot", "x" * 64):
        reply = api.post("/api/v1/namespaces", {"metadata": {"name": name}}).expect(422, "Invalid")
        # Since 1.21 the name is a label's value as well, which may be refused for the same reason.
        equal(causes(reply)[0], ("FieldValueInvalid", "metadata.name"))


@check("namespace: server-side apply creates and changes one")
def _(api, space):
    name = space.spare("applied")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"team": "ml"}}}
    api.apply(f"/api/v1/namespaces/{name}", body).expect(201)
    body["metadata"]["labels"]["team"] = "ops"
    equal(api.apply(f"/api/v1/namespaces/{name}", body).expect(200).meta["labels"]["team"], "ops")


@check("namespace: `default` is there and cannot be deleted")
def _(api, space):
    api.get("/api/v1/namespaces/default").expect(200)
    reply = api.delete("/api/v1/namespaces/default")
    reply.expect(403, "Forbidden", 'namespaces "default" is forbidden: this namespace may not be deleted')


@check("namespace: a deleted one is Terminating or gone, and takes no new objects")
def _(api, space):
    name = space.spare("going")
    api.post("/api/v1/namespaces", {"metadata": {"name": name}}).expect(201)
    deleted = api.delete(f"/api/v1/namespaces/{name}").expect(200).value
    equal(deleted["status"]["phase"], "Terminating")
    holds("deletionTimestamp" in deleted["metadata"], deleted)
    path = f"/api/v1/namespaces/{name}/serviceaccounts"
    for reply in (api.post(path, account("x")), api.apply(f"{path}/x", account("x"))):
        if api.get(f"/api/v1/namespaces/{name}").code == 404:
            reply.expect(404, "NotFound")
            continue
        text = (
            f'serviceaccounts "x" is forbidden: unable to create new content in namespace {name} '
            "because it is being terminated"
        )
        reply.expect(403, "Forbidden", text)
        equal(causes(reply), [("NamespaceTerminating", "metadata.namespace")])


# --- Creating ------------------------------------------------------------------------------------------------


@check("create: sets uid, resourceVersion, creationTimestamp and namespace")
def _(api, space):
    meta = api.post(space.accounts, account("s", labels={"app": "x"})).expect(201).meta
    holds(re.fullmatch(r"[0-9a-f-]{36}", meta["uid"]), meta)
    holds(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", meta["creationTimestamp"]), meta)
    holds(meta["resourceVersion"].isdigit(), meta)
    equal([meta["namespace"], meta["labels"]], [space.name, {"app": "x"}])


@check("create: uid and creationTimestamp of the client are ignored")
def _(api, space):
    given = {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z"}
    meta = api.post(space.accounts, account("s", **given)).expect(201).meta
    holds(meta["uid"] != "mine" and not meta["creationTimestamp"].startswith("2001"), meta)


@check("create: resourceVersion is refused")
def _(api, space):
    reply = api.post(space.accounts, account("s", resourceVersion="1"))
    reply.expect(500, None, "resourceVersion should not be set on objects to be created")


@check("create: generateName makes distinct names")
def _(api, space):
    made = {api.post(space.accounts, {"metadata": {"generateName": "gen-"}}).expect(201).meta["name"] for _ in range(3)}
    holds(len(made) == 3 and all(re.fullmatch(r"gen-[a-z0-9]{5}", name) for name in made), made)


@check("create: without name 422")
def _(api, space):
    reply = api.post(space.accounts, {"metadata": {}}).expect(422, "Invalid")
    equal(
        reply.value["message"],
        'ServiceAccount "" is invalid: metadata.name: Required value: name or generateName is required',
    )


@check("create: an absent namespace is 404 naming the namespace")
def _(api, space):
    absent = f"absent-{space.name}"
    wanted = {"name": absent, "kind": "namespaces"}
    accounts = f"/api/v1/namespaces/{absent}/serviceaccounts"
    services = f"/apis/serving.kserve.io/v1beta1/namespaces/{absent}/inferenceservices"
    for reply in (
        api.post(accounts, account("x")),
        api.apply(f"{accounts}/x", account("x")),
        api.post(services, service("x")),
        api.apply(f"{services}/x", service("x")),
    ):
        reply.expect(404, "NotFound", f'namespaces "{absent}" not found')
        equal(reply.value["details"], wanted)


@check("create: another namespace in the body is 400")
def _(api, space):
    reply = api.post(space.accounts, account("x", namespace="other")).expect(400, "BadRequest")
    equal(
        reply.value["message"], "the namespace of the provided object does not match the namespace sent on the request"
    )


@check("create: a second object of the name is 409 AlreadyExists")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    reply = api.post(space.accounts, account("s"))
    reply.expect(409, "AlreadyExists", 'serviceaccounts "s" already exists')
    equal(reply.value["details"], {"name": "s", "kind": "serviceaccounts"})


@check("create: a second custom resource of the name is 409 with its group")
def _(api, space):
    api.post(space.services, service("m")).expect(201)
    reply = api.post(space.services, service("m"))
    reply.expect(409, "AlreadyExists", 'inferenceservices.serving.kserve.io "m" already exists')
    equal(reply.value["details"], {"name": "m", "group": "serving.kserve.io", "kind": "inferenceservices"})


@check("create: of many at once with one name exactly one wins")
def _(api, space):
    path = space.accounts

    def create(_):
        return api.post(path, account("s"), connection=api.connect()).code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(create, range(8)))
    equal(codes, [201] + [409] * 7)


@check("create: an invalid name is 422 with the rule")
def _(api, space):
    reply = api.post(space.accounts, account("Bad_Name")).expect(422, "Invalid")
    text = (
        'ServiceAccount "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain'
    )
    holds(reply.value["message"].startswith(text), reply.value["message"])
    details = reply.value["details"]
    equal([details["name"], details["kind"]], ["Bad_Name", "ServiceAccount"])
    equal(causes(reply), [("FieldValueInvalid", "metadata.name")])


@check("create: dots are fine in the names of objects")
def _(api, space):
    api.post(space.accounts, account("with.dot")).expect(201)


@check("create: invalid labels are 422, one cause each")
def _(api, space):
    reply = api.post(space.accounts, account("s", labels={"a b": "c d"})).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueInvalid", "metadata.labels")] * 2)
    holds(
        reply.value["message"].startswith('ServiceAccount "s" is invalid: [metadata.labels: Invalid value: "a b": '),
        reply.text,
    )


@check("create: a label's value may have 63 characters, not 64")
def _(api, space):
    api.post(space.accounts, account("s", labels={"a": "x" * 63})).expect(201)
    reply = api.post(space.accounts, account("t", labels={"a": "x" * 64})).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueInvalid", "metadata.labels")])


@check("create: an invalid annotation key is 422")
def _(api, space):
    for key in ("a b", "UPPER CASE", "pre fix/x", "/x"):
        reply = api.post(space.accounts, account("s", annotations={key: "1"})).expect(422, "Invalid")
        holds(set(causes(reply)) == {("FieldValueInvalid", "metadata.annotations")}, reply.text)


@check("create: more than 256 KiB of annotations is 422")
def _(api, space):
    reply = api.post(space.accounts, annotated("s", big="x" * (256 * 1024))).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueTooLong", "metadata.annotations")])


@check("create: a label that is no string is 400")
def _(api, space):
    api.post(space.accounts, account("s", labels={"a": 1})).expect(400, "BadRequest")
    api.post(space.services, {**service("m"), "metadata": {"name": "m", "labels": {"a": 1}}}).expect(400, "BadRequest")


@check("create: another kind or apiVersion is 400")
def _(api, space):
    api.post(space.accounts, {**account("s"), "kind": "Pod"}).expect(400, "BadRequest")
    api.post(space.accounts, {**account("s"), "apiVersion": "v2"}).expect(400, "BadRequest")
    api.post(space.services, {**service("m"), "apiVersion": "serving.kserve.io/v1"}).expect(400, "BadRequest")


@check("create: core kinds need no kind in the body, custom resources do")
def _(api, space):
    api.post(space.accounts, {"metadata": {"name": "s"}}).expect(201)
    api.post(space.services, {"metadata": {"name": "m"}, "spec": {"predictor": {}}}).expect(400, "BadRequest")


@check("create: a body that is no JSON is 400")
def _(api, space):
    api.post(space.accounts, '{"metadata":').expect(400, "BadRequest")


@check("create: another content type is 415")
def _(api, space):
    api.post(space.accounts, "{}", content="application/x-other").expect(415, "UnsupportedMediaType")


@check("methods: POST to an object and PUT to a collection are 405")
def _(api, space):
    text = "the server does not allow this method on the requested resource"
    api.post(f"{space.accounts}/s", account("s")).expect(405, "MethodNotAllowed", text)
    api.put(space.accounts, account("s")).expect(405, "MethodNotAllowed", text)


@check("field validation: an unknown field is 400 when strict, a warning when not")
def _(api, space):
    if api.minor() < 25:
        raise Skipped("fieldValidation came with Kubernetes 1.25")
    odd = account("s", {"nope": 1})
    reply = api.post(space.accounts, odd, fieldValidation="Strict").expect(400, "BadRequest")
    text = (
        'ServiceAccount in version "v1" cannot be handled as a ServiceAccount: strict decoding error: '
        'unknown field "nope"'
    )
    equal(reply.value["message"], text)
    reply = api.post(space.accounts, odd, fieldValidation="Warn").expect(201)
    equal(reply.headers["Warning"], '299 - "unknown field \\"nope\\""')
    reply = api.put(f"{space.accounts}/s", odd, fieldValidation="Strict").expect(400, "BadRequest")
    reply = api.patch(f"{space.accounts}/s", {"nope": 1}, fieldValidation="Strict")
    holds(reply.code in (400, 422), reply.text)
    reply = api.post(space.services, {**service("m"), "spec": {"predictor": {}, "nope": 1}}, fieldValidation="Strict")
    reply.expect(400, "BadRequest")


@check("field validation: an unknown field is not stored")
def _(api, space):
    reply = api.post(space.accounts, account("s", {"nope": 1})).expect(201)
    holds("nope" not in reply.value, reply.text)
    holds("nope" not in api.get(f"{space.accounts}/s").value, "it was stored")


# --- Reading -------------------------------------------------------------------------------------------------


@check("get: carries kind and apiVersion")
def _(api, space):
    api.post(space.accounts, {"metadata": {"name": "s"}}).expect(201)
    value = api.get(f"{space.accounts}/s").expect(200).value
    equal([value["kind"], value["apiVersion"]], ["ServiceAccount", "v1"])


@check("get: an absent object is 404 with its name")
def _(api, space):
    reply = api.get(f"{space.accounts}/x")
    reply.expect(404, "NotFound", 'serviceaccounts "x" not found')
    equal(reply.value["details"], {"name": "x", "kind": "serviceaccounts"})


@check("get: an absent object of a group is 404 with the group")
def _(api, space):
    reply = api.get(f"{space.deployments}/x")
    reply.expect(404, "NotFound", 'deployments.apps "x" not found')
    equal(reply.value["details"], {"name": "x", "group": "apps", "kind": "deployments"})
    reply = api.get(f"{space.services}/x")
    reply.expect(404, "NotFound", 'inferenceservices.serving.kserve.io "x" not found')


@check("get: in an absent namespace the object is 404, the list empty")
def _(api, space):
    path = f"/api/v1/namespaces/absent-{space.name}/serviceaccounts"
    api.get(f"{path}/x").expect(404, "NotFound", 'serviceaccounts "x" not found')
    equal(names(api.get(path)), [])


def pages(api, path, limit):
    """Every page of a list; more than twenty are a loop."""
    replies = [api.get(path, limit=limit).expect(200)]
    while replies[-1].meta.get("continue"):
        replies.append(api.get(path, limit=limit, **{"continue": replies[-1].meta["continue"]}).expect(200))
        holds(len(replies) <= 20, "the list does not end")
    return replies


def several(api, space, count=7):
    for index in range(count):
        labels = {"n": str(index % 2), **({"first": ""} if index == 0 else {})}
        api.post(space.accounts, account(f"s{index}", labels=labels)).expect(201)


@check("list: kind, resourceVersion, and items by name without kind of their own")
def _(api, space):
    for name in ("b", "c", "a"):
        api.post(space.accounts, account(name)).expect(201)
    value = api.get(space.accounts).expect(200).value
    equal([value["kind"], value["apiVersion"]], ["ServiceAccountList", "v1"])
    holds(value["metadata"]["resourceVersion"].isdigit(), value["metadata"])
    equal([row["metadata"]["name"] for row in value["items"]], ["a", "b", "c"])
    holds("kind" not in value["items"][0], value["items"][0])


@check("list: custom resources carry kind and apiVersion")
def _(api, space):
    api.post(space.services, service("m")).expect(201)
    value = api.get(space.services).expect(200).value
    equal(value["kind"], "InferenceServiceList")
    equal([value["items"][0][key] for key in ("kind", "apiVersion")], ["InferenceService", "serving.kserve.io/v1beta1"])


@check("list: of all namespaces")
def _(api, space):
    several(api, space, 2)
    rows = api.get("/api/v1/serviceaccounts").expect(200).value["items"]
    equal([row["metadata"]["name"] for row in rows if row["metadata"]["namespace"] == space.name], ["s0", "s1"])


@check("list: limit and continue give every object once")
def _(api, space):
    several(api, space)
    replies = pages(api, space.accounts, 3)
    holds(all(len(names(reply)) <= 3 for reply in replies), [names(reply) for reply in replies])
    seen = [name for reply in replies for name in names(reply)]
    left = [reply.meta.get("remainingItemCount") for reply in replies]
    equal(seen, [f"s{index}" for index in range(7)])
    equal(left, [4, 1, None])


@check("list: pages show one moment, whatever happens meanwhile")
def _(api, space):
    several(api, space, 5)
    first = api.get(space.accounts, limit=2)
    api.delete(f"{space.accounts}/s3").expect(200)
    api.post(space.accounts, account("s2a")).expect(201)
    api.patch(f"{space.accounts}/s4", {"metadata": {"labels": {"late": "1"}}}).expect(200)
    second = api.get(space.accounts, limit=9, **{"continue": first.meta["continue"]})
    equal(names(second), ["s2", "s3", "s4"])
    equal(second.meta["resourceVersion"], first.meta["resourceVersion"])
    holds("late" not in second.value["items"][2]["metadata"]["labels"], "a later label is shown")


@check("list: a page of all namespaces continues in the same order")
def _(api, space):
    several(api, space, 3)
    whole = [row["metadata"]["uid"] for row in api.get("/api/v1/serviceaccounts").value["items"]]
    replies = pages(api, "/api/v1/serviceaccounts", max(1, len(whole) // 4))
    equal([row["metadata"]["uid"] for reply in replies for row in reply.value["items"]], whole)


@check("list: a bad continue token is 400 or 410")
def _(api, space):
    several(api, space, 2)
    reply = api.get(space.accounts, limit=1, **{"continue": "bogus"})
    reply.expect(reply.code if reply.code in (400, 410) else 400)
    equal(reply.value["reason"], {400: "BadRequest", 410: "Expired"}[reply.code])


@check("list: an expired continue token is 410 with a token to go on")
def _(api, space):
    if not api.lists_expire:
        raise Skipped("no --lists-expire")
    several(api, space, 4)
    first = api.get(space.accounts, limit=2)
    for number in range(10_000):
        reply = api.get(space.accounts, limit=2, **{"continue": first.meta["continue"]})
        if reply.code != 200:
            break
        api.patch(f"{space.accounts}/s0", {"metadata": {"labels": {"turn": str(number)}}}).expect(200)
    reply.expect(410, "Expired")
    holds(
        reply.value["message"].startswith("The provided continue parameter is too old to display a consistent list"),
        reply.text,
    )
    equal(names(api.get(space.accounts, limit=2, **{"continue": reply.meta["continue"]})), ["s2", "s3"])


@check("list: continue together with resourceVersion is 400")
def _(api, space):
    several(api, space, 3)
    first = api.get(space.accounts, limit=1)
    reply = api.get(space.accounts, limit=1, resourceVersion="5", **{"continue": first.meta["continue"]})
    reply.expect(400, "BadRequest", "specifying resource version is not allowed when using continue")


@check("list: limit 0 gives all, a limit that is no number 400")
def _(api, space):
    several(api, space, 3)
    equal(len(names(api.get(space.accounts, limit=0))), 3)
    api.get(space.accounts, limit="x").expect(400, "BadRequest")


@check("list: label selectors by equality")
def _(api, space):
    several(api, space)
    for selector, wanted in (
        ("n=1", ["s1", "s3", "s5"]),
        ("n==1", ["s1", "s3", "s5"]),
        ("n!=1", ["s0", "s2", "s4", "s6"]),
        ("absent!=1,n=0", ["s0", "s2", "s4", "s6"]),
        ("first=", ["s0"]),
        ("n=2", []),
    ):
        equal([selector, names(api.get(space.accounts, labelSelector=selector))], [selector, wanted])


@check("list: label selectors by set and by existence")
def _(api, space):
    several(api, space, 4)
    api.post(space.accounts, account("bare")).expect(201)
    for selector, wanted in (
        ("n in (1,2)", ["s1", "s3"]),
        ("n in (0, 1), !first", ["s1", "s2", "s3"]),
        ("n notin (1)", ["bare", "s0", "s2"]),
        ("n", ["s0", "s1", "s2", "s3"]),
        ("!n", ["bare"]),
        ("first,n in (0)", ["s0"]),
    ):
        equal([selector, names(api.get(space.accounts, labelSelector=selector))], [selector, wanted])


@check("list: a label selector that cannot be read is 400")
def _(api, space):
    for selector in ("a b", "n in 1", "a=b=c", "=x", "a=b c", "-a=1", "a=b,", ",", "a in (b"):
        api.get(space.accounts, labelSelector=selector).expect(400, "BadRequest")


@check("list: a limit counts the selected objects")
def _(api, space):
    several(api, space)
    reply = api.get(space.accounts, labelSelector="n=1", limit=2)
    equal(names(reply), ["s1", "s3"])
    holds("remainingItemCount" not in reply.meta, reply.meta)
    equal(names(api.get(space.accounts, labelSelector="n=1", limit=2, **{"continue": reply.meta["continue"]})), ["s5"])


@check("list: field selector metadata.name")
def _(api, space):
    several(api, space, 3)
    equal(names(api.get(space.accounts, fieldSelector="metadata.name=s1")), ["s1"])
    equal(names(api.get(space.accounts, fieldSelector="metadata.name!=s1")), ["s0", "s2"])
    equal(
        names(api.get("/api/v1/serviceaccounts", fieldSelector=f"metadata.name=s1,metadata.namespace={space.name}")),
        ["s1"],
    )


@check("list: an unknown field selector is 400")
def _(api, space):
    api.get(space.accounts, fieldSelector="spec.x=1").expect(400, "BadRequest")
    api.get(space.services, fieldSelector="spec.predictor=1").expect(400, "BadRequest")


# --- Replacing -----------------------------------------------------------------------------------------------

STALE = "the object has been modified; please apply your changes to the latest version and try again"


@check("put: replaces and makes resourceVersion grow")
def _(api, space):
    before = api.post(space.accounts, account("s", labels={"a": "1"})).value
    after = api.put(f"{space.accounts}/s", {**before, "metadata": {**before["metadata"], "labels": {"b": "2"}}}).expect(
        200
    )
    equal(after.meta["labels"], {"b": "2"})
    equal(
        [after.meta[key] for key in ("uid", "creationTimestamp")],
        [before["metadata"][key] for key in ("uid", "creationTimestamp")],
    )
    holds(int(after.meta["resourceVersion"]) > int(before["metadata"]["resourceVersion"]), after.meta)


@check("put: a stale resourceVersion is 409 Conflict")
def _(api, space):
    old = api.post(space.accounts, account("s")).value
    api.patch(f"{space.accounts}/s", {"metadata": {"labels": {"a": "1"}}}).expect(200)
    reply = api.put(f"{space.accounts}/s", old)
    reply.expect(409, "Conflict", f'Operation cannot be fulfilled on serviceaccounts "s": {STALE}')
    equal(reply.value["details"], {"name": "s", "kind": "serviceaccounts"})


@check("put: of many at once with one resourceVersion exactly one wins")
def _(api, space):
    old = api.post(space.accounts, account("s")).value
    path = f"{space.accounts}/s"

    def replace(index):
        body = {**old, "metadata": {**old["metadata"], "labels": {"n": str(index)}}}
        return api.put(path, body, connection=api.connect()).code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(replace, range(8)))
    equal(codes, [200] + [409] * 7)


@check("put: core kinds need no resourceVersion, custom resources do")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    equal(api.put(f"{space.accounts}/s", annotated("s", a="1")).expect(200).meta["annotations"], {"a": "1"})
    api.post(space.services, service("m")).expect(201)
    reply = api.put(f"{space.services}/m", service("m", minReplicas=1)).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueInvalid", "metadata.resourceVersion")])


@check("put: without a change resourceVersion stays")
def _(api, space):
    before = api.post(space.accounts, account("s", labels={"a": "1"})).value
    equal(api.put(f"{space.accounts}/s", before).expect(200).value, before)


@check("put: another name is 400, another uid 409, an absent object 404")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    reply = api.put(f"{space.accounts}/s", account("t"))
    reply.expect(400, "BadRequest", "the name of the object (t) does not match the name on the URL (s)")
    api.put(f"{space.accounts}/s", account("s", uid="other")).expect(409, "Conflict")
    api.put(f"{space.accounts}/x", account("x")).expect(404, "NotFound", 'serviceaccounts "x" not found')


# --- Patching ------------------------------------------------------------------------------------------------


@check("merge patch: adds, changes, and null deletes")
def _(api, space):
    api.post(space.accounts, annotated("s", a="1", b="2")).expect(201)
    reply = api.patch(f"{space.accounts}/s", {"metadata": {"annotations": {"a": None, "b": "3", "c": "4"}}}).expect(200)
    equal(reply.meta["annotations"], {"b": "3", "c": "4"})
    reply = api.patch(f"{space.accounts}/s", {"metadata": {"annotations": None}}).expect(200)
    holds("annotations" not in reply.meta, reply.meta)


@check("merge patch: the last annotation to go takes the map with it")
def _(api, space):
    api.post(space.accounts, annotated("s", a="1")).expect(201)
    reply = api.patch(f"{space.accounts}/s", {"metadata": {"annotations": {"a": None}}}).expect(200)
    holds("annotations" not in reply.meta, reply.meta)


@check("merge patch: without a change resourceVersion stays")
def _(api, space):
    before = api.post(space.accounts, annotated("s", a="1")).value
    equal(api.patch(f"{space.accounts}/s", {"metadata": {"annotations": {"a": "1"}}}).expect(200).value, before)


@check("merge patch: a stale resourceVersion is 409, another uid 422, another name 400")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    path = f"{space.accounts}/s"
    reply = api.patch(path, {"metadata": {"resourceVersion": "1", "labels": {"a": "1"}}})
    reply.expect(409, "Conflict", f'Operation cannot be fulfilled on serviceaccounts "s": {STALE}')
    reply = api.patch(path, {"metadata": {"uid": "other"}}).expect(422, "Invalid")
    equal(set(causes(reply)), {("FieldValueInvalid", "metadata.uid")})
    text = "the name of the object (t) does not match the name on the URL (s)"
    api.patch(path, {"metadata": {"name": "t"}}).expect(400, "BadRequest", text)


@check("merge patch: an absent object is 404")
def _(api, space):
    api.patch(f"{space.accounts}/x", {"metadata": {}}).expect(404, "NotFound", 'serviceaccounts "x" not found')


@check("merge patch: a label that is no string is 422")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    api.patch(f"{space.accounts}/s", {"metadata": {"labels": {"a": 1}}}).expect(422, "Invalid")
    api.patch(f"{space.accounts}/s", {"metadata": {"labels": {"a b": "1"}}}).expect(422, "Invalid")


@check("merge patch: force is 422")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    reply = api.patch(f"{space.accounts}/s", {}, force="true").expect(422, "Invalid")
    equal(causes(reply), [("FieldValueForbidden", "force")])


@check("JSON patch: add, replace, remove, test")
def _(api, space):
    api.post(space.accounts, annotated("s", a="1", b="2")).expect(201)
    key = ROLE.replace("/", "~1")
    operations = [
        {"op": "test", "path": "/metadata/annotations/a", "value": "1"},
        {"op": "replace", "path": "/metadata/annotations/a", "value": "9"},
        {"op": "remove", "path": "/metadata/annotations/b"},
        {"op": "add", "path": f"/metadata/annotations/{key}", "value": "arn"},
        {"op": "add", "path": "/imagePullSecrets", "value": [{"name": "x"}]},
        {"op": "add", "path": "/imagePullSecrets/-", "value": {"name": "y"}},
    ]
    reply = api.patch(f"{space.accounts}/s", operations, content=JSON_PATCH).expect(200)
    equal(reply.meta["annotations"], {"a": "9", ROLE: "arn"})
    equal(reply.value["imagePullSecrets"], [{"name": "x"}, {"name": "y"}])


@check("JSON patch: a failed test is 422 and changes nothing")
def _(api, space):
    before = api.post(space.accounts, annotated("s", a="1")).value
    for operation in (
        {"op": "test", "path": "/metadata/annotations/a", "value": "2"},
        {"op": "remove", "path": "/metadata/annotations/absent"},
    ):
        steps = [{"op": "add", "path": "/metadata/annotations/z", "value": "1"}, operation]
        api.patch(f"{space.accounts}/s", steps, content=JSON_PATCH).expect(422, "Invalid")
    equal(api.get(f"{space.accounts}/s").value, before)


@check("JSON patch: a body that is no list is 400")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    api.patch(f"{space.accounts}/s", {}, content=JSON_PATCH).expect(400, "BadRequest")


@check("strategic merge patch: `secrets` merges by name, `imagePullSecrets` is replaced")
def _(api, space):
    api.post(space.accounts, account("s", {"secrets": [{"name": "a"}], "imagePullSecrets": [{"name": "a"}]})).expect(
        201
    )
    body = {"secrets": [{"name": "b"}], "imagePullSecrets": [{"name": "b"}]}
    value = api.patch(f"{space.accounts}/s", body, content=STRATEGIC).expect(200).value
    equal(sorted(row["name"] for row in value["secrets"]), ["a", "b"])
    equal(value["imagePullSecrets"], [{"name": "b"}])


@check("strategic merge patch: `$patch: delete` takes a member out")
def _(api, space):
    api.post(space.accounts, account("s", {"secrets": [{"name": "a"}, {"name": "b"}]})).expect(201)
    body = {"secrets": [{"$patch": "delete", "name": "a"}], "metadata": {"labels": {"x": "1"}}}
    reply = api.patch(f"{space.accounts}/s", body, content=STRATEGIC).expect(200)
    equal([reply.value["secrets"], reply.meta["labels"]], [[{"name": "b"}], {"x": "1"}])


@check("strategic merge patch: finalizers are added to")
def _(api, space):
    api.post(space.accounts, account("s", finalizers=["example.com/x"])).expect(201)
    body = {"metadata": {"finalizers": ["example.com/x", "example.com/y"]}}
    meta = api.patch(f"{space.accounts}/s", body, content=STRATEGIC).expect(200).meta
    equal(sorted(meta["finalizers"]), ["example.com/x", "example.com/y"])


@check("strategic merge patch: not for custom resources")
def _(api, space):
    api.post(space.services, service("m")).expect(201)
    api.patch(f"{space.services}/m", {}, content=STRATEGIC).expect(415, "UnsupportedMediaType")


@check("patch: another content type is 415")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    for content in ("application/json", "application/x-other"):
        api.patch(f"{space.accounts}/s", {}, content=content).expect(415, "UnsupportedMediaType")


# --- Field managers ------------------------------------------------------------------------------------------


@check("managed fields: a create is an Update by its manager")
def _(api, space):
    meta = api.post(space.accounts, annotated("s", a="1"), fieldManager="creator").expect(201).meta
    row = meta["managedFields"][0]
    equal(
        {key: row[key] for key in ("manager", "operation", "apiVersion", "fieldsType")},
        {"manager": "creator", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1"},
    )
    equal(row["fieldsV1"], {"f:metadata": {"f:annotations": {".": {}, "f:a": {}}}})
    holds("time" in row, row)


@check("managed fields: without fieldManager the user agent names the manager")
def _(api, space):
    meta = api.post(space.accounts, annotated("s", a="1"), agent="kubectl/v1.30 (linux)").expect(201).meta
    equal(list(owners(meta)), [("kubectl", "Update")])


@check("managed fields: an update takes over what it changes, from appliers too")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", a="1", b="2"), "first").expect(201)
    body = {"metadata": {"annotations": {"a": "9", "c": "3"}}}
    meta = api.patch(f"{space.accounts}/s", body, fieldManager="editor").expect(200).meta
    equal(owners(meta), {("first", "Apply"): annotation_fields("b"), ("editor", "Update"): annotation_fields("a", "c")})


@check("managed fields: a field that an update removes has no owner")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", a="1", b="2"), "first").expect(201)
    body = {"metadata": {"annotations": {"a": None}}}
    meta = api.patch(f"{space.accounts}/s", body, fieldManager="editor").expect(200).meta
    equal(owners(meta), {("first", "Apply"): annotation_fields("b")})


@check("managed fields: members of keyed lists and sets are owned one by one")
def _(api, space):
    body = account("s", {"secrets": [{"name": "x"}], "imagePullSecrets": [{"name": "y"}]}, finalizers=["example.com/f"])
    meta = api.post(space.accounts, body, fieldManager="creator").expect(201).meta
    wanted = {
        "f:imagePullSecrets": {},
        "f:metadata": {"f:finalizers": {".": {}, 'v:"example.com/f"': {}}},
        "f:secrets": {".": {}, 'k:{"name":"x"}': {".": {}, "f:name": {}}},
    }
    equal(owners(meta), {("creator", "Update"): wanted})


@check("managed fields: an object without written fields has none")
def _(api, space):
    holds("managedFields" not in api.post(space.accounts, account("s")).expect(201).meta, "it has some")


@check("managed fields: an empty list forgets all owners")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", a="1")).expect(201)
    for body in ({"metadata": {"managedFields": []}}, {"metadata": {"managedFields": [{}]}}):
        api.apply(f"{space.accounts}/s", annotated("s", a="1")).expect(200)
        meta = api.patch(f"{space.accounts}/s", body).expect(200).meta
        equal([meta.get("managedFields"), meta["annotations"]], [None, {"a": "1"}])


@check("managed fields: a manager's name has at most 128 bytes")
def _(api, space):
    api.post(space.accounts, account("s"), fieldManager="m" * 128).expect(201)
    reply = api.post(space.accounts, account("t"), fieldManager="m" * 129).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueTooLong", "fieldManager")])
    reply = api.apply(f"{space.accounts}/t", account("t"), "m" * 129).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueTooLong", "fieldManager")])


# --- Server-side apply ---------------------------------------------------------------------------------------


@check("apply: creates with 201 and owns its fields")
def _(api, space):
    body = account("s", {"automountServiceAccountToken": False}, annotations={ROLE: "arn"}, labels={"l": "1"})
    reply = api.apply(f"{space.accounts}/s", body, "bailiwick").expect(201)
    equal([reply.meta["annotations"], reply.meta["labels"]], [{ROLE: "arn"}, {"l": "1"}])
    row = reply.meta["managedFields"][0]
    equal(
        {key: row[key] for key in ("manager", "operation", "apiVersion", "fieldsType")},
        {"manager": "bailiwick", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"},
    )
    wanted = {
        "f:automountServiceAccountToken": {},
        "f:metadata": {"f:annotations": {f"f:{ROLE}": {}}, "f:labels": {"f:l": {}}},
    }
    equal(row["fieldsV1"], wanted)


@check("apply: an object of nothing but a name has no managed fields")
def _(api, space):
    holds("managedFields" not in api.apply(f"{space.accounts}/s", account("s")).expect(201).meta, "it has some")


@check("apply: fieldManager is required")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", account("s"), None).expect(422, "Invalid")
    text = 'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch'
    equal(reply.value["message"], text)
    wanted = [
        {
            "reason": "FieldValueRequired",
            "message": "Required value: is required for apply patch",
            "field": "fieldManager",
        }
    ]
    equal(reply.value["details"], {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": wanted})
    api.get(f"{space.accounts}/s").expect(404)


@check("apply: managedFields in the configuration are 400")
def _(api, space):
    for given in ([], [{"manager": "x"}]):
        reply = api.apply(f"{space.accounts}/s", account("s", managedFields=given))
        reply.expect(400, "BadRequest", "metadata.managedFields must be nil")


@check("apply: another apiVersion, or none, is 400")
def _(api, space):
    for given in ("v2", None):
        body = {**account("s"), "apiVersion": given}
        reply = api.apply(f"{space.accounts}/s", {key: value for key, value in body.items() if value}).expect(
            400, "BadRequest"
        )
        text = f"Incorrect version specified in apply patch. Specified patch version: {given or ''}, expected: v1"
        equal(reply.value["message"], text)


@check("apply: another kind is refused")
def _(api, space):
    holds(api.apply(f"{space.accounts}/s", {**account("s"), "kind": "Pod"}).code >= 400, "it was taken")
    api.get(f"{space.accounts}/s").expect(404)


@check("apply: another name or no name is 400")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", account("t"))
    reply.expect(400, "BadRequest", "the name of the object (t) does not match the name on the URL (s)")
    reply = api.apply(f"{space.accounts}/s", {"apiVersion": "v1", "kind": "ServiceAccount"})
    reply.expect(400, "BadRequest", "the name of the object (s based on URL) was undeterminable: name must be provided")


@check("apply: another namespace is 400")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", account("s", namespace="other"))
    reply.expect(400, "BadRequest")


@check("apply: an invalid name is 422")
def _(api, space):
    reply = api.apply(f"{space.accounts}/Bad_Name", account("Bad_Name")).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueInvalid", "metadata.name")])


@check("apply: an unknown field is refused")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", account("s", {"nope": 1}))
    holds(reply.code >= 400 and reply.value["message"].endswith(".nope: field not declared in schema"), reply.text)
    reply = api.apply(f"{space.services}/m", {**service("m"), "spec": {"predictor": {}, "nope": 1}})
    holds(reply.code >= 400 and reply.value["message"].endswith(".spec.nope: field not declared in schema"), reply.text)
    api.get(f"{space.accounts}/s").expect(404)
    api.get(f"{space.services}/m").expect(404)


@check("apply: a value of another type is refused")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", account("s", annotations={"x": 1}))
    holds(reply.code >= 400 and ".metadata.annotations.x: expected string" in reply.value["message"], reply.text)
    api.get(f"{space.accounts}/s").expect(404)


@check("apply: a keyed list with one key twice, or without key, is refused")
def _(api, space):
    for rows in ([{"name": "x"}, {"name": "x"}], [{"namespace": "y"}]):
        reply = api.apply(f"{space.accounts}/s", account("s", {"secrets": rows}))
        holds(reply.code >= 400 and ".secrets" in reply.value["message"], reply.text)
    api.get(f"{space.accounts}/s").expect(404)


@check("apply: a body that cannot be read is 400")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", '{"a":').expect(400, "BadRequest")
    holds(reply.value["message"].startswith("error decoding YAML"), reply.text)


@check("apply: the same again changes nothing, not even resourceVersion")
def _(api, space):
    first = api.apply(f"{space.accounts}/s", role("s", "arn")).expect(201).value
    for _ in range(2):
        equal(api.apply(f"{space.accounts}/s", role("s", "arn")).expect(200).value, first)
    equal(api.apply(f"{space.accounts}/s", role("s", "arn"), force="true").expect(200).value, first)


@check("apply: a change makes resourceVersion grow and keeps uid")
def _(api, space):
    before = api.apply(f"{space.accounts}/s", role("s", "one")).expect(201).meta
    after = api.apply(f"{space.accounts}/s", role("s", "two")).expect(200).meta
    equal([after["annotations"], after["uid"]], [{ROLE: "two"}, before["uid"]])
    holds(int(after["resourceVersion"]) > int(before["resourceVersion"]), after)


@check("apply: only the named fields change")
def _(api, space):
    api.post(space.accounts, account("s", annotations={"theirs": "1"}, labels={"l": "1"}), fieldManager="them").expect(
        201
    )
    meta = api.apply(f"{space.accounts}/s", role("s", "arn")).expect(200).meta
    equal([meta["annotations"], meta["labels"]], [{"theirs": "1", ROLE: "arn"}, {"l": "1"}])
    equal(owners(meta)["a", "Apply"], annotation_fields(ROLE))


@check("apply: one conflict, word for word")
def _(api, space):
    api.apply(f"{space.accounts}/s", role("s", "one"), "first").expect(201)
    reply = api.apply(f"{space.accounts}/s", role("s", "two"), "second")
    field = f".metadata.annotations.{ROLE}"
    reply.expect(409, "Conflict", f'Apply failed with 1 conflict: conflict with "first": {field}')
    wanted = [{"reason": "FieldManagerConflict", "message": 'conflict with "first"', "field": field}]
    equal(reply.value["details"], {"causes": wanted})


@check("apply: several conflicts with one manager, word for word")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", x="1", y="1"), "first").expect(201)
    reply = api.apply(f"{space.accounts}/s", annotated("s", x="2", y="2"), "second")
    lines = [
        'Apply failed with 2 conflicts: conflicts with "first":',
        "- .metadata.annotations.x",
        "- .metadata.annotations.y",
    ]
    reply.expect(409, "Conflict", "\n".join(lines))
    fields = [f".metadata.annotations.{name}" for name in ("x", "y")]
    equal(causes(reply), [("FieldManagerConflict", field) for field in fields])


@check("apply: conflicts with several managers are all named")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", x="1"), "first").expect(201)
    api.apply(f"{space.accounts}/s", annotated("s", y="1"), "second").expect(200)
    reply = api.apply(f"{space.accounts}/s", annotated("s", x="2", y="2"), "third").expect(409, "Conflict")
    lines = [
        'Apply failed with 2 conflicts: conflicts with "first":',
        "- .metadata.annotations.x",
        'conflicts with "second":',
        "- .metadata.annotations.y",
    ]
    equal(reply.value["message"], "\n".join(lines))
    found = sorted((cause["message"], cause["field"]) for cause in reply.value["details"]["causes"])
    equal(
        found,
        [('conflict with "first"', ".metadata.annotations.x"), ('conflict with "second"', ".metadata.annotations.y")],
    )


@check("apply: a plain update conflicts too, and is named with its version")
def _(api, space):
    api.apply(f"{space.accounts}/s", role("s", "one"), "bailiwick").expect(201)
    body = {"metadata": {"annotations": {ROLE: "edited"}}}
    api.patch(f"{space.accounts}/s", body, fieldManager="kubectl-edit").expect(200)
    reply = api.apply(f"{space.accounts}/s", role("s", "one"), "bailiwick").expect(409, "Conflict")
    holds(
        reply.value["message"].startswith('Apply failed with 1 conflict: conflict with "kubectl-edit" using v1'),
        reply.text,
    )
    equal(causes(reply), [("FieldManagerConflict", f".metadata.annotations.{ROLE}")])


@check("apply: the same manager's own plain update conflicts as well")
def _(api, space):
    api.post(space.accounts, role("s", "one"), fieldManager="bailiwick").expect(201)
    reply = api.apply(f"{space.accounts}/s", role("s", "two"), "bailiwick").expect(409, "Conflict")
    holds('conflict with "bailiwick" using v1' in reply.value["message"], reply.text)


@check("apply: a conflict changes nothing")
def _(api, space):
    before = api.apply(f"{space.accounts}/s", role("s", "one"), "first").value
    body = account("s", annotations={ROLE: "two", "extra": "1"})
    api.apply(f"{space.accounts}/s", body, "second").expect(409, "Conflict")
    equal(api.get(f"{space.accounts}/s").value, before)


@check("apply: the same value is shared ownership, not conflict")
def _(api, space):
    api.apply(f"{space.accounts}/s", role("s", "arn"), "first").expect(201)
    meta = api.apply(f"{space.accounts}/s", role("s", "arn"), "second").expect(200).meta
    wanted = annotation_fields(ROLE)
    equal(owners(meta), {("first", "Apply"): wanted, ("second", "Apply"): wanted})


@check("apply: the same value shares ownership with a plain update")
def _(api, space):
    api.post(space.accounts, role("s", "arn"), fieldManager="creator").expect(201)
    meta = api.apply(f"{space.accounts}/s", role("s", "arn")).expect(200).meta
    equal(sorted(owners(meta)), [("a", "Apply"), ("creator", "Update")])


@check("apply: one owner leaving a shared field keeps it, the last one removes it")
def _(api, space):
    api.apply(f"{space.accounts}/s", role("s", "arn"), "first").expect(201)
    api.apply(f"{space.accounts}/s", role("s", "arn"), "second").expect(200)
    meta = api.apply(f"{space.accounts}/s", account("s"), "first").expect(200).meta
    equal([meta["annotations"], list(owners(meta))], [{ROLE: "arn"}, [("second", "Apply")]])
    meta = api.apply(f"{space.accounts}/s", account("s"), "second").expect(200).meta
    holds("annotations" not in meta and "managedFields" not in meta, meta)


@check("apply: a shared field cannot be changed by one of its owners alone")
def _(api, space):
    api.apply(f"{space.accounts}/s", role("s", "arn"), "first").expect(201)
    api.apply(f"{space.accounts}/s", role("s", "arn"), "second").expect(200)
    reply = api.apply(f"{space.accounts}/s", role("s", "new"), "second").expect(409, "Conflict")
    equal(reply.value["details"]["causes"][0]["message"], 'conflict with "first"')


@check("apply: leaving a field out removes it without another owner")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", x="1", y="2")).expect(201)
    meta = api.apply(f"{space.accounts}/s", annotated("s", y="2")).expect(200).meta
    equal([meta["annotations"], owners(meta)], [{"y": "2"}, {("a", "Apply"): annotation_fields("y")}])


@check("service account: of its secrets only the names are stored")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", account("s", {"secrets": [{"name": "x", "namespace": "n"}]})).expect(201)
    equal(reply.value["secrets"], [{"name": "x"}])


@check("apply: leaving a field out keeps what a plain update set beside it")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", x="1")).expect(201)
    api.patch(f"{space.accounts}/s", {"metadata": {"annotations": {"theirs": "1"}}}, fieldManager="them").expect(200)
    meta = api.apply(f"{space.accounts}/s", account("s")).expect(200).meta
    equal(meta["annotations"], {"theirs": "1"})


@check("apply: a field another manager took over is not removed by leaving it out")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", x="1", y="1")).expect(201)
    api.patch(f"{space.accounts}/s", {"metadata": {"annotations": {"x": "2"}}}, fieldManager="them").expect(200)
    meta = api.apply(f"{space.accounts}/s", annotated("s", y="1")).expect(200).meta
    equal(meta["annotations"], {"x": "2", "y": "1"})


@check("apply: a deleted field comes back without conflict")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", x="1", y="1")).expect(201)
    api.patch(f"{space.accounts}/s", {"metadata": {"annotations": {"x": None}}}, fieldManager="them").expect(200)
    meta = api.apply(f"{space.accounts}/s", annotated("s", x="1", y="1")).expect(200).meta
    equal([meta["annotations"], list(owners(meta))], [{"x": "1", "y": "1"}, [("a", "Apply")]])


@check("apply: force takes the field, and only the field")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", x="1", y="1"), "first").expect(201)
    meta = api.apply(f"{space.accounts}/s", annotated("s", x="2"), "second", force="true").expect(200).meta
    equal(meta["annotations"], {"x": "2", "y": "1"})
    equal(owners(meta), {("first", "Apply"): annotation_fields("y"), ("second", "Apply"): annotation_fields("x")})
    api.apply(f"{space.accounts}/s", annotated("s", x="1", y="1"), "first").expect(409, "Conflict")


@check("apply: a forced field left out again is removed")
def _(api, space):
    api.apply(f"{space.accounts}/s", annotated("s", x="1", y="1"), "first").expect(201)
    api.apply(f"{space.accounts}/s", annotated("s", x="2"), "second", force="true").expect(200)
    meta = api.apply(f"{space.accounts}/s", account("s"), "second").expect(200).meta
    equal(meta["annotations"], {"y": "1"})


@check("apply: on an object without owners everything there belongs to before-first-apply")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    meta = api.patch(f"{space.accounts}/s", {"metadata": {"annotations": {ROLE: "one"}}}).expect(200).meta
    holds("managedFields" not in meta, meta)
    reply = api.apply(f"{space.accounts}/s", role("s", "two")).expect(409, "Conflict")
    holds('conflict with "before-first-apply" using v1' in reply.value["message"], reply.text)
    meta = api.apply(f"{space.accounts}/s", role("s", "one")).expect(200).meta
    equal(sorted(owners(meta)), [("a", "Apply"), ("before-first-apply", "Update")])


@check("apply: members of a keyed list belong to their appliers")
def _(api, space):
    api.apply(f"{space.accounts}/s", account("s", {"secrets": [{"name": "x"}]}), "first").expect(201)
    value = api.apply(f"{space.accounts}/s", account("s", {"secrets": [{"name": "y"}]}), "second").expect(200).value
    equal(sorted(row["name"] for row in value["secrets"]), ["x", "y"])
    wanted = {"f:secrets": {'k:{"name":"y"}': {".": {}, "f:name": {}}}}
    equal(owners(value["metadata"])["second", "Apply"], wanted)
    value = api.apply(f"{space.accounts}/s", account("s"), "first").expect(200).value
    equal(value["secrets"], [{"name": "y"}])


@check("apply: a conflict inside a keyed list names the member")
def _(api, space):
    api.apply(f"{space.accounts}/s", account("s", {"secrets": [{"name": "x", "namespace": "n1"}]}), "first").expect(201)
    reply = api.apply(f"{space.accounts}/s", account("s", {"secrets": [{"name": "x", "namespace": "n2"}]}), "second")
    reply.expect(409, "Conflict")
    equal(causes(reply), [("FieldManagerConflict", '.secrets[name="x"].namespace')])


@check("apply: imagePullSecrets is one value")
def _(api, space):
    api.apply(f"{space.accounts}/s", account("s", {"imagePullSecrets": [{"name": "x"}]}), "first").expect(201)
    reply = api.apply(f"{space.accounts}/s", account("s", {"imagePullSecrets": [{"name": "y"}]}), "second")
    reply.expect(409, "Conflict")
    equal(causes(reply), [("FieldManagerConflict", ".imagePullSecrets")])


@check("apply: finalizers are a set")
def _(api, space):
    api.apply(f"{space.accounts}/s", account("s", finalizers=["example.com/x"]), "first").expect(201)
    meta = api.apply(f"{space.accounts}/s", account("s", finalizers=["example.com/y"]), "second").expect(200).meta
    equal(sorted(meta["finalizers"]), ["example.com/x", "example.com/y"])
    equal(owners(meta)["second", "Apply"], {"f:metadata": {"f:finalizers": {'v:"example.com/y"': {}}}})
    meta = api.apply(f"{space.accounts}/s", account("s"), "first").expect(200).meta
    equal(meta["finalizers"], ["example.com/y"])


@check("apply: a stale resourceVersion is 409, the current one is fine")
def _(api, space):
    current = api.apply(f"{space.accounts}/s", role("s", "one")).meta["resourceVersion"]
    body = account("s", resourceVersion="1", annotations={ROLE: "two"})
    reply = api.apply(f"{space.accounts}/s", body)
    reply.expect(409, "Conflict", f'Operation cannot be fulfilled on serviceaccounts "s": {STALE}')
    equal(reply.value["details"], {"name": "s", "kind": "serviceaccounts"})
    body["metadata"]["resourceVersion"] = current
    equal(api.apply(f"{space.accounts}/s", body).expect(200).meta["annotations"], {ROLE: "two"})


@check("apply: with a uid it never creates")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", account("s", uid="gone")).expect(409, "Conflict")
    text = "uid mismatch: the provided object specified uid gone, and no existing object was found"
    holds(reply.value["message"].endswith(text), reply.text)
    api.get(f"{space.accounts}/s").expect(404)


@check("apply: another uid is 422, the right one is fine")
def _(api, space):
    uid = api.apply(f"{space.accounts}/s", role("s", "one")).meta["uid"]
    reply = api.apply(f"{space.accounts}/s", account("s", uid="other", annotations={ROLE: "two"})).expect(
        422, "Invalid"
    )
    equal(set(causes(reply)), {("FieldValueInvalid", "metadata.uid")})
    meta = api.apply(f"{space.accounts}/s", account("s", uid=uid, annotations={ROLE: "two"})).expect(200).meta
    equal(meta["annotations"], {ROLE: "two"})


# --- Dry run -------------------------------------------------------------------------------------------------


@check("dry run: create answers 201 with the object and writes nothing")
def _(api, space):
    reply = api.post(space.accounts, account("s", labels={"a": "1"}), dryRun="All").expect(201)
    equal([reply.meta["labels"], "uid" in reply.meta], [{"a": "1"}, True])
    api.get(f"{space.accounts}/s").expect(404)


@check("dry run: create of an existing object is 409, of an invalid one 422")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    api.post(space.accounts, account("s"), dryRun="All").expect(409, "AlreadyExists")
    api.post(space.accounts, account("Bad_Name"), dryRun="All").expect(422, "Invalid")


@check("dry run: in an absent namespace 404")
def _(api, space):
    path = f"/api/v1/namespaces/absent-{space.name}/serviceaccounts"
    api.apply(f"{path}/s", account("s"), dryRun="All").expect(404, "NotFound")


@check("dry run: apply that would create answers 201 and writes nothing")
def _(api, space):
    reply = api.apply(f"{space.accounts}/s", role("s", "arn"), dryRun="All").expect(201)
    equal(owners(reply.meta), {("a", "Apply"): annotation_fields(ROLE)})
    api.get(f"{space.accounts}/s").expect(404)


@check("dry run: apply shows the result and writes nothing")
def _(api, space):
    before = api.apply(f"{space.accounts}/s", annotated("s", x="1", y="1")).value
    meta = api.apply(f"{space.accounts}/s", annotated("s", x="2"), dryRun="All").expect(200).meta
    equal([meta["annotations"], owners(meta)], [{"x": "2"}, {("a", "Apply"): annotation_fields("x")}])
    equal(meta["resourceVersion"], before["metadata"]["resourceVersion"])
    equal(api.get(f"{space.accounts}/s").value, before)


@check("dry run: apply reports conflicts, and with force shows the takeover")
def _(api, space):
    before = api.apply(f"{space.accounts}/s", role("s", "one"), "first").value
    reply = api.apply(f"{space.accounts}/s", role("s", "two"), "second", dryRun="All").expect(409, "Conflict")
    equal(causes(reply), [("FieldManagerConflict", f".metadata.annotations.{ROLE}")])
    meta = api.apply(f"{space.accounts}/s", role("s", "two"), "second", dryRun="All", force="true").expect(200).meta
    equal([meta["annotations"], list(owners(meta))], [{ROLE: "two"}, [("second", "Apply")]])
    equal(api.get(f"{space.accounts}/s").value, before)


@check("dry run: put and patch write nothing")
def _(api, space):
    before = api.post(space.accounts, account("s")).value
    path = f"{space.accounts}/s"
    equal(api.put(path, annotated("s", a="1"), dryRun="All").expect(200).meta["annotations"], {"a": "1"})
    equal(
        api.patch(path, {"metadata": {"annotations": {"a": "1"}}}, dryRun="All").expect(200).meta["annotations"],
        {"a": "1"},
    )
    equal(api.get(path).value, before)


@check("dry run: delete deletes nothing, asked in the query or in the body")
def _(api, space):
    before = api.post(space.accounts, account("s")).value
    path = f"{space.accounts}/s"
    api.delete(path, dryRun="All").expect(200)
    api.delete(path, {"apiVersion": "v1", "kind": "DeleteOptions", "dryRun": ["All"]}).expect(200)
    equal(api.get(path).value, before)
    api.delete(f"{space.accounts}/x", dryRun="All").expect(404, "NotFound")


@check("dry run: delete checks preconditions")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    api.delete(f"{space.accounts}/s", {"dryRun": ["All"], "preconditions": {"uid": "other"}}).expect(409, "Conflict")


@check("dry run: a delete with a body takes nothing from the query")
def _(api, space):
    api.post(space.accounts, account("s")).expect(201)
    api.delete(f"{space.accounts}/s", {"propagationPolicy": "Background"}, dryRun="All").expect(200)
    api.get(f"{space.accounts}/s").expect(404)


@check("dry run: any value but All is 422")
def _(api, space):
    reply = api.post(space.accounts, account("s"), dryRun="some").expect(422, "Invalid")
    equal(causes(reply), [("FieldValueNotSupported", "dryRun")])
    api.apply(f"{space.accounts}/s", account("s"), dryRun="true").expect(422, "Invalid")
    api.delete(f"{space.accounts}/s", dryRun="some").expect(422, "Invalid")
    api.get(f"{space.accounts}/s").expect(404)


@check("dry run: a namespace")
def _(api, space):
    name = space.spare("dry")
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    api.apply(f"/api/v1/namespaces/{name}", body, dryRun="All").expect(201)
    api.get(f"/api/v1/namespaces/{name}").expect(404, "NotFound")
    api.delete(f"/api/v1/namespaces/{space.namespace()}", dryRun="All").expect(200)
    equal(api.get(f"/api/v1/namespaces/{space.name}").expect(200).value["status"]["phase"], "Active")


# --- Deleting ------------------------------------------------------------------------------------------------


@check("delete: answers with the service account, which is then gone")
def _(api, space):
    uid = api.post(space.accounts, account("s")).meta["uid"]
    reply = api.delete(f"{space.accounts}/s").expect(200)
    equal([reply.value["kind"], reply.meta["uid"]], ["ServiceAccount", uid])
    api.get(f"{space.accounts}/s").expect(404)
    api.delete(f"{space.accounts}/s").expect(404, "NotFound", 'serviceaccounts "s" not found')


@check("delete: answers with a Status for deployments and custom resources")
def _(api, space):
    for path, body, group, plural in (
        (space.deployments, deployment("d"), "apps", "deployments"),
        (space.services, service("d"), "serving.kserve.io", "inferenceservices"),
    ):
        uid = api.post(path, body).expect(201).meta["uid"]
        value = api.delete(f"{path}/d", propagationPolicy="Background").expect(200).value
        equal([value["kind"], value["status"]], ["Status", "Success"])
        equal(value["details"], {"name": "d", "group": group, "kind": plural, "uid": uid})
        api.get(f"{path}/d").expect(404)


@check("delete: another uid is 409, word for word, and deletes nothing")
def _(api, space):
    uid = api.post(space.accounts, account("s")).meta["uid"]
    reply = api.delete(f"{space.accounts}/s", {"preconditions": {"uid": "other"}})
    text = (
        f'Operation cannot be fulfilled on ServiceAccount "s": the UID in the precondition (other) does not match '
        f"the UID in record ({uid}). The object might have been deleted and then recreated"
    )
    reply.expect(409, "Conflict", text)
    equal(reply.value["details"], {"name": "s", "kind": "ServiceAccount"})
    api.get(f"{space.accounts}/s").expect(200)


@check("delete: the uid of a former object of the name is 409")
def _(api, space):
    uid = api.post(space.accounts, account("s")).meta["uid"]
    api.delete(f"{space.accounts}/s").expect(200)
    again = api.post(space.accounts, account("s")).expect(201).meta["uid"]
    holds(again != uid, "the uid was used twice")
    api.delete(f"{space.accounts}/s", {"preconditions": {"uid": uid}}).expect(409, "Conflict")
    api.delete(f"{space.accounts}/s", {"preconditions": {"uid": again}}).expect(200)
    api.get(f"{space.accounts}/s").expect(404)


@check("delete: a stale resourceVersion is 409, the current one is fine")
def _(api, space):
    old = api.post(space.accounts, account("s")).meta["resourceVersion"]
    new = api.patch(f"{space.accounts}/s", {"metadata": {"labels": {"a": "1"}}}).meta["resourceVersion"]
    reply = api.delete(f"{space.accounts}/s", {"preconditions": {"resourceVersion": old}}).expect(409, "Conflict")
    text = f"the ResourceVersion in the precondition ({old}) does not match the ResourceVersion in record ({new})"
    holds(text in reply.value["message"], reply.text)
    api.delete(f"{space.accounts}/s", {"preconditions": {"resourceVersion": new}}).expect(200)


@check("delete: a precondition on a custom resource")
def _(api, space):
    uid = api.post(space.services, service("m")).meta["uid"]
    reply = api.delete(f"{space.services}/m", {"preconditions": {"uid": "other"}}).expect(409, "Conflict")
    equal(reply.value["details"]["name"], "m")
    api.delete(f"{space.services}/m", {"preconditions": {"uid": uid}}).expect(200)


@check("delete: propagation policies, and 422 for others")
def _(api, space):
    for policy in ("Background", "Foreground", "Orphan"):
        name = policy.lower()
        api.post(space.accounts, account(name)).expect(201)
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
        api.delete(f"{space.accounts}/{name}", body).expect(200)
        reply = api.get(f"{space.accounts}/{name}")
        holds(reply.code == 404 or "deletionTimestamp" in reply.meta, reply.text)
    reply = api.delete(f"{space.accounts}/x", {"propagationPolicy": "Other"}).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueNotSupported", "propagationPolicy")])


@check("delete: a later policy replaces the one that still waits")
def _(api, space):
    api.post(space.accounts, account("s", finalizers=["example.com/f"])).expect(201)
    path = f"{space.accounts}/s"
    for policy, wanted in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan"), ("Background", None)):
        api.delete(path, propagationPolicy=policy).expect(200)
        waiting = [name for name in api.get(path).expect(200).meta["finalizers"] if name != "example.com/f"]
        # Controllers act on the policy's finalizer at once.
        holds(waiting in ([], [wanted]), waiting)


@check("delete: a finalizer holds the object until it is cleared")
def _(api, space):
    api.post(space.accounts, account("s", finalizers=["example.com/f"])).expect(201)
    path = f"{space.accounts}/s"
    holds("deletionTimestamp" in api.delete(path).expect(200).meta, "no deletionTimestamp")
    going = api.get(path).expect(200).meta
    holds("deletionTimestamp" in going, going)
    body = {"metadata": {"finalizers": ["example.com/f", "example.com/late"]}}
    equal(set(causes(api.patch(path, body).expect(422, "Invalid"))), {("FieldValueForbidden", "metadata.finalizers")})
    text = 'object is being deleted: serviceaccounts "s" already exists'
    api.post(space.accounts, account("s")).expect(409, "AlreadyExists", text)
    api.patch(path, {"metadata": {"finalizers": []}}).expect(200)
    api.get(path).expect(404)


# --- Claims --------------------------------------------------------------------------------------------------


@check("claim: created with its defaults, Pending and protected")
def _(api, space):
    value = api.post(space.claims, claim("c")).expect(201).value
    equal([value["spec"]["volumeMode"], value["status"]["phase"]], ["Filesystem", "Pending"])
    equal(value["metadata"]["finalizers"], ["kubernetes.io/pvc-protection"])


@check("claim: without access mode or size 422")
def _(api, space):
    reply = api.post(space.claims, claim("c", accessModes=[])).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueRequired", "spec.accessModes")])
    text = 'PersistentVolumeClaim "c" is invalid: spec.accessModes: Required value: at least 1 access mode is required'
    equal(reply.value["message"], text)
    reply = api.post(space.claims, claim("c", resources={})).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueRequired", "spec.resources[storage]")])
    reply = api.post(space.claims, claim("c", accessModes=["Sometimes"])).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueNotSupported", "spec.accessModes")])


@check("claim: sizes are kept in one form, and 400 when they are none")
def _(api, space):
    value = api.post(space.claims, claim("c", resources={"requests": {"storage": "1024Mi"}})).expect(201).value
    equal(value["spec"]["resources"], {"requests": {"storage": "1Gi"}})
    api.post(space.claims, claim("d", resources={"requests": {"storage": "1XX"}})).expect(400, "BadRequest")


@check("claim: the spec of an unbound one cannot change")
def _(api, space):
    api.post(space.claims, claim("c")).expect(201)
    for spec in ({"accessModes": ["ReadWriteMany"]}, {"resources": {"requests": {"storage": "2Gi"}}}):
        reply = api.patch(f"{space.claims}/c", {"spec": spec}).expect(422, "Invalid")
        equal(causes(reply), [("FieldValueForbidden", "spec")])
        text = 'PersistentVolumeClaim "c" is invalid: spec: Forbidden: spec is immutable after creation'
        holds(reply.value["message"].startswith(text), reply.text)


@check("claim: apply owns its fields, not the defaults, and repeats without change")
def _(api, space):
    first = api.apply(f"{space.claims}/c", claim("c")).expect(201).value
    wanted = {"f:spec": {"f:accessModes": {}, "f:resources": {"f:requests": {"f:storage": {}}}}}
    equal(owners(first["metadata"]), {("a", "Apply"): wanted})
    for _ in range(2):
        value = api.apply(f"{space.claims}/c", claim("c")).expect(200).value
        equal([value["spec"], owners(value["metadata"])], [first["spec"], owners(first["metadata"])])


@check("claim: a conflict names the request; forced, it is still immutable")
def _(api, space):
    api.apply(f"{space.claims}/c", claim("c"), "first").expect(201)
    larger = claim("c", resources={"requests": {"storage": "2Gi"}})
    reply = api.apply(f"{space.claims}/c", larger, "second").expect(409, "Conflict")
    equal(causes(reply), [("FieldManagerConflict", ".spec.resources.requests.storage")])
    api.apply(f"{space.claims}/c", larger, "second", force="true").expect(422, "Invalid")


@check("claim: deleted, it waits for its finalizer or is gone")
def _(api, space):
    api.post(space.claims, claim("c")).expect(201)
    holds("deletionTimestamp" in api.delete(f"{space.claims}/c").expect(200).meta, "no deletionTimestamp")
    reply = api.get(f"{space.claims}/c")
    holds(reply.code == 404 or "deletionTimestamp" in reply.meta, reply.text)


# --- Pods and deployments ------------------------------------------------------------------------------------


@check("pod: created Pending with its defaults")
def _(api, space):
    value = api.post(space.pods, pod("p", serviceAccountName="loader")).expect(201).value
    spec = value["spec"]
    equal([spec["serviceAccountName"], spec["serviceAccount"], spec["restartPolicy"]], ["loader", "loader", "Always"])
    equal([spec["containers"][0]["imagePullPolicy"], value["status"]["phase"]], ["IfNotPresent", "Pending"])


@check("pod: without containers 422")
def _(api, space):
    reply = api.post(space.pods, pod("p", containers=[])).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueRequired", "spec.containers")])


@check("pod: its status is written through the subresource alone")
def _(api, space):
    api.post(space.pods, pod("p")).expect(201)
    value = api.patch(f"{space.pods}/p", {"status": {"phase": "Running"}}).expect(200).value
    equal(value["status"]["phase"], "Pending")
    value = (
        api.patch(f"{space.pods}/p/status", {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}})
        .expect(200)
        .value
    )
    equal([value["status"]["phase"], "nodeName" in value["spec"]], ["Running", False])
    equal(api.get(f"{space.pods}/p").value["status"]["phase"], "Running")


@check("pod: listed by service account, phase and label")
def _(api, space):
    api.post(space.pods, pod("p", serviceAccountName="loader")).expect(201)
    api.post(space.pods, pod("q", serviceAccountName="other")).expect(201)
    equal(names(api.get(space.pods, fieldSelector="spec.serviceAccountName=loader")), ["p"])
    equal(names(api.get(space.pods, fieldSelector="status.phase=Pending,metadata.name!=p")), ["q"])
    equal(names(api.get(space.pods, labelSelector="app=model")), ["p", "q"])


@check("pod: most of its spec cannot change")
def _(api, space):
    api.post(space.pods, pod("p")).expect(201)
    reply = api.patch(f"{space.pods}/p", {"spec": {"serviceAccountName": "x"}}).expect(422, "Invalid")
    equal(causes(reply)[0], ("FieldValueForbidden", "spec"))


@check("deployment: created with its defaults and read back")
def _(api, space):
    api.post(space.deployments, deployment("d")).expect(201)
    value = api.get(f"{space.deployments}/d").expect(200).value
    equal([value["kind"], value["apiVersion"], value["metadata"]["generation"]], ["Deployment", "apps/v1", 1])
    equal([value["spec"]["replicas"], value["spec"]["strategy"]["type"]], [1, "RollingUpdate"])
    equal(value["spec"]["template"]["spec"]["serviceAccountName"], "loader")
    equal(names(api.get(space.deployments)), ["d"])


@check("deployment: a selector its template does not match is 422")
def _(api, space):
    reply = api.post(space.deployments, deployment("d", selected="other")).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueInvalid", "spec.template.metadata.labels")])
    equal([reply.value["details"][key] for key in ("group", "kind")], ["apps", "Deployment"])


@check("deployment: a change of spec makes generation grow, a label does not")
def _(api, space):
    api.post(space.deployments, deployment("d")).expect(201)
    path = f"{space.deployments}/d"
    equal(api.patch(path, {"metadata": {"labels": {"a": "1"}}}).expect(200).meta["generation"], 1)
    equal(api.patch(path, {"spec": {"replicas": 2}}).expect(200).meta["generation"], 2)


# --- InferenceService, a custom resource ---------------------------------------------------------------------


@check("custom resource: created with generation 1, unknown fields of the spec dropped")
def _(api, space):
    body = service("m", minReplicas=1, model={"uri": "s3://a"})
    body["spec"]["nope"] = 1
    value = api.post(space.services, body).expect(201).value
    equal(
        [value["spec"], value["metadata"]["generation"]],
        [{"predictor": {"minReplicas": 1, "model": {"uri": "s3://a"}}}, 1],
    )
    equal([value["kind"], value["apiVersion"]], ["InferenceService", "serving.kserve.io/v1beta1"])


@check("custom resource: managed fields of a create")
def _(api, space):
    meta = (
        api.post(space.services, service("m", minReplicas=1, model={"uri": "x"}), fieldManager="creator")
        .expect(201)
        .meta
    )
    predictor = {".": {}, "f:minReplicas": {}, "f:model": {".": {}, "f:uri": {}}}
    equal(owners(meta), {("creator", "Update"): {"f:spec": {".": {}, "f:predictor": predictor}}})


@check("custom resource: a violation of its schema is 422")
def _(api, space):
    reply = api.post(space.services, service("m", minReplicas=-1)).expect(422, "Invalid")
    text = (
        'InferenceService.serving.kserve.io "m" is invalid: spec.predictor.minReplicas: Invalid value: -1: '
        "spec.predictor.minReplicas in body should be greater than or equal to 0"
    )
    equal(reply.value["message"], text)
    equal(causes(reply), [("FieldValueInvalid", "spec.predictor.minReplicas")])
    details = reply.value["details"]
    equal([details["name"], details["group"], details["kind"]], ["m", "serving.kserve.io", "InferenceService"])
    reply = api.post(space.services, service("m", minReplicas="two")).expect(422, "Invalid")
    holds(("FieldValueInvalid", "spec.predictor.minReplicas") in causes(reply), reply.text)
    reply = api.post(space.services, {**service("m"), "spec": {}}).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueRequired", "spec.predictor")])


@check("custom resource: apply, repeat, conflict, force")
def _(api, space):
    path = f"{space.services}/m"
    first = api.apply(path, service("m", minReplicas=1, model={"uri": "a", "tags": [1]}), "first").expect(201).value
    predictor = {"f:minReplicas": {}, "f:model": {".": {}, "f:tags": {}, "f:uri": {}}}
    equal(owners(first["metadata"]), {("first", "Apply"): {"f:spec": {"f:predictor": predictor}}})
    again = api.apply(path, service("m", minReplicas=1, model={"uri": "a", "tags": [1]}), "first").expect(200)
    equal(again.value, first)
    reply = api.apply(path, service("m", minReplicas=2), "second").expect(409, "Conflict")
    text = 'Apply failed with 1 conflict: conflict with "first": .spec.predictor.minReplicas'
    equal([reply.value["message"], reply.value["reason"]], [text, "Conflict"])
    value = api.apply(path, service("m", minReplicas=2), "second", force="true").expect(200).value
    equal(value["spec"]["predictor"], {"minReplicas": 2, "model": {"uri": "a", "tags": [1]}})


@check("custom resource: an applier adds one field beside another's")
def _(api, space):
    path = f"{space.services}/m"
    api.post(space.services, service("m", model={"uri": "a"}), fieldManager="them").expect(201)
    value = api.apply(path, service("m", serviceAccountName="loader")).expect(200).value
    equal(value["spec"]["predictor"], {"model": {"uri": "a"}, "serviceAccountName": "loader"})
    equal(owners(value["metadata"])["a", "Apply"], {"f:spec": {"f:predictor": {"f:serviceAccountName": {}}}})
    reply = api.apply(path, service("m", model={"uri": "b"})).expect(409, "Conflict")
    equal(causes(reply), [("FieldManagerConflict", ".spec.predictor.model.uri")])
    text = 'conflict with "them" using serving.kserve.io/v1beta1'
    holds(reply.value["details"]["causes"][0]["message"].startswith(text), reply.text)


@check("custom resource: leaving a field out removes it")
def _(api, space):
    path = f"{space.services}/m"
    api.apply(path, service("m", minReplicas=1, model={"uri": "a", "name": "n"})).expect(201)
    value = api.apply(path, service("m", minReplicas=1, model={"uri": "a"})).expect(200).value
    equal(value["spec"]["predictor"], {"minReplicas": 1, "model": {"uri": "a"}})
    value = api.apply(path, service("m", minReplicas=1)).expect(200).value
    equal(value["spec"]["predictor"], {"minReplicas": 1})


@check("custom resource: apply against the schema is 422")
def _(api, space):
    reply = api.apply(f"{space.services}/m", service("m", minReplicas=-1)).expect(422, "Invalid")
    equal(causes(reply), [("FieldValueInvalid", "spec.predictor.minReplicas")])
    api.get(f"{space.services}/m").expect(404)


@check("custom resource: status is written through the subresource alone")
def _(api, space):
    path = f"{space.services}/m"
    created = api.post(space.services, {**service("m", minReplicas=1), "status": {"ready": True}}).expect(201).value
    holds("status" not in created, created)
    holds("status" not in api.patch(path, {"status": {"ready": True}}).expect(200).value, "it was written")
    body = {**service("n", minReplicas=1), "status": {"ready": True}}
    for code in (201, 200):
        applied = api.apply(f"{space.services}/n", body).expect(code).value
        holds("status" not in applied, applied)
    body = {"status": {"ready": True}, "spec": {"predictor": {"minReplicas": 5}}}
    value = api.patch(f"{path}/status", body).expect(200).value
    equal([value["status"], value["spec"]["predictor"]["minReplicas"]], [{"ready": True}, 1])
    equal(value["metadata"]["generation"], 1)
    equal(api.get(path).value["status"], {"ready": True})


@check("custom resource: a change of spec makes generation grow, a label does not")
def _(api, space):
    path = f"{space.services}/m"
    api.post(space.services, service("m", minReplicas=1)).expect(201)
    equal(api.patch(path, {"metadata": {"labels": {"a": "1"}}}).expect(200).meta["generation"], 1)
    equal(api.patch(path, {"spec": {"predictor": {"minReplicas": 2}}}).expect(200).meta["generation"], 2)


# --- Running -------------------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token")
    parser.add_argument("--limited-token", help="token of a user who may do nothing")
    parser.add_argument("--ca", metavar="FILE", help="certificate authority of an https server")
    parser.add_argument("--lists-expire", action="store_true", help="the server forgets lists in progress soon")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the checks whose line contains TEXT")
    args = parser.parse_args()

    api = Api(args.url, args.token, args.limited_token, args.ca, args.lists_expire)
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    for number, (text, function) in enumerate(CHECKS):
        if args.only not in text:
            continue
        space, result, why = Space(api, number), "ok", ""
        try:
            function(api, space)
        except Skipped as skipped:
            result, why = "skip", f"\n     {skipped}"
        except Exception as error:  # a broken answer fails its check, not the run
            result, why = "FAIL", f"\n     {type(error).__name__}: {error}"
        try:
            space.clean()
        except Exception as error:
            result, why = "FAIL", f"{why}\n     cleaning up: {type(error).__name__}: {error}"
        counts[result] += 1
        print(f"{result:4} {text}{why}", flush=True)
    if counts["skip"]:
        print(f"{counts['skip']} not asked")
    print(f"{counts['ok']} passed, {counts['FAIL']} failed")
    return 1 if counts["FAIL"] or not counts["ok"] else 0


if __name__ == "__main__":
    sys.exit(main())
