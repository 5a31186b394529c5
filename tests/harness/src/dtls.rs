//! DTLS with a browser's patience: Chromium repeats a lost flight after 50 ms, where str0m would wait for a second.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use str0m::config::{CryptoProvider, DtlsCert, DtlsVersion};
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion};

/// One checked configuration for all fake browsers, since checking costs more than everything else about making one.
pub(crate) fn chromium() -> Arc<CryptoProvider> {
    static SHARED: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let builder = dimpl::Config::builder().flight_start_rto(Duration::from_millis(50)).flight_retries(40);
        let provider = Box::leak(Box::new(Chromium { config: Arc::new(builder.build().expect("a configuration of constants")) }));
        Arc::new(CryptoProvider { dtls_provider: provider, ..str0m::crypto::from_feature_flags() })
    });
    SHARED.clone()
}

struct Chromium {
    config: Arc<dimpl::Config>,
}

impl fmt::Debug for Chromium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chromium")
    }
}

impl DtlsProvider for Chromium {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(Association(dimpl::Dtls::new_12(self.config.clone(), certificate.clone(), now))))
    }
}

struct Association(dimpl::Dtls);

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Association")
    }
}

impl DtlsInstance for Association {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buffer)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
