//! Members whose certificates name them by DNS, of an authority that is no mesh's own (rule S-8).

use mesh_gossip::options::{AgentOptions, Material};
use mesh_gossip::tls::identity::{Identity, NameRule};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};

use crate::mesh::trio::CLUSTER;
use crate::mesh::{Authority, Spec, Trio, on_both_backends, until};

const DOMAIN: &str = "corp.example";

/// A company's authority: it may issue names below one domain, and knows nothing of meshes.
struct Company {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Company {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "company");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(format!("mesh.{DOMAIN}"))],
            excluded_subtrees: Vec::new(),
        });
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// The options of a member whose certificate has these names.
    fn certify(&self, options: AgentOptions, names: Vec<SanType>) -> AgentOptions {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let bytes = |text: String| Material::Bytes(text.into_bytes().into());
        let mut options = options;
        options.tls.certificate = bytes(leaf.pem());
        options.tls.key = Some(bytes(key.serialize_pem()));
        options.tls.ca = bytes(self.pem.clone());
        options.tls.trust_domain = DOMAIN.into();
        options.tls.identity = NameRule::Dns;
        options
    }

    /// A member under its own name.
    fn member(&self, options: AgentOptions) -> AgentOptions {
        let (role, node) = (options.role.clone(), options.node_id.clone());
        let name = Identity::by(NameRule::Dns, DOMAIN, CLUSTER, &role, &node).unwrap().name();
        self.certify(options, vec![SanType::DnsName(name.try_into().unwrap())])
    }
}

/// Rule S-8: three such members are a mesh. Who dials it under a SPIFFE name of the same authority is
/// refused by its identity, although its chain holds.
#[test]
fn a_mesh_goes_by_dns_names() {
    on_both_backends(|stage| {
        let company = Company::new();
        let authority = Authority::of(CLUSTER);
        let member = |options| company.member(options);
        let trio = Trio::certified(stage, stage.network(), authority, &member);
        trio.wait_until_whole();

        let mut stranger = trio.authority.options("stranger", "worker");
        let uri = Identity::new(DOMAIN, CLUSTER, "worker", "stranger").unwrap().name();
        stranger = company.certify(stranger, vec![SanType::URI(uri.try_into().unwrap())]);
        stranger.tls.identity = NameRule::Spiffe;
        let stranger = Spec::new(stranger).seed(trio.doors[0].address()).start(stage.backend);
        // It refuses the member that it dials for the same reason, and says so before it shows itself.
        until("the reason is counted", || stranger.metrics().handshakes_failed("identity") > 0);
        for host in trio.all() {
            assert!(host.sees("stranger").is_none(), "{} lists it", host.name());
        }
        assert!(!stranger.agent.is_joined());
        assert_eq!(stranger.inspect().links.opened, 0, "it never opened a sealed datagram");

        // The other way round: a member dials the stranger.
        let dialler = &trio.hosts[1];
        dialler.agent.join(vec![stranger.agent.local_address()]).unwrap();
        until("a member counts it too", || dialler.metrics().handshakes_failed("identity") > 0);
        assert!(trio.hosts.iter().all(|host| host.alive() == 3));
    });
}

/// What the rule asks of our own certificate is told at the start, with key and names.
#[test]
fn a_certificate_of_the_other_rule_does_not_start() {
    on_both_backends(|stage| {
        let company = Company::new();
        let authority = Authority::of(CLUSTER);
        let mut by_dns = company.member(authority.options("mike", "gateway"));
        by_dns.tls.identity = NameRule::Spiffe;
        let mut by_uri = authority.options("mike", "gateway");
        by_uri.tls.identity = NameRule::Dns;
        for (options, found) in [(by_dns, "no URI name"), (by_uri, "a URI name")] {
            let error =
                Spec::new(options).try_start(stage.backend).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(found), "{error}");
        }
    });
}
