//! DTLS with the keys taken out: a provider around dimpl that keeps the SRTP keys for us and never shows them to str0m.
//!
//! str0m then has no SRTP contexts at all, so that no nonce can ever be used by two implementations.

use std::cell::Cell;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use dimpl::Output;
use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsProvider, ProtocolVersion, SrtpProfile};
use str0m::{Rtc, RtcConfig};

use super::ortc::{DtlsFingerprint, DtlsParameters, DtlsRole};
use crate::srtp::{MasterKey, Profile};

/// Our DTLS certificate and everything that transports share: one per process, made at its start.
///
/// Sharing the checked DTLS configuration makes a transport sixty times cheaper to create than str0m's own way.
#[derive(Clone)]
pub struct DtlsIdentity {
    certificate: DtlsCert,
    crypto: Arc<CryptoProvider>,
    fingerprint: String,
}

/// Why the process has no DTLS identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// No key pair or certificate could be made.
    #[error("no DTLS certificate could be made")]
    Certificate,
    /// The cryptographic library failed its own checks.
    #[error("DTLS cannot be configured: {0}")]
    Configuration(String),
}

impl DtlsIdentity {
    /// Makes a self-signed certificate (ECDSA P-256, as browsers have it) and checks the cryptographic library. Takes about a
    /// millisecond and 1 KB that is never given back: call it once.
    pub fn generate() -> Result<Self, IdentityError> {
        let library = str0m::crypto::from_feature_flags();
        let certificate = library.dtls_provider.generate_certificate().ok_or(IdentityError::Certificate)?;
        // ICE has proven the path before DTLS starts, so a cookie would only cost a round trip.
        let config = dimpl::Config::builder()
            .use_server_cookie(false)
            .flight_start_rto(FLIGHT_RETRANSMIT)
            .flight_retries(FLIGHT_RETRIES)
            .build()
            .map_err(|error| IdentityError::Configuration(error.to_string()))?;
        let provider: &'static WithholdingProvider = Box::leak(Box::new(WithholdingProvider { config: Arc::new(config) }));
        let fingerprint = format_fingerprint(digest::digest(&digest::SHA256, &certificate.certificate).as_ref());
        Ok(Self { certificate, crypto: Arc::new(CryptoProvider { dtls_provider: provider, ..library }), fingerprint })
    }

    /// What browsers are told: role `auto`, which makes a browser the DTLS client. (Announced as `client`, Chromium would act as
    /// client all the same and never connect.)
    pub fn parameters(&self) -> DtlsParameters {
        let fingerprint = DtlsFingerprint { algorithm: "sha-256".into(), value: self.fingerprint.clone() };
        DtlsParameters { role: DtlsRole::Auto, fingerprints: vec![fingerprint] }
    }

    /// Builds a transport with this identity; its keys will appear in the slot.
    pub(super) fn build(&self, config: RtcConfig, now: Instant) -> (Rtc, Arc<KeySlot>) {
        let rtc = config
            .set_crypto_provider(self.crypto.clone())
            .set_dtls_cert(self.certificate.clone())
            .set_dtls_version(DtlsVersion::Dtls12)
            .build(now);
        (rtc, NEWEST.take().unwrap_or_default())
    }
}

impl fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DtlsIdentity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// The SRTP keys of one association, by our direction.
pub(super) struct SessionKeys {
    pub inbound: MasterKey,
    pub outbound: MasterKey,
}

/// Where the keys wait between the end of the handshake and the check of the peer's fingerprint. The lock is there because
/// str0m wants its parts `Sync`; only the thread that owns the transport ever takes it.
#[derive(Default)]
pub(super) struct KeySlot(Mutex<Option<SessionKeys>>);

impl KeySlot {
    /// Takes the keys; they exist once.
    pub fn take(&self) -> Option<SessionKeys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, keys: Option<SessionKeys>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

thread_local! {
    /// str0m takes one provider for the whole process and keeps the association that it makes to itself. So the provider leaves
    /// the new association's slot here, and [`DtlsIdentity::build`] picks it up: same thread, same call.
    static NEWEST: Cell<Option<Arc<KeySlot>>> = const { Cell::new(None) };
}

struct WithholdingProvider {
    config: Arc<dimpl::Config>,
}

impl fmt::Debug for WithholdingProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithholdingProvider")
    }
}

impl DtlsProvider for WithholdingProvider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        None
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let slot = Arc::new(KeySlot::default());
        NEWEST.set(Some(slot.clone()));
        // 1.2 always: dimpl's 1.2 server prefers AES-256-GCM, its 1.3 server takes the browser's first choice, which is AES-CM.
        Ok(Box::new(WithholdingDtls { dtls: dimpl::Dtls::new_12(self.config.clone(), certificate.clone(), now), slot }))
    }
}

/// One DTLS association whose keying material goes to the slot and no further.
struct WithholdingDtls {
    dtls: dimpl::Dtls,
    slot: Arc<KeySlot>,
}

impl WithholdingDtls {
    fn keep(&self, material: &[u8], profile: SrtpProfile) {
        let profile = match profile {
            SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
            SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
            SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
            // One that a newer dimpl may learn: without keys the transport fails, which is an answer.
            _ => return,
        };
        let keys = MasterKey::client_and_server(profile, material).map(|(client, server)| match self.dtls.is_active() {
            true => SessionKeys { inbound: server, outbound: client },
            false => SessionKeys { inbound: client, outbound: server },
        });
        self.slot.put(keys);
    }
}

impl fmt::Debug for WithholdingDtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WithholdingDtls")
    }
}

impl DtlsInstance for WithholdingDtls {
    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> Output<'a> {
        // Polled into a buffer of our own, since what was lent to a poll cannot be lent again once the answer is turned down.
        let mut scratch = [0; SCRATCH];
        loop {
            let room = scratch.len().min(buffer.len());
            return match self.dtls.poll_output(&mut scratch[..room]) {
                Output::KeyingMaterial(material, profile) => {
                    let material = zeroize::Zeroizing::new(material.to_vec());
                    self.keep(&material, profile);
                    continue;
                }
                Output::Packet(bytes) => Output::Packet(copy(bytes, buffer)),
                Output::PeerCert(bytes) => Output::PeerCert(copy(bytes, buffer)),
                Output::ApplicationData(bytes) => Output::ApplicationData(copy(bytes, buffer)),
                Output::BufferTooSmall { needed } => Output::BufferTooSmall { needed },
                Output::Timeout(at) => Output::Timeout(at),
                Output::Connected => Output::Connected,
                Output::CloseNotify => Output::CloseNotify,
                // dimpl's enum may grow; what we do not know is nothing that str0m asked for.
                _ => continue,
            };
        }
    }

    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

/// Copies what fits, which is everything: the scratch buffer was lent no longer than the target.
fn copy<'a>(bytes: &[u8], target: &'a mut [u8]) -> &'a [u8] {
    let target = &mut target[..bytes.len()];
    target.copy_from_slice(bytes);
    target
}

/// A fingerprint as RFC 8122 section 5 writes it.
fn format_fingerprint(hash: &[u8]) -> String {
    let bytes: Vec<_> = hash.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// Reads such a fingerprint; `None` when it is none of 32 bytes.
pub(super) fn parse_sha256_fingerprint(text: &str) -> Option<Vec<u8>> {
    let bytes: Vec<u8> =
        text.split(':').map(|byte| hex::decode(byte).ok().filter(|byte| byte.len() == 1)).collect::<Option<Vec<_>>>()?.concat();
    (bytes.len() == digest::SHA256_OUTPUT_LEN).then_some(bytes)
}

/// The first retransmission of a lost flight: RFC 6347 section 4.2.4.1 says a second unless one knows better, and an agent who
/// waits for a call does. It doubles from there.
const FLIGHT_RETRANSMIT: Duration = Duration::from_millis(250);

/// A flight is also repeated, out of the same budget, for every flight that the browser repeats, and Chromium starts at 50 ms:
/// a small budget would be used up by an ordinary bad network. The transport's own time limit ends what never ends.
const FLIGHT_RETRIES: usize = 40;

/// As large as str0m's own buffer, so a record never fits there and not here.
const SCRATCH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_survives_writing_and_reading() {
        let identity = DtlsIdentity::generate().expect("an identity");
        let parameters = identity.parameters();
        let hash = parse_sha256_fingerprint(&parameters.fingerprints[0].value).expect("a fingerprint");
        assert_eq!(hash, digest::digest(&digest::SHA256, &identity.certificate.certificate).as_ref());
        assert_eq!(parameters.role, DtlsRole::Auto);
    }

    #[test]
    fn what_is_no_sha_256_fingerprint_is_refused() {
        let short = ["AB"; 31].join(":");
        for text in ["", ":", "AB", "zz:zz", short.as_str(), &["ABCD"; 16].join(":"), &["A"; 32].join(":")] {
            assert!(parse_sha256_fingerprint(text).is_none(), "{text}");
        }
        assert!(parse_sha256_fingerprint(&["ab"; 32].join(":")).is_some());
    }
}
