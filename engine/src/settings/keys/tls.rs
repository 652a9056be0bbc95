//! Certificates, trust, revocation, and the authority that renews.

use super::{Key, Kind, derived, unset, used};

pub(super) const KEYS: &[Key] = &[
    used(
        "certificateReloadInterval",
        Kind::Span,
        "00:05:00",
        "How often certificate files are read again at least; a change is noticed within seconds.",
    ),
    unset(
        "tls:certificatePath",
        Kind::Path,
        "PEM chain, leaf first, with or without its key; or a PKCS#12 store.",
    ),
    unset("tls:certificatePathSecret", Kind::SecretName, "Where the certificate's path is found."),
    unset(
        "tls:certificateData",
        Kind::Secret,
        "The same as base64, or as PEM text; wins over the path.",
    ),
    unset("tls:certificateDataSecret", Kind::SecretName, "Where the certificate's data is found."),
    unset("tls:certificatePassword", Kind::Secret, "Password of a PKCS#12 store."),
    unset("tls:certificatePasswordSecret", Kind::SecretName, "Where the password is found."),
    unset(
        "tls:keyPath",
        Kind::Path,
        "PEM private key, when the certificate's file does not hold it.",
    ),
    unset("tls:caPath", Kind::Path, "PEM trust anchors. Required."),
    unset(
        "tls:crlPath",
        Kind::Path,
        "Revocation lists, PEM or DER: a file, or a directory of files.",
    ),
    used(
        "tls:crlGrace",
        Kind::Span,
        "1.00:00:00",
        "How long after its next update a list still lets new handshakes pass.",
    ),
    used("tls:trustDomain", Kind::Segment, "mesh.local", "Trust domain of the identities."),
    used(
        "tls:identity",
        Kind::Choice(&["spiffe", "dns"]),
        "spiffe",
        "How certificates name their holders: by one URI, or by one DNS name `<node id>.<role>.<cluster>.mesh.<trust domain>`. All members of a mesh go by one rule.",
    ),
    used(
        "tls:checkCertificateRevocation",
        Kind::Switch,
        "true",
        "Check revocation, by the lists of crlPath, of the host and of other members.",
    ),
    unset(
        "tls:allowedThumbprints",
        Kind::Thumbprints,
        "SHA-1 or SHA-256 thumbprints that peers' certificates are restricted to.",
    ),
    derived(
        "tls:reloadIntervalOverride",
        Kind::Span,
        "= certificateReloadInterval",
        "Overrides certificateReloadInterval.",
    ),
    used("tls:allowUntrustedCertificates", Kind::Switch, "false", "Only `false` is accepted."),
    unset(
        "bootstrap:server",
        Kind::Endpoint,
        "Server of the authority that the agent renews its certificate from, by itself.",
    ),
    unset(
        "bootstrap:caFingerprint",
        Kind::Fingerprint,
        "Fingerprint of the root that this server has to end in; without it any of caPath.",
    ),
    used(
        "bootstrap:crlInterval",
        Kind::Span,
        "00:05:00",
        "How often the authority's revocation list is fetched from this server.",
    ),
];
