//! Revocation at 100,000 entries and 100,000 sessions: reading and verifying a list, which happens
//! once, and asking every session of a shard whether it still stands, which follows each change.
//!
//! The promise is ten milliseconds for the second, a hundredth of them revoked.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use mesh_gossip::bootstrap::{
    CaValidity, CertificateAuthority, Existing, ISSUING_CERTIFICATE, ISSUING_KEY, Subject,
};
use mesh_gossip::tls::standing::{Serial, Standing};
use mesh_gossip::tls::trust::Trust;
use mesh_gossip::tls::verifier::{MeshVerifier, Usage};
use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};

const ENTRIES: u64 = 100_000;
const SESSIONS: u64 = 100_000;
/// Of a hundred sessions one is in the list.
const SPARSE: u64 = 100;

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}

fn serial(number: u64) -> [u8; 16] {
    // As random ones do, they fill their length and share nothing.
    let mut bytes = [0x40; 16];
    bytes[8..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes
}

/// A list of [`ENTRIES`] numbers by the authority's issuing CA.
fn list(ca: &CertificateAuthority) -> Vec<u8> {
    let directory = std::env::temp_dir().join(format!("mesh-gossip-trust-{}", std::process::id()));
    ca.write(&directory, Existing::Replace).expect("it is written");
    let read = |name| std::fs::read_to_string(directory.join(name)).expect("it was written");
    let key = KeyPair::from_pem(&read(ISSUING_KEY)).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&read(ISSUING_CERTIFICATE), key).expect("a CA");
    std::fs::remove_dir_all(&directory).expect("it was ours");
    let revoked = (0..ENTRIES).map(|number| RevokedCertParams {
        serial_number: serial(number * SPARSE).to_vec().into(),
        revocation_time: SystemTime::now().into(),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: (SystemTime::now() - Duration::from_secs(60)).into(),
        next_update: (SystemTime::now() + Duration::from_secs(86_400)).into(),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).expect("it signs").der().to_vec()
}

fn trust(c: &mut Criterion) {
    let now = SystemTime::now();
    let ca = CertificateAuthority::create("bench", "bench", now, CaValidity::default());
    let ca = ca.expect("names are canonical");
    let bundle = Trust::of_bundle(certificates(&ca.bundle_pem())).expect("a root");
    let list = list(&ca);
    let mut group = c.benchmark_group("trust");
    group.sample_size(10);
    group.bench_function("load a list of 100,000", |b| {
        b.iter_batched(
            || bundle.clone(),
            |mut trust| trust.take_list(black_box(&list), UnixTime::now()).expect("it holds"),
            criterion::BatchSize::LargeInput,
        );
    });

    let day = Duration::from_secs(86_400);
    let issued = ca.issue(&Subject::new("n", "worker"), now, day).expect("it issues");
    let chain = certificates(&issued.chain_pem);
    let judge = MeshVerifier::new(bundle.clone(), "bench", "bench", None);
    let verified = judge.verify_peer(&chain, Usage::Client, UnixTime::now()).expect("it holds");
    let of = |number: u64| -> Standing {
        Standing { serial: Serial::new(&serial(number)), ..verified.standing.clone() }
    };
    let sessions: Vec<Standing> = (0..SESSIONS).map(of).collect();
    let mut revoking = bundle.clone();
    revoking.take_list(&list, UnixTime::now()).expect("it holds");
    let fallen = |trust: &Trust| {
        let now = UnixTime::now();
        sessions.iter().filter(|standing| trust.upholds(standing, now).is_err()).count()
    };
    assert_eq!(fallen(&revoking) as u64, SESSIONS / SPARSE);
    group.bench_function("ask 100,000 sessions", |b| b.iter(|| fallen(black_box(&revoking))));
    group.finish();
}

criterion_group!(benches, trust);
criterion_main!(benches);
