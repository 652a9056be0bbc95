//! The verbs that run on a node: `join` and `renew`.
//!
//! Invariant: a key that somebody was asked to certify lies in a file already, so that whatever is
//! interrupted is simply done again.

use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mesh_gossip::bootstrap::client::{
    ClientError, JoinOptions, Obtained, Present, fetch_crl, join as ask, lifetime,
    renew as exchange,
};
use mesh_gossip::bootstrap::{
    NodeFiles, NodeKey, Refusal, Renewer, Token, random_word, replace_public, wall,
};
use mesh_gossip::settings::{LogFormat, LogOptions};
use tracing::level_filters::LevelFilter;
use zeroize::Zeroizing;

use super::options::{JoinArgs, RenewArgs};
use super::{BootstrapError, NodeSettings, password, print_settings, warn};
use crate::logging;
use crate::say::tell;
use crate::signals::Stop;

/// A token is shorter.
const MAX_TOKEN_FILE: u64 = 1_024;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a waiting daemon looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(60);

pub(super) fn join(args: &JoinArgs) -> Result<(), BootstrapError> {
    let files = NodeFiles::below(&args.out, &args.node);
    files.finish()?;
    if files.certificate.exists() && !args.force {
        return Err(BootstrapError::Exists(files.certificate));
    }
    let password = password(args.pkcs12_password_file.as_ref())?;
    let token = read_token(&args.token_file)?;
    let options = JoinOptions {
        server: args.server.clone(),
        fingerprint: args.ca_fingerprint,
        trust_domain: args.trust_domain.clone(),
        cluster: args.cluster.clone(),
        node_id: args.node.clone(),
    };
    let obtained = persist(Instant::now() + args.timeout, || {
        with_pending_key(&files, |key| ask(&options, &token, key))
    })?;
    files.install(&obtained.chain_pem, Some(&obtained.bundle_pem))?;
    tell!("wrote {} (serial {})", files.certificate.display(), obtained.serial);
    tell!("wrote {} and {}", files.key.display(), files.ca.display());
    if let Some(password) = password {
        files.write_pkcs12(&password)?;
        tell!("wrote {}", files.pkcs12.display());
    }
    let identity = &obtained.identity;
    print_settings(&NodeSettings {
        node: &identity.node_id,
        role: &identity.role,
        cluster: &identity.cluster,
        trust_domain: &identity.trust_domain,
        certificate: &files.certificate,
        key: &files.key,
        ca: &files.ca,
    })
}

/// From a file or stdin: an argument would show it to everybody on the machine.
fn read_token(path: &Path) -> Result<Token, BootstrapError> {
    let fault = |error| BootstrapError::File(path.to_owned(), error);
    let mut text = Zeroizing::new(String::with_capacity(MAX_TOKEN_FILE as usize + 1));
    if path == Path::new("-") {
        std::io::stdin().take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(fault)?;
    } else {
        let file = std::fs::File::open(path).map_err(fault)?;
        file.take(MAX_TOKEN_FILE).read_to_string(&mut text).map_err(fault)?;
    }
    Token::parse(&text).ok_or_else(|| BootstrapError::NoToken(path.to_owned()))
}

/// Asks with the pending key. One that has a certificate of no use is replaced, once.
fn with_pending_key(
    files: &NodeFiles,
    mut ask: impl FnMut(&NodeKey) -> Result<Obtained, ClientError>,
) -> Result<Obtained, ClientError> {
    let key = files.pending_key().map_err(ClientError::Key)?;
    match ask(&key) {
        Err(ClientError::Refused(Refusal::KnownKey)) => {
            files.drop_pending().map_err(ClientError::Key)?;
            ask(&files.pending_key().map_err(ClientError::Key)?)
        }
        other => other,
    }
}

/// Tries again what may succeed a moment later.
fn persist(
    deadline: Instant,
    mut attempt: impl FnMut() -> Result<Obtained, ClientError>,
) -> Result<Obtained, ClientError> {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt() {
            Err(error) if error.is_transient() && Instant::now() + pause < deadline => {
                thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

pub(super) fn renew(args: &RenewArgs) -> Result<(), BootstrapError> {
    let mut files = NodeFiles::below(&args.dir, &args.node);
    if let Some(ca) = &args.ca {
        files.ca.clone_from(ca);
    }
    warn(files.warning());
    if args.daemon {
        return daemon(args, &files);
    }
    let obtained = renew_once(args, &files)?;
    tell!("wrote {} (serial {})", files.certificate.display(), obtained.serial);
    if let Some(path) = &args.crl {
        refresh_crl(args, &files, path)?;
        tell!("wrote {}", path.display());
    }
    Ok(())
}

fn renew_once(args: &RenewArgs, files: &NodeFiles) -> Result<Obtained, BootstrapError> {
    let password = password(args.pkcs12_password_file.as_ref())?;
    let password = password.as_deref().map(String::as_str);
    let [chain, key, bundle] = files.read_with(password)?;
    let present = Present { chain_pem: &chain, key_pem: &key, bundle_pem: &bundle };
    let obtained = with_pending_key(files, |key| exchange(&args.server, &present, key))?;
    files.install(&obtained.chain_pem, None)?;
    if let Some(password) = password {
        files.write_pkcs12(password)?;
    }
    Ok(obtained)
}

fn refresh_crl(args: &RenewArgs, files: &NodeFiles, path: &Path) -> Result<(), BootstrapError> {
    let password = password(args.pkcs12_password_file.as_ref())?;
    let [chain, _, bundle] = files.read_with(password.as_deref().map(String::as_str))?;
    let list = fetch_crl(&args.server, &chain, &bundle)?;
    replace_public(path, &list)?;
    Ok(())
}

/// Renews whenever it is time, until a signal comes or the authority refuses for good.
fn daemon(args: &RenewArgs, files: &NodeFiles) -> Result<(), BootstrapError> {
    let log = LogOptions { format: LogFormat::Json, level: LevelFilter::INFO };
    let _level = logging::start(log).map_err(BootstrapError::Logging)?;
    let stop = Stop::on_signals().map_err(BootstrapError::Process)?;
    let password = password(args.pkcs12_password_file.as_ref())?;
    let [chain, _, _] = files.read_with(password.as_deref().map(String::as_str))?;
    let (not_before, not_after) = lifetime(&chain)?;
    let mut renewer = Renewer::new(not_before, not_after, random_word()?);
    let mut crl_due = Instant::now();
    tracing::info!(wait_s = renewer.wait(wall()).as_secs(), "renewal is scheduled");
    while !stop.is_asked() {
        if let Some(path) = &args.crl
            && Instant::now() >= crl_due
        {
            crl_due = Instant::now() + args.crl_every;
            if let Err(error) = refresh_crl(args, files, path) {
                tracing::warn!(%error, "the revocation list could not be fetched");
            }
        }
        let wait = renewer.wait(wall());
        if !wait.is_zero() {
            // Wall time may be set meanwhile: it is looked at again each minute.
            let mut until = Instant::now() + wait.min(LOOK_EVERY);
            if args.crl.is_some() {
                until = until.min(crl_due);
            }
            stop.wait_until(Some(until));
            continue;
        }
        match renew_once(args, files) {
            Ok(obtained) => {
                // From here on, not from its backdated start: a short life is never due at once.
                renewer = Renewer::new(wall(), obtained.not_after, random_word()?);
                let wait_s = renewer.wait(wall()).as_secs();
                tracing::info!(serial = %obtained.serial, wait_s, "renewed");
            }
            Err(BootstrapError::Client(ClientError::Refused(refusal)))
                if refusal != Refusal::Throttled =>
            {
                return Err(ClientError::Refused(refusal).into());
            }
            Err(error) => {
                let pause_s = renewer.failed(wall(), random_word()?).as_secs();
                if renewer.is_alarming(wall()) {
                    tracing::error!(%error, pause_s, "the certificate nears its end unrenewed");
                } else {
                    tracing::warn!(%error, pause_s, "not renewed");
                }
            }
        }
    }
    Ok(())
}
