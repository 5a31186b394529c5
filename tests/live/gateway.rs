//! The gateway's process, and its REST interface.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use nexus_gateway::config::PortRange;
use serde_json::Value;

/// What tokens are signed with.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// How long the calls of an agent outlive its socket and its media.
pub const GRACE: Duration = Duration::from_secs(1);

/// How long anything may take that should happen at once, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The real binary, as a child process.
pub struct Gateway {
    child: Mutex<Child>,
    authority: String,
    first_port: u16,
    shards: u16,
    log: PathBuf,
}

impl Gateway {
    /// Starts it on free ports, with the demo PBX, and waits until it is ready. The name is its log's.
    pub fn start_as(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// The same with these settings beside.
    pub fn start_with(name: &str, settings: &[(&str, &str)]) -> Self {
        let first_port = free_ports();
        let shards = env::var("SHARDS").unwrap_or_else(|_| "1".to_owned());
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{first_port}.log", process::id()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_nexus-gateway"))
            // No `.env` of a developer may change the tests.
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .env_clear()
            .envs([("PORT", "0"), ("PIN_CORES", "0"), ("HOST", "127.0.0.1"), ("JWT_SECRET", SECRET)])
            .env("SHARDS", &shards)
            .env("SIP_PORT", first_port.to_string())
            .env("RTC_MIN_PORT", (first_port + SIP_PORTS).to_string())
            .env("RTC_MAX_PORT", (first_port + PORTS - 1).to_string())
            .env("RESUME_GRACE_SECONDS", GRACE.as_secs().to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a file for the log"))
            .spawn()
            .expect("the binary starts");
        let words = child.stdout.take().expect("standard output is a pipe");
        let (ready, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(words).lines().map_while(Result::ok) {
                if let Some(facts) = line.strip_prefix("ready ") {
                    let _ = ready.send(facts.to_owned());
                }
            }
        });
        let told = told.recv_timeout(START_PATIENCE);
        let facts = told.unwrap_or_else(|_| {
            let _ = child.kill();
            panic!("the gateway is not ready; its log:\n{}", fs::read_to_string(&log).unwrap_or_default())
        });
        let http = facts.split(' ').find_map(|fact| fact.strip_prefix("http=http://")).expect("the ready line names the address");
        let shards = shards.parse().expect("SHARDS is a number");
        Self { child: Mutex::new(child), authority: http.to_owned(), first_port, shards, log }
    }

    /// How many shards it has.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The public SIP port, and that of each shard.
    pub fn sip_ports(&self) -> RangeInclusive<u16> {
        self.first_port..=self.first_port + self.shards
    }

    /// `RTC_MIN_PORT` and `RTC_MAX_PORT`.
    pub fn media_ports(&self) -> PortRange {
        PortRange { min: self.first_port + SIP_PORTS, max: self.first_port + PORTS - 1 }
    }

    /// The memory that it has in use.
    pub fn resident_kib(&self) -> u64 {
        let id = self.child.lock().unwrap_or_else(PoisonError::into_inner).id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the gateway runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line on memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// `host:port` of HTTP and Socket.IO.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What it wrote on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends SIGTERM and waits for the end: its exit code, `None` where it was killed because it did not come.
    pub fn stop(&self) -> Option<i32> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the gateway still runs");
        let give_up_at = Instant::now() + PATIENCE;
        while Instant::now() < give_up_at {
            if let Some(status) = child.try_wait().expect("a child of ours") {
                return status.code();
            }
            thread::sleep(POLL_INTERVAL);
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    /// `GET` of the REST interface: status and body.
    pub fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, "")
    }

    /// The same where the body is no JSON.
    pub fn text(&self, path: &str) -> (u16, String) {
        self.exchange("GET", path, "")
    }

    /// The same in somebody's name.
    pub fn get_as(&self, token: &str, path: &str) -> (u16, Value) {
        self.request("GET", path, &format!("Authorization: Bearer {token}\r\n"))
    }

    /// `POST` of the REST interface, without a body.
    pub fn post(&self, path: &str) -> (u16, Value) {
        self.request("POST", path, "")
    }

    /// `GET /api/webrtc/sessions/:callId`.
    pub fn session(&self, call: &str) -> Value {
        let (status, mut body) = self.get(&format!("/api/webrtc/sessions/{call}"));
        assert_eq!((status, &body["success"]), (200, &Value::Bool(true)), "{body}");
        body["session"].take()
    }

    fn request(&self, method: &str, path: &str, headers: &str) -> (u16, Value) {
        let (status, body) = self.exchange(method, path, headers);
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {path} was answered with {status} {body}")))
    }

    fn exchange(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.authority).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n", self.authority);
        stream.write_all(head.as_bytes()).expect("the request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        (status, body.to_owned())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).kill();
        let _ = fs::remove_file(&self.log);
    }
}

/// One leg of a session.
pub fn leg(session: &Value, name: &str) -> Value {
    let legs = session["legs"].as_array().expect("legs");
    legs.iter().find(|leg| leg["leg"] == *name).unwrap_or_else(|| panic!("no {name} leg in {session}")).clone()
}

/// Asks again and again until there is something, or panics with what it waited for and what there was last.
pub fn until<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Result<T, Value>) -> T {
    let give_up_at = Instant::now() + patience;
    loop {
        match ask() {
            Ok(found) => return found,
            Err(there) => assert!(Instant::now() < give_up_at, "waited {patience:?} in vain for {what}; there is {there}"),
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// The first of so many UDP ports in a row that nobody holds at the moment.
fn free_ports() -> u16 {
    // Gateways of one process never look in the same place, those of others begin somewhere else.
    static LOOKED_AT: AtomicU16 = AtomicU16::new(0);
    let mut starts = std::iter::repeat_with(|| {
        let range = LOOKED_AT.fetch_add(1, Ordering::Relaxed).wrapping_add(process::id() as u16);
        FIRST_PORT + PORTS * (range % RANGES)
    });
    let is_free = |first: &u16| (*first..first + PORTS).all(|port| UdpSocket::bind(("0.0.0.0", port)).is_ok());
    starts.by_ref().take(usize::from(RANGES)).find(is_free).expect("free UDP ports")
}

/// A cold start reads the binary from disk.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at something that sends no word of itself.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Below the ports that the system gives out by itself.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 100;

/// So many of them are for SIP.
const SIP_PORTS: u16 = 10;
const RANGES: u16 = 100;
