//! From what people wrote to what can be true.
//!
//! The last gate: each value is fine by itself by now; here they are looked at together, and those
//! that ask for something this build does not do are turned away by name.
//!
//! Invariant: what passes is complete; a refused key never passes in silence.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mesh_gossip_proto::Scope;
use mesh_gossip_proto::batch::Delivery;
use mesh_gossip_proto::config::{Config, Detector, Fanout, Limits};
use zeroize::Zeroizing;

use super::error::{Origin, SettingsError, SettingsErrors, Shown};
use super::keys::{self, Default, Standing};
use super::pile::{Part, invalid};
use super::problem::Problem;
use super::value::{self, Value};
use super::{Note, Settings};
use crate::io::SPIN_MAX;
use crate::options::{
    Advertise, AgentOptions, BackendChoice, ControlOptions, ControlSocket, ControlTls,
    EngineOptions, Material, PeerLabels, RenewalOptions, RevocationOptions, TlsOptions,
    UpkeepOptions,
};

const NO_CERTIFICATE: &str = "Set it to a PEM file (variable MESH_GOSSIP_CERT_PATH), or give the \
                              file as base64 in mesh:gossip:tls:certificateData; `omnirelay mesh \
                              bootstrap` issues certificates.";
const NO_CA: &str = "Set it to the PEM file of the authorities that peers' certificates are \
                     checked against (variable MESH__GOSSIP__TLS__CAPATH).";
const NO_DNS_NAMES: &str = "the bootstrap server issues SPIFFE names alone; use spiffe, or remove \
                            mesh:gossip:bootstrap:server";
const NO_LABEL: &str = "part of a DNS name (mesh:gossip:tls:identity = dns), which it cannot be; write 1 to 63 characters \
                        of a-z 0-9 -, neither first nor last a -";
const NO_UNTRUSTED: &str =
    "every peer is authenticated; remove the key and set mesh:gossip:tls:caPath";
const NOT_LOOPBACK: &str = "a control address off loopback needs mutual TLS; set \
                            mesh:gossip:control:tls:enabled to true, or use 127.0.0.1";
const NO_CONTROL_CERTIFICATE: &str = "there is no certificate that it belongs to; set \
                                      mesh:gossip:control:tls:certificatePath as well, or remove it";

use crate::tls::identity::{Identity, NameRule};
use crate::tls::trust::Pin;

/// The suspicion interval is a promise from so many probe intervals on (rule F-6).
const PROMISED_FROM: u32 = 5;

impl Settings {
    /// Turns the settings into options. Only asked when [`Settings::enabled`].
    ///
    /// # Errors
    /// Everything that contradicts itself, is missing, or is not available in this build.
    pub fn resolve(&self) -> Result<(EngineOptions, AgentOptions), SettingsErrors> {
        let mut errors = self.refusals();
        errors.extend(self.clashes());
        // The protocol knows no places: what was told at its own is not told again.
        const SCOPES: &str = "mesh:gossip:leadership:scopes";
        let about_scopes = |key: String| key.starts_with(SCOPES);
        let told = errors.iter().filter_map(SettingsError::key).any(about_scopes);
        let protocol = self.protocol().map_err(|error| {
            if !(told && error.key().is_some_and(about_scopes)) {
                errors.push(error);
            }
        });
        let protocol = protocol.ok();
        let tls = self.tls(&mut errors);
        let (Some(protocol), Some(tls)) = (protocol, tls) else {
            return Err(SettingsErrors::of(errors));
        };
        let agent = AgentOptions {
            protocol,
            node_id: self.node_id(),
            role: self.required_text("role"),
            region: self.required_text("region"),
            mesh_version: self.required_text("meshVersion"),
            http3_support: self.switch("http3Support"),
            labels: self.pairs("labels").collect(),
            bind: SocketAddr::new(self.address("bindAddress"), self.port("port")),
            advertise: Advertise {
                host: self.text("advertiseHost"),
                port: self.entry("advertisePort").map(|_| self.port("advertisePort")),
            },
            seeds: self.list("seedPeers").collect(),
            seed_file: self.path("seedFile"),
            metadata_refresh: self.span("metadataRefreshPeriod"),
            events: match self.word("events:delivery") {
                "batched" => Delivery::Batched,
                "immediate" => Delivery::Immediate,
                other => unadmitted(other),
            },
            tls,
            control: Some(ControlOptions {
                bind: SocketAddr::new(self.address("control:address"), self.port("control:port")),
                socket: self.control_socket(),
                tls: self.control_tls(),
            }),
            peer_labels: match self.word("metrics:peerLabels") {
                "auto" => PeerLabels::Auto,
                "on" => PeerLabels::On,
                "off" => PeerLabels::Off,
                other => unadmitted(other),
            },
            upkeep: UpkeepOptions { state: self.path("stateDirectory"), renewal: self.renewal() },
        };
        SettingsErrors::check(errors, (self.engine(), agent))
    }

    /// How often certificate files are to be read again.
    pub fn certificate_reload_interval(&self) -> Duration {
        match self.entry("tls:reloadIntervalOverride") {
            Some(_) => self.span("tls:reloadIntervalOverride"),
            None => self.span("certificateReloadInterval"),
        }
    }

    /// Notes that depend on a value, or on several.
    pub(super) fn conditional_notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut note = |name: &'static str, holds: bool, text: &'static str| {
            if let Some(entry) = self.entry(name).filter(|_| holds) {
                notes.push(entry.note(text));
            }
        };
        note(
            "fanout",
            !self.fixed_fanout(),
            "without effect while adaptiveFanout is true; set adaptiveFanout to false",
        );
        let observes = self.detector() == Detector::Observers;
        const NO_GRACE: &str = "without effect: only the detector `observers` has a grace";
        note("grace", !observes, NO_GRACE);
        const NO_RELAYS: &str = "without effect: the detector `observers` asks no relays";
        note("indirectPings", observes, NO_RELAYS);
        note("io:spin", self.span("io:spin") > SPIN_MAX, "a shard spins for a millisecond at most");
        let (checks, lists) =
            (self.switch("tls:checkCertificateRevocation"), self.entry("tls:crlPath").is_some());
        note(
            "tls:checkCertificateRevocation",
            checks && !lists,
            "no revocation list is set, so only those that other members pass on are checked",
        );
        const UNCHECKED: &str = "without effect: tls:checkCertificateRevocation is false";
        note("tls:crlPath", !checks, UNCHECKED);
        note("tls:crlGrace", !checks || !lists, "without effect: no revocation list is checked");
        const UNSERVED: &str = "without effect: control:tls:enabled is false";
        note("control:tls:certificatePath", !self.switch("control:tls:enabled"), UNSERVED);
        note(
            "tls:certificatePath",
            self.secret("tls:certificateData", "tls:certificateDataSecret").is_some(),
            "without effect: certificateData is set and wins",
        );
        notes.extend(self.note_of_the_promise());
        notes
    }

    /// Whether the suspicion interval can be kept; told at the key that breaks it.
    fn note_of_the_promise(&self) -> Option<Note> {
        let config = self.config();
        let set = |names: &[&'static str]| names.iter().find_map(|name| self.entry(name));
        match config.detector {
            Detector::Swim => {
                Some(self.entry("suspicionInterval")?.note(
                    "without effect: the detector `swim` derives the wait from interval alone",
                ))
            }
            Detector::Lifeguard => {
                let short = config.suspicion_interval < config.interval * PROMISED_FROM;
                // The default budget can be undercut without a word about it.
                let entry = set(&["suspicionInterval", "interval"]).filter(|_| short)?;
                Some(entry.note(
                    "suspicionInterval is below five intervals, so that removals keep no budget: \
                     the wait follows from interval alone",
                ))
            }
            Detector::Observers => {
                let (promise, most) = (config.suspicion_interval, config.limits.members);
                let achievable = config.achievable(most);
                let entry = set(&["suspicionInterval", "grace", "interval"])?;
                (promise < achievable).then(|| {
                    entry.note(format!(
                        "suspicionInterval ({promise:?}) is below what removals take without loss, \
                         in 99 of 100 cases: {achievable:.2?} with limits:members = {most}"
                    ))
                })
            }
        }
    }

    fn refusals(&self) -> Vec<SettingsError> {
        let standing =
            self.entries.keys().filter_map(|(name, _)| match keys::known(name).standing {
                Standing::Refused(why) => Some((*name, why)),
                Standing::Used | Standing::Noted(_) => None,
            });
        let by_value = [
            (
                "tls:identity",
                self.name_rule() == NameRule::Dns && self.entry("bootstrap:server").is_some(),
                NO_DNS_NAMES,
            ),
            (
                "tls:allowUntrustedCertificates",
                self.switch("tls:allowUntrustedCertificates"),
                NO_UNTRUSTED,
            ),
            (
                "control:address",
                !is_loopback(self.address("control:address"))
                    && !self.switch("control:tls:enabled"),
                NOT_LOOPBACK,
            ),
            (
                "control:tls:keyPath",
                self.entry("control:tls:keyPath").is_some()
                    && self.entry("control:tls:certificatePath").is_none(),
                NO_CONTROL_CERTIFICATE,
            ),
        ];
        let by_value =
            by_value.into_iter().filter_map(|(name, holds, why)| holds.then_some((name, why)));
        let refuse = |(key, why)| {
            let (value, origin) = self.stands(key);
            SettingsError::Refused { key, value, origin, why }
        };
        standing.chain(by_value).chain(self.no_labels()).map(refuse).collect()
    }

    fn name_rule(&self) -> NameRule {
        match self.word("tls:identity") {
            "spiffe" => NameRule::Spiffe,
            "dns" => NameRule::Dns,
            other => unadmitted(other),
        }
    }

    /// What cannot stand in the DNS name of a certificate, where that is what names members.
    fn no_labels(&self) -> Vec<(&'static str, &'static str)> {
        let rule = self.name_rule();
        let holds = |[domain, cluster, role, node]: [&str; 4]| {
            Identity::by(rule, domain, cluster, role, node).is_ok()
        };
        let mut refused = Vec::new();
        for (at, key) in ["tls:trustDomain", "clusterId", "role", "nodeId"].iter().enumerate() {
            let mut parts = ["a"; 4];
            let text = self.text(key).unwrap_or_else(|| "a".into());
            parts[at] = &text;
            if rule == NameRule::Dns && !holds(parts) {
                refused.push((*key, NO_LABEL));
            }
        }
        refused
    }

    fn control_socket(&self) -> ControlSocket {
        match (self.path("control:socket"), std::env::var_os("XDG_RUNTIME_DIR")) {
            (Some(path), _) => ControlSocket::At(path),
            (None, Some(home)) if !home.is_empty() => {
                let name = format!("{}.sock", self.node_id());
                ControlSocket::IfPossible(PathBuf::from(home).join("mesh-gossip").join(name))
            }
            (None, _) => ControlSocket::Off,
        }
    }

    fn control_tls(&self) -> Option<ControlTls> {
        self.switch("control:tls:enabled").then(|| match self.path("control:tls:certificatePath") {
            None => ControlTls::OfTheNode,
            Some(path) => ControlTls::Apart {
                certificate: Material::Path(path),
                key: self.path("control:tls:keyPath").map(Material::Path),
            },
        })
    }

    fn engine(&self) -> EngineOptions {
        EngineOptions {
            backend: match self.word("io:backend") {
                "auto" => BackendChoice::Auto,
                "uring" => BackendChoice::Uring,
                "mmsg" => BackendChoice::Mmsg,
                other => unadmitted(other),
            },
            shards: self.entry("io:shards").map(|_| self.count("io:shards")),
            pin: self.switch("io:pin"),
            spin: self.span("io:spin").min(SPIN_MAX),
        }
    }

    fn protocol(&self) -> Result<Config, SettingsError> {
        self.config().validate().map_err(|error| {
            let (value, origin) = self.stands(error.key);
            invalid(error.key, value, origin, Problem::Protocol(error.message))
        })
    }

    fn config(&self) -> Config {
        Config {
            interval: self.span("interval"),
            ping_timeout: self.span("pingTimeout"),
            suspicion_interval: self.span("suspicionInterval"),
            indirect_pings: self.count("indirectPings"),
            fanout: if self.fixed_fanout() {
                Fanout::Fixed(self.count("fanout"))
            } else {
                Fanout::Adaptive {
                    coefficient: self.real("fanoutCoefficient"),
                    floor: self.count("fanoutFloor"),
                    ceiling: self.count("fanoutCeiling"),
                }
            },
            retransmit_limit: u32::try_from(self.count("retransmitLimit")).unwrap_or(u32::MAX),
            max_outbound_per_round: self.count("maxOutboundPerRound"),
            detector: self.detector(),
            grace: self.span("grace"),
            left_retention: self.span("leftRetention"),
            scopes: self.scopes(),
            limits: Limits {
                members: self.count("limits:members"),
                metadata_bytes: self.count("limits:metadataBytes"),
                queue_entries: self.count("limits:queueEntries"),
                pulls: self.count("limits:pulls"),
                relays: self.count("limits:relays"),
                tests: self.count("limits:tests"),
                proofs: self.count("limits:proofs"),
                broadcasts: self.count("limits:broadcasts"),
                broadcast_bytes: self.count("limits:broadcastBytes"),
                events: self.count("limits:events"),
            },
            ..Config::new(&self.required_text("clusterId"))
        }
    }

    fn scopes(&self) -> Vec<Scope> {
        let scope = |text: String| Scope::parse(&text).unwrap_or_else(|_| unadmitted(&text));
        self.list("leadership:scopes").map(scope).collect()
    }

    fn detector(&self) -> Detector {
        match self.word("detector") {
            "swim" => Detector::Swim,
            "lifeguard" => Detector::Lifeguard,
            "observers" => Detector::Observers,
            other => unadmitted(other),
        }
    }

    /// Written as fixed, or written alone: who sets only `fanout` means it.
    fn fixed_fanout(&self) -> bool {
        match self.entry("adaptiveFanout") {
            Some(_) => !self.switch("adaptiveFanout"),
            None => self.entry("fanout").is_some(),
        }
    }

    fn tls(&self, errors: &mut Vec<SettingsError>) -> Option<TlsOptions> {
        let certificate = self.certificate().unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        let ca = self.path("tls:caPath").map(Material::Path);
        if ca.is_none() {
            errors.push(SettingsError::Missing { key: "tls:caPath", fix: NO_CA });
        }
        Some(TlsOptions {
            certificate: certificate?,
            key: self.path("tls:keyPath").map(Material::Path),
            password: self.secret("tls:certificatePassword", "tls:certificatePasswordSecret"),
            ca: ca?,
            trust_domain: self.required_text("tls:trustDomain"),
            identity: self.name_rule(),
            allowed_thumbprints: self.list("tls:allowedThumbprints").collect(),
            revocation: RevocationOptions {
                check: self.switch("tls:checkCertificateRevocation"),
                lists: self
                    .path("tls:crlPath")
                    .filter(|_| self.switch("tls:checkCertificateRevocation"))
                    .map(Material::Path),
                grace: self.span("tls:crlGrace"),
            },
            reload_interval: self.certificate_reload_interval(),
        })
    }

    fn renewal(&self) -> Option<RenewalOptions> {
        let fingerprint =
            self.text("bootstrap:caFingerprint").map(|text| match Pin::parse(&text) {
                Some(Pin::Sha256(bytes)) => bytes,
                Some(Pin::Sha1(_)) | None => unadmitted(&text),
            });
        Some(RenewalOptions {
            server: self.text("bootstrap:server")?,
            fingerprint,
            list_interval: self.span("bootstrap:crlInterval"),
        })
    }

    fn certificate(&self) -> Result<Option<Material>, SettingsError> {
        if let Some(data) = self.secret("tls:certificateData", "tls:certificateDataSecret") {
            let Some(bytes) = decoded(&data) else {
                let direct = self.entry("tls:certificateData").is_some();
                let key = if direct { "tls:certificateData" } else { "tls:certificateDataSecret" };
                let (value, origin) = self.stands(key);
                return Err(invalid(key, value, origin, Problem::Base64));
            };
            return Ok(Some(Material::Bytes(bytes)));
        }
        let secret = || self.secret("tls:certificatePathSecret", "tls:certificatePathSecret");
        let path = self.path("tls:certificatePath");
        let path = path.or_else(|| secret().map(|path| PathBuf::from(path.trim())));
        match path.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Ok(Some(Material::Path(path))),
            None => Err(SettingsError::Missing { key: "tls:certificatePath", fix: NO_CERTIFICATE }),
        }
    }
}

/// Typed access by name. A name or a type that does not match the table is our own mistake, and
/// the first call shows it.
impl Settings {
    /// The value that was set, else the default.
    fn value(&self, name: &'static str) -> Option<Value> {
        let key = keys::known(name);
        let set = self.entry(name).map(|entry| entry.value.clone());
        set.or_else(|| match key.default {
            Default::Is(text) => value::parse(key.kind, text).ok(),
            Default::Derived(_) | Default::Unset => None,
        })
    }

    pub(super) fn switch(&self, name: &'static str) -> bool {
        let Some(Value::Switch(on)) = self.value(name) else { panic!("{name} is no switch") };
        on
    }

    fn count(&self, name: &'static str) -> usize {
        let Some(Value::Count(count)) = self.value(name) else { panic!("{name} is no count") };
        // The table bounds every count by 32 bits.
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    pub(super) fn port(&self, name: &'static str) -> u16 {
        u16::try_from(self.count(name)).unwrap_or_else(|_| panic!("{name} is no port"))
    }

    fn real(&self, name: &'static str) -> f64 {
        let Some(Value::Real(real)) = self.value(name) else { panic!("{name} is no number") };
        real
    }

    fn span(&self, name: &'static str) -> Duration {
        let Some(Value::Span(span)) = self.value(name) else { panic!("{name} is no duration") };
        span
    }

    pub(super) fn address(&self, name: &'static str) -> IpAddr {
        let Some(Value::Address(ip)) = self.value(name) else { panic!("{name} is no address") };
        ip
    }

    pub(super) fn word(&self, name: &'static str) -> &'static str {
        let Some(Value::Word(word)) = self.value(name) else { panic!("{name} is no choice") };
        word
    }

    pub(super) fn text(&self, name: &'static str) -> Option<String> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            other => panic!("{name} is no text but {other:?}"),
        }
    }

    fn required_text(&self, name: &'static str) -> String {
        self.text(name).unwrap_or_else(|| panic!("{name} has no default"))
    }

    fn path(&self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// The secret itself, else the one that was found where `named` says.
    fn secret(&self, direct: &'static str, named: &'static str) -> Option<Zeroizing<String>> {
        let entry = self.entry(direct).or_else(|| self.entry(named))?;
        let Value::Secret(secret) = &entry.value else { panic!("{direct} is no secret") };
        Some(secret.clone())
    }

    fn list(&self, name: &'static str) -> impl Iterator<Item = String> {
        self.pairs(name).map(|(_, text)| text)
    }

    /// Elements with their printed index, or labels with their name.
    fn pairs(&self, name: &'static str) -> impl Iterator<Item = (String, String)> {
        self.parts(name).filter(|(part, _)| **part != Part::Whole).map(move |(_, entry)| {
            let Value::Text(text) = &entry.value else { panic!("{name} holds no text") };
            (entry.name[name.len() + 1..].to_owned(), text.clone())
        })
    }

    /// A key's value as it is printed, and where it comes from.
    fn stands(&self, name: &'static str) -> (Shown, Origin) {
        match (self.entry(name), keys::known(name).default) {
            (Some(entry), _) => (entry.shown.clone(), entry.origin.clone()),
            (None, Default::Is(text)) => (Shown::of(keys::known(name), text), Origin::Default),
            (None, Default::Derived(_) | Default::Unset) => (Shown::nothing(), Origin::Default),
        }
    }
}

/// A word that no match of ours names.
pub(super) fn unadmitted(word: &str) -> ! {
    unreachable!("the table of keys admits no {word:?}: parsing has refused it")
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// PEM as it is, anything else from base64 with or without line breaks and padding.
fn decoded(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    if text.contains("-----BEGIN") {
        return Some(Zeroizing::new(text.as_bytes().to_vec()));
    }
    let dense: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect());
    let bytes = LENIENT.decode(&*dense).ok().map(Zeroizing::new)?;
    (!bytes.is_empty()).then_some(bytes)
}
