//! Certificates for tests: good ones by the bootstrap tooling, bad ones by hand.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, SigningKey,
};
use rustls::time_provider::TimeProvider;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::bootstrap::{
    CaValidity, CertificateAuthority, Existing, ISSUING_CERTIFICATE, ISSUING_KEY, Issued, Subject,
};
use crate::options::{Material, TlsOptions};
use crate::tls::credentials::Credentials;
use crate::tls::notary::Notary;
use crate::tls::trust::Trust;
use crate::tls::verifier::MeshVerifier;

pub(crate) const TRUST_DOMAIN: &str = "td.test";
pub(crate) const CLUSTER: &str = "c1";
pub(crate) const ROLE: &str = "worker";
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub(crate) fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
}

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct Still(pub(crate) SystemTime);

impl TimeProvider for Still {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0))
    }
}

pub(crate) fn mesh_ca() -> CertificateAuthority {
    CertificateAuthority::create(TRUST_DOMAIN, CLUSTER, start(), CaValidity::default()).unwrap()
}

pub(crate) fn issue(ca: &CertificateAuthority, node_id: &str) -> Issued {
    ca.issue(&Subject::new(node_id, ROLE), start(), DAY).unwrap()
}

pub(crate) fn credentials_at(
    ca: &CertificateAuthority,
    node_id: &str,
    now: SystemTime,
) -> Arc<Credentials> {
    let options = issue(ca, node_id).tls_options(ca);
    let clock = Arc::new(Still(now));
    Arc::new(Credentials::load_with_clock(&options, CLUSTER, node_id, ROLE, clock).unwrap())
}

/// Credentials of an agent that shares its process with others.
pub(crate) fn credentials_beside(
    notary: &Arc<Notary>,
    options: &TlsOptions,
    node_id: &str,
) -> Arc<Credentials> {
    let clock = Arc::new(Still(start()));
    let name = [CLUSTER, node_id, ROLE];
    Arc::new(Credentials::load_keeping(options, name, clock, &[], Arc::clone(notary)).unwrap())
}

pub(crate) fn credentials(ca: &CertificateAuthority, node_id: &str) -> Arc<Credentials> {
    credentials_at(ca, node_id, start())
}

/// A CA that signs whatever it is given.
pub(crate) struct LaxCa {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
}

pub(crate) struct LaxLeaf {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) key_pem: String,
}

impl LaxCa {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem }
    }

    /// A good leaf of this name, spoilt by `edit`.
    pub(crate) fn leaf(&self, uri: &str, edit: impl FnOnce(&mut CertificateParams)) -> LaxLeaf {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![san_uri(uri)];
        params.not_before = start().into();
        params.not_after = (start() + DAY).into();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        LaxLeaf {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// An issuing CA below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (der, pem) = (certificate.der().clone(), certificate.pem());
        Self { issuer: Issuer::new(params, key), der, pem }
    }

    /// A revocation list of this CA, number `number`, good for a day, spoilt by `edit`.
    pub(crate) fn list(
        &self,
        number: u64,
        revoked: &[&CertificateDer<'_>],
        edit: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> Vec<u8> {
        let revoked_certs = revoked.iter().map(|der| RevokedCertParams {
            serial_number: serial_of(der),
            revocation_time: start().into(),
            reason_code: None,
            invalidity_date: None,
        });
        let mut params = CertificateRevocationListParams {
            this_update: start().into(),
            next_update: (start() + DAY).into(),
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        edit(&mut params);
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    /// `list` with what is signed edited and signed again.
    pub(crate) fn sealed_anew(&self, list: &[u8], edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (_, parsed) = x509_parser::parse_x509_crl(list).unwrap();
        let before = parsed.tbs_cert_list.as_ref().to_vec();
        let at = list.windows(before.len()).position(|window| window == before).unwrap();
        let rest = &list[at + before.len()..];
        let algorithm = &rest[..2 + usize::from(rest[1])];
        let mut signed = before;
        edit(&mut signed);
        let signature = [vec![0], self.issuer.key().sign(&signed).unwrap()].concat();
        let seal = value(0x03, &signature);
        value(0x30, &[signed, algorithm.to_vec(), seal].concat())
    }

    pub(crate) fn verifier(&self) -> MeshVerifier {
        let trust = Trust::of_bundle(vec![self.der.clone()]).unwrap();
        MeshVerifier::new(trust, TRUST_DOMAIN, CLUSTER, Some("me"))
    }
}

/// A revocation list of the authority's issuing CA by the system's clock; serial numbers as
/// [`Issued`] shows them.
pub(crate) fn list_of(ca: &CertificateAuthority, number: u64, serials: &[&str]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    ca.write(directory.path(), Existing::Refuse).unwrap();
    let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let key = KeyPair::from_pem(&read(ISSUING_KEY)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read(ISSUING_CERTIFICATE), key).unwrap();
    let byte = |hex: &[u8]| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: serial.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>().into(),
        revocation_time: SystemTime::now().into(),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: (SystemTime::now() - Duration::from_secs(60)).into(),
        next_update: (SystemTime::now() + DAY).into(),
        crl_number: number.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).unwrap().der().to_vec()
}

/// A DER value.
fn value(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len() as u16;
    let header = if length < 0x80 {
        vec![tag, length as u8]
    } else {
        vec![tag, 0x82, (length >> 8) as u8, length as u8]
    };
    [&header, contents].concat()
}

fn serial_of(der: &CertificateDer<'_>) -> SerialNumber {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    SerialNumber::from_slice(certificate.raw_serial())
}

pub(crate) fn san_uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

pub(crate) fn uri_of(node_id: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/mesh/{CLUSTER}/{ROLE}/{node_id}")
}

pub(crate) fn bytes(text: &str) -> Material {
    Material::Bytes(text.as_bytes().to_vec().into())
}
