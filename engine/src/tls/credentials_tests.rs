//! Credentials that load, and what is said about those that do not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use mesh_gossip_proto::MemberId;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;

use crate::bootstrap::{CertificateAuthority, Existing, Subject};
use crate::options::{Material, RevocationOptions, TlsOptions};
use crate::tls::certificates_tests::{
    CLUSTER, DAY, LaxCa, ROLE, Still, TRUST_DOMAIN, bytes, credentials, issue, list_of, mesh_ca,
    start, uri_of,
};
use crate::tls::credentials::{Credentials, CredentialsError, Fault};

fn load(options: &TlsOptions) -> Result<Credentials, CredentialsError> {
    Credentials::load_with_clock(options, CLUSTER, "n1", ROLE, Arc::new(Still(start())))
}

fn options_of(ca: &CertificateAuthority) -> TlsOptions {
    issue(ca, "n1").tls_options(ca)
}

/// Asserts that loading fails and that the message holds each of `parts`.
fn fails(options: &TlsOptions, parts: &[&str]) -> CredentialsError {
    let error = load(options).map(|_| ()).unwrap_err();
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
    error
}

/// A directory with `n1`'s chain, key and CA bundle, and options that name them.
fn on_disk() -> (TempDir, TlsOptions) {
    let directory = tempfile::tempdir().unwrap();
    let ca = mesh_ca();
    ca.write(directory.path(), Existing::Refuse).unwrap();
    let files = issue(&ca, "n1").write(directory.path(), Existing::Refuse).unwrap();
    let options = TlsOptions {
        certificate: Material::Path(files.certificate),
        key: Some(Material::Path(files.key)),
        ca: Material::Path(directory.path().join("ca.pem")),
        ..options_of(&ca)
    };
    (directory, options)
}

fn path_of(material: &Material) -> PathBuf {
    match material {
        Material::Path(path) => path.clone(),
        Material::Bytes(_) => panic!("on disk"),
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn credentials_load_from_memory_files_and_one_file() {
    let (directory, mut options) = on_disk();
    let loaded = load(&options).unwrap();
    assert_eq!(loaded.member_id(), MemberId::derive(CLUSTER, "n1"));
    assert_eq!((loaded.chain().len(), loaded.intermediates().len()), (2, 1));
    assert!(loaded.warnings().is_empty());

    let key = path_of(options.key.as_ref().unwrap());
    let chain = fs::read_to_string(path_of(&options.certificate)).unwrap();
    let root = fs::read_to_string(directory.path().join("root.pem")).unwrap();
    let both = directory.path().join("both.pem");
    fs::write(&both, chain + &root + &fs::read_to_string(key).unwrap()).unwrap();
    set_mode(&both, 0o644);
    options.certificate = Material::Path(both.clone());
    options.key = None;
    let loaded = load(&options).unwrap();
    assert_eq!(loaded.chain().len(), 2, "a root in the file is not sent");
    let [warning] = loaded.warnings() else { panic!("one warning") };
    assert!(warning.contains("certificatePath") && warning.contains("chmod 600"), "{warning}");
    assert!(load(&options_of(&mesh_ca())).is_ok());
}

#[test]
fn keys_in_sec1_form_load_and_encrypted_ones_name_the_fix() {
    let ca = mesh_ca();
    let issued = issue(&ca, "n1");
    let options = issued.tls_options(&ca);
    let PrivateKeyDer::Pkcs8(pkcs8) =
        PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap()
    else {
        panic!("minted as PKCS#8")
    };
    // The octet string at the end of PKCS#8 is the SEC1 form: 109 bytes on P-256.
    let inner = &pkcs8.secret_pkcs8_der()[pkcs8.secret_pkcs8_der().len() - 109..];
    let pem = |der: &[u8]| {
        let text = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n")
    };
    assert!(load(&TlsOptions { key: Some(bytes(&pem(inner))), ..options.clone() }).is_ok());
    let broken = TlsOptions { key: Some(bytes(&pem(&inner[..60]))), ..options };
    fails(&broken, &["mesh:gossip:tls:keyPath", "cannot be used", "SEC1"]);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = TlsOptions { key: Some(bytes(encrypted)), ..options_of(&ca) };
    fails(&broken, &["mesh:gossip:tls:keyPath", "encrypted", "openssl pkey"]);
}

/// A .NET host's store, as a file or as bytes, under its password and no other (rule S-21).
#[test]
fn a_pkcs12_store_is_certificate_and_key_at_once() {
    let ca = mesh_ca();
    let issued = issue(&ca, "n1");
    let store = crate::bootstrap::pkcs12::write(&issued.chain_pem, &issued.key_pem, "open sesame");
    let store = store.unwrap();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("n1.pfx");
    fs::write(&path, &*store).unwrap();
    set_mode(&path, 0o640);
    let with = |certificate: Material, password: Option<&str>| TlsOptions {
        certificate,
        key: None,
        password: password.map(|password| password.to_owned().into()),
        ..issued.tls_options(&ca)
    };
    let loaded = load(&with(Material::Path(path.clone()), Some("open sesame"))).unwrap();
    assert_eq!(loaded.member_id(), MemberId::derive(CLUSTER, "n1"));
    assert_eq!(loaded.chain().len(), 2, "leaf and issuing certificate");
    let [warning] = loaded.warnings() else { panic!("one warning") };
    assert!(warning.contains("0640") && warning.contains("chmod 600"), "{warning}");
    assert!(load(&with(Material::Bytes(store.clone()), Some("open sesame"))).is_ok());
    for password in [None, Some(""), Some("open sesame!")] {
        let wrong = with(Material::Path(path.clone()), password);
        let error = fails(&wrong, &["certificatePath", "n1.pfx", "certificatePassword"]);
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
    let damaged =
        with(Material::Bytes(store[..store.len() / 2].to_vec().into()), Some("open sesame"));
    fails(&damaged, &["certificateData", "PKCS#12"]);
}

#[test]
fn unreadable_files_are_named_with_setting_and_fix() {
    let (directory, good) = on_disk();
    let missing = || Material::Path(directory.path().join("absent.pem"));
    let broken = TlsOptions { certificate: missing(), ..good.clone() };
    fails(&broken, &["mesh:gossip:tls:certificatePath: ", "absent.pem", "check that the path"]);
    let broken = TlsOptions { key: Some(missing()), ..good.clone() };
    fails(&broken, &["mesh:gossip:tls:keyPath: ", "absent.pem"]);
    let broken = TlsOptions { ca: missing(), ..good.clone() };
    fails(&broken, &["mesh:gossip:tls:caPath: ", "absent.pem"]);
    let broken = TlsOptions { ca: Material::Path(directory.path().into()), ..good.clone() };
    fails(&broken, &["mesh:gossip:tls:caPath: ", "cannot be read"]);
    let endless = TlsOptions { ca: Material::Path("/dev/zero".into()), ..good };
    assert!(matches!(fails(&endless, &["1 MiB"]).fault, Fault::TooLarge));
}

#[test]
fn what_is_not_pem_is_told_apart() {
    let good = options_of(&mesh_ca());
    let with = |certificate: &[u8]| TlsOptions {
        certificate: Material::Bytes(certificate.to_vec().into()),
        ..good.clone()
    };
    fails(&with(b""), &["mesh:gossip:tls:certificateData: is empty"]);
    fails(&with(b"hello"), &["is not PEM"]);
    fails(
        &with(&[0x30, 0x82, 1, 2]),
        &["PKCS#12", "certificatePassword", "convert to PEM: openssl"],
    );
    fails(
        &with(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        &["certificate 1 cannot be decoded"],
    );
    let key_only = TlsOptions { certificate: good.key.clone().unwrap(), ..good.clone() };
    fails(&key_only, &["holds no certificate"]);
    let keyless = TlsOptions { key: None, ..good.clone() };
    fails(&keyless, &["holds no private key", "mesh:gossip:tls:keyPath"]);
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let ca = mesh_ca();
    let (ours, others) = (options_of(&ca), options_of(&ca));
    let broken = TlsOptions { key: others.key, ..ours };
    fails(&broken, &["mesh:gossip:tls:keyPath", "does not belong", "issued together"]);
}

/// Rule S-15: our own chain is judged as peers will judge it.
#[test]
fn a_certificate_that_peers_would_refuse_is_an_error_at_start() {
    let (ca, foreign) = (mesh_ca(), mesh_ca());
    let certificate = "mesh:gossip:tls:certificateData";
    let broken = TlsOptions { ca: options_of(&foreign).ca, ..options_of(&ca) };
    fails(&broken, &[certificate, "peers would refuse it", "mesh:gossip:tls:caPath"]);
    let broken = TlsOptions { trust_domain: "other".into(), ..options_of(&ca) };
    fails(&broken, &[certificate, "\"td.test\", expected \"other\"", "trustDomain"]);

    let good = options_of(&ca);
    let load = |cluster, node_id, role, days| {
        let clock = Arc::new(Still(start() + days * DAY));
        let loaded = Credentials::load_with_clock(&good, cluster, node_id, role, clock);
        loaded.map(|_| ()).unwrap_err().to_string()
    };
    for (text, parts) in [
        (load("c2", "n1", ROLE, 0), ["\"c1\", expected \"c2\"", "mesh:gossip:clusterId"]),
        (load(CLUSTER, "n2", ROLE, 0), ["\"n1\"", "mesh:gossip:nodeId is \"n2\""]),
        (load(CLUSTER, "n1", "gateway", 0), ["\"worker\"", "mesh:gossip:role is \"gateway\""]),
        (load(CLUSTER, "n1", ROLE, 2), ["expired at", "renew it"]),
        (load(CLUSTER, "N1", ROLE, 0), ["mesh:gossip:nodeId: ", "a-z 0-9"]),
        (load("", "n1", ROLE, 0), ["mesh:gossip:clusterId: ", "expected 1 to 255"]),
        (load(CLUSTER, "n1", "operator", 0), ["mesh:gossip:role: ", "never gossip"]),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    }
    let lax = LaxCa::new("root");
    let leaf = lax.leaf(&uri_of("n1"), |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let one_way = TlsOptions {
        certificate: bytes(&leaf.pem),
        key: Some(bytes(&leaf.key_pem)),
        ca: bytes(&lax.pem),
        ..good.clone()
    };
    fails(&one_way, &["lacks the extended key usage clientAuth", "both serverAuth and clientAuth"]);
}

#[test]
fn thumbprints_and_bundles_are_checked_by_name() {
    let ca = mesh_ca();
    let broken = TlsOptions { allowed_thumbprints: vec!["12:34".into()], ..options_of(&ca) };
    fails(&broken, &["mesh:gossip:tls:allowedThumbprints", "\"12:34\"", "40 (SHA-1)"]);
    let leaf = options_of(&ca).certificate;
    let broken = TlsOptions { ca: leaf, ..options_of(&ca) };
    fails(&broken, &["mesh:gossip:tls:caPath", "not a CA's"]);
    let pinned_to_others =
        TlsOptions { allowed_thumbprints: vec!["ab".repeat(20)], ..options_of(&ca) };
    assert!(load(&pinned_to_others).is_ok(), "thumbprints are about peers");
}

/// Rule S-21.
#[test]
fn no_private_key_is_ever_formatted() {
    let ca = mesh_ca();
    let issued = ca.issue(&Subject::new("n1", ROLE), start(), DAY).unwrap();
    let options = issued.tls_options(&ca);
    let loaded = load(&options).unwrap();
    // A key with its last line damaged: the error must not repeat any of it.
    let damaged = issued.key_pem.replace("-----END", "====END");
    let broken = TlsOptions { key: Some(bytes(&damaged)), ..options.clone() };
    let error = load(&broken).map(|_| ()).unwrap_err();
    let everything = format!(
        "{issued:?} {ca:?} {options:?} {loaded:?} {error:?} {error} {:?} {:?}",
        loaded.signing_key(),
        loaded.verifier()
    );
    for line in issued.key_pem.lines().filter(|line| !line.starts_with("-----")) {
        assert!(line.len() > 8 && !everything.contains(line), "{everything}");
    }
    assert!(everything.contains("redacted") && everything.contains(TRUST_DOMAIN));
    assert!(!loaded.gossip_client().key_log.will_log("EXPORTER_SECRET"));
}

/// Rule S-2, and what is off because it would skip the check of a peer's certificate.
#[test]
fn configurations_offer_nothing_that_outlives_a_handshake() {
    let loaded = credentials(&mesh_ca(), "n1");
    for server in [loaded.gossip_server(), loaded.sync_server()] {
        assert_eq!((server.send_tls13_tickets, server.max_tls13_tickets), (0, 0));
        assert_eq!(server.max_early_data_size, 0);
        assert!(!server.ticketer.enabled() && !server.session_storage.can_cache());
        assert!(!server.enable_secret_extraction);
    }
    for client in [loaded.gossip_client(), loaded.sync_client()] {
        assert!(!client.enable_sni && !client.enable_early_data);
        assert!(!client.enable_secret_extraction);
    }
    assert_eq!(loaded.gossip_client().alpn_protocols, [b"mesh-gossip/1"]);
    assert_eq!(loaded.sync_server().alpn_protocols, [b"mesh-sync/1"]);
}

/// Rule S-16: revocation lists are checked at start, from a file or a directory of them; our own
/// certificate among the revoked, or a list that does not count, is an error there.
#[test]
fn revocation_lists_are_read_at_start() {
    let ca = mesh_ca();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let issued = issue(&ca, "n1");
    let with = |path: PathBuf| {
        let lists = Some(Material::Path(path));
        let revocation = RevocationOptions { lists, ..RevocationOptions::default() };
        let options = TlsOptions { revocation, ..issued.tls_options(&ca) };
        load(&options).map(|loaded| loaded.verifier().trust().load().revocations().lists().count())
    };
    let ca_of = |ca: &CertificateAuthority| list_of(ca, 1, &["4001"]);
    fs::write(file("a.der"), ca_of(&ca)).unwrap();
    assert_eq!(with(file("a.der")).unwrap(), 1);
    fs::write(file(".hidden"), "no list").unwrap();
    assert_eq!(with(directory.path().into()).unwrap(), 1, "the visible files of a directory");
    fs::write(file("b.crl"), "no list").unwrap();
    let error = with(directory.path().into()).unwrap_err().to_string();
    assert!(error.starts_with("mesh:gossip:tls:crlPath: "), "{error}");
    assert!(error.contains("b.crl: a revocation list does not count"), "{error}");
    fs::write(file("b.crl"), ca_of(&mesh_ca())).unwrap();
    let error = with(file("b.crl")).unwrap_err().to_string();
    assert!(error.contains("is no CA of ours; add that CA's certificate"), "{error}");
    assert!(with(file("missing")).is_err());
    fs::write(file("b.crl"), list_of(&ca, 1, &[&issued.serial])).unwrap();
    let error = with(file("b.crl")).unwrap_err().to_string();
    assert!(error.contains("is revoked, serial") && error.contains(&issued.serial), "{error}");
}
