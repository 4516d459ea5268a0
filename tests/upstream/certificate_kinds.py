"""What a TLS server may show. The certificates themselves are made in `certificates`, which needs a package."""

KINDS = {
    "good": "a certificate of the authority, for 127.0.0.1 and localhost",
    "expired": "one that ended yesterday",
    "wrong-host": "one for another name",
    "unknown-authority": "one of an authority that nobody trusts",
    "self-signed": "one that nobody but itself has signed",
    "old-version": "a good one, but nothing newer than TLS 1.1",
}
