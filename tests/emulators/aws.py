#!/usr/bin/env python3
"""An AWS to test against, in one process and in memory.

    python aws.py [--port 0] [--any-principal] [--as-it-is] [--stay]

The first line on stdout is `Running on http://127.0.0.1:PORT`; nothing else is written there. It stops on SIGTERM
and SIGINT, and when its parent process ends (not with `--stay`).

It is moto's server, with what moto lacks (EKS Pod Identity, EKS add-ons, OIDC client ids) and corrections where
moto's responses would mislead a tool that plans and applies access: limits, defaults, refusals, paging. What it refuses
or grants is never proof of what AWS would do; permissions are not evaluated at all.

Accounts: unknown access keys act in 123456789012; an access key of twelve digits acts in the account of that number;
keys from sts:AssumeRole act in the role's account, whether or not the role exists.

Beside the AWS APIs:
    POST   /bailiwick/seed      creates resources; the body is described at `Seed`
    POST   /bailiwick/reset     forgets everything, including the counts
    GET    /bailiwick/requests  {"total", "services": {service: {operation: count}}, "faults": [...]}
    DELETE /bailiwick/requests  forgets the counts only
    POST   /bailiwick/pages     {"most": N}: limits the pages of all lists to N entries, whatever requests and rules say
    POST   /bailiwick/rules     makes it as late, busy and unreliable as AWS; the rules are described at `Rules`
    GET    /bailiwick/rules     {"counts": {rule: times}, "log": [...]}
A fault is a request that the emulator could not answer. Its status is 501, which no AWS SDK retries.
"""

import argparse
import base64
import collections
import contextlib
import datetime
import functools
import hashlib
import html
import importlib.util
import io
import json
import os
import random
import re
import select
import signal
import sys
import threading
import time
import traceback
import urllib.parse
import uuid

# Before the imports, which take a third of a second: the parent may have ended after them.
PARENT = os.getppid()

# moto and botocore read these when they are imported.
for name in [name for name in os.environ if name.startswith(("AWS_", "MOTO_"))]:
    del os.environ[name]
os.environ["MOTO_S3_ALLOW_CROSSACCOUNT_ACCESS"] = "false"
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"

import moto.core.responses
import moto.eks.models
import moto.eks.utils
import moto.iam.policy_validation
import moto.iam.urls
import moto.kms.models
import moto.kms.responses
import moto.kms.urls
import moto.s3.urls
import moto.sts.urls
import xmltodict
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from moto.core.exceptions import JsonRESTError
from moto.core.request import Request
from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.core.routing import get_service_router
from moto.core.utils import utcnow
from moto.eks.exceptions import (
    EKSError,
    InvalidParameterException,
    ResourceInUseException,
    ResourceNotFoundException,
)
from moto.eks.models import EKSBackend, eks_backends
from moto.eks.responses import EKSResponse
from moto.iam.access_control import PermissionResult
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.exceptions import (
    DeleteConflictException,
    EntityAlreadyExists,
    InvalidInput,
    LimitExceededException,
    MalformedPolicyDocument,
    NoSuchEntity,
    ValidationError,
)
from moto.iam.models import AWSManagedPolicy, IAMBackend, iam_backends
from moto.iam.policy_validation import IAMTrustPolicyDocumentValidator
from moto.iam.responses import IamResponse
from moto.iam.utils import ACCOUNT_OFFSET, AWS_ROLE_ALPHABET
from moto.kms.models import KmsBackend, kms_backends
from moto.kms.responses import KmsResponse
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from moto.s3.exceptions import InvalidBucketName, S3ClientError
from moto.s3.models import FakeBucket, PublicAccessBlock, S3Backend, s3_backends
from moto.s3.responses import S3Response
from moto.s3.utils import bucket_policy_is_public
from moto.sts.exceptions import STSValidationError
from moto.sts.models import STSBackend, sts_backends
from moto.sts.responses import TokenResponse
from moto.utilities.utils import get_partition
from werkzeug.serving import make_server


def beside(kind):
    """The part of the emulator that is beside a kind: what moto lacks for it."""
    path = os.path.join(os.path.dirname(__file__), "../../src/provider", kind, "emulator.py")
    spec = importlib.util.spec_from_file_location(kind.replace("/", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


access_entry = beside("aws/eks/access_entry")


# ---- All services ---------------------------------------------------------------------------------------------------


def serve(backends, backend, paths, response):
    """Makes moto build `backend` and respond with `response` from now on."""
    paths = {
        path.format(""): getattr(response, dispatch.__name__) for path, dispatch in paths.items()
    }
    backend.url_paths = property(lambda self: paths)
    backends.backend = backend


def page(rows, key, marker, size, invalid):
    """One page of `rows` in the order of `key`, and the marker of the next page or None.

    A marker names the last row returned: rows deleted between two pages hide no other row. `invalid` is raised
    for a marker that was never returned.
    """
    rows = sorted(rows, key=key)
    size = min(int(size or 100), page.most or emulator.rules.page or sys.maxsize)
    if marker:
        try:
            last = base64.urlsafe_b64decode(marker).decode()
        except ValueError:
            raise invalid from None
        rows = [row for row in rows if key(row) > last]
    if len(rows) <= size:
        return rows, None
    return rows[:size], base64.urlsafe_b64encode(key(rows[size - 1]).encode()).decode()


# The most entries of a page, regardless of the rules; 0 for no limit beyond theirs.
page.most = 0


def current_account(self):
    """The account of a request.

    An access key of twelve digits names it. In the keys of an assumed role moto writes it in base 32: they stay in
    their account after a reset, where moto would take them for the default account's.
    """
    key = re.search(r"Credential=(\w+)/", self.headers.get("Authorization", ""))
    key = key.group(1) if key else ""
    if re.fullmatch(r"\d{12}", key):
        return key
    if re.fullmatch(r"ASIA[A-Z2-7]{9}\w{7}", key):
        half = int.from_bytes(base64.b32decode(key[4:12]), "big") - ACCOUNT_OFFSET
        account = 2 * half + (key[12] in AWS_ROLE_ALPHABET[16:])
        if 0 <= account < 10**12:
            return f"{account:012}"
    return current_account.original(self)


current_account.original = BaseResponse.get_current_account
BaseResponse.get_current_account = current_account

# moto lists the methods of the response class on every request: half the time of a call.
moto.core.responses.method_names_from_class = functools.cache(
    moto.core.responses.method_names_from_class
)


# ---- AWS as it is ---------------------------------------------------------------------------------------------------


class Rules:
    """Imitates AWS where an emulator differs: it is late, busy, rewrites documents, and loses responses.

    Set with POST /bailiwick/rules; rules that are left out are off. All randomness follows from `seed` and the
    order of the requests.
        seed            the seed of all randomness
        new_principals  a new role is unknown to other services, and to trust policies, for this many calls
        canonical       documents are read in AWS's own form: lists of one collapsed, accounts as root ARNs, in any order
        page            the most entries in a page
        overlap         a write to a bucket or role is refused while another one to it is in progress
        throttled       the share of calls that are throttled
        failed          the share of calls that end with an internal error, and do nothing
        lost            the share of writes that are done but get no response
        stale           the share of reads that show the state before the last write
    GET /bailiwick/rules reports how often each was applied, and to which calls last.
    """

    AS_IT_IS = b'{"seed": 1, "new_principals": 4, "canonical": true, "page": 1, "overlap": true}'
    KEPT = 1_000
    WRITES = re.compile(
        "(Add|Attach|Cancel|Create|Delete|Detach|Disable|Enable|Put|Remove|Schedule|Set|Tag|Untag|Update)"
    )

    def __init__(self, body=b"{}"):
        asked = json.loads(body)
        self.random = random.Random(asked.pop("seed", 0))
        self.new_principals = asked.pop("new_principals", 0)
        self.canonical = asked.pop("canonical", False)
        self.page = asked.pop("page", None)
        self.overlap = asked.pop("overlap", False)
        self.shares = {name: asked.pop(name, 0) for name in ("throttled", "failed", "lost", "stale")}
        if asked:
            raise ValueError(f"unknown rules: {', '.join(asked)}")
        self.log = []
        self.counts = collections.Counter()
        self.busy = collections.Counter()
        self.shown = {}
        self.written = collections.Counter()

    def applied(self, rule, call):
        self.counts[rule] += 1
        self.log.append(f"{rule} {call}")
        del self.log[: -self.KEPT]

    def chance(self, rule, call):
        """Whether a rule applies to this call."""
        if not self.shares[rule] or self.random.random() >= self.shares[rule]:
            return False
        self.applied(rule, call)
        return True

    def writes(self, operation):
        return bool(self.WRITES.match(operation))

    @staticmethod
    def resource(service, environ, body):
        """The bucket or role of a request; none for objects, whose writes do not exclude each other."""
        if service == "s3":
            bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
            return None if key else f"bucket {bucket}"
        role = re.search(rb"(?:^|&)RoleName=([^&]+)", body)
        return f"role {environ['HTTP_AUTHORIZATION'][:60]} {role.group(1).decode()}" if role else None

    def knows(self, role):
        """Whether other services know a role already."""
        known = emulator.calls - getattr(role, "made_at", -self.new_principals) >= self.new_principals
        if not known:
            self.applied("new_principals", role.arn)
        return known

    def read(self, service, operation, answer):
        """A document as AWS would show it."""
        if not self.canonical:
            return answer
        if (service, operation) == ("s3", "GetBucketPolicy") and answer[:1] == b"{":
            return json.dumps(self.form(json.loads(answer))).encode()
        if (service, operation) == ("kms", "GetKeyPolicy") and b'"Policy"' in answer:
            whole = json.loads(answer)
            whole["Policy"] = json.dumps(self.form(json.loads(whole["Policy"])))
            return json.dumps(whole).encode()
        if service == "iam" and operation.startswith("Get"):
            pattern = rb"<(AssumeRolePolicyDocument|PolicyDocument|Document)>([^<]+)</"
            return re.sub(pattern, self._document, answer)
        return answer

    def _document(self, found):
        text = urllib.parse.unquote(html.unescape(found.group(2).decode()))
        text = urllib.parse.quote(json.dumps(self.form(json.loads(text))), safe="")
        return b"<" + found.group(1) + b">" + text.encode() + b"</"

    def form(self, value, element=""):
        if isinstance(value, dict):
            if element == "AWS":
                return value
            members = list(value.items())
            self.random.shuffle(members)
            return {name: self.form(member, name) for name, member in members}
        if isinstance(value, list):
            if element == "Statement":
                return [self.form(member) for member in value]
            members = [self.form(member, element) for member in value]
            self.random.shuffle(members)
            return members[0] if len(members) == 1 else members
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, (int, float)):
            return str(value)
        if element == "AWS" and re.fullmatch(r"\d{12}", str(value)):
            return f"arn:aws:iam::{value}:root"
        return value


def refusal(service, status, code, message):
    """An error in the form of its service."""
    if service == "s3":
        text = xmltodict.unparse({"Error": {"Code": code, "Message": message}})
    elif service in ("iam", "sts"):
        error = {"Type": "Sender", "Code": code, "Message": message}
        text = xmltodict.unparse({"ErrorResponse": {"Error": error}})
    else:
        body = json.dumps({"__type": code, "message": message}).encode()
        return status, [("Content-Type", "application/json"), ("x-amzn-ErrorType", code)], body
    return status, [("Content-Type", "text/xml")], text.encode()


# ---- Policy documents and principals --------------------------------------------------------------------------------


def as_list(value):
    return value if isinstance(value, list) else [value]


def statements(document):
    return [
        statement
        for statement in as_list(document.get("Statement") or [])
        if isinstance(statement, dict)
    ]


def aws_principals(statement):
    for element in ("Principal", "NotPrincipal"):
        principal = statement.get(element)
        if isinstance(principal, dict):
            yield from as_list(principal.get("AWS") or [])


class Principals:
    """What AWS knows about the principals that a policy names."""

    # AWS refuses a policy that names a role or user which does not exist.
    checked = True

    @classmethod
    def unknown(cls, document):
        """The principals of a policy that do not exist."""
        if not cls.checked:
            return []
        return [
            principal
            for statement in statements(document)
            for principal in aws_principals(statement)
            if not cls.exists(principal)
        ]

    @staticmethod
    def exists(principal):
        if principal == "*" or re.fullmatch(r"\d{12}", str(principal)):
            return True
        if re.fullmatch(r"(AROA|AIDA)\w+", str(principal)):
            return any(
                principal == entity.id
                for account in list(iam_backends.values())
                for backend in list(account.values())
                for entity in [*backend.roles.values(), *backend.users.values()]
            )
        parts = re.fullmatch(r"arn:([\w-]+):(iam|sts)::(\d{12}):(.+)", str(principal))
        if not parts:
            return False
        partition, service, account, resource = parts.groups()
        if resource == "root" or (service == "sts" and resource.startswith("federated-user/")):
            return True
        if account not in iam_backends:
            return False
        backend = iam_backends[account][partition]
        if service == "sts" and resource.startswith("assumed-role/"):
            return any(role.name == resource.split("/")[1] for role in backend.roles.values())
        return any(
            entity.arn == principal and emulator.rules.knows(entity)
            for entity in [*backend.roles.values(), *backend.users.values()]
        )

    @classmethod
    def forget(cls, arn, identifier):
        """Puts the unique id in the place of a deleted principal's ARN in every resource policy, as AWS shows it.

        Source: IAM User Guide, "AWS JSON policy elements: Principal".
        """
        for account in list(s3_backends.values()):
            for backend in list(account.values()):
                for bucket in backend.buckets.values():
                    if bucket.policy:
                        bucket.policy = cls._renamed(bucket.policy.decode(), arn, identifier).encode()
        for account in list(iam_backends.values()):
            for backend in list(account.values()):
                for role in backend.roles.values():
                    role.assume_role_policy_document = cls._renamed(
                        role.assume_role_policy_document, arn, identifier
                    )
        for account in list(kms_backends.values()):
            for backend in list(account.values()):
                for key in backend.keys.values():
                    key.policy = cls._renamed(key.policy, arn, identifier)

    @staticmethod
    def _renamed(text, arn, identifier):
        if f'"{arn}"' not in text:
            return text
        document = json.loads(text)
        for statement in statements(document):
            for element in ("Principal", "NotPrincipal"):
                principal = statement.get(element)
                if not isinstance(principal, dict) or "AWS" not in principal:
                    continue
                renamed = [
                    identifier if value == arn else value for value in as_list(principal["AWS"])
                ]
                principal["AWS"] = renamed if len(renamed) > 1 else renamed[0]
        return json.dumps(document)


# ---- IAM ------------------------------------------------------------------------------------------------------------


def numbers_are_strings(statement):
    """moto refuses `"NumericEquals": {"key": 1}`; AWS accepts it."""
    for operator in (statement.get("Condition") or {}).values():
        if isinstance(operator, dict):
            for key, value in operator.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    operator[key] = str(value)
    numbers_are_strings.original(statement)


_Validator = moto.iam.policy_validation.BaseIAMPolicyValidator
numbers_are_strings.original = _Validator._validate_condition_syntax
_Validator._validate_condition_syntax = staticmethod(numbers_are_strings)


class Iam(IAMBackend):
    __module__ = IAMBackend.__module__

    # IAM and STS quotas, IAM User Guide; white space is not counted.
    TRUST_POLICY = 2_048
    MANAGED_POLICY = 6_144
    INLINE_POLICIES = 10_240
    ATTACHED_POLICIES = 10
    CLIENT_IDS = 100

    def create_role(
        self,
        role_name,
        assume_role_policy_document,
        path,
        permissions_boundary,
        description,
        tags,
        max_session_duration,
        linked_service=None,
    ):
        self._check_name("roleName", role_name, 64)
        self._check_path(path)
        self._check_session(max_session_duration)
        self._check_trust(assume_role_policy_document)
        if permissions_boundary:
            self._check_boundary(permissions_boundary)
        if any(role.name.lower() == role_name.lower() for role in self.roles.values()):
            raise EntityAlreadyExists(f"Role with name {role_name} already exists.")
        role = super().create_role(
            role_name,
            assume_role_policy_document,
            path,
            permissions_boundary,
            description,
            tags,
            max_session_duration,
            linked_service,
        )
        role.made_at = emulator.calls
        return role

    def get_role(self, role_name):
        for role in self.roles.values():
            if role.name == role_name:
                return role
        raise NoSuchEntity(f"The role with name {role_name} cannot be found.")

    def update_role(self, role_name, role_description, max_session_duration):
        # UpdateRole: the session duration returns to one hour when it is left out; the documentation does not say this
        # of the description.
        role = self.get_role(role_name)
        self._check_session(max_session_duration)
        if role_description is not None:
            role.description = role_description
        role.max_session_duration = max_session_duration
        return role

    def delete_role(self, role_name):
        role = self.get_role(role_name)
        super().delete_role(role_name)
        Principals.forget(role.arn, role.id)

    def update_assume_role_policy(self, role_name, policy_document):
        role = self.get_role(role_name)
        self._check_trust(policy_document)
        role.assume_role_policy_document = policy_document

    def list_roles(self, path_prefix=None, marker=None, max_items=None):
        roles = [role for role in self.roles.values() if role.path.startswith(path_prefix or "/")]
        # moto's own default marker is "0".
        marker = None if marker == "0" else marker
        return page(roles, lambda role: role.name, marker, max_items, self._invalid_marker())

    def create_user(self, region_name, user_name, path="/", tags=None):
        self._check_name("userName", user_name, 64)
        user = super().create_user(region_name, user_name, path, tags)
        user.id = "AIDA" + hashlib.sha256(user.arn.encode()).hexdigest()[:17].upper()
        return user

    def delete_user(self, user_name):
        user = self.get_user(user_name)
        super().delete_user(user_name)
        Principals.forget(user.arn, user.id)

    def put_role_policy(self, role_name, policy_name, policy_json):
        role = self.get_role(role_name)
        others = [text for name, text in role.policies.items() if name != policy_name]
        if sum(self._size(text) for text in [*others, policy_json]) > self.INLINE_POLICIES:
            raise LimitExceededException(
                f"Maximum policy size of {self.INLINE_POLICIES} bytes exceeded for role {role_name}"
            )
        super().put_role_policy(role_name, policy_name, policy_json)

    def put_role_permissions_boundary(self, role_name, permissions_boundary):
        role = self.get_role(role_name)
        self._check_boundary(permissions_boundary)
        role.permissions_boundary_arn = permissions_boundary

    def get_policy(self, policy_arn):
        policy = self.managed_policies.get(policy_arn) or self._aws_policy(policy_arn)
        if not policy:
            raise NoSuchEntity(f"Policy {policy_arn} was not found.")
        return policy

    def _aws_policy(self, arn):
        """A policy of AWS itself, read on first use: reading all 1,500 takes long and much memory."""
        name = arn.rpartition("/")[2]
        if ":iam::aws:policy/" not in arn or not re.fullmatch(r"[\w+=,.@-]+", name):
            return None
        at = aws_managed_policies_data.find(f'\n "{name}":')
        if at < 0:
            return None
        start = aws_managed_policies_data.index("{", at)
        raw, _ = json.JSONDecoder().raw_decode(aws_managed_policies_data, start)
        policy = AWSManagedPolicy.from_data(name, self.account_id, self.region_name, raw)
        return self._keep(policy) if policy.arn == arn else None

    def _keep(self, policy):
        self.aws_managed_policies.append(policy)
        self.managed_policies[policy.arn] = policy
        return policy

    def list_policies(self, marker, max_items, only_attached, path_prefix, scope):
        if scope != "Local" and not only_attached and not getattr(self, "aws_listed", False):
            self.aws_listed = True
            for name, raw in json.loads(aws_managed_policies_data).items():
                policy = AWSManagedPolicy.from_data(name, self.account_id, self.region_name, raw)
                if policy.arn not in self.managed_policies:
                    self._keep(policy)
        return super().list_policies(marker, max_items, only_attached, path_prefix, scope)

    def _filter_attached_policies(self, policies, marker, max_items, path_prefix):
        policies = [policy for policy in policies if policy.path.startswith(path_prefix or "/")]
        return page(
            policies,
            lambda policy: f"{policy.name} {policy.arn}",
            marker,
            max_items,
            self._invalid_marker(),
        )

    def create_policy(self, description, path, policy_document, policy_name, tags):
        self._check_name("policyName", policy_name, 128)
        self._check_path(path)
        self._check_managed(policy_document)
        if any(
            policy.name.lower() == policy_name.lower()
            for policy in self.managed_policies.values()
            if not isinstance(policy, AWSManagedPolicy)
        ):
            raise EntityAlreadyExists(
                f"A policy called {policy_name} already exists. Duplicate names are not allowed."
            )
        return super().create_policy(description, path, policy_document, policy_name, tags)

    def create_policy_version(self, policy_arn, policy_document, set_as_default):
        self._check_managed(policy_document)
        return super().create_policy_version(policy_arn, policy_document, set_as_default)

    def delete_policy(self, policy_arn):
        policy = self.get_policy(policy_arn)
        holders = [*self.roles.values(), *self.users.values(), *self.groups.values()]
        if any(policy_arn in holder.managed_policies for holder in holders) or any(
            policy_arn == role.permissions_boundary_arn for role in self.roles.values()
        ):
            raise DeleteConflictException("Cannot delete a policy attached to entities.")
        if len(policy.versions) > 1:
            raise DeleteConflictException(
                "This policy has more than one version. Before you delete a policy, you must delete the policy's "
                "versions. The default version is deleted with the policy."
            )
        super().delete_policy(policy_arn)

    def attach_role_policy(self, policy_arn, role_name):
        self._attach(policy_arn, self.get_role(role_name), "Role")

    def attach_user_policy(self, policy_arn, user_name):
        self._attach(policy_arn, self.get_user(user_name), "User")

    def attach_group_policy(self, policy_arn, group_name):
        self._attach(policy_arn, self.get_group(group_name), "Group")

    def _attach(self, policy_arn, holder, kind):
        try:
            policy = self.get_policy(policy_arn)
        except NoSuchEntity:
            raise NoSuchEntity(
                f"Policy {policy_arn} does not exist or is not attachable."
            ) from None
        if policy.arn in holder.managed_policies:
            return
        if len(holder.managed_policies) >= self.ATTACHED_POLICIES:
            raise LimitExceededException(
                f"Cannot exceed quota for PoliciesPer{kind}: {self.ATTACHED_POLICIES}"
            )
        policy.attach_to(holder)

    def create_open_id_connect_provider(self, url, thumbprint_list, client_id_list, tags):
        if not url.startswith("https://"):
            raise ValidationError("Invalid Open ID Connect Provider URL")
        for thumbprint in thumbprint_list:
            if not re.fullmatch(r"[0-9A-Fa-f]{40}", thumbprint):
                raise InvalidInput(f"Thumbprint {thumbprint} is not 40 hexadecimal digits.")
        try:
            return super().create_open_id_connect_provider(
                url, thumbprint_list, client_id_list, tags
            )
        except EntityAlreadyExists:
            raise EntityAlreadyExists(f"Provider with url {url} already exists.") from None

    def _check_name(self, field, value, longest):
        if not re.fullmatch(r"[A-Za-z0-9+=,.@_-]+", value or ""):
            raise ValidationError(
                f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [\\w+=,.@-]+"
            )
        if len(value) > longest:
            raise ValidationError(
                f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: "
                f"Member must have length less than or equal to {longest}"
            )

    def _check_path(self, path):
        if path and not re.fullmatch(r"/|/[\x21-\x7f]+/", path):
            raise ValidationError(
                "The specified value for path is invalid. It must begin and end with / and contain only "
                "alphanumeric characters and/or / characters."
            )

    def _check_session(self, seconds):
        if not 3_600 <= int(seconds) <= 43_200:
            raise ValidationError(
                f"1 validation error detected: Value '{seconds}' at 'maxSessionDuration' failed to satisfy "
                "constraint: Member must have value between 3600 and 43200"
            )

    def _check_trust(self, document):
        if self._size(document) > self.TRUST_POLICY:
            raise LimitExceededException(
                f"Cannot exceed quota for ACLSizePerRole: {self.TRUST_POLICY}"
            )
        IAMTrustPolicyDocumentValidator(document).validate()
        parsed = json.loads(document)
        for statement in statements(parsed):
            if "NotPrincipal" in statement:
                raise MalformedPolicyDocument("Has prohibited field NotPrincipal")
            if not statement.get("Principal"):
                raise MalformedPolicyDocument("Missing required field Principal")
        for principal in Principals.unknown(parsed):
            raise MalformedPolicyDocument(f'Invalid principal in policy: "AWS":"{principal}"')

    def _check_managed(self, document):
        if self._size(document) > self.MANAGED_POLICY:
            raise LimitExceededException(
                f"Cannot exceed quota for PolicySize: {self.MANAGED_POLICY}"
            )

    def _check_boundary(self, arn):
        try:
            self.get_policy(arn)
        except NoSuchEntity:
            raise NoSuchEntity(
                f"Scope ARN: {arn} does not exist or is not attachable."
            ) from None

    @staticmethod
    def _size(document):
        return len(re.sub(r"\s", "", document))

    @staticmethod
    def _invalid_marker():
        return ValidationError("Invalid Marker.")


class IamAnswers(IamResponse):
    # AWS percent-encodes every policy document.
    RESPONSE_KEY_PATH_TO_TRANSFORMER = IamResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER | {
        path: IamResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER[
            "GetRoleResponse.Role.AssumeRolePolicyDocument"
        ]
        for path in (
            "ListRolesResponse.Roles.Role.AssumeRolePolicyDocument",
            "GetAccountAuthorizationDetailsResponse.RoleDetailList.RoleDetail.AssumeRolePolicyDocument",
        )
    }

    def _determine_resource(self):
        # Only for moto's evaluation of permissions, which is off.
        return "*"

    def _page(self, rows, key):
        return page(
            rows,
            key,
            self._get_param("Marker"),
            self._get_param("MaxItems"),
            ValidationError("Invalid Marker."),
        )

    def list_role_policies(self):
        names = self.backend.list_role_policies(self._get_param("RoleName"))
        names, marker = self._page(names, str)
        return ActionResult(
            {"PolicyNames": names, "Marker": marker, "IsTruncated": bool(marker)}
        )

    def list_policy_versions(self):
        versions = self.backend.list_policy_versions(self._get_param("PolicyArn"))
        # Newest first, without the documents.
        versions, marker = self._page(
            versions, lambda version: f"{10**9 - int(version.version_id[1:])}"
        )
        listed = [
            {
                "VersionId": version.version_id,
                "IsDefaultVersion": version.is_default,
                "CreateDate": version.create_date,
            }
            for version in versions
        ]
        return ActionResult({"Versions": listed, "Marker": marker, "IsTruncated": bool(marker)})

    def list_entities_for_policy(self):
        # moto reads only the first hundred roles.
        arn = self.backend.get_policy(self._get_param("PolicyArn")).arn
        wanted = self._get_param("EntityFilter")
        lists = {"Group": "PolicyGroups", "Role": "PolicyRoles", "User": "PolicyUsers"}
        holders = {
            "Group": self.backend.groups,
            "Role": self.backend.roles,
            "User": self.backend.users,
        }
        rows = [
            (f"{kind} {holder.name}", lists[kind], holder)
            for kind in lists
            if wanted in (None, kind)
            for holder in holders[kind].values()
            if arn in holder.managed_policies
            and holder.path.startswith(self._get_param("PathPrefix", "/"))
        ]
        rows, marker = self._page(rows, lambda row: row[0])
        result = {
            field: [holder for _, into, holder in rows if into == field]
            for field in lists.values()
        }
        return ActionResult(result | {"Marker": marker, "IsTruncated": bool(marker)})

    def get_account_authorization_details(self):
        found = self.backend.get_account_authorization_details(self._get_param("Filter", []))
        lists = {
            "UserDetailList": "users",
            "GroupDetailList": "groups",
            "RoleDetailList": "roles",
            "Policies": "managed_policies",
        }
        rows = [
            (f"{order} {entity.arn}", field, entity)
            for order, (field, kind) in enumerate(lists.items())
            for entity in found[kind]
        ]
        rows, marker = self._page(rows, lambda row: row[0])
        result = {
            field: [entity for _, into, entity in rows if into == field] for field in lists
        }
        return ActionResult(result | {"Marker": marker, "IsTruncated": bool(marker)})

    def add_client_id_to_open_id_connect_provider(self):
        provider, client = self._provider_and_client()
        if client not in provider.client_id_list:
            if len(provider.client_id_list) >= Iam.CLIENT_IDS:
                raise LimitExceededException(
                    f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {Iam.CLIENT_IDS}"
                )
            provider.client_id_list.append(client)
        return EmptyResult()

    def remove_client_id_from_open_id_connect_provider(self):
        provider, client = self._provider_and_client()
        if client in provider.client_id_list:
            provider.client_id_list.remove(client)
        return EmptyResult()

    def _provider_and_client(self):
        provider = self.backend.get_open_id_connect_provider(
            self._get_param("OpenIDConnectProviderArn")
        )
        return provider, self._get_param("ClientID")


serve(iam_backends, Iam, moto.iam.urls.url_paths, IamAnswers)


# ---- STS ------------------------------------------------------------------------------------------------------------


class Sts(STSBackend):
    __module__ = STSBackend.__module__

    def get_caller_identity(self, access_key_id, region):
        identifier, arn, account = super().get_caller_identity(access_key_id, region)
        if arn.endswith(":user/moto"):
            # The base credentials of tests: moto's answer is not an ARN that exists.
            identifier = "AIDA" + hashlib.sha256(account.encode()).hexdigest()[:17].upper()
            arn = f"arn:{get_partition(region)}:iam::{account}:user/test"
        return identifier, arn, account


class StsAnswers(TokenResponse):
    def assume_role(self):
        arn = self._get_param("RoleArn") or ""
        session = self._get_param("RoleSessionName") or ""
        seconds = self._get_int_param("DurationSeconds", 3_600)
        if not re.fullmatch(r"arn:[\w-]+:iam::\d{12}:role/[\x21-\x7f]+", arn):
            raise STSValidationError(f"{arn} is invalid")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", session, re.ASCII):
            raise STSValidationError(
                f"1 validation error detected: Value '{session}' at 'roleSessionName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [\\w+=,.@-]*"
            )
        _, _, _, _, account, _ = arn.split(":", 5)
        role = next(
            (
                role
                for role in iam_backends[account][self.partition].roles.values()
                if role.arn == arn
            ),
            None,
        )
        longest = int(role.max_session_duration) if role else 43_200
        if not 900 <= seconds <= longest:
            raise STSValidationError(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            )
        return super().assume_role()


serve(sts_backends, Sts, moto.sts.urls.url_paths, StsAnswers)


# ---- S3 -------------------------------------------------------------------------------------------------------------

# moto treats any Deny in a bucket policy as a Deny to everyone. Denials of a bucket policy are evaluated below, but
# nothing that allows.
FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL


class S3(S3Backend):
    __module__ = S3Backend.__module__

    BUCKET_POLICY = 20 * 1024

    def create_bucket(self, bucket_name, region_name, bucket_namespace=None):
        _, owner = s3_backends.bucket_accounts.get(bucket_name, (None, self.account_id))
        if owner != self.account_id:
            # Not moto's own exception: its caller would check the bucket and return 403.
            raise S3ClientError(
                "BucketAlreadyExists",
                "The requested bucket name is not available. The bucket namespace is shared by all users of the "
                "system. Please select a different name and try again",
            )
        if (
            not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket_name)
            or ".." in bucket_name
            or re.fullmatch(r"(\d+\.){3}\d+", bucket_name)
            or bucket_name.startswith(("xn--", "sthree-"))
            or bucket_name.endswith("-s3alias")
        ):
            raise InvalidBucketName()
        bucket = super().create_bucket(bucket_name, region_name, bucket_namespace)
        # S3 User Guide: the defaults of buckets since April 2023.
        bucket.public_access_block = PublicAccessBlock(True, True, True, True)
        bucket.ownership_rule = "BucketOwnerEnforced"
        bucket.encryption = self._default_encryption()
        return bucket

    def put_bucket_tagging(self, bucket_name, tags):
        # An empty element is None to moto's XML reader, and left out of the answer.
        super().put_bucket_tagging(bucket_name, {key: tags[key] or "" for key in tags})

    def delete_bucket_encryption(self, bucket_name):
        self.get_bucket(bucket_name).encryption = self._default_encryption()

    def put_bucket_policy(self, bucket_name, policy):
        bucket = self.get_bucket(bucket_name)
        self._check_policy(bucket, policy)
        block = bucket.public_access_block
        if block and block.block_public_policy and bucket_policy_is_public(policy):
            raise S3ClientError(
                "AccessDenied",
                f'Not authorized to perform: s3:PutBucketPolicy on resource: "{bucket.arn}" because public policies '
                "are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
            )
        bucket.policy = policy

    def _check_policy(self, bucket, policy):
        def malformed(message):
            return S3ClientError("MalformedPolicy", message)

        if len(policy) > self.BUCKET_POLICY:
            raise malformed(f"Policies must not be larger than {self.BUCKET_POLICY} bytes")
        try:
            document = json.loads(policy)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise malformed("Policies must be valid JSON and the first byte must be '{'")
        if document.get("Version", "2008-10-17") not in ("2008-10-17", "2012-10-17"):
            raise malformed("The policy must contain a valid version string")
        if not statements(document):
            raise malformed("Missing required field Statement")
        for statement in statements(document):
            if statement.get("Effect") not in ("Allow", "Deny"):
                raise malformed(f"Invalid effect: {statement.get('Effect')}")
            for field in ("Principal", "Action", "Resource"):
                if not statement.get(field) and not statement.get(f"Not{field}"):
                    raise malformed(f"Missing required field {field}")
            for action in as_list(statement.get("Action") or statement.get("NotAction")):
                if action != "*" and not re.fullmatch(r"(?i)s3:[a-z*?]+", str(action)):
                    raise malformed("Policy has invalid action")
            for resource in as_list(statement.get("Resource") or statement.get("NotResource")):
                if not re.fullmatch(rf"arn:[\w-]+:s3:::{re.escape(bucket.name)}(/.*)?", str(resource)):
                    raise malformed("Policy has invalid resource")
            principal = statement.get("Principal") or statement.get("NotPrincipal")
            if principal != "*" and not isinstance(principal, dict):
                raise malformed("Invalid principal in policy")
        if Principals.unknown(document):
            raise malformed("Invalid principal in policy")

    @staticmethod
    def _default_encryption():
        return {
            "Rule": {
                "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                "BucketKeyEnabled": "false",
            }
        }


class Denial:
    """Whether a bucket policy denies a request.

    It evaluates conditions on the caller and on the transport, which counts as secure; all others do not hold.
    """

    ACTIONS = {"HeadBucket": "ListBucket", "ListObjects": "ListBucket", "ListObjectsV2": "ListBucket",
               "HeadObject": "GetObject", "DeleteBucketTagging": "PutBucketTagging",
               "DeletePublicAccessBlock": "PutBucketPublicAccessBlock", "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
               "GetPublicAccessBlock": "GetBucketPublicAccessBlock"}

    def __init__(self, caller, operation, resource):
        self.caller, self.resource = caller, resource
        self.action = "s3:" + self.ACTIONS.get(operation, operation)
        _, partition, _, _, self.account, name = caller.split(":", 5)
        self.role = caller
        if name.startswith("assumed-role/"):
            self.role = f"arn:{partition}:iam::{self.account}:role/{name.split('/')[1]}"
        self.keys = {
            "aws:principalarn": self.role,
            "aws:principalaccount": self.account,
            "aws:securetransport": "true",
        }

    def by(self, policy):
        return any(
            statement.get("Effect") == "Deny" and self._applies(statement)
            for statement in statements(json.loads(policy))
        )

    def _applies(self, statement):
        def listed(element, text, ignore_case=False):
            flags = re.IGNORECASE if ignore_case else 0
            if element in statement:
                return any(self._like(text, one, flags) for one in as_list(statement[element]))
            others = as_list(statement.get(f"Not{element}") or [])
            return bool(others) and not any(self._like(text, one, flags) for one in others)

        return (
            listed("Action", self.action, ignore_case=True)
            and listed("Resource", self.resource)
            and self._named(statement)
            and all(
                self._holds(operator, key.lower(), as_list(values))
                for operator, tests in (statement.get("Condition") or {}).items()
                for key, values in tests.items()
            )
        )

    def _named(self, statement):
        def among(principal):
            if principal == "*":
                return True
            names = as_list(principal.get("AWS") or [])
            root = f":iam::{self.account}:root"
            return any(
                name in ("*", self.caller, self.role, self.account) or str(name).endswith(root) for name in names
            )

        if "Principal" in statement:
            return among(statement["Principal"])
        return not among(statement.get("NotPrincipal", "*"))

    def _holds(self, operator, key, values):
        if key not in self.keys:
            return False
        operator = operator.removesuffix("IfExists")
        found = any(self._like(self.keys[key], str(value), re.IGNORECASE) for value in values)
        return found != (operator in ("StringNotEquals", "StringNotLike", "ArnNotEquals", "ArnNotLike"))

    @staticmethod
    def _like(text, pattern, flags=0):
        pattern = re.escape(str(pattern)).replace(r"\*", ".*").replace(r"\?", ".")
        return bool(re.fullmatch(pattern, text, flags))


class S3Answers(S3Response):
    # moto takes these for the plain operation on the bucket: PUT would be CreateBucket, DELETE would be DeleteBucket.
    MISSING = {
        "abac",
        "analytics",
        "intelligent-tiering",
        "metadataConfiguration",
        "metadataInventoryTable",
        "metadataJournalTable",
        "metadataTable",
        "metrics",
        "requestPayment",
        "session",
    }

    def _bucket_response(self, request, full_url):
        asked = set(request.args)
        missing = asked & self.MISSING or request.method == "DELETE" and asked & {"inventory"}
        if missing:
            raise NotImplementedError(f"{request.method} of bucket {', '.join(sorted(missing))}")
        return self._refusal(asked) or super()._bucket_response(request, full_url)

    # moto checks If-Match and then writes; S3 does both at once.
    CONDITIONAL = threading.RLock()

    def _key_response(self, request, full_url):
        with self.CONDITIONAL if request.method == "PUT" else contextlib.nullcontext():
            return self._refusal(set(request.args)) or super()._key_response(request, full_url)

    def _refusal(self, asked):
        """The response of S3 before it processes the operation: the bucket is elsewhere, or of another account."""
        partition, owner = s3_backends.bucket_accounts.get(self.bucket_name, (None, None))
        bucket = owner and s3_backends[owner][partition].buckets.get(self.bucket_name)
        if not bucket:
            return None
        creates = self.method == "PUT" and self.normalized_request.path.strip("/") == bucket.name
        if creates and not asked - {"x-id"} or "location" in asked:
            return None
        if bucket.region_name != self.region:
            headers = {"x-amz-bucket-region": bucket.region_name, "content-type": "application/xml"}
            body = (
                '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>PermanentRedirect</Code><Message>The bucket you '
                "are attempting to access must be addressed using the specified endpoint. Please send all future "
                f"requests to this endpoint.</Message><Endpoint>{bucket.name}.s3.{bucket.region_name}.amazonaws.com"
                f"</Endpoint><Bucket>{bucket.name}</Bucket></Error>"
            )
            return 301, headers, "" if self.method == "HEAD" else body
        if self.headers.get("x-amz-expected-bucket-owner", owner) != owner:
            raise S3ClientError("AccessDenied", "Access Denied")
        key = self.normalized_request.path.strip("/").removeprefix(bucket.name)
        if bucket.policy and Denial(self._caller(), emulator.operation, bucket.arn + key).by(bucket.policy):
            raise S3ClientError("AccessDenied", "Access Denied")
        return None

    def _caller(self):
        key = re.search(r"Credential=(\w+)/", self.headers.get("Authorization", ""))
        backend = sts_backends[self.current_account][self.partition]
        return backend.get_caller_identity(key.group(1) if key else "", self.region)[1]

    def _bucket_response_put(self, request, bucket_name, querystring):
        answer = super()._bucket_response_put(request, bucket_name, querystring)
        if not set(querystring) - {"x-id"} and b"<Tag>" in self.body:
            tags = xmltodict.parse(self.body)["CreateBucketConfiguration"]["Tags"]["Tag"]
            tags = {tag["Key"]: tag.get("Value") for tag in as_list(tags)}
            self.backend.put_bucket_tagging(bucket_name, tags)
        return answer

    def get_bucket_versioning(self):
        # moto names the root element after the operation, which strict clients refuse.
        status = self.backend.get_bucket_versioning(self.bucket_name)
        status = f"<Status>{status}</Status>" if status else ""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<VersioningConfiguration '
            f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{status}</VersioningConfiguration>'
        )
        return 200, {"content-type": "application/xml"}, body

    def list_objects_v2(self):
        if page.most:
            asked = int(self.querystring.get("max-keys", [1000])[0])
            self.querystring["max-keys"] = [str(min(asked, page.most))]
        return super().list_objects_v2()

    def all_buckets(self):
        self.data["Action"] = "ListBuckets"
        asked = self.normalized_request.args
        buckets = self.backend.list_buckets(asked.get("prefix"), asked.get("bucket-region"), None)
        buckets, token = page(
            buckets,
            lambda bucket: bucket.name,
            asked.get("continuation-token"),
            asked.get("max-buckets", 10_000),
            S3ClientError("InvalidArgument", "The continuation token provided is incorrect"),
        )
        listed = [
            {
                "Name": bucket.name,
                "CreationDate": bucket.creation_date_ISO8601,
                "BucketRegion": bucket.region_name,
            }
            for bucket in buckets
        ]
        owner = hashlib.sha256(self.current_account.encode()).hexdigest()
        return self.serialized(
            ActionResult({"Owner": {"ID": owner}, "Buckets": listed, "ContinuationToken": token})
        )


serve(s3_backends, S3, moto.s3.urls.url_paths, S3Answers)


# ---- KMS ------------------------------------------------------------------------------------------------------------

# moto treats any Deny in a key policy as a Deny to everyone. Permissions are not evaluated here.
moto.kms.responses.validate_policy = lambda key, action: None


def default_policy_name(name):
    """moto requires `default`; AWS uses it when the name is left out."""
    if name is not None:
        default_policy_name.original(name)


default_policy_name.original = moto.kms.responses._assert_default_policy
moto.kms.responses._assert_default_policy = default_policy_name


class Kms(KmsBackend):
    __module__ = KmsBackend.__module__

    KEY_POLICY = 32 * 1024

    def create_key(self, policy, *rest, **named):
        if policy:
            self._check_policy(policy)
        # The same ids every time, so that documents which name them can be compared.
        place = f"{self.account_id}/{self.region_name}/{len(self.keys)}"
        identifier = str(uuid.UUID(bytes=hashlib.sha256(place.encode()).digest()[:16], version=4))
        moto.kms.models.generate_key_id = lambda multi=False: f"mrk-{identifier}" if multi else identifier
        return super().create_key(policy, *rest, **named)

    def put_key_policy(self, key_id, policy):
        self._check_policy(policy)
        super().put_key_policy(key_id, policy)

    def _check_policy(self, policy):
        if len(policy.encode()) > self.KEY_POLICY:
            raise JsonRESTError(
                "LimitExceededException", f"The key policy is larger than {self.KEY_POLICY} bytes"
            )
        try:
            document = json.loads(policy)
        except ValueError:
            document = None
        if not isinstance(document, dict) or not statements(document):
            raise JsonRESTError("MalformedPolicyDocumentException", "The policy is not valid JSON")
        if Principals.unknown(document):
            raise JsonRESTError(
                "MalformedPolicyDocumentException",
                "Policy contains a statement with one or more invalid principals.",
            )


class KmsAnswers(KmsResponse):
    def list_keys(self):
        return self._paged(super().list_keys(), "Keys", "KeyId", 100)

    def list_aliases(self):
        return self._paged(super().list_aliases(), "Aliases", "AliasName", 50)

    def list_resource_tags(self):
        return self._paged(super().list_resource_tags(), "Tags", "TagKey", 50)

    def _paged(self, answer, field, key, size):
        answer = json.loads(answer)
        answer[field], marker = page(
            answer[field],
            lambda row: row[key],
            self._get_param("Marker"),
            self._get_param("Limit") or size,
            JsonRESTError("InvalidMarkerException", "Could not deserialize token"),
        )
        answer["Truncated"] = bool(marker)
        answer["NextMarker"] = marker
        return json.dumps(answer)


serve(kms_backends, Kms, moto.kms.urls.url_paths, KmsAnswers)


# ---- EKS ------------------------------------------------------------------------------------------------------------

# moto opens a botocore session to check the partition.
moto.eks.utils.Session = None


def check_role_arn(arn):
    if not re.fullmatch(r"arn:[\w-]+:iam::\d{12}:role/.+", str(arn)):
        raise InvalidParameterException(message=f"Invalid Role Arn: '{arn}'")


moto.eks.models.validate_role_arn = check_role_arn


class TagsNotFoundException(EKSError):
    TYPE = "NotFoundException"
    STATUS = 404


class AddonKind:
    """An add-on of the catalogue: its versions, newest first, and the namespace it runs in."""

    def __init__(self, namespace, *versions):
        self.namespace = namespace
        self.versions = versions


class Eks(EKSBackend):
    __module__ = EKSBackend.__module__

    KUBERNETES_VERSIONS = ("1.34", "1.33", "1.32", "1.31")
    ADDONS = {
        "amazon-cloudwatch-observability": AddonKind("amazon-cloudwatch", "v4.4.0-eksbuild.1"),
        "aws-ebs-csi-driver": AddonKind("kube-system", "v1.51.0-eksbuild.1"),
        "aws-efs-csi-driver": AddonKind("kube-system", "v2.1.13-eksbuild.1"),
        "aws-mountpoint-s3-csi-driver": AddonKind("kube-system", "v2.1.0-eksbuild.1"),
        "coredns": AddonKind("kube-system", "v1.12.4-eksbuild.1"),
        "eks-pod-identity-agent": AddonKind(
            "kube-system", "v1.3.9-eksbuild.3", "v1.3.8-eksbuild.2"
        ),
        "kube-proxy": AddonKind("kube-system", "v1.34.0-eksbuild.4"),
        "vpc-cni": AddonKind("kube-system", "v1.20.4-eksbuild.1"),
    }

    def create_cluster(self, name, role_arn, resources_vpc_config, version=None, **rest):
        cluster = super().create_cluster(
            name,
            role_arn,
            resources_vpc_config,
            version=version or self.KUBERNETES_VERSIONS[1],
            **rest,
        )
        # The same id every time, so that documents which name it can be compared.
        seed = hashlib.sha256(f"{self.account_id}/{self.region_name}/{name}".encode()).digest()
        identifier = seed[:16].hex().upper()
        host = f"oidc.eks.{self.region_name}.amazonaws.com"
        cluster.identity = {"oidc": {"issuer": f"https://{host}/id/{identifier}"}}
        cluster.endpoint = f"https://{identifier}.gr7.{self.region_name}.eks.amazonaws.com"
        cluster.certificate_authority = {"data": authority(seed)}
        cluster.associations = {}
        cluster.associations_made = 0
        cluster.tokens = {}
        cluster.addons = {}
        cluster.updates = {}
        access_entry.prepare(cluster, "API_AND_CONFIG_MAP")
        return cluster

    def arn(self, resource):
        return f"arn:{self.partition}:eks:{self.region_name}:{self.account_id}:{resource}"

    def _tags(self, arn):
        for cluster in self.clusters.values():
            tagged = [
                *cluster.nodegroups.values(),
                *cluster.associations.values(),
                *cluster.addons.values(),
                *cluster.access_entries.values(),
            ]
            for resource in [cluster, *tagged]:
                if resource.arn == arn:
                    return resource.tags
        raise TagsNotFoundException(message=f"No resource was found for ARN: {arn}")

    def tag_resource(self, resource_arn, tags):
        self._tags(resource_arn).update(tags)

    def untag_resource(self, resource_arn, tag_keys):
        tags = self._tags(resource_arn)
        for key in tag_keys:
            tags.pop(key, None)

    def list_tags_for_resource(self, resource_arn):
        return self._tags(resource_arn)

    def association(self, cluster_name, association_id):
        found = self.describe_cluster(cluster_name).associations.get(association_id)
        if not found:
            raise ResourceNotFoundException(
                clusterName=cluster_name,
                message=f"Unable to find association {association_id} in cluster {cluster_name}",
            )
        return found

    def addon(self, cluster_name, addon_name):
        found = self.describe_cluster(cluster_name).addons.get(addon_name)
        if not found:
            raise ResourceNotFoundException(
                clusterName=cluster_name,
                addonName=addon_name,
                message=f"No addon: {addon_name} found in cluster: {cluster_name}",
            )
        return found

    def create_addon(self, cluster_name, addon_name, version, role_arn, configuration, tags):
        cluster = self.describe_cluster(cluster_name)
        if addon_name in cluster.addons:
            raise ResourceInUseException(
                clusterName=cluster_name, addonName=addon_name, message="Addon already exists."
            )
        self.check_addon(addon_name, version, role_arn)
        addon = Addon(self, cluster, addon_name, version, role_arn, configuration, tags)
        cluster.addons[addon_name] = addon
        return addon

    def check_addon(self, addon_name, version, role_arn):
        kind = self.ADDONS.get(addon_name)
        if not kind:
            raise InvalidParameterException(
                addonName=addon_name, message=f"Addon {addon_name} specified is not supported"
            )
        if version and version not in kind.versions:
            raise InvalidParameterException(
                addonName=addon_name, message=f"Addon version specified is not supported: {version}"
            )
        if role_arn:
            check_role_arn(role_arn)


def authority(seed):
    """A certificate as clusters present it in `certificateAuthority.data`; the same for the same seed."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(seed[:8], "big") | 1)
        .not_valid_before(datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2124, 1, 1, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, None)
    )
    return base64.b64encode(certificate.public_bytes(Encoding.PEM)).decode()


class Association:
    """An EKS Pod Identity association."""

    def __init__(self, backend, cluster, asked):
        cluster.associations_made += 1
        self.cluster_name = cluster.name
        self.namespace = asked["namespace"]
        self.service_account = asked["serviceAccount"]
        self.role_arn = asked["roleArn"]
        self.target_role_arn = asked.get("targetRoleArn") or None
        self.disable_session_tags = bool(asked.get("disableSessionTags"))
        self.policy = asked.get("policy") or None
        self.tags = asked.get("tags") or {}
        # A different id each time the same association is recreated, the same ids in every run.
        made = f"{cluster.arn}/{self.namespace}/{self.service_account}/{cluster.associations_made}"
        number = int.from_bytes(hashlib.sha256(made.encode()).digest(), "big")
        digits = "abcdefghijklmnopqrstuvwxyz0123456789"
        self.id = "a-" + "".join(digits[number // 36**at % 36] for at in range(17))
        self.external_id = str(uuid.uuid5(uuid.NAMESPACE_URL, made))
        self.arn = backend.arn(f"podidentityassociation/{cluster.name}/{self.id}")
        self.created_at = self.modified_at = utcnow()

    def summary(self):
        return {
            "clusterName": self.cluster_name,
            "namespace": self.namespace,
            "serviceAccount": self.service_account,
            "associationArn": self.arn,
            "associationId": self.id,
        }

    def full(self):
        full = self.summary() | {
            "roleArn": self.role_arn,
            "tags": self.tags,
            "createdAt": self.created_at,
            "modifiedAt": self.modified_at,
            "disableSessionTags": self.disable_session_tags,
        }
        if self.policy:
            full["policy"] = self.policy
        if self.target_role_arn:
            full |= {"targetRoleArn": self.target_role_arn, "externalId": self.external_id}
        return full


class Addon:
    def __init__(self, backend, cluster, name, version, role_arn, configuration, tags):
        self.cluster_name = cluster.name
        self.name = name
        self.version = version or backend.ADDONS[name].versions[0]
        self.role_arn = role_arn
        self.configuration = configuration
        self.tags = tags or {}
        self.status = "CREATING"
        identifier = uuid.uuid5(uuid.NAMESPACE_URL, f"{cluster.arn}/{name}")
        self.arn = backend.arn(f"addon/{cluster.name}/{name}/{identifier}")
        self.created_at = self.modified_at = utcnow()

    def full(self):
        full = {
            "addonName": self.name,
            "clusterName": self.cluster_name,
            "status": self.status,
            "addonVersion": self.version,
            "health": {"issues": []},
            "addonArn": self.arn,
            "createdAt": self.created_at,
            "modifiedAt": self.modified_at,
            "tags": self.tags,
            "publisher": "eks",
            "owner": "aws",
        }
        if self.role_arn:
            full["serviceAccountRoleArn"] = self.role_arn
        if self.configuration:
            full["configurationValues"] = self.configuration
        return full


class EksAnswers(access_entry.AccessAnswers, EKSResponse):
    @staticmethod
    def principal_exists(arn):
        return not Principals.checked or Principals.exists(arn)

    @property
    def asked(self):
        return json.loads(self.body) if self.body else {}

    def _page(self, rows, key):
        arguments = self.normalized_request.args
        size = arguments.get("maxResults", "100")
        if not size.isdecimal() or not 1 <= int(size) <= 100:
            raise InvalidParameterException(message="maxResults must be between 1 and 100")
        invalid = InvalidParameterException(message="Invalid nextToken")
        return page(rows, key, arguments.get("nextToken"), size, invalid)

    def untag_resource(self):
        # moto reads only the first key.
        self.eks_backend.untag_resource(
            self._extract_arn_from_path(), self.normalized_request.args.getlist("tagKeys")
        )
        return EmptyResult()

    def create_pod_identity_association(self):
        asked, name = self.asked, self.uri_match["name"]
        cluster = self.eks_backend.describe_cluster(name)
        for field in ("namespace", "serviceAccount", "roleArn"):
            if not asked.get(field):
                raise InvalidParameterException(clusterName=name, message=f"{field} is required.")
        token = asked.pop("clientRequestToken", None)
        before, made = cluster.tokens.get(token, (None, None))
        if made and made.id in cluster.associations:
            if before != asked:
                raise InvalidParameterException(
                    clusterName=name, message="The client request token was used with other parameters."
                )
            return ActionResult({"association": made.full()})
        self._check_role(asked["roleArn"])
        if asked.get("targetRoleArn"):
            check_role_arn(asked["targetRoleArn"])
        for other in cluster.associations.values():
            if (other.namespace, other.service_account) == (
                asked["namespace"],
                asked["serviceAccount"],
            ):
                raise ResourceInUseException(
                    clusterName=name, message=f"Association already exists: {other.id}"
                )
        association = Association(self.eks_backend, cluster, asked)
        cluster.associations[association.id] = association
        if token:
            cluster.tokens[token] = (asked, association)
        return ActionResult({"association": association.full()})

    def _association(self):
        return self.eks_backend.association(
            self.uri_match["name"], self.uri_match["associationId"]
        )

    def describe_pod_identity_association(self):
        return ActionResult({"association": self._association().full()})

    def update_pod_identity_association(self):
        association, asked = self._association(), self.asked
        if asked.get("roleArn"):
            self._check_role(asked["roleArn"])
            association.role_arn = asked["roleArn"]
        if "targetRoleArn" in asked:
            if asked["targetRoleArn"]:
                check_role_arn(asked["targetRoleArn"])
            association.target_role_arn = asked["targetRoleArn"] or None
        if "disableSessionTags" in asked:
            association.disable_session_tags = bool(asked["disableSessionTags"])
        if "policy" in asked:
            association.policy = asked["policy"] or None
        association.modified_at = utcnow()
        return ActionResult({"association": association.full()})

    def delete_pod_identity_association(self):
        association = self._association()
        cluster = self.eks_backend.describe_cluster(association.cluster_name)
        del cluster.associations[association.id]
        return ActionResult({"association": association.full()})

    def list_pod_identity_associations(self):
        cluster = self.eks_backend.describe_cluster(self.uri_match["name"])
        arguments = self.normalized_request.args
        rows = [
            association
            for association in cluster.associations.values()
            if arguments.get("namespace") in (None, "", association.namespace)
            and arguments.get("serviceAccount") in (None, "", association.service_account)
        ]
        rows, token = self._page(rows, lambda association: association.id)
        return ActionResult(
            {"associations": [association.summary() for association in rows], "nextToken": token}
        )

    def _check_role(self, arn):
        """The role of an association: in the cluster's account, existing, and trusting EKS Pod Identity."""
        check_role_arn(arn)
        if arn.split(":")[4] != self.current_account:
            raise InvalidParameterException(
                message="The role must be in the same account as the cluster."
            )
        if not Principals.checked:
            return
        backend = iam_backends[self.current_account][self.partition]
        role = next((role for role in backend.roles.values() if role.arn == arn), None)
        if not role or not emulator.rules.knows(role):
            raise InvalidParameterException(message="Role provided in the request does not exist.")
        for statement in statements(json.loads(role.assume_role_policy_document)):
            principal = statement.get("Principal")
            services = as_list(principal.get("Service") or []) if isinstance(principal, dict) else []
            actions = as_list(statement.get("Action"))
            if (
                statement.get("Effect") == "Allow"
                and "pods.eks.amazonaws.com" in services
                and {"sts:AssumeRole", "sts:TagSession"} <= set(actions)
            ):
                return
        raise InvalidParameterException(message="Trust policy of the role provided is invalid.")

    def create_addon(self):
        asked = self.asked
        if asked.get("podIdentityAssociations"):
            raise NotImplementedError("CreateAddon with podIdentityAssociations")
        addon = self.eks_backend.create_addon(
            self.uri_match["name"],
            asked.get("addonName"),
            asked.get("addonVersion"),
            asked.get("serviceAccountRoleArn"),
            asked.get("configurationValues"),
            asked.get("tags"),
        )
        return ActionResult({"addon": addon.full()})

    def _addon(self):
        return self.eks_backend.addon(self.uri_match["name"], self.uri_match["addonName"])

    def describe_addon(self):
        addon = self._addon()
        addon.status = "ACTIVE"
        return ActionResult({"addon": addon.full()})

    def list_addons(self):
        cluster = self.eks_backend.describe_cluster(self.uri_match["name"])
        names, token = self._page(cluster.addons, str)
        return ActionResult({"addons": names, "nextToken": token})

    def update_addon(self):
        addon, asked = self._addon(), self.asked
        if asked.get("podIdentityAssociations"):
            raise NotImplementedError("UpdateAddon with podIdentityAssociations")
        self.eks_backend.check_addon(
            addon.name, asked.get("addonVersion"), asked.get("serviceAccountRoleArn")
        )
        addon.version = asked.get("addonVersion") or addon.version
        addon.role_arn = asked.get("serviceAccountRoleArn") or addon.role_arn
        addon.configuration = asked.get("configurationValues") or addon.configuration
        addon.status, addon.modified_at = "UPDATING", utcnow()
        cluster = self.eks_backend.describe_cluster(addon.cluster_name)
        update = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{addon.arn}/{len(cluster.updates)}")),
            "status": "InProgress",
            "type": "AddonUpdate",
            "params": [{"type": "AddonVersion", "value": addon.version}],
            "createdAt": addon.modified_at,
            "errors": [],
        }
        cluster.updates[update["id"]] = update
        return ActionResult({"update": update})

    def describe_update(self):
        name, identifier = self.uri_match["name"], self.uri_match["updateId"]
        update = self.eks_backend.describe_cluster(name).updates.get(identifier)
        if not update:
            raise ResourceNotFoundException(
                clusterName=name, message=f"No update found for ID: {identifier}"
            )
        return ActionResult({"update": update | {"status": "Successful"}})

    def delete_addon(self):
        addon = self._addon()
        addon.status = "DELETING"
        del self.eks_backend.describe_cluster(addon.cluster_name).addons[addon.name]
        return ActionResult({"addon": addon.full()})

    def describe_addon_versions(self):
        arguments = self.normalized_request.args
        asked = arguments.get("kubernetesVersion")
        clusters = [version for version in Eks.KUBERNETES_VERSIONS if asked in (None, version)]
        names = [name for name in Eks.ADDONS if arguments.get("addonName") in (None, name)]
        names, token = self._page(names, str)
        addons = [
            {
                "addonName": name,
                "type": "networking" if name in ("coredns", "kube-proxy", "vpc-cni") else "other",
                "publisher": "eks",
                "owner": "aws",
                "defaultNamespace": Eks.ADDONS[name].namespace,
                "addonVersions": [
                    {
                        "addonVersion": version,
                        "architecture": ["amd64", "arm64"],
                        "compatibilities": [
                            {
                                "clusterVersion": cluster,
                                "platformVersions": ["*"],
                                "defaultVersion": version == Eks.ADDONS[name].versions[0],
                            }
                            for cluster in clusters
                        ],
                        "requiresConfiguration": False,
                        "requiresIamPermissions": False,
                    }
                    for version in Eks.ADDONS[name].versions
                ],
            }
            for name in names
        ]
        return ActionResult({"addons": addons, "nextToken": token})


# Every path: the operation is found by AWS's own model, and what is missing is named in the answer.
serve(eks_backends, Eks, {"{0}/(?P<path>.+)$": EksAnswers.dispatch}, EksAnswers)


# ---- Seed -----------------------------------------------------------------------------------------------------------


class SeedError(Exception):
    """The body of a seed request is invalid, or what it describes cannot be created."""


class Seed:
    """Creates what a demonstration or a test needs, in the order roles, keys, buckets, clusters.

    {"roles":    [{"account", "name", "path", "trust", "description", "tags", "inline": {name: document},
                   "policies": [arn], "max_session"}],
     "keys":     [{"account", "region", "alias", "policy", "description", "tags"}],
     "buckets":  [{"account", "region", "name", "policy", "tags", "versioning", "objects": {key: text}}],
     "clusters": [{"account", "region", "name", "version", "tags", "addons": [name], "oidc_provider": bool,
                   "endpoint", "certificate_authority", "authentication_mode"}]}

    Only `account` and the name (or alias) are required; the region is us-east-1 by default. Documents are objects or
    strings, tags are objects. The response lists the created resources under the same names. Policies may name
    principals that do not exist.
    """

    KNOWN = {
        "roles": "account name path trust description tags inline policies max_session",
        "keys": "account region alias policy description tags",
        "buckets": "account region name policy tags versioning objects",
        "clusters": "account region name version tags addons oidc_provider endpoint "
        "certificate_authority authentication_mode",
    }

    @classmethod
    def make(cls, body):
        made = cls._make(body)
        # Seeded resources are known everywhere at once.
        emulator.calls += emulator.rules.new_principals
        return made

    @classmethod
    def _make(cls, body):
        try:
            document = json.loads(body or b"{}")
        except ValueError as error:
            raise SeedError(f"the body is not JSON: {error}") from None
        if not isinstance(document, dict) or set(document) - set(cls.KNOWN):
            raise SeedError(f"the body must be an object with any of {', '.join(cls.KNOWN)}")
        for kind, known in cls.KNOWN.items():
            for entry in document.get(kind, []):
                cls._check(kind, entry, known.split())
        checked, Principals.checked = Principals.checked, False
        try:
            return {
                kind: [getattr(cls, f"_{kind}")(entry) for entry in document.get(kind, [])]
                for kind in cls.KNOWN
            }
        finally:
            Principals.checked = checked

    @staticmethod
    def _check(kind, entry, known):
        if not isinstance(entry, dict):
            raise SeedError(f"an entry of {kind} is not an object")
        unknown = sorted(set(entry) - set(known))
        if unknown:
            raise SeedError(f"{kind} have no `{unknown[0]}`; they have {', '.join(known)}")
        for field in ("account", "alias" if kind == "keys" else "name"):
            if not entry.get(field):
                raise SeedError(f"an entry of {kind} has no `{field}`")
        if not re.fullmatch(r"\d{12}", str(entry["account"])):
            raise SeedError(f"`{entry['account']}` is not an account of twelve digits")

    @staticmethod
    def _text(document):
        return document if isinstance(document, str) else json.dumps(document)

    @staticmethod
    def _tags(entry):
        return [{"Key": key, "Value": value} for key, value in (entry.get("tags") or {}).items()]

    @classmethod
    def _roles(cls, entry):
        account = str(entry["account"])
        iam = iam_backends[account]["aws"]
        own_account = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        role = iam.create_role(
            entry["name"],
            cls._text(entry.get("trust") or own_account),
            entry.get("path", "/"),
            None,
            entry.get("description", ""),
            cls._tags(entry),
            entry.get("max_session", 3_600),
        )
        for name, document in (entry.get("inline") or {}).items():
            iam.put_role_policy(role.name, name, cls._text(document))
        for arn in entry.get("policies") or []:
            iam.attach_role_policy(arn, role.name)
        return {"name": role.name, "arn": role.arn}

    @classmethod
    def _keys(cls, entry):
        kms = kms_backends[str(entry["account"])][entry.get("region", "us-east-1")]
        alias = "alias/" + entry["alias"].removeprefix("alias/")
        if kms.get_key_id_from_alias(alias):
            raise SeedError(f"`{alias}` is taken")
        policy = cls._text(entry["policy"]) if entry.get("policy") else None
        tags = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in cls._tags(entry)]
        key = kms.create_key(
            policy, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", entry.get("description", ""), tags
        )
        kms.create_alias(key.id, alias)
        return {"alias": alias, "key_id": key.id, "arn": key.arn}

    @classmethod
    def _buckets(cls, entry):
        s3 = s3_backends[str(entry["account"])]["aws"]
        bucket = s3.create_bucket(entry["name"], entry.get("region", "us-east-1"))
        if entry.get("versioning"):
            s3.put_bucket_versioning(bucket.name, "Enabled")
        if entry.get("tags"):
            s3.put_bucket_tagging(bucket.name, entry["tags"])
        if entry.get("policy"):
            s3.put_bucket_policy(bucket.name, cls._text(entry["policy"]).encode())
        for key, text in (entry.get("objects") or {}).items():
            s3.put_object(bucket.name, key, text.encode(), etag=None)
        return {"name": bucket.name, "arn": bucket.arn}

    @classmethod
    def _clusters(cls, entry):
        account, region = str(entry["account"]), entry.get("region", "us-east-1")
        eks = eks_backends[account][region]
        cluster = eks.create_cluster(
            entry["name"],
            f"arn:aws:iam::{account}:role/eks-cluster",
            {"subnetIds": ["subnet-1", "subnet-2"]},
            version=entry.get("version"),
            tags=dict(entry.get("tags") or {}),
        )
        cluster.endpoint = entry.get("endpoint") or cluster.endpoint
        if entry.get("authentication_mode"):
            access_entry.prepare(cluster, entry["authentication_mode"])
        if entry.get("certificate_authority"):
            cluster.certificate_authority = {"data": entry["certificate_authority"]}
        for name in entry.get("addons") or []:
            eks.create_addon(cluster.name, name, None, None, None, None).status = "ACTIVE"
        issuer = cluster.identity["oidc"]["issuer"]
        made = {"name": cluster.name, "arn": cluster.arn, "issuer": issuer}
        if entry.get("oidc_provider"):
            provider = iam_backends[account]["aws"].create_open_id_connect_provider(
                issuer, [], ["sts.amazonaws.com"], []
            )
            made["oidc_provider"] = provider.arn
        return made


# ---- Server ---------------------------------------------------------------------------------------------------------


class Dispatch(DomainDispatcherApplication):
    """moto's choice of an AWS service for a request."""

    def get_backend_for_host(self, host):
        backend = super().get_backend_for_host(host)
        if host and not backend:
            raise NotImplementedError("no such service")
        return backend


class Emulator:
    """The WSGI application: one request at a time, because moto is not thread-safe."""

    JSON = [("Content-Type", "application/json")]
    FAULTS_KEPT = 100

    def __init__(self):
        self.moto = Dispatch(create_backend_app)
        self.lock = threading.Lock()
        self.counting = threading.Lock()
        self.rules = Rules()
        self.calls = 0
        self.operation = ""
        self._forget_requests()

    def __call__(self, environ, body):
        """Status, headers and body of the response, or nothing if the response is lost.

        The body of the request is passed beside the environment.
        """
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        # The body has been read: the handler must not look for chunks in it.
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        environ.pop("wsgi.input_terminated", None)
        if environ["PATH_INFO"].startswith("/bailiwick/"):
            with self.lock:
                return self._own(environ, body)
        rules = self.rules
        service, operation = self._operation(environ, body)
        resource = rules.resource(service, environ, body) if rules.writes(operation) else None
        if not resource or not rules.overlap:
            with self.lock:
                return self._as_it_is(rules, service, operation, environ, body)
        with self.counting:
            rules.busy[resource] += 1
            alone = rules.busy[resource] == 1
        try:
            if not alone:
                rules.applied("overlap", f"{service}:{operation} {resource}")
                code = "OperationAborted" if service == "s3" else "ConcurrentModification"
                message = "A conflicting conditional operation is currently in progress against this resource."
                return refusal(service, "409 Conflict", code, message)
            with self.lock:
                return self._as_it_is(rules, service, operation, environ, body)
        finally:
            with self.counting:
                rules.busy[resource] -= 1

    def _as_it_is(self, rules, service, operation, environ, body):
        """The response, changed by the rules."""
        self.calls += 1
        call = f"{service}:{operation}"
        if service in ("moto", "sts"):
            return self._aws(environ, body)
        if rules.chance("throttled", call):
            self.counts[service][operation] += 1
            if service == "s3":
                return refusal(service, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
            code = "Throttling" if service == "iam" else "ThrottlingException"
            return refusal(service, "400 Bad Request", code, "Rate exceeded")
        if rules.chance("failed", call):
            self.counts[service][operation] += 1
            code = {"iam": "ServiceFailure", "s3": "InternalError"}.get(service, "InternalFailure")
            return refusal(service, "500 Internal Server Error", code, "We encountered an internal error.")
        place = (service, environ.get("HTTP_AUTHORIZATION", "").partition("/")[0])
        if rules.writes(operation):
            answer = self._aws(environ, body)
            rules.written[place] += 1
            return None if rules.chance("lost", call) else answer
        asked = (place, environ["PATH_INFO"], environ["QUERY_STRING"], body, environ["REQUEST_METHOD"])
        earlier, written = rules.shown.get(asked, (None, 0))
        if earlier and written < rules.written[place] and rules.chance("stale", call):
            return earlier
        status, headers, answer = self._aws(environ, body)
        read = rules.read(service, operation, answer)
        if read != answer:
            headers = [header for header in headers if header[0].lower() != "content-length"]
            answer = read
        rules.shown[asked] = ((status, headers, answer), rules.written[place])
        return status, headers, answer

    def _own(self, environ, body):
        asked = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        status, answer = "200 OK", {}
        if asked == "POST /bailiwick/seed":
            try:
                answer = Seed.make(body)
            except Exception as error:  # whatever a service says against the seed
                message = getattr(error, "message", None) or getattr(error, "description", None)
                status, answer = "400 Bad Request", {"error": message or str(error)}
        elif asked == "POST /bailiwick/reset":
            moto_api_backend.reset()
            s3_backends.bucket_accounts.clear()
            page.most = 0
            self.rules = Rules()
            self._forget_requests()
        elif asked == "GET /bailiwick/requests":
            answer = {
                "total": sum(sum(counts.values()) for counts in self.counts.values()),
                "services": self.counts,
                "faults": self.faults,
            }
        elif asked == "DELETE /bailiwick/requests":
            self._forget_requests()
        elif asked == "POST /bailiwick/pages":
            page.most = int(json.loads(body)["most"])
        elif asked == "GET /bailiwick/rules":
            answer = {"counts": self.rules.counts, "log": self.rules.log}
        elif asked == "POST /bailiwick/rules":
            try:
                self.rules = Rules(body)
            except ValueError as error:
                status, answer = "400 Bad Request", {"error": str(error)}
        else:
            status, answer = "404 Not Found", {"error": f"no such endpoint: {asked}"}
        return status, list(self.JSON), json.dumps(answer).encode()

    def _forget_requests(self):
        self.counts = collections.defaultdict(collections.Counter)
        self.faults = []

    def _aws(self, environ, body):
        service, operation = self._operation(environ, body)
        self.operation = operation
        if service != "moto":
            self.counts[service][operation] += 1
        try:
            status, headers, answer = self._moto(environ)
        except NotImplementedError as error:
            return self._fault(service, operation, "NotImplemented", str(error))
        except Exception as error:
            traceback.print_exc()
            return self._fault(
                service, operation, "EmulatorFailure", f"{type(error).__name__}: {error}"
            )
        # Flask's page: no route.
        if status[:3] in ("404", "405", "500") and answer[:14].lower() == b"<!doctype html":
            return self._fault(service, operation, "NotImplemented", "no such operation")
        return status, headers, answer

    def _moto(self, environ):
        started = []

        def start_response(status, headers, exc_info=None):
            started[:] = [status, headers]

        answer = self.moto(environ, start_response)
        try:
            return *started, b"".join(answer)
        finally:
            getattr(answer, "close", lambda: None)()

    @staticmethod
    def _operation(environ, body):
        """The service and operation of a request, for the counts."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if path.startswith("/moto-api"):
            return "moto", path
        scope = re.search(
            r"Credential=[^/]*/\d+/[^/]*/([^/]+)/", environ.get("HTTP_AUTHORIZATION", "")
        ) or re.search(r"X-Amz-Credential=[^&]*%2F([^%&]+)%2Faws4", environ["QUERY_STRING"])
        action = re.search(rb"(?:^|&)Action=(\w+)", body[:4096])
        service = scope.group(1) if scope else "sts" if action else "s3"
        if "HTTP_X_AMZ_TARGET" in environ:
            return service, environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2]
        if service in ("s3", "eks"):
            try:
                return service, get_service_router(service).match(Request(dict(environ)))[0].name
            except Exception:  # no operation of that path
                return service, f"{method} {path}"
        if action:
            return service, action.group(1).decode()
        return service, f"{method} {path}"

    def _fault(self, service, operation, code, message):
        message = f"the AWS emulator has no answer to {service}:{operation}: {message}"
        self.faults.append({"service": service, "operation": operation, "message": message})
        del self.faults[self.FAULTS_KEPT :]
        print(message, file=sys.stderr, flush=True)
        headers = [("x-amzn-ErrorType", code)]
        if service == "s3":
            error = {"Error": {"Code": code, "Message": message}}
        elif service in ("iam", "sts"):
            error = {
                "ErrorResponse": {"Error": {"Type": "Receiver", "Code": code, "Message": message}}
            }
        else:
            body = json.dumps({"__type": code, "message": message}).encode()
            return "501 Not Implemented", headers + self.JSON, body
        headers.append(("Content-Type", "text/xml"))
        return "501 Not Implemented", headers, xmltodict.unparse(error).encode()


class Connection(MotoRequestHandler):
    """One client's connection, kept open between requests as AWS keeps it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def run_wsgi(self):
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        environ = self.make_environ()
        if environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read()
        else:
            body = self.rfile.read(int(environ.get("CONTENT_LENGTH") or 0))
        answered = self.server.app(environ, body)
        if answered is None:
            self.close_connection = True
            return
        status, headers, answer = answered
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        names = set()
        for name, value in headers:
            if name.lower() not in ("connection", "server", "date", "transfer-encoding"):
                names.add(name.lower())
                self.send_header(name, value)
        bodiless = self.command == "HEAD" or code in ("204", "304")
        if "content-length" not in names and code not in ("204", "304"):
            self.send_header("Content-Length", str(len(answer)))
        # One write: a second small one would wait for the client's acknowledgment.
        self._headers_buffer.append(b"\r\n" if bodiless else b"\r\n" + answer)
        self.flush_headers()

    def log_request(self, code="-", size="-"):
        """Silent: the counts are more useful."""


def watch_parent():
    """Ends this process when its parent does.

    Not PR_SET_PDEATHSIG: that fires when the thread that started this process ends, and test runners start one
    thread per test.
    """

    def watch():
        if hasattr(os, "pidfd_open"):
            try:
                select.select([os.pidfd_open(PARENT)], [], [])
            except OSError:
                pass
        while os.getppid() == PARENT:
            time.sleep(0.2)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


emulator = Emulator()


def main():
    parser = argparse.ArgumentParser(description="An AWS to test against.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument(
        "--any-principal",
        action="store_true",
        help="accept policies that name roles and users which do not exist",
    )
    parser.add_argument(
        "--as-it-is",
        action="store_true",
        help="new roles are known late, documents change their form, pages are short, overlapping writes are refused",
    )
    parser.add_argument("--stay", action="store_true", help="go on when the parent process ends")
    options = parser.parse_args()

    # moto prints complaints.
    stdout, sys.stdout = sys.stdout, sys.stderr
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    Principals.checked = not options.any_principal
    if options.as_it_is:
        emulator.rules = Rules(Rules.AS_IT_IS)
    server = make_server(
        "127.0.0.1", options.port, emulator, threaded=True, request_handler=Connection
    )
    if not options.stay:
        watch_parent()
    print(f"Running on http://127.0.0.1:{server.server_port}", file=stdout, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
