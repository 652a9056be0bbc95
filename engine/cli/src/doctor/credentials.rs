//! Our certificate as a peer would judge it, and the lists that peers are judged by.
//!
//! Invariant: credentials come out only if an agent would start with them.

use std::time::Duration;

use mesh_gossip::options::AgentOptions;
use mesh_gossip::tls::credentials::Credentials;

use super::report::Finding;

const CERTIFICATE: &str = "certificate";
const LIST: &str = "revocation list";
/// Renewal comes after two thirds of a certificate's life; whoever has less than this part of it
/// left was not renewed.
const LAST_PART: u64 = 5;

/// Loads them as an agent does.
pub(super) fn check(options: &AgentOptions) -> (Option<Credentials>, Vec<Finding>) {
    let cluster = &options.protocol.cluster_id;
    let loaded = Credentials::load(&options.tls, cluster, &options.node_id, &options.role);
    let credentials = match loaded {
        Ok(credentials) => credentials,
        Err(error) => {
            let fix = "issue another one: omnirelay mesh bootstrap issue";
            return (None, vec![Finding::fail_of(CERTIFICATE, &error.to_string(), fix)]);
        }
    };
    let now = credentials.now().map_or(0, |now| now.as_secs());
    let mut findings = vec![certificate(&credentials, now)];
    for warning in credentials.warnings() {
        findings.push(Finding::warn(
            CERTIFICATE,
            warning,
            "give the owner alone access: chmod 600",
        ));
    }
    findings.extend(lists(options, &credentials, now));
    (Some(credentials), findings)
}

fn certificate(credentials: &Credentials, now: u64) -> Finding {
    let verified = credentials.verified();
    let life = verified.not_after.as_secs().saturating_sub(verified.not_before.as_secs());
    let left = verified.not_after.as_secs().saturating_sub(now);
    let evidence = format!("{}, {} left", verified.identity.name(), span(left));
    if left < life / LAST_PART {
        Finding::warn(CERTIFICATE, evidence, "renew it: omnirelay mesh bootstrap renew")
    } else {
        Finding::pass(CERTIFICATE, evidence)
    }
}

fn lists(options: &AgentOptions, credentials: &Credentials, now: u64) -> Vec<Finding> {
    if !options.tls.revocation.check {
        let evidence = "revoked certificates are accepted: checkCertificateRevocation is false";
        let fix = "set mesh:gossip:tls:checkCertificateRevocation to true";
        return vec![Finding::warn(LIST, evidence, fix)];
    }
    let trust = credentials.verifier().trust().load();
    let grace = options.tls.revocation.grace.as_secs();
    let mut findings: Vec<Finding> = trust
        .revocations()
        .lists()
        .map(|list| {
            let age = span(now.saturating_sub(list.this_update().as_secs()));
            let told = format!("list {} of {} entries is {age} old", list.number(), list.len());
            let fix = "fetch the authority's newest list to mesh:gossip:tls:crlPath";
            match now.checked_sub(list.next_update().as_secs()) {
                None | Some(0) => Finding::pass(LIST, told),
                Some(late) if late < grace => {
                    let evidence = format!(
                        "{told}, its successor has been due for {}; handshakes fail in {}",
                        span(late),
                        span(grace - late)
                    );
                    Finding::warn(LIST, evidence, fix)
                }
                Some(late) => {
                    let evidence = format!(
                        "{told}, its successor has been due for {}: its issuer's certificates are \
                         refused",
                        span(late)
                    );
                    Finding::fail(LIST, evidence, fix)
                }
            }
        })
        .collect();
    if findings.is_empty() {
        let fix = "set mesh:gossip:tls:crlPath, or mesh:gossip:bootstrap:server to fetch it from";
        findings.push(match &options.upkeep.renewal {
            Some(renewal) => {
                Finding::pass(LIST, format!("an agent fetches it from {}", renewal.server))
            }
            None => Finding::warn(LIST, "none at start; only what other members tell counts", fix),
        });
    }
    findings
}

/// Seconds in the largest unit that says something.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", Duration::from_secs(seconds).as_secs() / 86_400),
    }
}
