"""Kinds of TLS certificates. `certificates` creates them and requires a package; this module does not."""

KINDS = {
    "good": "a certificate of the authority, for 127.0.0.1 and localhost",
    "expired": "one that expired yesterday",
    "wrong-host": "one for another name",
    "unknown-authority": "one of an untrusted authority",
    "self-signed": "one that is signed by itself",
    "old-version": "a good one, but TLS 1.1 at most",
}
