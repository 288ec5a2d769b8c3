"""What a client of Confluent's registry API does: schemas.py URL register|check. Any difference is an exception.

register registers schemas and checks them, check only checks: it is for a registry that has started again on the same storage.
"""

import json
import sys
import urllib.error
import urllib.request

AVRO = {"schema": json.dumps({"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"}, {"name": "note", "type": ["null", "string"], "default": None}]})}
AVRO_2 = {"schema": json.dumps({"type": "record", "name": "Order", "fields": [
    {"name": "id", "type": "long"}, {"name": "note", "type": ["null", "string"], "default": None},
    {"name": "paid", "type": "boolean", "default": False}]})}
MONEY = {"schemaType": "PROTOBUF", "schema": 'syntax = "proto3"; package shop; message Money { string currency = 1; int64 units = 2; }'}
INVOICE = {"schemaType": "PROTOBUF",
           "schema": 'syntax = "proto3"; package shop; import "money.proto"; message Invoice { int64 id = 1; Money total = 2; }',
           "references": [{"name": "money.proto", "subject": "money.proto", "version": 1}]}
CLICK = {"schemaType": "JSON", "schema": json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object",
                                                     "properties": {"id": {"type": "integer"}}, "required": ["id"]})}
# In the order of their registration, which gives them the ids 1, 2, ….
SCHEMAS = [("orders-value", AVRO), ("orders-value", AVRO_2), ("money.proto", MONEY), ("invoice-value", INVOICE), ("click-value", CLICK)]


class Registry:
    def __init__(self, url):
        self.url = url

    def ask(self, method, path, body=None):
        """Status and decoded answer."""
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/vnd.schemaregistry.v1+json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            return e.code, json.load(e)

    def ok(self, method, path, body=None):
        status, answer = self.ask(method, path, body)
        assert status == 200, f"{method} {path}: {status} {answer}"
        return answer


def same(got, want):
    """JSON is compared as such, Protobuf without the spaces, which the registry sets its own way."""
    try:
        return json.loads(got) == json.loads(want)
    except ValueError:
        return "".join(got.split()) == "".join(want.split())


def register(registry):
    for i, (subject, schema) in enumerate(SCHEMAS):
        got = registry.ok("POST", f"/subjects/{subject}/versions", schema)["id"]
        assert got == i + 1, f"{subject} has id {got}, not {i + 1}"
    registry.ok("PUT", "/config/orders-value", {"compatibility": "BACKWARD"})


def check(registry):
    assert sorted(registry.ok("GET", "/subjects")) == sorted({subject for subject, _ in SCHEMAS})
    assert registry.ok("GET", "/subjects/orders-value/versions") == [1, 2]
    for i, (subject, schema) in enumerate(SCHEMAS):
        got = registry.ok("GET", f"/schemas/ids/{i + 1}")
        assert same(got["schema"], schema["schema"]), f"{subject}: {got}"
        assert got.get("schemaType", "AVRO") == schema.get("schemaType", "AVRO"), got
        assert registry.ok("POST", f"/subjects/{subject}", schema)["id"] == i + 1, f"{subject} is not found by its content"
    references = registry.ok("GET", "/subjects/invoice-value/versions/latest")["references"]
    assert references == INVOICE["references"], references
    assert registry.ok("GET", "/config/orders-value")["compatibilityLevel"] == "BACKWARD"
    status, answer = registry.ask("POST", "/subjects/orders-value/versions", {"schema": '{"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}'})
    assert status in (409, 422), f"an incompatible schema: {status} {answer}"
    for path, code in {"/schemas/ids/999": 40403, "/subjects/nope/versions/1": 40401}.items():
        status, answer = registry.ask("GET", path)
        assert (status, answer["error_code"]) == (404, code), f"{path}: {status} {answer}"


registry = Registry(sys.argv[1])
if sys.argv[2] == "register":
    register(registry)
check(registry)
print(f"{len(SCHEMAS)} schemas")
