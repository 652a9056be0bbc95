//! Certificate revocation lists: what the issuing CA has withdrawn.
//!
//! Invariant: a list is signed by the issuing key, covers all that it issued and names no
//! distribution point: verifiers of the mesh take neither partitioned nor delta lists
//! (rule S-16).

use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bootstrap::BootstrapError;
use crate::bootstrap::authority::{CertificateAuthority, date};
use crate::bootstrap::ledger::{Ledger, Reason};

/// How long a list is good for.
pub const CRL_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// An expired certificate stays listed for so long: clocks differ, and RFC 5280 wants every
/// revocation on at least one list after the certificate's end.
const LISTED_AFTER_END: Duration = Duration::from_secs(8 * 86_400);

impl CertificateAuthority {
    /// Signs the list of what `ledger` holds as revoked.
    pub(crate) fn sign_crl(
        &self,
        ledger: &Ledger,
        number: u64,
        now: SystemTime,
        next_update: SystemTime,
    ) -> Result<String, BootstrapError> {
        let listed_s = seconds(now)?.saturating_sub(LISTED_AFTER_END.as_secs());
        let mut revoked_certs = Vec::new();
        for (certificate, revocation) in ledger.certificates() {
            let Some(revocation) = revocation else { continue };
            if certificate.not_after_s < listed_s {
                continue;
            }
            revoked_certs.push(RevokedCertParams {
                serial_number: SerialNumber::from_slice(certificate.serial.as_bytes()),
                revocation_time: date(moment(revocation.at_s)?)?,
                reason_code: reason_code(revocation.reason),
                invalidity_date: None,
            });
        }
        let params = CertificateRevocationListParams {
            this_update: date(now)?,
            next_update: date(next_update)?,
            crl_number: SerialNumber::from_slice(significant(&number.to_be_bytes())),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::PreSpecified(self.issuing_key_identifier()?),
        };
        Ok(params.signed_by(&self.issuer()?)?.pem()?)
    }

    fn issuing_key_identifier(&self) -> Result<Vec<u8>, BootstrapError> {
        let (_, certificate) = X509Certificate::from_der(&self.issuing_der)
            .map_err(|_| rcgen::Error::CouldNotParseCertificate)?;
        let identifier = certificate.extensions().iter().find_map(|extension| {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            }
        });
        identifier.ok_or_else(|| rcgen::Error::CouldNotParseCertificate.into())
    }
}

/// RFC 5280: an entry without the extension stands for "unspecified".
fn reason_code(reason: Reason) -> Option<RevocationReason> {
    match reason {
        Reason::Unspecified => None,
        Reason::KeyCompromise => Some(RevocationReason::KeyCompromise),
        Reason::Superseded => Some(RevocationReason::Superseded),
        Reason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
    }
}

/// Without leading zeros, of which DER allows none.
fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros.min(bytes.len() - 1)..]
}

/// Seconds after 1970.
pub(super) fn seconds(time: SystemTime) -> Result<u64, BootstrapError> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| BootstrapError::Time)?;
    Ok(since.as_secs())
}

/// The moment so many seconds after 1970.
pub(super) fn moment(seconds: u64) -> Result<SystemTime, BootstrapError> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(BootstrapError::Time)
}
