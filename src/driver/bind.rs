//! Every UDP socket that the gateway has from its start, bound before the first shard runs: a taken port stops the start at once.

use std::net::SocketAddr;

use super::error::DriverError;
use super::sockets::SharedSockets;
use super::udp::{Load, Socket};
use crate::config::{Config, PortSlice};
use crate::ids::ShardId;

/// The sockets of the configuration.
#[derive(Debug)]
pub struct Bound {
    /// Where calls from the PBX arrive.
    pub sip_public: Socket,
    /// Each shard's, in their order.
    pub shards: Vec<SharedSockets>,
}

impl Bound {
    /// Binds all.
    ///
    /// # Errors
    ///
    /// [`DriverError::PortTaken`], [`DriverError::Bind`].
    pub fn new(config: &Config) -> Result<Self, DriverError> {
        let sip_public = bind("SIP_PORT", SocketAddr::new(config.sip.bind, config.sip.port))?;
        let slices = (0..).map(ShardId).zip(config.port_plan().slices());
        let shards = slices.map(|(shard, slice)| bind_shard(config, shard, *slice, &sip_public)).collect::<Result<_, _>>()?;
        Ok(Self { sip_public, shards })
    }
}

fn bind_shard(config: &Config, shard: ShardId, slice: PortSlice, sip_public: &Socket) -> Result<SharedSockets, DriverError> {
    let media = |port| bind("RTC_MIN_PORT", SocketAddr::new(config.rtc.bind, port));
    Ok(SharedSockets {
        browser: media(slice.browser)?,
        sip: bind("SIP_PORT", SocketAddr::new(config.sip.bind, config.sip.shard_port(shard)))?,
        sip_public: sip_public.duplicate()?,
        rtp: media(slice.shared_rtp)?,
        rtcp: media(slice.shared_rtp + 1)?,
    })
}

fn bind(key: &'static str, address: SocketAddr) -> Result<Socket, DriverError> {
    Socket::bind(address, Load::Shared).map_err(|error| DriverError::bind(key, address, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_and_an_address_that_is_not_ours_are_named_with_their_key() {
        let taken = bind("SIP_PORT", "127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind("SIP_PORT", taken.address()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("SIP_PORT: {}/udp is in use", taken.address())), "{error}");
        let error = bind("RTC_MIN_PORT", "192.0.2.77:0".parse().unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("RTC_MIN_PORT: cannot bind 192.0.2.77:0/udp"), "{error}");
    }
}
