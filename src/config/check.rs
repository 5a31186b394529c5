//! From text to checked values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::raw::Raw;
use super::{
    AuthConfig, Config, DialPolicy, Fault, HttpConfig, LogConfig, LogFormat, Machine, Mode, Network, Origins, PORTS_PER_SHARD_MIN,
    PortPlan, PortRange, RtcConfig, Secret, ShardsConfig, SipConfig, SipCredentials, SipPeer, TenantSpread, Times,
};

pub(super) fn check(environment: impl IntoIterator<Item = (String, String)>, machine: &Machine) -> Result<Config, Vec<Fault>> {
    let mut raw = Raw::new(environment);
    let mode = raw.read("MODE", "dev or production", mode).unwrap_or(Mode::Dev);
    let http = http(&mut raw, mode);
    let announced = raw.list("WEBRTC_ANNOUNCED_IP", "one or several IP addresses", announced).unwrap_or_default();
    let peers = raw.list("FREESWITCH_HOST", "one or several host[:port]", SipPeer::parse).unwrap_or_default();
    let sip_announced = raw.address("SIP_ANNOUNCED_IP").filter(|address| !address.is_unspecified());
    let local =
        mode == Mode::Dev && peers.iter().all(SipPeer::is_loopback) && announced.iter().chain(&sip_announced).all(IpAddr::is_loopback);
    let shards = shards(&mut raw, machine);
    let rtc = RtcConfig { bind: raw.address("RTC_BIND_IP").unwrap_or(bind(local)), announced, ports: media_ports(&mut raw) };
    let port_plan = PortPlan::new(rtc.ports, shards.count);
    if port_plan.is_none() {
        let allowed = format!("a range with at least {PORTS_PER_SHARD_MIN} ports for each of the {} shards", shards.count);
        raw.fault(Fault::wrong("RTC_MAX_PORT", rtc.ports.max.to_string(), allowed));
    }
    let sip = sip(&mut raw, peers, sip_announced, bind(local), shards.count);
    if let Some(clash) =
        (0..=shards.count).map(|offset| sip.port.saturating_add(offset)).find(|port| sip.port != 0 && rtc.ports.contains(*port))
    {
        let allowed = format!("a port whose {} successors lie outside of RTC_MIN_PORT to RTC_MAX_PORT ({clash} does not)", shards.count);
        raw.fault(Fault::wrong("SIP_PORT", sip.port.to_string(), allowed));
    }
    let auth = auth(&mut raw, mode, machine);
    let origins = origins(&mut raw, mode);
    let dial = dial(&mut raw, mode);
    let times = Times {
        resume_grace: raw.seconds("RESUME_GRACE_SECONDS", 30, 0, 3_600),
        resume_media_max: raw.seconds("RESUME_MEDIA_MAX_SECONDS", 600, 0, 86_400),
        ring: raw.seconds("RING_TIMEOUT_SECONDS", 60, 1, 3_600),
        incoming: raw.seconds("INCOMING_TIMEOUT_SECONDS", 120, 1, 3_600),
        media: raw.seconds("MEDIA_TIMEOUT_SECONDS", 30, 1, 86_400),
    };
    let max_calls_per_agent = raw.number("MAX_CALLS_PER_AGENT", 1, 64).unwrap_or(2);
    let log = log(&mut raw, mode);
    refuse_unsupported(&mut raw);
    if mode == Mode::Production {
        refuse_dev_comforts(&mut raw, &sip);
    }
    let config = port_plan.map(|port_plan| Config {
        mode,
        node_id: raw.text("NODE_ID").unwrap_or_else(|| machine.host_name.clone()),
        http,
        shards,
        rtc,
        sip,
        auth,
        origins,
        metrics_token: raw.text("METRICS_TOKEN").map(Secret::new),
        agent_directory: raw.text("AGENT_DIRECTORY").map(PathBuf::from),
        tenant_directory: raw.text("TENANT_DIRECTORY").map(PathBuf::from),
        dial,
        times,
        max_calls_per_agent,
        log,
        port_plan,
    });
    let faults = raw.faults();
    config.filter(|_| faults.is_empty()).ok_or(faults)
}

fn mode(text: &str) -> Option<Mode> {
    match text {
        "dev" => Some(Mode::Dev),
        "production" => Some(Mode::Production),
        _ => None,
    }
}

fn http(raw: &mut Raw, mode: Mode) -> HttpConfig {
    let loopback: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let parse = |text: &str| match text {
        "localhost" => Some(loopback.clone()),
        _ => text.parse().ok().map(|address| vec![address]),
    };
    let named: Option<Vec<Vec<IpAddr>>> = raw.list("HOST", "localhost, or one or several IP addresses", parse);
    let hosts = match (named, mode) {
        (Some(named), _) => named.concat(),
        (None, Mode::Dev) => loopback,
        (None, Mode::Production) => vec![Ipv6Addr::UNSPECIFIED.into()],
    };
    HttpConfig { hosts, port: raw.number("PORT", 0, u16::MAX).unwrap_or(3005) }
}

fn shards(raw: &mut Raw, machine: &Machine) -> ShardsConfig {
    let by_cores = u16::try_from(machine.cores.saturating_sub(1)).unwrap_or(SHARDS_MAX).clamp(1, SHARDS_MAX);
    let count = raw.number("SHARDS", 1, SHARDS_MAX).unwrap_or(by_cores);
    let allowed = format!("auto, or a number of shards from 1 to {count}");
    let spread = |text: &str| match text {
        "auto" => Some(TenantSpread::Auto),
        _ => text.parse().ok().filter(|spread| (1..=count).contains(spread)).map(TenantSpread::Fixed),
    };
    let tenant_spread = raw.read("TENANT_SPREAD", &allowed, spread).unwrap_or(TenantSpread::Auto);
    ShardsConfig { count, tenant_spread, pin_cores: raw.flag("PIN_CORES", true) }
}

fn announced(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|address: &IpAddr| !address.is_unspecified() && !address.is_multicast())
}

/// Loopback as long as nobody else has to reach us, else every IPv4 address.
fn bind(local: bool) -> IpAddr {
    IpAddr::V4(if local { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED })
}

fn media_ports(raw: &mut Raw) -> PortRange {
    let min = raw.number("RTC_MIN_PORT", 1, u16::MAX);
    let max = raw.number("RTC_MAX_PORT", 1, u16::MAX);
    let range = PortRange { min: min.unwrap_or(10_000), max: max.unwrap_or(10_100) };
    if range.min <= range.max {
        return range;
    }
    raw.fault(Fault::wrong("RTC_MAX_PORT", range.max.to_string(), format!("a port not below RTC_MIN_PORT ({})", range.min)));
    // Big enough for every other check, so that this one fault is reported once.
    PortRange { min: 10_000, max: 65_535 }
}

fn sip(raw: &mut Raw, peers: Vec<SipPeer>, announced: Option<IpAddr>, bind: IpAddr, shards: u16) -> SipConfig {
    let realm = raw.text("SIP_REALM");
    let credentials = match (raw.text("SIP_USERNAME"), raw.text("SIP_PASSWORD")) {
        (Some(username), Some(password)) => Some(SipCredentials { username, password: Secret::new(password), realm }),
        (Some(_), None) => {
            raw.fault(Fault::unshown("SIP_PASSWORD", "has to be set with SIP_USERNAME"));
            None
        }
        (None, Some(_)) => {
            raw.fault(Fault::unshown("SIP_USERNAME", "has to be set with SIP_PASSWORD"));
            None
        }
        (None, None) => None,
    };
    let host =
        |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '[' | ']' | ':')).then(|| text.to_owned());
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-.!%*_+`'~".contains(c);
    let prefix = |text: &str| text.chars().all(is_token).then(|| text.to_ascii_lowercase());
    SipConfig {
        peers,
        bind: raw.address("SIP_BIND_IP").unwrap_or(bind),
        port: raw.number("SIP_PORT", 0, u16::MAX - shards).unwrap_or(5070),
        announced,
        domain: raw.read("SIP_DOMAIN", "a host name or address", host),
        credentials,
        allow: raw.list("SIP_ALLOW", "IP addresses or networks such as 10.0.0.0/8", Network::parse),
        header_prefixes: raw
            .list("SIP_HEADER_PREFIXES", "beginnings of header names such as X-", prefix)
            .unwrap_or_else(|| vec!["x-".to_owned()]),
    }
}

fn auth(raw: &mut Raw, mode: Mode, machine: &Machine) -> AuthConfig {
    let given = raw.text("JWT_SECRET");
    match (&given, mode) {
        (None, Mode::Production) => raw.fault(Fault::unshown("JWT_SECRET", "has to be set in production")),
        (Some(secret), Mode::Production) if secret.len() < HS256_KEY_BYTES => {
            raw.fault(Fault::unshown(
                "JWT_SECRET",
                format!("has to have at least {HS256_KEY_BYTES} bytes in production (RFC 7518 section 3.2)"),
            ));
        }
        (Some(_), _) | (None, Mode::Dev) => {}
    }
    AuthConfig {
        secret_made: given.is_none(),
        secret: Secret::new(given.unwrap_or_else(|| hex::encode(machine.random))),
        issuer: raw.text("JWT_ISSUER"),
        audience: raw.text("JWT_AUDIENCE"),
    }
}

fn origins(raw: &mut Raw, mode: Mode) -> Origins {
    let is_origin = |text: &str| {
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        host.is_some_and(|host| !host.is_empty() && !host.contains('/'))
    };
    let parse = |text: &str| (is_origin(text) || (text == "*" && mode == Mode::Dev)).then(|| text.to_owned());
    let allowed = match mode {
        Mode::Dev => "* or origins such as https://crm.example",
        Mode::Production => "origins such as https://crm.example (no * in production)",
    };
    match (raw.list("ALLOWED_ORIGINS", allowed, parse), mode) {
        (Some(origins), _) if origins.iter().any(|origin| origin == "*") => Origins::Any,
        (Some(origins), _) => Origins::Listed(origins),
        (None, Mode::Dev) => Origins::Localhost,
        (None, Mode::Production) => Origins::Listed(Vec::new()),
    }
}

fn dial(raw: &mut Raw, mode: Mode) -> DialPolicy {
    let is_dialled = |c: char| c.is_ascii_digit() || matches!(c, '*' | '#' | '+');
    let parse = |text: &str| text.chars().all(is_dialled).then(|| text.to_owned());
    let owned = |prefixes: &[&str]| prefixes.iter().map(|&prefix| prefix.to_owned()).collect::<Vec<_>>();
    let denied = match mode {
        Mode::Dev => Vec::new(),
        Mode::Production => owned(&DENIED_IN_PRODUCTION),
    };
    DialPolicy {
        allow: raw.list("DIAL_ALLOW", "prefixes of numbers", parse).unwrap_or_default(),
        deny: raw.list("DIAL_DENY", "prefixes of numbers", parse).unwrap_or(denied),
        emergency: raw.list("EMERGENCY_NUMBERS", "whole numbers", parse).unwrap_or_else(|| owned(&["112", "911"])),
    }
}

fn log(raw: &mut Raw, mode: Mode) -> LogConfig {
    let by_mode = match mode {
        Mode::Dev => LogFormat::Pretty,
        Mode::Production => LogFormat::Json,
    };
    let format = |text: &str| match text {
        "pretty" => Some(LogFormat::Pretty),
        "json" => Some(LogFormat::Json),
        _ => None,
    };
    LogConfig {
        format: raw.read("LOG_FORMAT", "pretty or json", format).unwrap_or(by_mode),
        level: raw
            .read("LOG_LEVEL", "off, error, warn, info, debug or trace", |text| text.parse().ok())
            .unwrap_or(tracing::level_filters::LevelFilter::INFO),
    }
}

/// Keys of the contract that ask for something this version cannot do: better no start than a gateway that silently does less.
fn refuse_unsupported(raw: &mut Raw) {
    for (key, harmless) in UNSUPPORTED {
        let Some(value) = raw.text(key) else { continue };
        if !harmless.contains(&value.as_str()) {
            let allowed = match harmless {
                [] => "nothing: this version does not support it yet, leave it unset".to_owned(),
                values => format!("{}: this version does not support anything else yet", values.join(" or ")),
            };
            // Some of these are secrets or hold one, so none is shown.
            raw.fault(Fault::unshown(key, format!("allowed is {allowed}")));
        }
    }
}

fn refuse_dev_comforts(raw: &mut Raw, sip: &SipConfig) {
    if sip.peers.is_empty() && raw.text("FREESWITCH_HOST").is_none() {
        raw.fault(Fault::unshown("FREESWITCH_HOST", "has to be set in production: the demo PBX is for dev mode only"));
    }
}

/// Shards of one process: a shard's number travels in a byte of our SIP tags.
const SHARDS_MAX: u16 = 255;

/// RFC 7518 section 3.2: a key of the hash's size or larger must be used.
const HS256_KEY_BYTES: usize = 32;

/// What leaves the country or costs extra in most dial plans. `DIAL_ALLOW=+49` opens one country again: the longest rule decides.
const DENIED_IN_PRODUCTION: [&str; 5] = ["+", "00", "011", "0900", "1900"];

/// Keys without a meaning yet, each with the values that ask for what is done anyway.
const UNSUPPORTED: [(&str, &[&str]); 15] = [
    ("FREESWITCH_WS_URL", &[]),
    ("JWKS_URL", &[]),
    ("TLS_CERT", &[]),
    ("TLS_KEY", &[]),
    ("SIP_TRANSPORT", &["udp"]),
    ("SIP_SRTP", &["off"]),
    ("SIP_PEER_NAT", &["0"]),
    ("SIP_REGISTER", &["0"]),
    ("AGENT_SERVICE_URL", &[]),
    ("CODEC_POLICY", &["passthrough"]),
    ("TRANSCODE_MAX", &[]),
    ("TURN_URLS", &[]),
    ("TURN_SECRET", &[]),
    ("KAFKA_BROKERS", &[]),
    ("OTLP_ENDPOINT", &[]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { cores: 4, host_name: "node".to_owned(), random: [7; 32] }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Config, Vec<Fault>> {
        Config::from_env(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())), &machine())
    }

    fn faulty(pairs: &[(&str, &str)]) -> Vec<&'static str> {
        read(pairs).expect_err("has faults").into_iter().map(|fault| fault.key).collect()
    }

    const PRODUCTION: [(&str, &str); 3] =
        [("MODE", "production"), ("JWT_SECRET", "0123456789abcdef0123456789abcdef"), ("FREESWITCH_HOST", "pbx.example")];

    #[test]
    fn an_empty_environment_is_dev_mode_on_loopback() {
        let config = read(&[]).unwrap();
        assert_eq!(config.mode, Mode::Dev);
        assert_eq!(config.http.port, 3005);
        assert!(config.http.hosts.iter().all(IpAddr::is_loopback) && config.http.hosts.len() == 2);
        assert!(config.rtc.bind.is_loopback() && config.sip.bind.is_loopback());
        assert_eq!(config.shards.count, 3);
        assert_eq!(config.rtc.ports, PortRange { min: 10_000, max: 10_100 });
        assert_eq!(config.sip.shard_port(crate::ids::ShardId(2)), 5073);
        assert!(config.uses_demo_pbx() && config.auth.secret_made);
        assert_eq!(config.max_calls_per_agent, 2);
    }

    #[test]
    fn the_example_file_is_the_default() {
        let lines = include_str!("../../.env.example").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let pairs: Vec<(&str, &str)> = lines.map(|line| line.split_once('=').unwrap()).collect();
        assert_eq!(format!("{:?}", read(&pairs).unwrap()), format!("{:?}", read(&[]).unwrap()));
    }

    #[test]
    fn empty_values_are_unset_values() {
        let config = read(&[("PORT", " "), ("FREESWITCH_HOST", ""), ("LOG_LEVEL", "")]).unwrap();
        assert_eq!(config.http.port, 3005);
    }

    #[test]
    fn every_fault_is_reported_at_once_with_its_key() {
        let faults = faulty(&[
            ("PORT", "70000"),
            ("MODE", "prod"),
            ("SHARDS", "0"),
            ("WEBRTC_ANNOUNCED_IP", "my.host"),
            ("FREESWITCH_HOST", "sip:pbx"),
            ("ALLOWED_ORIGINS", "crm.example"),
            ("RING_TIMEOUT_SECONDS", "soon"),
            ("LOG_FORMAT", "xml"),
            ("SIP_ALLOW", "10.0.0.0/99"),
            ("PIN_CORES", "yes"),
            ("EMERGENCY_NUMBERS", "eleven"),
        ]);
        let expected = [
            "MODE",
            "PORT",
            "WEBRTC_ANNOUNCED_IP",
            "FREESWITCH_HOST",
            "SHARDS",
            "PIN_CORES",
            "SIP_ALLOW",
            "ALLOWED_ORIGINS",
            "EMERGENCY_NUMBERS",
            "RING_TIMEOUT_SECONDS",
            "LOG_FORMAT",
        ];
        assert_eq!(faults, expected);
    }

    #[test]
    fn a_list_without_an_item_is_a_fault() {
        for key in ["HOST", "WEBRTC_ANNOUNCED_IP", "FREESWITCH_HOST", "SIP_ALLOW", "ALLOWED_ORIGINS", "EMERGENCY_NUMBERS"] {
            assert_eq!(faulty(&[(key, ", ,")]), [key]);
        }
    }

    #[test]
    fn a_fault_says_what_was_read_and_what_is_allowed_in_one_line() {
        let fault = read(&[("PORT", "http")]).unwrap_err().remove(0).to_string();
        assert_eq!(fault, "PORT: read \"http\", allowed is a whole number from 0 to 65535");
    }

    #[test]
    fn the_port_range_has_to_be_in_order_and_large_enough() {
        assert_eq!(faulty(&[("RTC_MIN_PORT", "10100"), ("RTC_MAX_PORT", "10000")]), ["RTC_MAX_PORT"]);
        assert_eq!(faulty(&[("RTC_MAX_PORT", "10010"), ("SHARDS", "4")]), ["RTC_MAX_PORT"]);
        assert_eq!(faulty(&[("SIP_PORT", "9998"), ("SHARDS", "2")]), ["SIP_PORT"]);
        assert!(read(&[("SIP_PORT", "9997"), ("SHARDS", "2")]).is_ok());
        assert_eq!(faulty(&[("SIP_PORT", "65535")]), ["SIP_PORT"]);
    }

    #[test]
    fn zero_asks_for_free_ports() {
        let config = read(&[("PORT", "0"), ("SIP_PORT", "0")]).unwrap();
        assert_eq!((config.http.port, config.sip.shard_port(crate::ids::ShardId(1))), (0, 0));
    }

    #[test]
    fn production_refuses_what_only_a_developer_may_do() {
        assert_eq!(faulty(&[("MODE", "production")]), ["JWT_SECRET", "FREESWITCH_HOST"]);
        let wildcard = [&PRODUCTION[..], &[("ALLOWED_ORIGINS", "*")]].concat();
        assert_eq!(faulty(&wildcard), ["ALLOWED_ORIGINS"]);
        let short = [("MODE", "production"), ("JWT_SECRET", "short"), ("FREESWITCH_HOST", "pbx")];
        assert_eq!(faulty(&short), ["JWT_SECRET"]);
        let config = read(&PRODUCTION).unwrap();
        assert!(config.rtc.bind.is_unspecified() && !config.auth.secret_made && !config.uses_demo_pbx());
        assert_eq!(config.origins, Origins::Listed(vec![]));
        assert!(!config.dial.permits("+4930123") && config.dial.permits("9196") && config.dial.permits("112"));
    }

    #[test]
    fn dev_mode_leaves_loopback_for_a_peer_or_an_announced_address_elsewhere() {
        assert!(read(&[("FREESWITCH_HOST", "127.0.0.1:5080")]).unwrap().rtc.bind.is_loopback());
        assert!(read(&[("FREESWITCH_HOST", "10.0.0.5")]).unwrap().rtc.bind.is_unspecified());
        assert!(read(&[("WEBRTC_ANNOUNCED_IP", "192.0.2.1")]).unwrap().sip.bind.is_unspecified());
        assert!(read(&[("WEBRTC_ANNOUNCED_IP", "192.0.2.1"), ("SIP_BIND_IP", "127.0.0.1")]).unwrap().sip.bind.is_loopback());
    }

    #[test]
    fn what_this_version_cannot_do_stops_the_start() {
        assert_eq!(faulty(&[("FREESWITCH_WS_URL", "wss://pbx.example"), ("SIP_SRTP", "required")]), ["FREESWITCH_WS_URL", "SIP_SRTP"]);
        assert!(read(&[("SIP_TRANSPORT", "udp"), ("SIP_REGISTER", "0")]).is_ok());
    }

    #[test]
    fn secrets_are_never_shown() {
        let environment =
            [("SIP_USERNAME", "gw"), ("SIP_PASSWORD", "hush-hush"), ("JWT_SECRET", "hush-hush"), ("METRICS_TOKEN", "hush-hush")];
        assert!(!format!("{:?}", read(&environment).unwrap()).contains("hush"));
        let production = [("MODE", "production"), ("JWT_SECRET", "hush"), ("FREESWITCH_HOST", "pbx"), ("TURN_SECRET", "hush")];
        let faults = read(&production).unwrap_err();
        assert_eq!(faults.len(), 2);
        assert!(faults.iter().all(|fault| !fault.to_string().contains("hush")));
    }

    #[test]
    fn a_trunk_user_needs_a_password_and_the_other_way_round() {
        assert_eq!(faulty(&[("SIP_USERNAME", "gw")]), ["SIP_PASSWORD"]);
        assert_eq!(faulty(&[("SIP_PASSWORD", "x")]), ["SIP_USERNAME"]);
    }

    #[test]
    fn localhost_origins_are_any_port_of_this_machine_and_nothing_else() {
        let origins = read(&[]).unwrap().origins;
        for allowed in ["http://localhost", "http://localhost:5173", "https://127.0.0.1:8443", "http://[::1]:3005"] {
            assert!(origins.allow(allowed), "{allowed}");
        }
        for refused in
            ["http://localhost.evil.example", "http://evil.example", "null", "http://localhost:x", "http://127.0.0.1.evil.example"]
        {
            assert!(!origins.allow(refused), "{refused}");
        }
    }

    #[test]
    fn header_names_pass_by_their_prefix_in_any_case() {
        let sip = read(&[("SIP_HEADER_PREFIXES", "X-,P-Asserted-")]).unwrap().sip;
        assert!(sip.passes_header("x-Queue") && sip.passes_header("P-ASSERTED-Identity"));
        assert!(!sip.passes_header("Via"));
    }
}
