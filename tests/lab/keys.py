"""Ed25519 keys and signed envelopes for tests: what a person or a thief could make."""

import base64
import ctypes
import functools
import json
import subprocess

PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # what stands before an Ed25519 seed (RFC 8410)


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


@functools.cache
def sodium():
    """Without a process for each signature: tests/crash makes a hundred thousand."""
    library = ctypes.CDLL("libsodium.so")
    if library.sodium_init() < 0:
        raise OSError("libsodium does not start")
    return library


class Key:
    def __init__(self, name):
        self.name = name
        self.der = openssl("genpkey", "-algorithm", "ed25519", "-outform", "DER")
        self.public = openssl("pkey", "-inform", "DER", "-pubout", "-outform", "DER", data=self.der)[-32:]

    @classmethod
    def load(cls, text):
        """From a key file without a passphrase."""
        kept, key = json.loads(text), cls.__new__(cls)
        key.name, key.public = kept["name"], base64.b64decode(kept["public"])
        key.der = PKCS8 + base64.b64decode(kept["secret"])[:32]
        return key

    @property
    def public_text(self):
        return base64.b64encode(self.public).decode()

    def file_text(self):
        """The key file of common/key.h, without a passphrase."""
        return json.dumps({"schema": "grivet.key/1", "name": self.name, "public": self.public_text,
                           "secret": base64.b64encode(self.der[-32:] + self.public).decode()})

    def sign(self, message):
        signature = ctypes.create_string_buffer(64)
        sodium().crypto_sign_detached(signature, None, message, ctypes.c_ulonglong(len(message)), self.der[-32:] + self.public)
        return signature.raw


def pre_authentication(kind, payload):
    """What DSSE signs: PAE of the type and the body."""
    name = f"application/vnd.grivet.{kind}+json".encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def envelope(kind, payload, *keys):
    """A DSSE envelope as a dictionary; payload is bytes, or a dictionary to be written as JSON."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signatures = [{"sig": base64.b64encode(key.sign(pre_authentication(kind, raw))).decode()} for key in keys]
    return {"payloadType": f"application/vnd.grivet.{kind}+json", "payload": base64.b64encode(raw).decode(),
            "signatures": signatures}
