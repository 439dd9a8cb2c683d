#!/usr/bin/env python3
"""Checks of the AWS emulator, through the AWS SDK: python test_aws.py"""

import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import unittest
import urllib.error
import urllib.parse
import urllib.request

import boto3
import botocore.exceptions
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509

AWS = pathlib.Path(__file__).with_name("aws.py")
PLATFORM, MODELS = "111111111111", "222222222222"
WEST, EAST = "us-west-2", "us-east-1"


def start(*options):
    process = subprocess.Popen(
        [sys.executable, AWS, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    return process, process.stdout.readline().removeprefix("Running on ").strip()


def setUpModule():
    global server, url
    server, url = start()


def tearDownModule():
    server.terminate()
    server.wait()
    server.stdout.close()


def call(method, path, document=None, to=None):
    """Status and JSON answer of one of the emulator's own endpoints."""
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request((to or url) + path, data=body, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def client(service, region=EAST, key="test", token=None, to=None):
    return boto3.client(
        service,
        region_name=region,
        endpoint_url=to or url,
        aws_access_key_id=key,
        aws_secret_access_key="test",
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}),
    )


def assumed(service, account, region=EAST):
    """A client with the keys of a role in `account`."""
    keys = client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{account}:role/bailiwick", RoleSessionName="test"
    )["Credentials"]
    return client(service, region, keys["AccessKeyId"], keys["SessionToken"])


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(principal, *actions):
    return policy(
        {"Effect": "Allow", "Principal": principal, "Action": list(actions or ["sts:AssumeRole"])}
    )


PODS = trust({"Service": "pods.eks.amazonaws.com"}, "sts:AssumeRole", "sts:TagSession")
READ = policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"})


def read(bucket, principal, **more):
    return {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        **more,
    }


class Case(unittest.TestCase):
    def setUp(self):
        self.assertEqual(call("POST", "/bailiwick/reset"), (200, {}))

    def refused(self, code, status, operation, **arguments):
        """Calls the operation, which must be refused with this code and status; returns the message."""
        with self.assertRaises(ClientError) as caught:
            operation(**arguments)
        answer = caught.exception.response
        self.assertEqual(
            (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]),
            (code, status),
            answer["Error"].get("Message"),
        )
        return answer["Error"].get("Message", "")

    def requests(self):
        return call("GET", "/bailiwick/requests")[1]


class Accounts(Case):
    def test_base_credentials_act_in_the_default_account(self):
        who = client("sts").get_caller_identity()
        self.assertEqual(who["Account"], "123456789012")
        self.assertEqual(who["Arn"], "arn:aws:iam::123456789012:user/test")

    def test_an_assumed_role_acts_in_its_account(self):
        who = assumed("sts", PLATFORM).get_caller_identity()
        self.assertEqual(who["Account"], PLATFORM)
        self.assertEqual(who["Arn"], f"arn:aws:sts::{PLATFORM}:assumed-role/bailiwick/test")
        assumed("iam", PLATFORM).create_role(RoleName="loader", AssumeRolePolicyDocument=PODS)
        self.assertEqual(len(assumed("iam", PLATFORM).list_roles()["Roles"]), 1)
        self.assertEqual(assumed("iam", MODELS).list_roles()["Roles"], [])
        self.assertEqual(client("iam").list_roles()["Roles"], [])

    def test_the_keys_of_a_role_stay_in_their_account_after_a_reset(self):
        for account in (PLATFORM, MODELS, "000000000001", "999999999999"):
            with self.subTest(account):
                sts = assumed("sts", account)
                call("POST", "/bailiwick/reset")
                self.assertEqual(sts.get_caller_identity()["Account"], account)

    def test_a_key_of_twelve_digits_is_an_account(self):
        who = client("sts", key=MODELS).get_caller_identity()
        self.assertEqual(who["Account"], MODELS)

    def test_assume_role_checks_requests_without_permissions(self):
        sts = client("sts")
        role = f"arn:aws:iam::{PLATFORM}:role/x"
        self.refused("ValidationError", 400, sts.assume_role, RoleArn=role, RoleSessionName="a b")
        self.refused(
            "ValidationError", 400, sts.assume_role,
            RoleArn="arn:aws:iam::1:role/too-short-an-account", RoleSessionName="test",
        )
        call("POST", "/bailiwick/seed", {"roles": [{"account": PLATFORM, "name": "x"}]})
        self.refused(
            "ValidationError", 400, sts.assume_role,
            RoleArn=role, RoleSessionName="test", DurationSeconds=7200,
        )


class Roles(Case):
    def setUp(self):
        super().setUp()
        self.iam = client("iam", key=PLATFORM)

    def role(self, name="loader", document=PODS, **more):
        return self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document, **more)["Role"]

    def test_update_role_keeps_the_description_and_resets_the_session(self):
        self.role(Description="loads", MaxSessionDuration=7200)
        self.iam.update_role(RoleName="loader", MaxSessionDuration=10800)
        role = self.iam.get_role(RoleName="loader")["Role"]
        self.assertEqual((role["Description"], role["MaxSessionDuration"]), ("loads", 10800))
        self.iam.update_role(RoleName="loader", Description="reads")
        role = self.iam.get_role(RoleName="loader")["Role"]
        self.assertEqual((role["Description"], role["MaxSessionDuration"]), ("reads", 3600))
        self.refused(
            "ValidationError", 400, self.iam.update_role, RoleName="loader", MaxSessionDuration=50000
        )

    def test_names_and_paths(self):
        self.role()
        for name, code, status in (
            ("loader", "EntityAlreadyExists", 409),
            ("LOADER", "EntityAlreadyExists", 409),
            ("bad name", "ValidationError", 400),
            ("x" * 65, "ValidationError", 400),
        ):
            with self.subTest(name):
                self.refused(
                    code, status, self.iam.create_role, RoleName=name, AssumeRolePolicyDocument=PODS
                )
        self.refused(
            "ValidationError", 400, self.iam.create_role,
            RoleName="other", AssumeRolePolicyDocument=PODS, Path="nopath",
        )
        self.assertEqual(self.refused("NoSuchEntity", 404, self.iam.get_role, RoleName="gone"),
                         "The role with name gone cannot be found.")

    def test_trust_policies_are_checked_on_create_and_update(self):
        self.role()
        broken = {
            "not JSON": "{",
            "no principal": policy({"Effect": "Allow", "Action": "sts:AssumeRole"}),
            "a resource": policy({"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole",
                                  "Resource": "*"}),
            "another action": trust("*", "s3:GetObject"),
            "a role that does not exist": trust({"AWS": f"arn:aws:iam::{MODELS}:role/gone"}),
            "a wildcard in an ARN": trust({"AWS": f"arn:aws:iam::{PLATFORM}:role/*"}),
        }
        for why, document in broken.items():
            with self.subTest(why):
                self.refused(
                    "MalformedPolicyDocument", 400, self.iam.create_role,
                    RoleName="other", AssumeRolePolicyDocument=document,
                )
                self.refused(
                    "MalformedPolicyDocument", 400, self.iam.update_assume_role_policy,
                    RoleName="loader", PolicyDocument=document,
                )
        for known in (MODELS, f"arn:aws:iam::{MODELS}:root", f"arn:aws:iam::{PLATFORM}:role/loader"):
            self.iam.update_assume_role_policy(
                RoleName="loader", PolicyDocument=trust({"AWS": known})
            )

    def test_limits_of_policies(self):
        self.role()
        long = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::" + "b" * 2048}
        service = {"Service": "pods.eks.amazonaws.com"}
        over = policy({"Effect": "Allow", "Principal": service, "Action": "sts:AssumeRole",
                       "Condition": {"StringEquals": {"aws:SourceArn": "x" * 2048}}})
        self.refused(
            "LimitExceeded", 409, self.iam.create_role,
            RoleName="other", AssumeRolePolicyDocument=over,
        )
        self.refused(
            "LimitExceeded", 409, self.iam.update_assume_role_policy,
            RoleName="loader", PolicyDocument=over,
        )
        self.refused(
            "LimitExceeded", 409, self.iam.create_policy,
            PolicyName="p", PolicyDocument=policy(long, long, long),
        )
        # White space does not count.
        self.iam.create_policy(PolicyName="p", PolicyDocument=READ + " " * 7000)
        for name in "abcd":
            self.iam.put_role_policy(
                RoleName="loader", PolicyName=name, PolicyDocument=policy(long)
            )
        self.refused(
            "LimitExceeded", 409, self.iam.put_role_policy,
            RoleName="loader", PolicyName="e", PolicyDocument=policy(long),
        )
        # Replacing one of them does not add to the sum.
        self.iam.put_role_policy(RoleName="loader", PolicyName="d", PolicyDocument=policy(long))

    def test_numbers_in_conditions_are_accepted(self):
        self.role()
        condition = {"NumericLessThan": {"s3:max-keys": 10}}
        document = policy(
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*", "Condition": condition}
        )
        self.iam.put_role_policy(RoleName="loader", PolicyName="n", PolicyDocument=document)
        stored = self.iam.get_role_policy(RoleName="loader", PolicyName="n")["PolicyDocument"]
        self.assertEqual(stored, json.loads(document))

    def test_a_role_with_policies_is_not_deleted(self):
        self.role()
        arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
        self.iam.attach_role_policy(RoleName="loader", PolicyArn=arn)
        self.refused("DeleteConflict", 409, self.iam.delete_role, RoleName="loader")
        self.iam.detach_role_policy(RoleName="loader", PolicyArn=arn)
        self.iam.put_role_policy(RoleName="loader", PolicyName="p", PolicyDocument=READ)
        self.refused("DeleteConflict", 409, self.iam.delete_role, RoleName="loader")
        self.iam.delete_role_policy(RoleName="loader", PolicyName="p")
        self.iam.delete_role(RoleName="loader")
        self.refused("NoSuchEntity", 404, self.iam.get_role, RoleName="loader")

    def test_a_policy_in_use_is_not_deleted(self):
        self.role()
        arn = self.iam.create_policy(PolicyName="p", PolicyDocument=READ)["Policy"]["Arn"]
        for _ in range(2):  # the second time changes nothing
            self.iam.attach_role_policy(RoleName="loader", PolicyArn=arn)
        self.assertEqual(self.iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"], 1)
        self.refused("DeleteConflict", 409, self.iam.delete_policy, PolicyArn=arn)
        self.iam.detach_role_policy(RoleName="loader", PolicyArn=arn)
        self.iam.put_role_permissions_boundary(RoleName="loader", PermissionsBoundary=arn)
        self.refused("DeleteConflict", 409, self.iam.delete_policy, PolicyArn=arn)
        self.iam.delete_role_permissions_boundary(RoleName="loader")
        self.iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)
        self.refused("DeleteConflict", 409, self.iam.delete_policy, PolicyArn=arn)
        self.iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
        self.iam.delete_policy(PolicyArn=arn)
        self.refused("NoSuchEntity", 404, self.iam.get_policy, PolicyArn=arn)

    def test_policies_that_do_not_exist(self):
        self.role()
        for arn in (
            "arn:aws:iam::aws:policy/NoSuchPolicy",
            f"arn:aws:iam::{PLATFORM}:policy/gone",
            "arn:aws:iam::aws:policy/service-role/ReadOnlyAccess",  # it has another path
        ):
            with self.subTest(arn):
                self.refused(
                    "NoSuchEntity", 404, self.iam.attach_role_policy, RoleName="loader", PolicyArn=arn
                )
                self.refused(
                    "NoSuchEntity", 404, self.iam.put_role_permissions_boundary,
                    RoleName="loader", PermissionsBoundary=arn,
                )

    def test_policies_of_aws(self):
        self.role()
        arns = [
            "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy",
            "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
            "arn:aws:iam::aws:policy/service-role/AmazonEC2RoleforSSM",
        ]
        for arn in arns:
            self.iam.attach_role_policy(RoleName="loader", PolicyArn=arn)
        attached = self.iam.list_attached_role_policies(RoleName="loader")["AttachedPolicies"]
        self.assertEqual(sorted(policy["PolicyArn"] for policy in attached), sorted(arns))
        version = self.iam.get_policy(PolicyArn=arns[0])["Policy"]["DefaultVersionId"]
        document = self.iam.get_policy_version(PolicyArn=arns[0], VersionId=version)
        self.assertIn("cloudwatch:PutMetricData", json.dumps(document["PolicyVersion"]["Document"]))
        pages = self.iam.get_paginator("list_policies").paginate(Scope="AWS")
        self.assertGreater(sum(len(page["Policies"]) for page in pages), 1000)
        self.assertEqual(self.iam.list_policies(Scope="Local")["Policies"], [])

    def test_at_most_ten_policies_are_attached(self):
        self.role()
        for number in range(11):
            self.iam.create_policy(PolicyName=f"p{number}", PolicyDocument=READ)
        for number in range(10):
            self.iam.attach_role_policy(
                RoleName="loader", PolicyArn=f"arn:aws:iam::{PLATFORM}:policy/p{number}"
            )
        self.refused(
            "LimitExceeded", 409, self.iam.attach_role_policy,
            RoleName="loader", PolicyArn=f"arn:aws:iam::{PLATFORM}:policy/p10",
        )

    def test_pages(self):
        for number in range(5):
            self.role(f"r{number}")
            self.iam.put_role_policy(
                RoleName="r0", PolicyName=f"p{number}", PolicyDocument=READ
            )
        first = self.iam.list_roles(MaxItems=2)
        self.assertEqual([role["RoleName"] for role in first["Roles"]], ["r0", "r1"])
        # A deletion between two pages hides nothing.
        self.iam.delete_role(RoleName="r1")
        rest = self.iam.list_roles(Marker=first["Marker"])
        self.assertEqual([role["RoleName"] for role in rest["Roles"]], ["r2", "r3", "r4"])
        self.assertFalse(rest["IsTruncated"])
        self.refused("ValidationError", 400, self.iam.list_roles, Marker="never-given")

        def sizes(operation, key, **arguments):
            pages = self.iam.get_paginator(operation).paginate(
                PaginationConfig={"PageSize": 2}, **arguments
            )
            return [len(page[key]) for page in pages]

        self.assertEqual(sizes("list_role_policies", "PolicyNames", RoleName="r0"), [2, 2, 1])
        self.assertEqual(
            sizes("get_account_authorization_details", "RoleDetailList", Filter=["Role"]), [2, 2]
        )
        arn = self.iam.create_policy(PolicyName="p", PolicyDocument=READ)["Policy"]["Arn"]
        for _ in range(2):
            self.iam.create_policy_version(PolicyArn=arn, PolicyDocument=READ)
        self.assertEqual(sizes("list_policy_versions", "Versions", PolicyArn=arn), [2, 1])
        for name in ("r0", "r2", "r3"):
            self.iam.attach_role_policy(RoleName=name, PolicyArn=arn)
        self.assertEqual(
            sizes("list_entities_for_policy", "PolicyRoles", PolicyArn=arn, EntityFilter="Role"), [2, 1]
        )

    def test_pages_of_one_entry_override_the_request(self):
        for name in ("a", "b", "c"):
            self.role(name)
        call("POST", "/bailiwick/pages", {"most": 1})
        for operation, field, arguments in (
            ("list_roles", "Roles", {}),
            ("get_account_authorization_details", "RoleDetailList", {"Filter": ["Role"]}),
        ):
            first = getattr(self.iam, operation)(MaxItems=1000, **arguments)
            self.assertEqual((len(first[field]), first["IsTruncated"]), (1, True))
            pages = self.iam.get_paginator(operation).paginate(**arguments)
            names = [role["RoleName"] for page in pages for role in page[field]]
            self.assertEqual(names, ["a", "b", "c"])
        s3 = client("s3")
        s3.create_bucket(Bucket="short-pages")
        for name in ("a", "b", "c"):
            s3.put_object(Bucket="short-pages", Key=name)
        first = s3.list_objects_v2(Bucket="short-pages")
        self.assertEqual((len(first["Contents"]), first["IsTruncated"]), (1, True))
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="short-pages")
        self.assertEqual([row["Key"] for page in pages for row in page["Contents"]], ["a", "b", "c"])

    def test_every_trust_policy_is_percent_encoded(self):
        document = PODS.replace('"2012-10-17"', '"2012-10-17", "Id": "a%2Fb"')
        self.role(document=document)
        want = json.loads(document)
        details = self.iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
        self.assertEqual(self.iam.get_role(RoleName="loader")["Role"]["AssumeRolePolicyDocument"], want)
        self.assertEqual(self.iam.list_roles()["Roles"][0]["AssumeRolePolicyDocument"], want)
        self.assertEqual(details[0]["AssumeRolePolicyDocument"], want)

    def test_a_deleted_principal_becomes_its_id(self):
        first = self.role("first")
        self.role("second", trust({"AWS": first["Arn"]}))
        s3 = client("s3", key=MODELS)
        s3.create_bucket(Bucket="weights")
        s3.put_bucket_policy(Bucket="weights", Policy=policy(read("weights", {"AWS": first["Arn"]})))
        kms = client("kms", key=MODELS)
        document = policy(
            {"Effect": "Allow", "Principal": {"AWS": [first["Arn"], MODELS]}, "Action": "kms:*",
             "Resource": "*", "Condition": {"ArnEquals": {"aws:PrincipalArn": first["Arn"]}}}
        )
        key = kms.create_key(Policy=document)["KeyMetadata"]["KeyId"]
        self.iam.delete_role(RoleName="first")
        second = self.iam.get_role(RoleName="second")["Role"]["AssumeRolePolicyDocument"]
        self.assertEqual(second["Statement"][0]["Principal"], {"AWS": first["RoleId"]})
        stored = s3.get_bucket_policy(Bucket="weights")["Policy"]
        self.assertEqual(json.loads(stored)["Statement"][0]["Principal"], {"AWS": first["RoleId"]})
        statement = json.loads(kms.get_key_policy(KeyId=key)["Policy"])["Statement"][0]
        self.assertEqual(statement["Principal"], {"AWS": [first["RoleId"], MODELS]})
        self.assertEqual(statement["Condition"], {"ArnEquals": {"aws:PrincipalArn": first["Arn"]}})
        # AWS refuses to write the id back, and the id stays when a role of that name is recreated.
        self.refused("MalformedPolicy", 400, s3.put_bucket_policy, Bucket="weights", Policy=stored)
        self.role("first")
        self.assertEqual(s3.get_bucket_policy(Bucket="weights")["Policy"], stored)


class OidcProviders(Case):
    URL = "https://oidc.eks.us-west-2.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"

    def setUp(self):
        super().setUp()
        self.iam = client("iam", key=PLATFORM)

    def clients(self, arn):
        return self.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"]

    def test_client_ids(self):
        arn = self.iam.create_open_id_connect_provider(Url=self.URL, ClientIDList=["one"])[
            "OpenIDConnectProviderArn"
        ]
        for _ in range(2):  # both operations may be repeated
            self.iam.add_client_id_to_open_id_connect_provider(
                OpenIDConnectProviderArn=arn, ClientID="sts.amazonaws.com"
            )
        self.assertEqual(self.clients(arn), ["one", "sts.amazonaws.com"])
        for _ in range(2):
            self.iam.remove_client_id_from_open_id_connect_provider(
                OpenIDConnectProviderArn=arn, ClientID="one"
            )
        self.assertEqual(self.clients(arn), ["sts.amazonaws.com"])
        self.refused(
            "NoSuchEntity", 404, self.iam.add_client_id_to_open_id_connect_provider,
            OpenIDConnectProviderArn=arn + "0", ClientID="sts.amazonaws.com",
        )

    def test_refusals(self):
        create = self.iam.create_open_id_connect_provider
        create(Url=self.URL)
        self.refused("EntityAlreadyExists", 409, create, Url=self.URL)
        self.refused("ValidationError", 400, create, Url="http://example.com")
        self.refused(
            "InvalidInput", 400, create, Url="https://example.com", ThumbprintList=["z" * 40]
        )


class Buckets(Case):
    def setUp(self):
        super().setUp()
        self.s3 = client("s3", key=MODELS)
        self.s3.create_bucket(Bucket="weights")

    def test_a_new_bucket_has_the_defaults_of_s3(self):
        block = self.s3.get_public_access_block(Bucket="weights")["PublicAccessBlockConfiguration"]
        self.assertEqual(set(block.values()), {True})
        self.assertEqual(len(block), 4)
        rules = self.s3.get_bucket_ownership_controls(Bucket="weights")["OwnershipControls"]["Rules"]
        self.assertEqual(rules, [{"ObjectOwnership": "BucketOwnerEnforced"}])
        self.assertEqual(self.encryption(), "AES256")
        kms = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/model-weights"}
        self.s3.put_bucket_encryption(
            Bucket="weights",
            ServerSideEncryptionConfiguration={
                "Rules": [{"ApplyServerSideEncryptionByDefault": kms, "BucketKeyEnabled": True}]
            },
        )
        self.assertEqual(self.encryption(), "aws:kms")
        self.s3.delete_bucket_encryption(Bucket="weights")
        self.assertEqual(self.encryption(), "AES256")

    def encryption(self):
        answer = self.s3.get_bucket_encryption(Bucket="weights")
        rule = answer["ServerSideEncryptionConfiguration"]["Rules"][0]
        return rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]

    def test_create_bucket(self):
        region = {"LocationConstraint": WEST}
        west = client("s3", WEST, MODELS)
        west.create_bucket(
            Bucket="tagged",
            CreateBucketConfiguration=region | {"Tags": [{"Key": "team", "Value": "ml"}]},
        )
        tags = west.get_bucket_tagging(Bucket="tagged")["TagSet"]
        self.assertEqual(tags, [{"Key": "team", "Value": "ml"}])
        tags = [{"Key": "team", "Value": ""}, {"Key": "a", "Value": "1 & 2"}]
        west.put_bucket_tagging(Bucket="tagged", Tagging={"TagSet": tags})
        self.assertEqual(west.get_bucket_tagging(Bucket="tagged")["TagSet"], tags)
        self.refused(
            "BucketAlreadyOwnedByYou", 409, west.create_bucket,
            Bucket="tagged", CreateBucketConfiguration=region,
        )
        self.refused(
            "BucketAlreadyExists", 409, client("s3", key=PLATFORM).create_bucket, Bucket="weights"
        )
        for name in ("192.168.5.4", "xn--x", "a..b", "-dash"):
            with self.subTest(name):
                self.refused("InvalidBucketName", 400, self.s3.create_bucket, Bucket=name)

    def test_a_deny_does_not_close_the_bucket(self):
        deny = read("weights", "*", Effect="Deny", Action="s3:*",
                    Condition={"Bool": {"aws:SecureTransport": "false"}})
        self.s3.put_bucket_policy(Bucket="weights", Policy=policy(deny))
        self.s3.put_object(Bucket="weights", Key="a/config.json", Body=b"{}")
        self.assertEqual(self.s3.get_object(Bucket="weights", Key="a/config.json")["Body"].read(), b"{}")
        self.s3.delete_objects(Bucket="weights", Delete={"Objects": [{"Key": "a/config.json"}]})
        self.assertEqual(self.s3.list_objects_v2(Bucket="weights")["KeyCount"], 0)

    def test_policies_are_checked(self):
        role = {"AWS": f"arn:aws:iam::{PLATFORM}:role/gone"}
        broken = {
            "not JSON": "{",
            "not an object": "[]",
            "no statement": policy(),
            "another version": policy(read("weights", {"AWS": MODELS})).replace("2012", "2013"),
            "another bucket": policy(read("other", {"AWS": MODELS})),
            "a bucket whose name begins the same": policy(read("weights2", {"AWS": MODELS})),
            "an action of another service": policy(read("weights", {"AWS": MODELS}, Action="iam:*")),
            "a bad effect": policy(read("weights", {"AWS": MODELS}, Effect="allow")),
            "no principal": policy(read("weights", None)),
            "a role that does not exist": policy(read("weights", role)),
            "more than 20 KB": policy(*[read("weights", {"AWS": MODELS}, Sid="x" * 200)] * 100),
        }
        for why, document in broken.items():
            with self.subTest(why):
                self.refused(
                    "MalformedPolicy", 400, self.s3.put_bucket_policy, Bucket="weights", Policy=document
                )
        self.refused("NoSuchBucketPolicy", 404, self.s3.get_bucket_policy, Bucket="weights")
        role = client("iam", key=PLATFORM).create_role(
            RoleName="loader", AssumeRolePolicyDocument=PODS
        )["Role"]["Arn"]
        good = policy(
            read("weights", {"AWS": [role, MODELS]}),
            read("weights", "*", Effect="Deny", Action=["s3:DeleteBucket"], Resource="arn:aws:s3:::weights"),
            read("weights", {"Service": "logging.s3.amazonaws.com"}, Action="s3:PutObject"),
        )
        self.s3.put_bucket_policy(Bucket="weights", Policy=good)
        self.assertEqual(self.s3.get_bucket_policy(Bucket="weights")["Policy"], good)

    def test_a_public_policy_is_blocked(self):
        public = policy(read("weights", "*"))
        self.refused(
            "AccessDenied", 403, self.s3.put_bucket_policy, Bucket="weights", Policy=public
        )
        self.s3.delete_public_access_block(Bucket="weights")
        self.s3.put_bucket_policy(Bucket="weights", Policy=public)

    def test_only_the_account_of_the_bucket_reaches_it(self):
        other, owner = assumed("s3", PLATFORM), assumed("s3", MODELS)
        document = policy(read("weights", {"AWS": PLATFORM}))
        versioning = {"Status": "Enabled"}
        tags = {"TagSet": [{"Key": "team", "Value": "ml"}]}
        for operation, arguments in (
            ("put_bucket_policy", {"Policy": document}),
            ("get_bucket_policy", {}),
            ("put_bucket_versioning", {"VersioningConfiguration": versioning}),
            ("get_bucket_versioning", {}),
            ("put_bucket_tagging", {"Tagging": tags}),
            ("get_bucket_tagging", {}),
            ("get_public_access_block", {}),
            ("put_object", {"Key": "k", "Body": b"x"}),
            ("list_objects_v2", {}),
            ("get_object", {"Key": "k"}),
        ):
            with self.subTest(operation):
                self.refused(
                    "AccessDenied", 403, getattr(other, operation), Bucket="weights", **arguments
                )
                getattr(owner, operation)(Bucket="weights", **arguments)
        self.refused("403", 403, other.head_bucket, Bucket="weights")
        self.refused("404", 404, other.head_bucket, Bucket="nowhere")
        self.assertEqual(other.list_buckets()["Buckets"], [])

    def test_the_expected_owner_is_checked(self):
        read = self.s3.get_bucket_versioning
        read(Bucket="weights", ExpectedBucketOwner=MODELS)
        self.refused("AccessDenied", 403, read, Bucket="weights", ExpectedBucketOwner=PLATFORM)

    def test_another_region_redirects(self):
        credential = f"Credential={MODELS}/20260101/{WEST}/s3/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
        self.addCleanup(connection.close)
        connection.request("GET", "/weights?versioning", headers=headers)
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.headers["x-amz-bucket-region"]), (301, EAST))
        self.assertIn(b"<Code>PermanentRedirect</Code>", answer.read())
        west = client("s3", WEST, MODELS)
        self.assertIsNone(west.get_bucket_location(Bucket="weights")["LocationConstraint"])
        # The SDK of Python follows.
        west.get_bucket_versioning(Bucket="weights")

    def test_list_buckets(self):
        for name in ("alpha", "beta"):
            self.s3.create_bucket(Bucket=name)
        first = self.s3.list_buckets(MaxBuckets=2)
        self.assertEqual([bucket["Name"] for bucket in first["Buckets"]], ["alpha", "beta"])
        rest = self.s3.list_buckets(MaxBuckets=2, ContinuationToken=first["ContinuationToken"])
        self.assertEqual([bucket["Name"] for bucket in rest["Buckets"]], ["weights"])
        self.assertEqual(rest["Buckets"][0]["BucketRegion"], EAST)
        self.assertNotIn("ContinuationToken", rest)

    def test_conditional_writes_have_one_winner(self):
        clients = [client("s3", key=MODELS) for _ in range(8)]

        def write(s3):
            try:
                s3.put_object(Bucket="weights", Key="lock", Body=b"x", IfNoneMatch="*")
            except ClientError as error:
                return error.response["Error"]["Code"]
            return "won"

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            outcomes = sorted(pool.map(write, clients))
        self.assertEqual(outcomes, ["PreconditionFailed"] * 7 + ["won"])


class Keys(Case):
    def setUp(self):
        super().setUp()
        self.kms = client("kms", WEST, MODELS)
        self.key = self.kms.create_key()["KeyMetadata"]["KeyId"]

    def test_policies_are_checked(self):
        use = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}
        gone = {"AWS": f"arn:aws:iam::{PLATFORM}:role/gone"}
        for document in ("{", policy(), policy({**use, "Principal": gone})):
            with self.subTest(document):
                self.refused(
                    "MalformedPolicyDocumentException", 400, self.kms.put_key_policy,
                    KeyId=self.key, PolicyName="default", Policy=document,
                )
                self.refused(
                    "MalformedPolicyDocumentException", 400, self.kms.create_key, Policy=document
                )
        deny = {**use, "Effect": "Deny", "Principal": "*", "Action": "kms:*"}
        document = policy({**use, "Principal": {"AWS": PLATFORM}}, deny)
        self.kms.put_key_policy(KeyId=self.key, PolicyName="default", Policy=document)
        self.assertEqual(self.kms.get_key_policy(KeyId=self.key)["Policy"], document)
        # Permissions are not evaluated: the Deny has no effect.
        self.assertTrue(self.kms.describe_key(KeyId=self.key)["KeyMetadata"]["Enabled"])

    def test_pages(self):
        for name in ("alias/a", "alias/b", "alias/c"):
            self.kms.create_alias(AliasName=name, TargetKeyId=self.key)
        pages = self.kms.get_paginator("list_aliases").paginate(
            KeyId=self.key, PaginationConfig={"PageSize": 2}
        )
        names = [[alias["AliasName"] for alias in page["Aliases"]] for page in pages]
        self.assertEqual(names, [["alias/a", "alias/b"], ["alias/c"]])
        for _ in range(2):
            self.kms.create_key()
        pages = self.kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2})
        self.assertEqual([len(page["Keys"]) for page in pages], [2, 1])


class Clusters(Case):
    def setUp(self):
        super().setUp()
        self.eks = client("eks", WEST, PLATFORM)
        self.iam = client("iam", key=PLATFORM)
        call("POST", "/bailiwick/seed", {
            "clusters": [{"account": PLATFORM, "region": WEST, "name": name} for name in ("prod", "test")]
        })

    def role(self, name="loader", document=PODS):
        return self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]

    def associate(self, namespace="kserve", account="sa", **more):
        asked = {"clusterName": "prod", "namespace": namespace, "serviceAccount": account} | more
        return self.eks.create_pod_identity_association(**asked)["association"]

    def test_every_cluster_has_its_own_issuer_and_endpoint(self):
        prod = self.eks.describe_cluster(name="prod")["cluster"]
        test = self.eks.describe_cluster(name="test")["cluster"]
        issuer = prod["identity"]["oidc"]["issuer"]
        self.assertRegex(issuer, r"^https://oidc\.eks\.us-west-2\.amazonaws\.com/id/[0-9A-F]{32}$")
        # The same in every run: documents that name it can be compared.
        self.assertEqual(issuer[-32:], "601F332DE2C8CF84349FF9AF56E2F065")
        self.assertNotEqual(issuer, test["identity"]["oidc"]["issuer"])
        self.assertNotEqual(prod["endpoint"], test["endpoint"])
        pem = base64.b64decode(prod["certificateAuthority"]["data"])
        self.assertIn("kubernetes", x509.load_pem_x509_certificate(pem).subject.rfc4514_string())

    def test_clusters_belong_to_an_account_and_region(self):
        self.assertEqual(self.eks.list_clusters()["clusters"], ["prod", "test"])
        self.assertEqual(client("eks", EAST, PLATFORM).list_clusters()["clusters"], [])
        self.assertEqual(client("eks", WEST, MODELS).list_clusters()["clusters"], [])
        self.refused("ResourceNotFoundException", 404, self.eks.describe_cluster, name="gone")

    def test_the_life_cycle_of_an_association(self):
        role, target = self.role(), f"arn:aws:iam::{MODELS}:role/reader"
        made = self.associate(roleArn=role, targetRoleArn=target, tags={"team": "ml"})
        identifier = made["associationId"]
        self.assertRegex(identifier, r"^a-[0-9a-z]{17}$")
        self.assertEqual(
            made["associationArn"],
            f"arn:aws:eks:{WEST}:{PLATFORM}:podidentityassociation/prod/{identifier}",
        )
        self.assertEqual((made["roleArn"], made["targetRoleArn"]), (role, target))
        self.assertFalse(made["disableSessionTags"])
        self.assertTrue(made["externalId"])
        which = {"clusterName": "prod", "associationId": identifier}
        self.assertEqual(self.eks.describe_pod_identity_association(**which)["association"], made)
        changed = self.eks.update_pod_identity_association(
            **which, roleArn=self.role("other"), disableSessionTags=True, targetRoleArn=""
        )["association"]
        self.assertTrue(changed["disableSessionTags"])
        self.assertEqual(changed["roleArn"], f"arn:aws:iam::{PLATFORM}:role/other")
        self.assertNotIn("targetRoleArn", changed)
        self.assertNotIn("externalId", changed)
        self.assertEqual(changed["tags"], {"team": "ml"})
        self.eks.delete_pod_identity_association(**which)
        for operation in ("describe", "update", "delete"):
            call = getattr(self.eks, f"{operation}_pod_identity_association")
            self.refused("ResourceNotFoundException", 404, call, **which)
        self.assertNotEqual(self.associate(roleArn=role)["associationId"], identifier)

    def test_one_association_for_a_service_account(self):
        role = self.role()
        self.associate(roleArn=role)
        create = self.eks.create_pod_identity_association
        again = {"clusterName": "prod", "namespace": "kserve", "serviceAccount": "sa", "roleArn": role}
        self.refused("ResourceInUseException", 409, create, **again)
        create(**again | {"clusterName": "test"})
        create(**again | {"namespace": "other"})
        self.refused("ResourceNotFoundException", 404, create, **again | {"clusterName": "gone"})

    def test_the_client_request_token(self):
        role = self.role()
        first = self.associate(roleArn=role, clientRequestToken="t")
        self.assertEqual(self.associate(roleArn=role, clientRequestToken="t"), first)
        self.assertEqual(
            len(self.eks.list_pod_identity_associations(clusterName="prod")["associations"]), 1
        )
        self.refused(
            "InvalidParameterException", 400, self.associate,
            account="other", roleArn=role, clientRequestToken="t",
        )

    def test_the_role_of_an_association_must_exist_and_trust_eks(self):
        no_tags = self.role("no-tags", trust({"Service": "pods.eks.amazonaws.com"}))
        for arn in (
            "loader",
            f"arn:aws:iam::{PLATFORM}:role/gone",
            f"arn:aws:iam::{MODELS}:role/elsewhere",
            no_tags,
        ):
            with self.subTest(arn):
                self.refused("InvalidParameterException", 400, self.associate, roleArn=arn)

    def test_listing_associations(self):
        role = self.role()
        for number in range(5):
            self.associate(f"n{number % 2}", f"s{number}", roleArn=role)
        listing = self.eks.list_pod_identity_associations
        self.assertEqual(len(listing(clusterName="prod", namespace="n1")["associations"]), 2)
        only = listing(clusterName="prod", namespace="n0", serviceAccount="s2")["associations"]
        self.assertEqual([row["serviceAccount"] for row in only], ["s2"])
        self.assertEqual(
            set(only[0]),
            {"clusterName", "namespace", "serviceAccount", "associationArn", "associationId"},
        )
        pages = self.eks.get_paginator("list_pod_identity_associations").paginate(
            clusterName="prod", PaginationConfig={"PageSize": 2}
        )
        pages = [[row["associationId"] for row in page["associations"]] for page in pages]
        self.assertEqual([len(page) for page in pages], [2, 2, 1])
        self.assertEqual(len(set(sum(pages, []))), 5)
        for wrong in ({"nextToken": "x"}, {"maxResults": 101}):
            self.refused("InvalidParameterException", 400, listing, clusterName="prod", **wrong)
        self.assertEqual(listing(clusterName="test")["associations"], [])

    def entry(self, principal, **more):
        asked = {"clusterName": "prod", "principalArn": principal} | more
        return self.eks.create_access_entry(**asked)["accessEntry"]

    def test_the_life_cycle_of_an_access_entry(self):
        role = self.iam.create_role(
            RoleName="deployer", Path="/team/", AssumeRolePolicyDocument=PODS
        )["Role"]["Arn"]
        made = self.entry(role, kubernetesGroups=["readers"], tags={"team": "ml"})
        self.assertRegex(
            made["accessEntryArn"],
            rf"^arn:aws:eks:{WEST}:{PLATFORM}:access-entry/prod/role/{PLATFORM}/team/deployer/[0-9a-f-]{{36}}$",
        )
        self.assertEqual((made["type"], made["kubernetesGroups"]), ("STANDARD", ["readers"]))
        self.assertEqual(
            made["username"], f"arn:aws:sts::{PLATFORM}:assumed-role/deployer/{{{{SessionName}}}}"
        )
        which = {"clusterName": "prod", "principalArn": role}
        self.assertEqual(self.eks.describe_access_entry(**which)["accessEntry"], made)
        changed = self.eks.update_access_entry(**which, kubernetesGroups=[], username="me")["accessEntry"]
        self.assertEqual((changed["kubernetesGroups"], changed["username"]), ([], "me"))
        self.assertEqual(changed["tags"], {"team": "ml"})
        self.assertEqual(self.eks.update_access_entry(**which)["accessEntry"]["username"], "me")
        self.eks.tag_resource(resourceArn=made["accessEntryArn"], tags={"a": "1"})
        self.eks.untag_resource(resourceArn=made["accessEntryArn"], tagKeys=["team"])
        self.assertEqual(self.eks.describe_access_entry(**which)["accessEntry"]["tags"], {"a": "1"})
        # Deleting the role leaves the entry, and a new role of the same name does not make it work again.
        self.iam.delete_role(RoleName="deployer")
        self.eks.delete_access_entry(**which)
        for operation in ("describe", "update", "delete"):
            call = getattr(self.eks, f"{operation}_access_entry")
            self.refused("ResourceNotFoundException", 404, call, **which)
        user = self.iam.create_user(UserName="kim")["User"]["Arn"]
        self.assertEqual(self.entry(user)["username"], user)
        self.assertNotEqual(self.entry(self.role("deployer"))["accessEntryArn"], made["accessEntryArn"])

    def test_access_entries_are_unique_and_validated(self):
        role = self.role()
        self.entry(role, clientRequestToken="t")
        self.entry(role, clientRequestToken="t")
        self.refused("ResourceInUseException", 409, self.entry, principal=role)
        self.entry(role, clusterName="test")
        self.refused("ResourceNotFoundException", 404, self.entry, principal=role, clusterName="gone")
        other = self.role("other")
        for asked in (
            {"principal": f"arn:aws:iam::{PLATFORM}:role/gone"},
            {"principal": f"arn:aws:sts::{PLATFORM}:assumed-role/other/session"},
            {"principal": other, "kubernetesGroups": ["system:masters"]},
            {"principal": other, "username": "eks:me"},
            {"principal": other, "type": "NODE"},
            {"principal": other, "type": "EC2_LINUX", "kubernetesGroups": ["g"]},
            {"principal": other, "clientRequestToken": "t"},
        ):
            with self.subTest(asked):
                self.refused("InvalidParameterException", 400, self.entry, **asked)

    def test_access_policies(self):
        which = {"clusterName": "prod", "principalArn": self.role()}
        view, edit = (f"arn:aws:eks::aws:cluster-access-policy/AmazonEKS{name}Policy" for name in ("View", "Edit"))
        whole, some = {"type": "cluster"}, {"type": "namespace", "namespaces": ["a", "team-*"]}
        associate, listing = self.eks.associate_access_policy, self.eks.list_associated_access_policies
        self.refused(
            "ResourceNotFoundException", 404, associate, **which, policyArn=view, accessScope=whole
        )
        self.entry(which["principalArn"])
        made = associate(**which, policyArn=view, accessScope=some)["associatedAccessPolicy"]
        self.assertEqual((made["policyArn"], made["accessScope"]), (view, some))
        # Associating it again changes the scope.
        associate(**which, policyArn=view, accessScope=whole)
        associate(**which, policyArn=edit, accessScope=some)
        pages = self.eks.get_paginator("list_associated_access_policies").paginate(
            **which, PaginationConfig={"PageSize": 1}
        )
        pages = [
            [(policy["policyArn"], policy["accessScope"]["type"]) for policy in page["associatedAccessPolicies"]]
            for page in pages
        ]
        self.assertEqual(pages, [[(edit, "namespace")], [(view, "cluster")]])
        for wrong in (
            {"policyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess", "accessScope": whole},
            {"policyArn": view, "accessScope": {"type": "namespace"}},
            {"policyArn": view, "accessScope": {"type": "cluster", "namespaces": ["a"]}},
        ):
            with self.subTest(wrong):
                self.refused("InvalidParameterException", 400, associate, **which, **wrong)
        self.eks.disassociate_access_policy(**which, policyArn=view)
        self.refused(
            "ResourceNotFoundException", 404, self.eks.disassociate_access_policy, **which, policyArn=view
        )
        self.assertEqual([p["policyArn"] for p in listing(**which)["associatedAccessPolicies"]], [edit])
        entries = self.eks.list_access_entries
        self.assertEqual(entries(clusterName="prod", associatedPolicyArn=view)["accessEntries"], [])
        self.assertEqual(
            entries(clusterName="prod", associatedPolicyArn=edit)["accessEntries"], [which["principalArn"]]
        )
        self.eks.delete_access_entry(**which)
        self.refused("ResourceNotFoundException", 404, listing, **which)
        names = [policy["arn"] for policy in self.eks.list_access_policies()["accessPolicies"]]
        self.assertIn(view, names)

    def test_listing_access_entries(self):
        arns = [self.role(f"r{number}") for number in range(5)]
        for arn in arns:
            self.entry(arn)
        pages = self.eks.get_paginator("list_access_entries").paginate(
            clusterName="prod", PaginationConfig={"PageSize": 2}
        )
        self.assertEqual([page["accessEntries"] for page in pages], [arns[:2], arns[2:4], arns[4:]])
        listing = self.eks.list_access_entries
        for wrong in ({"nextToken": "x"}, {"maxResults": 101}):
            self.refused("InvalidParameterException", 400, listing, clusterName="prod", **wrong)
        self.assertEqual(listing(clusterName="test")["accessEntries"], [])

    def test_the_authentication_mode_of_a_cluster(self):
        call("POST", "/bailiwick/seed", {
            "clusters": [{"account": PLATFORM, "region": WEST, "name": "old", "authentication_mode": "CONFIG_MAP"}]
        })
        mode = lambda name: self.eks.describe_cluster(name=name)["cluster"]["accessConfig"]["authenticationMode"]
        self.assertEqual((mode("prod"), mode("old")), ("API_AND_CONFIG_MAP", "CONFIG_MAP"))
        role = self.role()
        which = {"clusterName": "old", "principalArn": role}
        for operation in ("create", "describe", "update", "delete"):
            message = self.refused(
                "InvalidRequestException", 400, getattr(self.eks, f"{operation}_access_entry"), **which
            )
            self.assertIn("[API, API_AND_CONFIG_MAP]", message)
        self.refused("InvalidRequestException", 400, self.eks.list_access_entries, clusterName="old")
        change = self.eks.update_cluster_config
        update = change(name="old", accessConfig={"authenticationMode": "API_AND_CONFIG_MAP"})["update"]
        self.assertEqual(update["type"], "AccessConfigUpdate")
        self.entry(role, clusterName="old")
        for back in ("CONFIG_MAP", "API_AND_CONFIG_MAP"):
            self.refused(
                "InvalidParameterException", 400, change,
                name="old", accessConfig={"authenticationMode": back},
            )

    def test_tags(self):
        association = self.associate(roleArn=self.role())
        addon = self.eks.create_addon(clusterName="prod", addonName="vpc-cni")["addon"]
        for arn in (
            f"arn:aws:eks:{WEST}:{PLATFORM}:cluster/prod",
            association["associationArn"],
            addon["addonArn"],
        ):
            with self.subTest(arn):
                self.eks.tag_resource(resourceArn=arn, tags={"a": "1=1&name=x", "b": "", "c": "3"})
                self.eks.untag_resource(resourceArn=arn, tagKeys=["b", "c"])
                tags = self.eks.list_tags_for_resource(resourceArn=arn)["tags"]
                self.assertEqual(tags, {"a": "1=1&name=x"})
        self.refused(
            "NotFoundException", 404, self.eks.list_tags_for_resource,
            resourceArn=f"arn:aws:eks:{WEST}:{PLATFORM}:cluster/gone",
        )

    def test_the_shape_of_an_error(self):
        credential = f"Credential={PLATFORM}/20260101/{WEST}/eks/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
        self.addCleanup(connection.close)
        connection.request("GET", "/clusters/gone/pod-identity-associations", headers=headers)
        answer = connection.getresponse()
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.headers["x-amzn-ErrorType"], "ResourceNotFoundException")
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(json.load(answer)["message"], "No cluster found for name: gone.")

    def test_addons(self):
        agent = {"clusterName": "prod", "addonName": "eks-pod-identity-agent"}
        describe = self.eks.describe_addon
        message = self.refused("ResourceNotFoundException", 404, describe, **agent)
        self.assertEqual(message, "No addon: eks-pod-identity-agent found in cluster: prod")
        made = self.eks.create_addon(**agent, tags={"team": "ml"})["addon"]
        self.assertEqual(made["status"], "CREATING")
        self.assertEqual(made["tags"], {"team": "ml"})
        self.assertEqual(describe(**agent)["addon"]["status"], "ACTIVE")
        self.refused("ResourceInUseException", 409, self.eks.create_addon, **agent)
        self.assertEqual(self.eks.list_addons(clusterName="prod")["addons"], [agent["addonName"]])
        self.assertEqual(self.eks.list_addons(clusterName="test")["addons"], [])

        versions = self.eks.describe_addon_versions(addonName=agent["addonName"])["addons"]
        newest, older = [v["addonVersion"] for v in versions[0]["addonVersions"]]
        self.assertEqual(made["addonVersion"], newest)
        update = self.eks.update_addon(**agent, addonVersion=older)["update"]
        self.assertEqual(update["status"], "InProgress")
        which = {"name": "prod", "updateId": update["id"], "addonName": agent["addonName"]}
        self.assertEqual(self.eks.describe_update(**which)["update"]["status"], "Successful")
        self.eks.get_waiter("addon_active").wait(**agent)
        self.assertEqual(describe(**agent)["addon"]["addonVersion"], older)
        self.assertEqual(self.eks.delete_addon(**agent)["addon"]["status"], "DELETING")
        self.refused("ResourceNotFoundException", 404, describe, **agent)
        create = self.eks.create_addon
        self.refused("ResourceNotFoundException", 404, create, **agent | {"clusterName": "gone"})
        for wrong in ({"addonName": "no-such-addon"}, {"addonVersion": "v0.0.1"}):
            self.refused("InvalidParameterException", 400, create, **agent | wrong)


class Seeds(Case):
    def test_everything(self):
        document = {
            "roles": [
                {"account": MODELS, "name": "reader", "path": "/ml/", "tags": {"team": "ml"},
                 "trust": json.loads(trust({"AWS": f"arn:aws:iam::{PLATFORM}:role/gone"})),
                 "inline": {"read": json.loads(READ)},
                 "policies": ["arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"]},
            ],
            "keys": [{"account": MODELS, "region": WEST, "alias": "model-weights", "tags": {"a": "b"}}],
            "buckets": [
                {"account": MODELS, "region": WEST, "name": "weights", "versioning": True,
                 "policy": policy(read("weights", {"AWS": f"arn:aws:iam::{MODELS}:role/ml/reader"})),
                 "tags": {"team": "ml"}, "objects": {"m/config.json": "{}"}},
            ],
            "clusters": [
                {"account": PLATFORM, "region": WEST, "name": "prod", "version": "1.32",
                 "tags": {"env": "prod"}, "addons": ["vpc-cni"], "oidc_provider": True,
                 "endpoint": "https://127.0.0.1:6443", "certificate_authority": "Q0E="},
            ],
        }
        status, made = call("POST", "/bailiwick/seed", document)
        self.assertEqual(status, 200, made)
        self.assertEqual(made["roles"][0]["arn"], f"arn:aws:iam::{MODELS}:role/ml/reader")

        iam = client("iam", key=MODELS)
        self.assertEqual(iam.get_role(RoleName="reader")["Role"]["Tags"], [{"Key": "team", "Value": "ml"}])
        self.assertEqual(iam.list_role_policies(RoleName="reader")["PolicyNames"], ["read"])
        self.assertEqual(len(iam.list_attached_role_policies(RoleName="reader")["AttachedPolicies"]), 1)
        key = client("kms", WEST, MODELS).describe_key(KeyId="alias/model-weights")["KeyMetadata"]
        self.assertEqual(key["Arn"], made["keys"][0]["arn"])
        s3 = client("s3", WEST, MODELS)
        self.assertEqual(s3.get_bucket_versioning(Bucket="weights")["Status"], "Enabled")
        self.assertEqual(s3.get_bucket_tagging(Bucket="weights")["TagSet"], [{"Key": "team", "Value": "ml"}])
        self.assertIn("ml/reader", s3.get_bucket_policy(Bucket="weights")["Policy"])
        self.assertEqual(s3.get_object(Bucket="weights", Key="m/config.json")["Body"].read(), b"{}")
        cluster = client("eks", WEST, PLATFORM).describe_cluster(name="prod")["cluster"]
        self.assertEqual(cluster["endpoint"], "https://127.0.0.1:6443")
        self.assertEqual(cluster["certificateAuthority"], {"data": "Q0E="})
        self.assertEqual((cluster["version"], cluster["tags"]), ("1.32", {"env": "prod"}))
        self.assertEqual(cluster["identity"]["oidc"]["issuer"], made["clusters"][0]["issuer"])
        provider = client("iam", key=PLATFORM).get_open_id_connect_provider(
            OpenIDConnectProviderArn=made["clusters"][0]["oidc_provider"]
        )
        self.assertEqual(provider["ClientIDList"], ["sts.amazonaws.com"])

    def test_invalid_seeds_are_refused(self):
        bucket = {"account": MODELS, "name": "weights"}
        for document, why in (
            ({"bucket": []}, "roles, keys, buckets, clusters"),
            ({"buckets": [bucket | {"tag": {}}]}, "`tag`"),
            ({"buckets": [{"name": "weights"}]}, "`account`"),
            ({"buckets": [bucket | {"account": "models"}]}, "`models`"),
            ({"buckets": [bucket, bucket]}, "not available"),
            ({"keys": [{"account": MODELS, "alias": "x"}] * 2}, "`alias/x` is taken"),
            ({"clusters": [{"account": MODELS, "name": "c"}] * 2}, "Cluster already exists"),
            ({"roles": [{"account": MODELS, "name": "a b"}]}, "roleName"),
        ):
            with self.subTest(why):
                self.setUp()
                status, answer = call("POST", "/bailiwick/seed", document)
                self.assertEqual(status, 400, answer)
                self.assertIn(why, answer["error"])


class Requests(Case):
    def test_counts(self):
        s3 = client("s3")
        s3.create_bucket(Bucket="weights")
        s3.get_bucket_versioning(Bucket="weights")
        s3.list_objects_v2(Bucket="weights")
        s3.put_object(Bucket="weights", Key="a/b", Body=b"x")
        for _ in range(3):
            client("iam").list_roles()
        client("eks").list_clusters()
        client("kms").list_keys()
        assumed("sts", PLATFORM)
        self.assertEqual(
            self.requests(),
            {
                "total": 10,
                "services": {
                    "s3": {"CreateBucket": 1, "GetBucketVersioning": 1, "ListObjectsV2": 1, "PutObject": 1},
                    "iam": {"ListRoles": 3},
                    "eks": {"ListClusters": 1},
                    "kms": {"ListKeys": 1},
                    "sts": {"AssumeRole": 1},
                },
                "faults": [],
            },
        )
        call("DELETE", "/bailiwick/requests")
        self.assertEqual(self.requests(), {"total": 0, "services": {}, "faults": []})
        # Only the counts were reset.
        self.assertEqual(len(s3.list_buckets()["Buckets"]), 1)

    def test_missing_operations_are_501_and_reported(self):
        s3 = client("s3")
        s3.create_bucket(Bucket="weights")
        for service, operation, arguments in (
            ("iam", "simulate_principal_policy", {"PolicySourceArn": "arn:aws:iam::1:role/x" + "x" * 9,
                                                  "ActionNames": ["s3:GetObject"]}),
            ("eks", "list_insights", {"clusterName": "prod"}),
            ("kms", "get_parameters_for_import", {"KeyId": "k", "WrappingAlgorithm": "RSAES_OAEP_SHA_1",
                                                  "WrappingKeySpec": "RSA_2048"}),
            ("accessanalyzer", "list_analyzers", {}),
            ("s3", "put_bucket_request_payment", {"Bucket": "weights",
                                                  "RequestPaymentConfiguration": {"Payer": "Requester"}}),
            ("s3", "delete_bucket_inventory_configuration", {"Bucket": "weights", "Id": "i"}),
        ):
            with self.subTest(operation):
                message = self.refused("NotImplemented", 501, getattr(client(service), operation), **arguments)
                self.assertIn("the AWS emulator has no answer", message)
        faults = self.requests()["faults"]
        self.assertEqual(len(faults), 6)
        self.assertEqual((faults[0]["service"], faults[0]["operation"]), ("iam", "SimulatePrincipalPolicy"))
        self.assertEqual(len(s3.list_buckets()["Buckets"]), 1)

    def test_reset_forgets_every_account(self):
        call("POST", "/bailiwick/seed", {
            "buckets": [{"account": MODELS, "name": "weights"}],
            "roles": [{"account": PLATFORM, "name": "loader"}],
            "clusters": [{"account": PLATFORM, "name": "prod"}],
        })
        call("POST", "/bailiwick/reset")
        self.assertEqual(client("s3", key=MODELS).list_buckets()["Buckets"], [])
        self.assertEqual(client("iam", key=PLATFORM).list_roles()["Roles"], [])
        self.assertEqual(client("eks", key=PLATFORM).list_clusters()["clusters"], [])
        client("s3", key=PLATFORM).create_bucket(Bucket="weights")

    def test_many_clients_at_once(self):
        def work(number):
            iam = client("iam", key=PLATFORM)
            for turn in range(8):
                name = f"r{number}-{turn}"
                iam.create_role(RoleName=name, AssumeRolePolicyDocument=PODS)
                iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=READ)
                iam.get_account_authorization_details(Filter=["Role"])

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        self.assertEqual(len(client("iam", key=PLATFORM).list_roles()["Roles"]), 64)
        self.assertEqual(self.requests()["faults"], [])

    def test_a_connection_serves_many_requests(self):
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc)
        self.addCleanup(connection.close)
        credential = f"Credential=test/20260101/{EAST}/s3/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}
        sockets = set()
        for method, path, body, status in (
            ("POST", "/bailiwick/seed", b'{"buckets": [{"account": "123456789012", "name": "weights"}]}', 200),
            ("HEAD", "/weights", None, 200),
            ("HEAD", "/gone", None, 404),
            ("PUT", "/weights/key", iter([b"a", b"b"]), 200),  # in chunks
            ("DELETE", "/weights/key", None, 204),
            ("GET", "/bailiwick/requests", None, 200),
            ("GET", "/bailiwick/nothing", None, 404),
        ):
            connection.request(method, path, body, headers)
            sockets.add(connection.sock)
            answer = connection.getresponse()
            answer.read()
            self.assertEqual((path, answer.status), (path, status))
        self.assertEqual(len(sockets), 1)


class Process(unittest.TestCase):
    def test_the_first_line_and_the_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            process, address = start("--port", "0")
            with process:
                self.assertRegex(address, r"^http://127\.0\.0\.1:\d+$")
                with self.assertRaises(ClientError):  # moto complains about the service on its stdout
                    client("accessanalyzer", to=address).list_analyzers()
                process.send_signal(number)
                self.assertEqual(process.wait(10), 0)
                self.assertEqual(process.stdout.read(), "")

    def test_it_ends_with_its_parent(self):
        # The emulator is started by a thread that ends before the process does.
        parent = textwrap.dedent(f"""
            import subprocess, sys, threading
            def start():
                global process
                process = subprocess.Popen([sys.executable, {str(AWS)!r}], stdout=subprocess.PIPE)
                sys.stdout.buffer.write(process.stdout.readline())
                sys.stdout.flush()
            thread = threading.Thread(target=start)
            thread.start()
            thread.join()
            print("thread ended", process.poll(), flush=True)
            sys.stdin.read()
        """)
        with subprocess.Popen(
            [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            address = process.stdout.readline().removeprefix("Running on ").strip()
            self.assertEqual(process.stdout.readline(), "thread ended None\n")
            connection = http.client.HTTPConnection(urllib.parse.urlsplit(address).netloc, timeout=10)
            connection.request("GET", "/bailiwick/requests")
            self.assertEqual(connection.getresponse().read()[:9], b'{"total":')
            process.stdin.close()
            process.wait(10)
            # The open connection ends when the emulator has stopped.
            self.assertEqual(connection.sock.recv(1), b"")
            connection.close()

    def test_it_stays_with_the_flag(self):
        parent = f"""if True:
            import subprocess, sys
            process = subprocess.Popen([sys.executable, {str(AWS)!r}, "--stay"], stdout=subprocess.PIPE)
            print(process.pid, process.stdout.readline().decode().split()[-1])
        """
        run = subprocess.run([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, check=True)
        pid, address = run.stdout.split()
        self.assertEqual(call("GET", "/bailiwick/requests", to=address)[0], 200)
        os.kill(int(pid), signal.SIGTERM)

    def test_any_principal(self):
        process, address = start("--any-principal")
        with process:
            iam = client("iam", to=address)
            iam.create_role(
                RoleName="loader",
                AssumeRolePolicyDocument=trust({"AWS": f"arn:aws:iam::{MODELS}:role/gone"}),
            )
            process.terminate()



class AsItIs(unittest.TestCase):
    """The rules, on an emulator of their own."""

    @classmethod
    def setUpClass(cls):
        cls.process, cls.url = start()

    @classmethod
    def tearDownClass(cls):
        cls.process.terminate()
        cls.process.wait()
        cls.process.stdout.close()

    def setUp(self):
        call("POST", "/bailiwick/reset", to=self.url)
        self.iam = client("iam", key=MODELS, to=self.url)
        self.s3 = client("s3", WEST, key=MODELS, to=self.url)

    def rules(self, **rules):
        self.assertEqual(call("POST", "/bailiwick/rules", rules, to=self.url)[0], 200)

    def counts(self):
        return call("GET", "/bailiwick/rules", to=self.url)[1]["counts"]

    def bucket(self):
        self.s3.create_bucket(Bucket="acme-b", CreateBucketConfiguration={"LocationConstraint": WEST})

    def role(self, name="r"):
        trust = policy({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"})
        return self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]

    def statement(self, principal, **more):
        return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": ["s3:GetObject", "s3:PutObject"],
                "Resource": ["arn:aws:s3:::acme-b/*"], **more}

    def put(self, *statements):
        self.s3.put_bucket_policy(Bucket="acme-b", Policy=policy(*statements))

    def code(self, ask, *arguments, **named):
        with self.assertRaises(ClientError) as raised:
            ask(*arguments, **named)
        return raised.exception.response["Error"]["Code"]

    def test_unknown_rules_are_refused(self):
        self.assertEqual(call("POST", "/bailiwick/rules", {"weather": 1}, to=self.url)[0], 400)

    def test_a_new_role_is_known_late(self):
        self.rules(new_principals=3)
        self.bucket()
        role = self.role()["Arn"]
        self.assertEqual(self.code(self.put, self.statement(role)), "MalformedPolicy")
        self.iam.get_role(RoleName="r")
        self.put(self.statement(role))
        self.assertEqual(self.counts()["new_principals"], 1)

    def test_documents_change_their_form_but_not_their_meaning(self):
        self.rules(canonical=True)
        self.bucket()
        self.put(self.statement([MODELS], Condition={"Bool": {"aws:SecureTransport": True}}))
        forms = [self.s3.get_bucket_policy(Bucket="acme-b")["Policy"] for _ in range(10)]
        self.assertGreater(len(set(forms)), 1)
        shown = json.loads(forms[0])["Statement"][0]
        self.assertEqual(shown["Principal"], {"AWS": f"arn:aws:iam::{MODELS}:root"})
        self.assertEqual(shown["Resource"], "arn:aws:s3:::acme-b/*")
        self.assertEqual(shown["Condition"], {"Bool": {"aws:SecureTransport": "true"}})
        self.assertEqual(sorted(shown["Action"]), ["s3:GetObject", "s3:PutObject"])
        self.role()
        trust = self.iam.get_role(RoleName="r")["Role"]["AssumeRolePolicyDocument"]
        self.assertEqual(trust["Statement"][0]["Action"], "sts:AssumeRole")

    def test_pages_have_the_length_of_the_rule(self):
        for name in ("one", "two", "three"):
            self.role(name)
        self.rules(page=1)
        first = self.iam.list_roles()
        self.assertEqual((len(first["Roles"]), first["IsTruncated"]), (1, True))
        pages = self.iam.get_paginator("list_roles").paginate()
        self.assertEqual(sum(len(page["Roles"]) for page in pages), 3)

    def test_shares_of_calls_are_throttled_failed_lost_and_stale(self):
        self.role()
        self.rules(seed=1, throttled=1)
        self.assertEqual(self.code(self.iam.get_role, RoleName="r"), "Throttling")
        self.assertEqual(self.code(self.s3.list_buckets), "SlowDown")
        self.rules(failed=1)
        self.assertEqual(self.code(self.iam.get_role, RoleName="r"), "ServiceFailure")
        self.rules(lost=1)
        with self.assertRaises(botocore.exceptions.BotoCoreError):
            self.role("lost")
        self.assertEqual(self.iam.get_role(RoleName="lost")["Role"]["RoleName"], "lost")
        self.rules(stale=1)
        self.iam.get_role(RoleName="r")
        self.iam.tag_role(RoleName="r", Tags=[{"Key": "k", "Value": "v"}])
        self.assertEqual(self.iam.get_role(RoleName="r")["Role"].get("Tags", []), [])
        self.assertEqual(self.counts(), {"stale": 1})

    def test_overlapping_writes_to_one_role_are_refused(self):
        self.role()
        self.rules(overlap=True)

        def tag(n):
            try:
                client("iam", key=MODELS, to=self.url).tag_role(RoleName="r", Tags=[{"Key": f"k{n}", "Value": "v"}])
                return None
            except ClientError as error:
                return error.response["Error"]["Code"]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(tag, range(40)))
        self.assertLessEqual(set(answers), {None, "ConcurrentModification"})
        self.assertEqual(self.counts().get("overlap", 0), answers.count("ConcurrentModification"))

    def test_objects_of_one_bucket_are_written_at_once(self):
        self.bucket()
        self.rules(overlap=True)

        def put(n):
            client("s3", key=MODELS, to=self.url).put_object(Bucket="acme-b", Key=f"a/{n}", Body=b"v")

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(40)))
        self.assertEqual(self.counts().get("overlap", 0), 0)

    def test_bucket_policy_denies_the_named_principals(self):
        self.bucket()
        self.s3.put_object(Bucket="acme-b", Key="k", Body=b"v")
        plain = {"Bool": {"aws:SecureTransport": "false"}}
        everything = {"Action": "s3:*", "Resource": ["arn:aws:s3:::acme-b", "arn:aws:s3:::acme-b/*"]}
        self.put({"Effect": "Deny", "Principal": "*", **everything, "Condition": plain})
        self.assertEqual(self.s3.get_object(Bucket="acme-b", Key="k")["Body"].read(), b"v")
        caller = client("sts", key=MODELS, to=self.url).get_caller_identity()["Arn"]
        own = {"ArnEquals": {"aws:PrincipalArn": caller}}
        self.put({"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::acme-b/*",
                  "Condition": own})
        self.assertEqual(self.code(self.s3.get_object, Bucket="acme-b", Key="k"), "AccessDenied")
        self.put({"Effect": "Deny", "Principal": "*", "Action": "s3:*BucketPolicy", "Resource": "arn:aws:s3:::acme-b"})
        self.assertEqual(self.code(self.s3.get_bucket_policy, Bucket="acme-b"), "AccessDenied")


if __name__ == "__main__":
    unittest.main()
