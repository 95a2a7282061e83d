"""A client in another language. `python client.py -v Service` runs one group; mod.rs starts the server."""

import copy
import hashlib
import itertools
import json
import os
import sys
import unittest
import uuid
from concurrent import futures

import grpc
from google.protobuf import descriptor_pool, duration_pb2, json_format, message_factory
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import check_event
import verify
from countersign.v1 import key_admin_pb2, key_admin_pb2_grpc, key_verifier_pb2, key_verifier_pb2_grpc, resources_pb2

ADDRESS = os.environ["COUNTERSIGN_ADDRESS"]
CREDENTIAL = (("authorization", "Bearer " + os.environ["COUNTERSIGN_KEY_ID"]),
              ("x-secret-key", os.environ["COUNTERSIGN_SECRET"]))
DEADLINE = 30


def record(secret):
    """Notes a secret, so that the end of the run can search for it."""
    with open(os.path.join(os.environ["CSTEST_RUN_DIR"], "canaries", f"python-{os.getpid()}.txt"), "a") as file:
        file.write(f"secret {secret}\n")


def a_key(**fields):
    return resources_pb2.Key(**{
        "account_id": "acme", "application_id": "billing", "environment": resources_pb2.ENVIRONMENT_LIVE,
        "display_name": "Rechnungen – 請求", "scopes": ["transactions:read"], **fields})


class Admin:
    """KeyAdmin with the first admin's credential."""

    def __init__(self, channel):
        self.stub = key_admin_pb2_grpc.KeyAdminStub(channel)

    def __getattr__(self, method):
        def call(request, **options):
            return getattr(self.stub, method)(request, timeout=DEADLINE, metadata=CREDENTIAL, **options)
        return call

    def mint(self, **fields):
        reply = self.CreateKey(key_admin_pb2.CreateKeyRequest(key=a_key(**fields)))
        record(reply.secret)
        return reply


class WithServer(unittest.TestCase):
    def setUp(self):
        self.channel = grpc.insecure_channel(ADDRESS)
        self.addCleanup(self.channel.close)
        self.admin = Admin(self.channel)

    def details_of(self, error):
        """The details of a failed call, in types that reflection describes."""
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(self.channel))
        trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        self.assertEqual(status.code, error.code().value[0])
        details = {}
        for packed in status.details:
            name = packed.type_url.split("/")[-1]
            kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
            details[name] = json_format.MessageToDict(kind.FromString(packed.value), descriptor_pool=pool)
        return details


class Service(WithServer):
    """What every internal service does on each of its requests: the README's verify.py."""

    def test_the_readme_gives_the_http_status_of_each_answer(self):
        minted = self.admin.mint(allowed_cidrs=["203.0.113.0/24"])
        verifier = verify.connect(f"dns:///{ADDRESS}")

        def asked(secret=minted.secret, scope="transactions:read", address="203.0.113.7"):
            return verify.status_of(verifier, minted.key.key_id, secret, scope, address)

        self.assertEqual(asked(), (200, "acme"))
        self.assertEqual(asked(secret=self.admin.mint().secret), (401, None))
        self.assertEqual(asked(scope="transactions:write"), (403, None))
        self.assertEqual(asked(address="198.51.100.7"), (403, None))
        self.assertEqual(asked(scope="no scope"), (503, None))

    def test_nobody_is_let_in_when_there_is_no_server(self):
        verifier = verify.connect("dns:///127.0.0.1:1")
        self.assertEqual(verify.status_of(verifier, "id", "secret", "a:b", ""), (503, None))

    def test_a_call_is_repeated_while_the_server_is_unavailable(self):
        attempts = []

        class Moody(key_verifier_pb2_grpc.KeyVerifierServicer):
            def Verify(self, request, context):
                attempts.append(request)
                if len(attempts) < 3:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
                return key_verifier_pb2.VerifyResponse(allowed=True)

        server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
        key_verifier_pb2_grpc.add_KeyVerifierServicer_to_server(Moody(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        self.addCleanup(server.stop, None)
        status, _ = verify.status_of(verify.connect(f"dns:///127.0.0.1:{port}"), "id", "secret", "a:b", "")
        self.assertEqual((status, len(attempts)), (200, 3))

    def test_a_deadline_ends_a_call_that_would_last(self):
        watch = key_admin_pb2.WatchAuditEventsRequest(after_revision=0)
        stream = self.admin.stub.WatchAuditEvents(watch, timeout=1, metadata=CREDENTIAL)
        with self.assertRaises(grpc.RpcError) as failed:
            for _ in stream:
                pass
        self.assertEqual(failed.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED)

    def test_a_batch_answers_each_in_order(self):
        minted = self.admin.mint()
        token = f"{minted.key.key_id}.{minted.secret}"
        good = key_verifier_pb2.VerifyRequest(token=token)
        bad = key_verifier_pb2.VerifyRequest(token=token, client_ip="nowhere")
        none = key_verifier_pb2.VerifyRequest()
        request = key_verifier_pb2.BatchVerifyRequest(requests=[good, bad, none])
        reply = key_verifier_pb2_grpc.KeyVerifierStub(self.channel).BatchVerify(request, timeout=DEADLINE)
        self.assertEqual([result.WhichOneof("result") for result in reply.results], ["response", "error", "response"])
        self.assertTrue(reply.results[0].response.allowed)
        self.assertEqual(reply.results[1].error.code, grpc.StatusCode.INVALID_ARGUMENT.value[0])
        self.assertFalse(reply.results[2].response.allowed)


class Operator(WithServer):
    """What the tools of a platform team do."""

    def test_reflection_lists_the_services(self):
        services = ProtoReflectionDescriptorDatabase(self.channel).get_services()
        self.assertLessEqual({"countersign.v1.KeyAdmin", "countersign.v1.KeyVerifier", "grpc.health.v1.Health"},
                             set(services))

    def test_each_service_says_that_it_is_serving(self):
        health = health_pb2_grpc.HealthStub(self.channel)
        for service in ("", "countersign.v1.KeyAdmin", "countersign.v1.KeyVerifier",
                        "envoy.service.auth.v3.Authorization"):
            reply = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE)
            self.assertEqual(reply.status, health_pb2.HealthCheckResponse.SERVING, service)
        with self.assertRaises(grpc.RpcError) as failed:
            health.Check(health_pb2.HealthCheckRequest(service="countersign.v1.Other"), timeout=DEADLINE)
        self.assertEqual(failed.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_a_key_is_read_back_as_it_was_created(self):
        created = self.admin.mint(labels={"team": "blue"}, description="two\nlines").key
        read = self.admin.GetKey(key_admin_pb2.GetKeyRequest(key_id=created.key_id)).key
        self.assertEqual(read, created)
        self.assertEqual(read.display_name, "Rechnungen – 請求")

    def test_every_bad_field_is_named(self):
        bad = key_admin_pb2.CreateKeyRequest(key=resources_pb2.Key(account_id="a b", scopes=["NO"]))
        with self.assertRaises(grpc.RpcError) as failed:
            self.admin.CreateKey(bad)
        self.assertEqual(failed.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        details = self.details_of(failed.exception)
        self.assertEqual(details["google.rpc.ErrorInfo"], {"reason": "INVALID_REQUEST", "domain": "countersign"})
        violations = details["google.rpc.BadRequest"]["fieldViolations"]
        self.assertEqual({violation["field"] for violation in violations},
                         {"key.account_id", "key.application_id", "key.environment", "key.display_name",
                          "key.scopes[0]"})

    def test_an_error_says_which_key_is_meant(self):
        with self.assertRaises(grpc.RpcError) as failed:
            self.admin.GetKey(key_admin_pb2.GetKeyRequest(key_id="csk_live_0000000000000000000000"))
        info = self.details_of(failed.exception)["google.rpc.ErrorInfo"]
        self.assertEqual(info, {"reason": "KEY_NOT_FOUND", "domain": "countersign",
                                "metadata": {"key_id": "csk_live_0000000000000000000000"}})


class Auditor(WithServer):
    """Reads the log and believes nothing: "Check an event" of the README, and RFC 6962."""

    def setUp(self):
        super().setUp()
        minted = self.admin.mint(labels={"team": "blue"}, allowed_cidrs=["2001:db8::/32"])
        key_id = minted.key.key_id
        overlap = duration_pb2.Duration(seconds=60)
        rotated = self.admin.RotateKey(key_admin_pb2.RotateKeyRequest(
            key_id=key_id, overlap=overlap, request_id=str(uuid.uuid4())))
        record(rotated.secret)
        # What JSON writes in a way of its own: quotes, backslashes, other scripts, beyond the BMP.
        self.admin.DisableKey(key_admin_pb2.DisableKeyRequest(key_id=key_id, comment='a "b" \\ / é 請 \U0001f511'))
        self.admin.EnableKey(key_admin_pb2.EnableKeyRequest(key_id=key_id))
        self.admin.ExpireSecret(key_admin_pb2.ExpireSecretRequest(key_id=key_id, number=1))
        self.admin.RevokeKey(key_admin_pb2.RevokeKeyRequest(
            key_id=key_id, reason=resources_pb2.REVOKE_REASON_OWNER_LEFT))
        self.admin.DeleteKey(key_admin_pb2.DeleteKeyRequest(key_id=key_id))
        self.admin.mint(description="two\nlines\tand a tab")

    def log(self):
        request = key_admin_pb2.ListAuditEventsRequest(page_size=3)
        while True:
            reply = self.admin.ListAuditEvents(request)
            yield from reply.events
            if not reply.next_page_token:
                return
            request.page_token = reply.next_page_token

    def test_every_leaf_and_the_root_can_be_recomputed(self):
        events = list(self.log())
        self.assertEqual([event.revision for event in events], list(range(1, len(events) + 1)))
        for event in events:
            self.assertEqual(check_event.leaf_hash(json_format.MessageToDict(event)), event.leaf_hash, event.revision)
        with open("tree.json", "w") as file:
            json.dump({"size": len(events), "root": root([event.leaf_hash for event in events]).hex()}, file)

    def test_no_field_of_an_event_can_be_altered_unnoticed(self):
        for event in map(json_format.MessageToDict, self.log()):
            honest = check_event.leaf_hash(event)
            for name in event.keys() - {"cursor", "leafHash"}:
                altered = copy.deepcopy(event)
                alter(altered, name)
                self.assertNotEqual(check_event.leaf_hash(altered), honest, name)

    def test_a_watch_tells_the_log_and_then_goes_on_live(self):
        listed = list(self.log())
        watch = self.admin.WatchAuditEvents(key_admin_pb2.WatchAuditEventsRequest(after_revision=0))
        messages = iter(watch)
        replayed = [message.event for message in itertools.islice(messages, len(listed))]
        self.assertEqual(replayed, listed)
        heartbeat = next(messages)
        self.assertEqual(heartbeat.WhichOneof("message"), "heartbeat")
        created = self.admin.mint().key
        event = next(message.event for message in messages if message.WhichOneof("message") == "event")
        self.assertEqual((event.revision, event.key_id), (len(listed) + 1, created.key_id))
        watch.cancel()


def alter(event, name):
    """Another value of the same kind."""
    value = event[name]
    if name == "revision":
        event[name] = str(int(value) + 1)
    elif name == "time":
        event[name] = value.replace(value[:4], "1999", 1)
    elif name == "actor":
        event[name]["identity"] = "somebody else"
    elif name == "changes":
        value.pop()
    elif name == "keySeal":
        event[name] = "AAAA"
    else:
        event[name] = value + "x"


def root(leaves):
    """RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(leaves[:split]) + root(leaves[split:])).digest()


if __name__ == "__main__":
    sys.exit(unittest.main())
