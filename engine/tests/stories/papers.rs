//! A host's certificate files as an orchestrator mounts them: links to a directory behind one link,
//! which is exchanged whole.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use mesh_gossip::bootstrap::{
    CertificateAuthority, Existing, ISSUING_CERTIFICATE, ISSUING_KEY, Issued,
};
use mesh_gossip::options::{AgentOptions, Material, RevocationOptions, TlsOptions};
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use tempfile::TempDir;

const FILES: [&str; 4] = ["tls.crt", "tls.key", "ca.crt", "ca.crl"];

/// The files of one host.
pub(crate) struct Papers {
    directory: TempDir,
    version: AtomicU32,
}

/// What the files hold.
#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) chain: String,
    pub(crate) key: String,
    pub(crate) bundle: String,
    pub(crate) list: Vec<u8>,
}

impl Content {
    /// What `ca` gave, and a list that revokes nobody.
    pub(crate) fn new(issued: &Issued, ca: &CertificateAuthority) -> Self {
        Self {
            chain: issued.chain_pem.clone(),
            key: issued.key_pem.to_string(),
            bundle: ca.bundle_pem(),
            list: list(ca, 1, &[]),
        }
    }
}

impl Papers {
    pub(crate) fn of(content: &Content) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in FILES {
            symlink(format!("..data/{name}"), directory.path().join(name)).unwrap();
        }
        let papers = Self { directory, version: AtomicU32::new(0) };
        papers.publish(content);
        papers
    }

    /// Exchanges all files at one stroke.
    pub(crate) fn publish(&self, content: &Content) {
        let version = format!("..v{}", self.version.fetch_add(1, Ordering::Relaxed));
        let directory = self.directory.path();
        std::fs::create_dir(directory.join(&version)).unwrap();
        let Content { chain, key, bundle, list } = content;
        let contents = [chain.as_bytes(), key.as_bytes(), bundle.as_bytes(), list];
        for (name, bytes) in FILES.iter().zip(contents) {
            let path = directory.join(&version).join(name);
            std::fs::write(&path, bytes).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
        symlink(&version, directory.join("..data.new")).unwrap();
        std::fs::rename(directory.join("..data.new"), directory.join("..data")).unwrap();
    }

    /// The same agent with these files, which it looks at every so often.
    pub(crate) fn in_place_of(&self, options: AgentOptions, every: Duration) -> AgentOptions {
        let file = |name: &str| Material::Path(self.path(name));
        let tls = TlsOptions {
            certificate: file("tls.crt"),
            key: Some(file("tls.key")),
            ca: file("ca.crt"),
            revocation: RevocationOptions {
                lists: Some(file("ca.crl")),
                ..RevocationOptions::default()
            },
            reload_interval: every,
            ..options.tls
        };
        AgentOptions { tls, ..options }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// A revocation list of the authority's issuing CA; serial numbers as [`Issued`] shows them.
pub(crate) fn list(ca: &CertificateAuthority, number: u64, serials: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    ca.write(directory.path(), Existing::Refuse).unwrap();
    let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let key = KeyPair::from_pem(&read(ISSUING_KEY)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read(ISSUING_CERTIFICATE), key).unwrap();
    let byte = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
    let number_of = |serial: &str| -> SerialNumber {
        serial.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>().into()
    };
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: number_of(serial),
        revocation_time: SystemTime::now().into(),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: (SystemTime::now() - Duration::from_secs(60)).into(),
        next_update: (SystemTime::now() + Duration::from_secs(86_400)).into(),
        crl_number: number.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).unwrap().pem().unwrap().into_bytes()
}
