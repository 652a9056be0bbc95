//! Who certifies the agents of a run, and whom they trust: one CA, or an old and a new one.
//!
//! Invariant: an agent that is down when its papers change starts with the new ones.

use std::time::{Duration, SystemTime};

use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Issued, Subject};
use mesh_gossip::options::{Material, TlsOptions};

use super::RealError;
use crate::plan::{Plan, Scenario};

/// Name of the mesh.
pub(super) const CLUSTER: &str = "hyperscale";
pub(super) const TRUST_DOMAIN: &str = "hyperscale.local";
/// Longer than any run.
pub(super) const VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// What every agent has at the moment.
pub(super) struct Papers {
    authorities: Vec<CertificateAuthority>,
    held: Vec<Held>,
}

struct Held {
    issued: Issued,
    /// Which CA issued it.
    by: u8,
    /// A bit for each CA that is trusted.
    trusts: u8,
}

impl Papers {
    /// A certificate for each, of the first CA, which all trust.
    pub(super) fn mint(plan: &Plan) -> Result<Self, RealError> {
        let renewing = matches!(plan.scenario, Scenario::Certificates | Scenario::Drill);
        let count = if renewing { 2 } else { 1 };
        let create = |_| {
            let now = SystemTime::now();
            CertificateAuthority::create(TRUST_DOMAIN, CLUSTER, now, CaValidity::default())
        };
        let authorities: Vec<_> = (0..count).map(create).collect::<Result<_, _>>()?;
        let first = |node| Ok(Held { issued: issue(&authorities[0], node)?, by: 0, trusts: 1 });
        let held = (0..plan.nodes).map(first).collect::<Result<_, RealError>>()?;
        Ok(Self { authorities, held })
    }

    /// A new certificate of this CA.
    pub(super) fn certify(&mut self, node: usize, by: u8) -> Result<(), RealError> {
        let issued = issue(&self.authorities[usize::from(by)], node)?;
        self.held[node] = Held { issued, by, trusts: self.held[node].trusts };
        Ok(())
    }

    /// Trusts these CAs alone; says whether that is a change.
    pub(super) fn trust(&mut self, node: usize, roots: u8) -> bool {
        let before = std::mem::replace(&mut self.held[node].trusts, roots);
        before != roots
    }

    /// As an agent is given them.
    pub(super) fn tls_options(&self, node: usize) -> TlsOptions {
        let Held { issued, by, trusts } = &self.held[node];
        let own = issued.tls_options(&self.authorities[usize::from(*by)]);
        let trusted = self.authorities.iter().enumerate();
        let bundle: String = trusted
            .filter(|(number, _)| trusts & (1 << number) != 0)
            .map(|(_, authority)| authority.bundle_pem())
            .collect();
        TlsOptions { ca: Material::Bytes(bundle.into_bytes().into()), ..own }
    }
}

pub(super) fn name(node: usize) -> String {
    format!("node-{node}")
}

/// What members say that they run: this build, or a later one that is rolled out.
pub(super) fn version(number: u8) -> String {
    let this = env!("CARGO_PKG_VERSION");
    if number == 0 { this.into() } else { format!("{this}+{number}") }
}

fn issue(authority: &CertificateAuthority, node: usize) -> Result<Issued, RealError> {
    let subject = Subject::new(&name(node), "worker");
    Ok(authority.issue(&subject, SystemTime::now(), VALIDITY)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_and_certificate_change_apart_from_each_other() {
        let plan = Plan::new(Scenario::Certificates, 2);
        let mut papers = Papers::mint(&plan).expect("minted");
        let bytes = |material: &Material| match material {
            Material::Bytes(bytes) => bytes.to_vec(),
            other => panic!("{other:?} are no bytes"),
        };
        let before = papers.tls_options(1);
        assert!(!papers.trust(1, 1), "as before");
        assert!(papers.trust(1, 3));
        let both = papers.tls_options(1);
        assert_eq!(bytes(&before.certificate), bytes(&both.certificate));
        assert!(bytes(&both.ca).len() > bytes(&before.ca).len());
        papers.certify(1, 1).expect("issued");
        papers.trust(1, 2);
        let after = papers.tls_options(1);
        assert_ne!(bytes(&after.certificate), bytes(&both.certificate));
        assert_ne!(bytes(&after.ca), bytes(&before.ca));
        assert_eq!(bytes(&papers.tls_options(0).ca), bytes(&before.ca), "nobody else's");
    }
}
