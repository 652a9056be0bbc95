//! Where a running agent has its certificate and key, and puts the next ones.
//!
//! A pair of files, one file of both, a PKCS#12 store, or the host's own memory: whatever the agent
//! was started with it is renewed in, so that a restart finds the newest.
//!
//! Invariants: a key lies on the disk before anybody certifies it, except where nothing of the
//! agent does; a reader finds the old pair or the new one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::bootstrap::client::{ClientError, Obtained, Present, fetch_crl, renew};
use crate::bootstrap::files::{self, Readers};
use crate::bootstrap::{NodeFiles, NodeKey, Refusal, pkcs12};
use crate::options::{Material, RenewalOptions, TlsOptions};
use crate::tls::provider::sha256;
use crate::tls::trust::vouches_for_itself;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Largest file read, as for certificates everywhere.
const MAX_FILE: u64 = 1_048_576;

/// One agent's certificate, key and trust, where they are.
pub(crate) struct Wallet {
    options: TlsOptions,
    /// A key that waits for its certificate and that no file holds.
    pending: Option<NodeKey>,
}

/// Where chain and key are.
enum Place<'a> {
    Pair { certificate: &'a Path, key: &'a Path },
    OneFile(&'a Path),
    Store { path: &'a Path, password: &'a str },
    Memory,
}

/// Chain, key and bundle as PEM.
struct Held([Zeroizing<String>; 3]);

impl Wallet {
    pub(crate) fn new(options: TlsOptions) -> Self {
        Self { options, pending: None }
    }

    /// These are in force, in place of those before.
    pub(crate) fn update(&mut self, options: TlsOptions) {
        self.options = options;
    }

    /// Gets another certificate for another key and puts both in their place; options that differ
    /// from those before come back where the place is memory.
    pub(crate) fn renew(
        &mut self,
        from: &RenewalOptions,
    ) -> Result<(Obtained, Option<TlsOptions>), ClientError> {
        let Held([chain_pem, key_pem, bundle_pem]) = self.held(from)?;
        let present = Present { chain_pem: &chain_pem, key_pem: &key_pem, bundle_pem: &bundle_pem };
        let mut key = self.pending_key()?;
        let obtained = match renew(&from.server, &present, &key) {
            Err(ClientError::Refused(Refusal::KnownKey)) => {
                // It has a certificate that is of no use to us.
                self.drop_pending()?;
                key = self.pending_key()?;
                renew(&from.server, &present, &key)?
            }
            other => other?,
        };
        let changed = self.install(&obtained.chain_pem, &key)?;
        Ok((obtained, changed))
    }

    /// The newest revocation list, as PEM.
    pub(crate) fn list(&self, from: &RenewalOptions) -> Result<String, ClientError> {
        let Held([chain, _, bundle]) = self.held(from)?;
        fetch_crl(&from.server, &chain, &bundle)
    }

    fn place(&self) -> Result<Place<'_>, ClientError> {
        let TlsOptions { certificate, key, password, .. } = &self.options;
        Ok(match (certificate, key) {
            (Material::Path(certificate), Some(Material::Path(key))) => {
                Place::Pair { certificate, key }
            }
            (Material::Path(path), None) if is_store(&read(certificate)?) => {
                Place::Store { path, password: password.as_ref().map_or("", |it| it.as_str()) }
            }
            (Material::Path(path), None) => Place::OneFile(path),
            (Material::Bytes(_), _) | (Material::Path(_), Some(Material::Bytes(_))) => {
                Place::Memory
            }
        })
    }

    fn held(&self, from: &RenewalOptions) -> Result<Held, ClientError> {
        let TlsOptions { certificate, key, password, ca, .. } = &self.options;
        if let Place::Pair { certificate, key } = self.place()? {
            NodeFiles::at(certificate, key).finish().map_err(ClientError::Key)?;
        }
        let own = read(certificate)?;
        let (chain, own_key) = if is_store(&own) {
            let password = password.as_ref().map_or("", |password| password.as_str());
            let pair = pkcs12::read(&own, password).map_err(ClientError::Key)?;
            (pair.chain_pem.into(), pair.key_pem)
        } else {
            (text(&own)?, text(&own)?)
        };
        let key = match key {
            Some(key) => text(&read(key)?)?,
            None => own_key,
        };
        let bundle = text(&read(ca)?)?;
        let bundle = match &from.fingerprint {
            Some(pinned) => pinned_bundle(&bundle, pinned)?,
            None => bundle,
        };
        Ok(Held([chain, key, bundle]))
    }

    /// Files for a key that waits for its certificate; `None`: it waits in memory.
    fn waiting(&self) -> Result<Option<NodeFiles>, ClientError> {
        Ok(match self.place()? {
            Place::Pair { certificate, key } => Some(NodeFiles::at(certificate, key)),
            Place::OneFile(path) | Place::Store { path, .. } => {
                Some(NodeFiles::at(path, &suffixed(path, ".key")))
            }
            Place::Memory => None,
        })
    }

    fn pending_key(&mut self) -> Result<NodeKey, ClientError> {
        if let Some(files) = self.waiting()? {
            return files.pending_key().map_err(ClientError::Key);
        }
        let known = self.pending.as_ref().and_then(|key| NodeKey::from_pem(&key.pem()));
        let key = match known {
            Some(key) => key,
            None => NodeKey::generate().map_err(ClientError::Key)?,
        };
        self.pending = NodeKey::from_pem(&key.pem());
        Ok(key)
    }

    fn drop_pending(&mut self) -> Result<(), ClientError> {
        self.pending = None;
        match self.waiting()? {
            Some(files) => files.drop_pending().map_err(ClientError::Key),
            None => Ok(()),
        }
    }

    fn install(
        &mut self,
        chain_pem: &str,
        key: &NodeKey,
    ) -> Result<Option<TlsOptions>, ClientError> {
        let mut changed = None;
        let installed = match self.place()? {
            Place::Pair { certificate, key } => {
                return NodeFiles::at(certificate, key)
                    .install(chain_pem, None)
                    .map(|()| None)
                    .map_err(ClientError::Key);
            }
            Place::OneFile(path) => {
                let both = Zeroizing::new([chain_pem, key.pem().as_str()].concat());
                files::replace(path, both.as_str(), Readers::Owner)
            }
            Place::Store { path, password } => pkcs12::write(chain_pem, &key.pem(), password)
                .and_then(|store| files::replace(path, &*store, Readers::Owner)),
            Place::Memory => {
                let bytes = |text: &str| Material::Bytes(text.as_bytes().to_vec().into());
                let (certificate, key) = (bytes(chain_pem), Some(bytes(&key.pem())));
                changed = Some(TlsOptions { certificate, key, ..self.options.clone() });
                Ok(())
            }
        };
        installed.map_err(ClientError::Key)?;
        self.drop_pending()?;
        Ok(changed)
    }
}

/// The bundle with no other root than the pinned one.
fn pinned_bundle(pem: &str, pinned: &[u8; 32]) -> Result<Zeroizing<String>, ClientError> {
    let unusable = |_| ClientError::Own("its CA bundle is not PEM".into());
    let bundle: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(unusable)?;
    let is_root = |der: &CertificateDer<'_>| {
        let decoded = X509Certificate::from_der(der);
        decoded.is_ok_and(|(_, certificate)| vouches_for_itself(&certificate))
    };
    let is_pinned = |der: &CertificateDer<'_>| sha256(der) == *pinned;
    if !bundle.iter().any(is_pinned) {
        let why = "mesh:gossip:tls:caPath holds no CA with the fingerprint of \
                   mesh:gossip:bootstrap:caFingerprint";
        return Err(ClientError::Own(why.into()));
    }
    let mut kept = Zeroizing::new(String::new());
    for der in bundle.iter().filter(|der| is_pinned(der) || !is_root(der)) {
        let body = BASE64_STANDARD.encode(der);
        kept.push_str("-----BEGIN CERTIFICATE-----\n");
        kept.push_str(&body);
        kept.push_str("\n-----END CERTIFICATE-----\n");
    }
    Ok(kept)
}

fn is_store(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x30)
}

fn read(material: &Material) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    let path = match material {
        Material::Bytes(bytes) => return Ok(bytes.clone()),
        Material::Path(path) => path,
    };
    let unreadable = |error| ClientError::Own(format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    // Reserved up front: a buffer that grows would leave copies of a key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.min(MAX_FILE) as usize + 64));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Result<Zeroizing<String>, ClientError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ClientError::Own("it is not PEM".into()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
