"""Say who stands behind a credential (ports.Authenticator), and hand out credentials of the gate's own.

    open_access.py     identity.mode open: everybody is let in
    authenticator.py   identity.mode required: which kind of credential this is, and who checks it
    keyring.py         the keys that are known now
    jwt_reading.py     a JWT's parts, read strictly and not believed yet
    access_tokens.py   short-lived tokens that the gate signs
    assertions.py      JWTs signed with a key file: logins, and bearer tokens that a client signed itself
    static_tokens.py   long-lived tokens, kept as hashes
    key_files.py       new keys: service-account JSON, external-account JSON, static tokens
    logins.py          the token endpoint's grants
    oidc.py            JWTs of other issuers, by their published keys
    jwks.py            those published keys, fetched and kept
    google_callers.py  Google's own tokens, by the e-mail address that a dry run tells
    audit_log.py       writes refused logins to the audit log in the background

Called by the gate's dispatch step and by the control plane. What leaves: an Identity, or Unauthenticated.
"""
