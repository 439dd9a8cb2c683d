"""EKS access entries, which moto does not have, after the model and the user guide of EKS.

A mixin for the EKS responses: it needs their `eks_backend`, `uri_match`, `asked` and `_page`, and `principal_exists`.
"""

import re
import uuid

from moto.core.responses import ActionResult, EmptyResult
from moto.core.utils import utcnow
from moto.eks.exceptions import (
    InvalidParameterException,
    InvalidRequestException,
    ResourceInUseException,
    ResourceNotFoundException,
)

# In order: a cluster's mode never goes back.
MODES = ("CONFIG_MAP", "API_AND_CONFIG_MAP", "API")
TYPES = ("STANDARD", "FARGATE_LINUX", "EC2_LINUX", "EC2_WINDOWS", "EC2", "HYBRID_LINUX", "HYPERPOD_LINUX")
POLICIES = (
    "AmazonEKSAdminPolicy",
    "AmazonEKSAdminViewPolicy",
    "AmazonEKSClusterAdminPolicy",
    "AmazonEKSEditPolicy",
    "AmazonEKSSecretReaderPolicy",
    "AmazonEKSViewPolicy",
)
RESERVED = ("system:", "eks:", "aws:", "amazon:", "iam:")


def prepare(cluster, mode):
    """Gives a new cluster its access configuration."""
    if mode not in MODES:
        raise InvalidParameterException(message=f"Unknown authentication mode: {mode}")
    cluster.access_config = {
        "authenticationMode": mode,
        "bootstrapClusterCreatorAdminPermissions": True,
    }
    cluster.access_entries = {}
    cluster.access_entries_made = 0


class AccessEntry:
    def __init__(self, cluster, asked, arn):
        cluster.access_entries_made += 1
        _, _, _, _, account, resource = asked["principalArn"].split(":", 5)
        kind, name = resource.split("/", 1)
        self.cluster_name = cluster.name
        self.principal = asked["principalArn"]
        self.groups = list(asked.get("kubernetesGroups") or [])
        self.type = asked.get("type") or "STANDARD"
        self.username = asked.get("username") or username(self.principal)
        self.tags = dict(asked.get("tags") or {})
        self.policies = {}
        # Another id each time an entry is created for the same principal, the same ids in every run.
        made = f"{cluster.arn}/{self.principal}/{cluster.access_entries_made}"
        identifier = uuid.uuid5(uuid.NAMESPACE_URL, made)
        self.arn = arn(f"access-entry/{cluster.name}/{kind}/{account}/{name}/{identifier}")
        self.created_at = self.modified_at = utcnow()

    def full(self):
        return {
            "clusterName": self.cluster_name,
            "principalArn": self.principal,
            "kubernetesGroups": self.groups,
            "accessEntryArn": self.arn,
            "createdAt": self.created_at,
            "modifiedAt": self.modified_at,
            "tags": self.tags,
            "username": self.username,
            "type": self.type,
        }


def username(principal):
    """The name in Kubernetes that EKS gives a principal. Source: EKS User Guide, "Set a custom username"."""
    _, partition, _, _, account, resource = principal.split(":", 5)
    if not resource.startswith("role/"):
        return principal
    role = resource.rsplit("/", 1)[-1]
    return f"arn:{partition}:sts::{account}:assumed-role/{role}/{{{{SessionName}}}}"


class AccessAnswers:
    def create_cluster(self):
        answer = super().create_cluster()
        # Without an access configuration a cluster that is made through the API has no access entries.
        config = self.asked.get("accessConfig") or {}
        cluster = self.eks_backend.describe_cluster(self.asked["name"])
        prepare(cluster, config.get("authenticationMode", "CONFIG_MAP"))
        return answer

    def update_cluster_config(self):
        cluster, asked = self.eks_backend.describe_cluster(self.uri_match["name"]), self.asked
        if set(asked) - {"accessConfig", "clientRequestToken"}:
            raise NotImplementedError("UpdateClusterConfig of anything but accessConfig")
        old = cluster.access_config["authenticationMode"]
        new = (asked.get("accessConfig") or {}).get("authenticationMode")
        if new not in MODES or MODES.index(new) <= MODES.index(old):
            raise InvalidParameterException(
                clusterName=cluster.name,
                message=f"Unsupported authentication mode update from {old} to {new}",
            )
        cluster.access_config["authenticationMode"] = new
        update = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{cluster.arn}/{len(cluster.updates)}")),
            "status": "InProgress",
            "type": "AccessConfigUpdate",
            "params": [{"type": "AuthenticationMode", "value": new}],
            "createdAt": utcnow(),
            "errors": [],
        }
        cluster.updates[update["id"]] = update
        return ActionResult({"update": update})

    def _cluster_with_entries(self):
        cluster = self.eks_backend.describe_cluster(self.uri_match["name"])
        if cluster.access_config["authenticationMode"] == "CONFIG_MAP":
            raise InvalidRequestException(
                clusterName=cluster.name,
                message="The cluster's authentication mode must be set to one of "
                "[API, API_AND_CONFIG_MAP] to perform this operation.",
            )
        return cluster

    def _entry(self):
        cluster, principal = self._cluster_with_entries(), self.uri_match["principalArn"]
        entry = cluster.access_entries.get(principal)
        if not entry:
            raise ResourceNotFoundException(
                clusterName=cluster.name,
                message="The specified principalArn could not be found. You can view your available "
                "access entries with 'list-access-entries'.",
            )
        return entry

    @staticmethod
    def _check_names(groups, name):
        for kind, names in (("kubernetes group name", groups), ("username", [name] if name else [])):
            for text in names:
                prefix = next((prefix for prefix in RESERVED if text.startswith(prefix)), None)
                if prefix:
                    raise InvalidParameterException(
                        message=f"The {kind} {text} is invalid, it cannot start with {prefix}"
                    )

    def create_access_entry(self):
        cluster, asked = self._cluster_with_entries(), self.asked
        token = asked.pop("clientRequestToken", None)
        before, made = cluster.tokens.get(token, (None, None))
        if made and cluster.access_entries.get(made.principal) is made:
            if before != asked:
                raise InvalidParameterException(
                    clusterName=cluster.name,
                    message="The client request token was used with other parameters.",
                )
            return ActionResult({"accessEntry": made.full()})
        principal = asked.get("principalArn") or ""
        if not re.fullmatch(r"arn:[\w-]+:iam::\d{12}:(role|user)/.+", principal):
            raise InvalidParameterException(
                clusterName=cluster.name,
                message="The principalArn parameter format is not valid",
            )
        kind = asked.get("type") or "STANDARD"
        if kind not in TYPES:
            raise InvalidParameterException(clusterName=cluster.name, message="Invalid type")
        if kind != "STANDARD" and asked.get("kubernetesGroups"):
            raise InvalidParameterException(
                clusterName=cluster.name,
                message=f"The kubernetesGroups parameter is not supported for type {kind}",
            )
        self._check_names(asked.get("kubernetesGroups") or [], asked.get("username"))
        if not self.principal_exists(principal):
            raise InvalidParameterException(
                clusterName=cluster.name,
                message="The specified principalArn is invalid: invalid principal.",
            )
        if principal in cluster.access_entries:
            raise ResourceInUseException(
                clusterName=cluster.name,
                message="The specified access entry resource is already in use on this cluster.",
            )
        entry = AccessEntry(cluster, asked, self.eks_backend.arn)
        cluster.access_entries[principal] = entry
        if token:
            cluster.tokens[token] = (asked, entry)
        return ActionResult({"accessEntry": entry.full()})

    def describe_access_entry(self):
        return ActionResult({"accessEntry": self._entry().full()})

    def update_access_entry(self):
        entry, asked = self._entry(), self.asked
        self._check_names(asked.get("kubernetesGroups") or [], asked.get("username"))
        if "kubernetesGroups" in asked:
            entry.groups = list(asked["kubernetesGroups"] or [])
        if asked.get("username"):
            entry.username = asked["username"]
        entry.modified_at = utcnow()
        return ActionResult({"accessEntry": entry.full()})

    def delete_access_entry(self):
        entry = self._entry()
        del self.eks_backend.describe_cluster(entry.cluster_name).access_entries[entry.principal]
        return EmptyResult()

    def list_access_entries(self):
        cluster = self._cluster_with_entries()
        policy = self.normalized_request.args.get("associatedPolicyArn")
        rows = [
            principal
            for principal, entry in cluster.access_entries.items()
            if not policy or policy in entry.policies
        ]
        rows, token = self._page(rows, str)
        return ActionResult({"accessEntries": rows, "nextToken": token})

    def associate_access_policy(self):
        entry, asked = self._entry(), self.asked
        if entry.type != "STANDARD":
            raise InvalidRequestException(
                message=f"An access policy cannot be associated with an entry of type {entry.type}"
            )
        arn, scope = asked.get("policyArn") or "", asked.get("accessScope") or {}
        if arn.rpartition(":cluster-access-policy/")[2] not in POLICIES or ":eks::aws:" not in arn:
            raise InvalidParameterException(message=f"The policyArn parameter is not valid: {arn}")
        namespaces = scope.get("namespaces") or []
        if scope.get("type") not in ("cluster", "namespace") or (
            (scope["type"] == "namespace") != bool(namespaces)
        ):
            raise InvalidParameterException(message="The accessScope parameter is not valid")
        before = entry.policies.get(arn)
        now = utcnow()
        entry.policies[arn] = {
            "policyArn": arn,
            "accessScope": {"type": scope["type"], "namespaces": list(namespaces)},
            "associatedAt": before["associatedAt"] if before else now,
            "modifiedAt": now,
        }
        return ActionResult(
            {
                "clusterName": entry.cluster_name,
                "principalArn": entry.principal,
                "associatedAccessPolicy": entry.policies[arn],
            }
        )

    def disassociate_access_policy(self):
        entry, arn = self._entry(), self.uri_match["policyArn"]
        if arn not in entry.policies:
            raise ResourceNotFoundException(
                clusterName=entry.cluster_name,
                message=f"The access policy {arn} is not associated with the access entry",
            )
        del entry.policies[arn]
        return EmptyResult()

    def list_associated_access_policies(self):
        entry = self._entry()
        rows, token = self._page(entry.policies.values(), lambda policy: policy["policyArn"])
        return ActionResult(
            {
                "clusterName": entry.cluster_name,
                "principalArn": entry.principal,
                "associatedAccessPolicies": rows,
                "nextToken": token,
            }
        )

    def list_access_policies(self):
        rows, token = self._page(POLICIES, str)
        policies = [
            {"name": name, "arn": f"arn:{self.partition}:eks::aws:cluster-access-policy/{name}"}
            for name in rows
        ]
        return ActionResult({"accessPolicies": policies, "nextToken": token})
