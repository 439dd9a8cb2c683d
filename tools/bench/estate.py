"""The estate that is measured: N units in two accounts, as a Bailiwick spec and as a Terraform configuration.

A unit is an IAM role that the pods of a service account get (every second one by EKS Pod Identity, the others by IRSA),
a managed policy and its attachment in one account, and in the other a bucket with public access block, ownership,
versioning, encryption, tags and a policy that lets the role read. Bailiwick writes the role's side of the access as an
inline policy too, so that its units have one resource more.
"""

import json

PLATFORM, MODELS, REGION = "111111111111", "222222222222", "us-east-1"
CLUSTER = {"account": PLATFORM, "region": REGION, "name": "main"}


def units(n):
    for i in range(n):
        name = f"u{i:05}"
        yield {
            "name": name,
            "namespace": f"team-{i % 10}",
            "bucket": f"estate-{MODELS}-{name}",
            "prefix": f"data/{name}/",
            "pods": i % 2 == 1,
            "tags": {"Team": f"team-{i % 10}", "Unit": name},
        }


def statements(unit, principal=None):
    arn = f"arn:aws:s3:::{unit['bucket']}"
    to = {"Principal": {"AWS": principal}} if principal else {}
    return [
        {
            "Sid": "List",
            "Effect": "Allow",
            **to,
            "Action": "s3:ListBucket",
            "Resource": arn,
            "Condition": {"StringLike": {"s3:prefix": unit["prefix"] + "*"}},
        },
        {"Sid": "Get", "Effect": "Allow", **to, "Action": "s3:GetObject", "Resource": f"{arn}/{unit['prefix']}*"},
    ]


def policy(*parts):
    return {"Version": "2012-10-17", "Statement": list(parts)}


def spec(n, pace=None):
    """The spec. JSON is YAML. `pace` is that of both accounts."""
    account = {"region": REGION, **({"pace": pace} if pace else {})}
    whole = {
        "version": 1,
        "project": "estate",
        "accounts": {
            "platform": {"id": PLATFORM, **account},
            "models": {"id": MODELS, "assume_role": "deployer", **account},
        },
        "clusters": {"main": {"account": "platform", "name": "main", "pod_identity_agent": "existing"}},
        "buckets": {},
        "policies": {},
        "roles": {},
        "service_accounts": {},
        "grants": [],
    }
    for unit in units(n):
        name, tags = unit["name"], unit["tags"]
        whole["policies"][name] = {
            "account": "platform",
            "name": f"unit-{name}",
            "path": "/workloads/",
            "tags": tags,
            "document": policy(*statements(unit)),
        }
        whole["roles"][name] = {
            "account": "platform",
            "name": f"unit-{name}",
            "path": "/workloads/",
            "tags": tags,
            "policies": [name],
        }
        whole["service_accounts"][name] = {
            "cluster": "main",
            "namespace": unit["namespace"],
            "name": f"svc-{name}",
            "role": name,
            "identity": "pod_identity" if unit["pods"] else "irsa",
            "manage": "none",
        }
        whole["buckets"][name] = {
            "account": "models",
            "name": unit["bucket"],
            "ownership": "bucket_owner_enforced",
            "versioning": True,
            "encryption": "AES256",
            "tags": tags,
            "on_destroy": "delete",
        }
        whole["grants"].append({"to": name, "bucket": name, "prefix": unit["prefix"], "access": "read"})
    return json.dumps(whole, indent=1)


def terraform(n, endpoint, issuer):
    """The same as a Terraform configuration in JSON, one block for each resource."""
    provider = {
        "region": REGION,
        "s3_use_path_style": True,
        "skip_metadata_api_check": True,
        "endpoints": [{service: endpoint for service in ("eks", "iam", "s3", "sts")}],
    }
    role = {"role_arn": f"arn:aws:iam::{MODELS}:role/deployer", "session_name": "terraform"}
    blocks = {}

    def add(kind, key, **body):
        blocks.setdefault(f"aws_{kind}", {})[key] = body

    host = issuer.removeprefix("https://")
    add("iam_openid_connect_provider", "main", url=issuer, client_id_list=["sts.amazonaws.com"])
    for unit in units(n):
        name, tags = unit["name"], unit["tags"]
        account = f"svc-{name}"
        trust = {"Effect": "Allow"}
        if unit["pods"]:
            trust |= {
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
            }
            add(
                "eks_pod_identity_association",
                name,
                cluster_name="main",
                namespace=unit["namespace"],
                service_account=account,
                role_arn=f"${{aws_iam_role.{name}.arn}}",
            )
        else:
            subject = f"system:serviceaccount:{unit['namespace']}:{account}"
            trust |= {
                "Principal": {"Federated": "${aws_iam_openid_connect_provider.main.arn}"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {f"{host}:sub": subject, f"{host}:aud": "sts.amazonaws.com"}},
            }
        path = {"path": "/workloads/", "name": f"unit-{name}", "tags": tags}
        add("iam_role", name, assume_role_policy=json.dumps(policy(trust)), **path)
        add("iam_policy", name, policy=json.dumps(policy(*statements(unit))), **path)
        add(
            "iam_role_policy_attachment",
            name,
            role=f"${{aws_iam_role.{name}.name}}",
            policy_arn=f"${{aws_iam_policy.{name}.arn}}",
        )
        bucket = {"provider": "aws.models", "bucket": f"${{aws_s3_bucket.{name}.id}}"}
        add("s3_bucket", name, provider="aws.models", bucket=unit["bucket"], tags=tags)
        on = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
        add("s3_bucket_public_access_block", name, **bucket, **dict.fromkeys(on, True))
        add("s3_bucket_ownership_controls", name, **bucket, rule={"object_ownership": "BucketOwnerEnforced"})
        add("s3_bucket_versioning", name, **bucket, versioning_configuration={"status": "Enabled"})
        default = {"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}
        add("s3_bucket_server_side_encryption_configuration", name, **bucket, rule=default)
        grant = policy(*statements(unit, f"${{aws_iam_role.{name}.arn}}"))
        add("s3_bucket_policy", name, **bucket, policy=json.dumps(grant))
    return json.dumps(
        {
            "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws"}}},
            "provider": {"aws": [provider, provider | {"alias": "models", "assume_role": [role]}]},
            "resource": blocks,
        },
        indent=1,
    )
