//! The verbs that work on an authority's directory.
//!
//! Invariant: each opens the directory, does one thing that the ledger holds, and tells it.

use std::time::Duration;

use mesh_gossip::bootstrap::{
    CaValidity, CertificateAuthority, NodeFiles, REVOCATION_LIST, ROOT_KEY, Registrar, Subject,
    TRUST_BUNDLE, Target, inspect as looks, replace_public, room_for_secret, wall, write_secret,
};
use mesh_gossip::tls::identity::RESERVED_ROLES;
use serde_json::json;

use super::options::{CrlArgs, InitArgs, InspectArgs, IssueArgs, RevokeArgs, TokenArgs};
use super::{
    BootstrapError, NodeSettings, existing, full, password, print, print_settings, say, span, warn,
};
use crate::say::tell;

/// Role of people who operate a mesh.
const OPERATOR: &str = "operator";
/// So long before the end of the issuing CA its owner is told.
const END_IS_NEAR: Duration = Duration::from_secs(120 * 86_400);

pub(super) fn init(args: &InitArgs) -> Result<(), BootstrapError> {
    let root = span(args.days);
    let validity = CaValidity { root, issuing: root.min(CaValidity::default().issuing) };
    let authority =
        CertificateAuthority::create(&args.trust_domain, &args.cluster, wall(), validity)?;
    authority.write(&args.dir, existing(args.force))?;
    let dir = args.dir.display();
    tell!("wrote the authority of cluster {} to {dir}", args.cluster);
    tell!("its root key ({ROOT_KEY}) signs no node: move it offline");
    tell!("its fingerprint, which joining nodes need: {}", authority.fingerprint()?);
    print(&json!({ "mesh": { "gossip": {
        "clusterId": authority.cluster(),
        "tls": {
            "caPath": full(&args.dir.join(TRUST_BUNDLE))?,
            "trustDomain": authority.trust_domain(),
        },
    }}}))
}

/// Opens a directory and tells what is loose about it.
pub(super) fn open(
    dir: &std::path::Path,
    echo: Option<fn(&str)>,
) -> Result<Registrar, BootstrapError> {
    let registrar = Registrar::open(dir, echo)?;
    warn(CertificateAuthority::warnings(dir));
    let left = registrar.authority().validity_left(wall());
    if left < END_IS_NEAR {
        let days = left.as_secs() / 86_400;
        warn([format!("the issuing CA ends in {days} days, and every certificate with it")]);
    }
    Ok(registrar)
}

pub(super) fn token(args: &TokenArgs) -> Result<(), BootstrapError> {
    reserved(&args.role)?;
    let registrar = open(&args.dir, None)?;
    let validity = args.lifetime.unwrap_or_else(|| span(args.days));
    // A file that cannot be written should not cost a token.
    if let Some(path) = &args.out {
        room_for_secret(path)?;
    }
    let token = registrar.token(&args.node, &args.role, args.ttl, validity, wall())?;
    tell!(
        "token {} lets {} join once within {} s; on the node:\n  omnirelay mesh bootstrap join \
         --server HOST:17420 \\\n    --ca-fingerprint {} \\\n    --node {} --token-file FILE --out \
         DIR",
        token.id(),
        args.node,
        args.ttl.as_secs(),
        registrar.authority().fingerprint()?,
        args.node,
    );
    match &args.out {
        Some(path) => {
            write_secret(path, token.text())?;
            tell!("wrote {}", path.display());
            Ok(())
        }
        None => say(token.text()),
    }
}

pub(super) fn issue(args: &IssueArgs) -> Result<(), BootstrapError> {
    let role = args.role.as_deref().unwrap_or(OPERATOR);
    if !args.operator {
        reserved(role)?;
    }
    let password = password(args.pkcs12_password_file.as_ref())?;
    let registrar = open(&args.dir, None)?;
    let files = NodeFiles::below(&args.out, &args.node);
    // What cannot be written should not be entered in the ledger.
    if !args.force
        && let Some(path) = [&files.certificate, &files.key].into_iter().find(|path| path.exists())
    {
        return Err(BootstrapError::Exists(path.clone()));
    }
    let subject = Subject::new(&args.node, role);
    let issued = registrar.issue(&subject, wall(), span(args.days))?;
    issued.write(&args.out, existing(args.force))?;
    tell!("wrote {} (serial {})", files.certificate.display(), issued.serial);
    tell!("wrote {}", files.key.display());
    if let Some(password) = password {
        files.write_pkcs12(&password)?;
        tell!("wrote {}", files.pkcs12.display());
    }
    if args.operator {
        return Ok(());
    }
    let authority = registrar.authority();
    print_settings(&NodeSettings {
        node: &args.node,
        role,
        cluster: authority.cluster(),
        trust_domain: authority.trust_domain(),
        certificate: &files.certificate,
        key: &files.key,
        ca: &args.dir.join(TRUST_BUNDLE),
    })
}

fn reserved(role: &str) -> Result<(), BootstrapError> {
    match RESERVED_ROLES.into_iter().find(|reserved| *reserved == role) {
        Some(role) => Err(BootstrapError::Reserved(role)),
        None => Ok(()),
    }
}

pub(super) fn revoke(args: &RevokeArgs) -> Result<(), BootstrapError> {
    let target = match (&args.serial, &args.node) {
        (Some(serial), _) => Target::Serial(*serial),
        (None, Some(node)) => Target::Node(node),
        // The parser demands one of the two.
        (None, None) => return Ok(()),
    };
    let registrar = open(&args.dir, None)?;
    let revoked = registrar.revoke(target, args.reason.into(), wall())?;
    let list = args.dir.join(REVOCATION_LIST);
    tell!("wrote {} (number {})", list.display(), revoked.crl_number);
    if revoked.serials.is_empty() {
        tell!("there was no live certificate; the node gets no other one unasked");
        return Ok(());
    }
    let serials: Vec<String> = revoked.serials.iter().map(ToString::to_string).collect();
    say(&serials.join("\n"))
}

pub(super) fn crl(args: &CrlArgs) -> Result<(), BootstrapError> {
    let list = open(&args.dir, None)?.crl(wall())?;
    match &args.out {
        Some(path) => {
            // An agent may be reading it: it finds this list or the one before, and never half of one.
            replace_public(path, &list)?;
            tell!("wrote {}", path.display());
            Ok(())
        }
        None => say(&list),
    }
}

pub(super) fn inspect(args: &InspectArgs) -> Result<(), BootstrapError> {
    let password = password(args.password_file.as_ref())?;
    let look = |path: &std::path::PathBuf| match &password {
        Some(password) => looks::store(path, password, wall()),
        None => looks::path(path, wall()),
    };
    let findings = args.paths.iter().map(look).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        return print(&json!(findings));
    }
    let texts: Vec<String> = findings.iter().map(looks::Findings::text).collect();
    say(&texts.concat())
}
