//! The gateway's process, and what the system says that it uses.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A gateway on free ports, with a data directory of its own; ended when dropped.
pub struct Gateway {
    child: Child,
    authority: String,
    directory: PathBuf,
}

/// What the process has and has had.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub resident_kib: u64,
    /// Processor time of all threads, user and system.
    pub process: Duration,
    pub front: Duration,
    pub shards: Duration,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    pub fn start(binary: &str) -> Result<Self, String> {
        let binary = fs::canonicalize(binary).map_err(|error| format!("{binary}: {error}"))?;
        let directory = std::env::temp_dir().join(format!("nexus-agents-{}", std::process::id()));
        fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let log = File::create(directory.join("log")).map_err(|error| error.to_string())?;
        let (first, last) = free_ports()?;
        let mut child = Command::new(&binary)
            .current_dir(&directory)
            .env_clear()
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("SIP_PORT", "0"), ("PIN_CORES", "0"), ("RESUME_GRACE_SECONDS", "1")])
            .envs(std::env::var("SHARDS").map(|shards| ("SHARDS", shards)))
            .envs([("RTC_MIN_PORT", first.to_string()), ("RTC_MAX_PORT", last.to_string())])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        let words = child.stdout.take().ok_or("no standard output")?;
        let (ready, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(words).lines().map_while(Result::ok) {
                if let Some(facts) = line.strip_prefix("ready ") {
                    let _ = ready.send(facts.to_owned());
                }
            }
        });
        let mut gateway = Self { child, authority: String::new(), directory };
        let facts = told.recv_timeout(PATIENCE).map_err(|_| format!("the gateway is not ready; its log:\n{}", gateway.log()))?;
        let http = facts.split(' ').find_map(|fact| fact.strip_prefix("http=http://"));
        gateway.authority = http.ok_or("the ready line names no address")?.to_owned();
        Ok(gateway)
    }

    /// `host:port` of HTTP and Socket.IO.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// What it uses now.
    pub fn usage(&self) -> Result<Usage, String> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        self.read_usage(&process).ok_or_else(|| format!("{} cannot be read; the gateway's log:\n{}", process.display(), self.log()))
    }

    /// Waits until no agent and no transport is left.
    pub async fn wait_empty(&self) -> Result<(), String> {
        let give_up_at = Instant::now() + PATIENCE;
        loop {
            let stats = self.get("/api/webrtc/stats").await.map_err(|error| error.to_string())?;
            let of_shards = |name: &str| {
                let shards = stats["shards"].as_array().into_iter().flatten();
                shards.filter_map(|shard| shard[name].as_u64()).sum::<u64>()
            };
            let (agents, transports) = (of_shards("agents"), of_shards("transports"));
            if stats["success"] == true && agents + transports == 0 {
                return Ok(());
            }
            if Instant::now() > give_up_at {
                return Err(format!("{agents} agents and {transports} transports are left"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn get(&self, path: &str) -> std::io::Result<Value> {
        let mut stream = TcpStream::connect(&self.authority).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.authority).as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(serde_json::from_str(body)?)
    }

    fn read_usage(&self, process: &Path) -> Option<Usage> {
        let memory = fs::read_to_string(process.join("smaps_rollup")).ok()?;
        let resident = memory.lines().find_map(|line| line.strip_prefix("Rss:"))?;
        let resident_kib = resident.trim().trim_end_matches("kB").trim().parse().ok()?;
        let mut usage = Usage { resident_kib, process: Duration::ZERO, front: Duration::ZERO, shards: Duration::ZERO };
        for thread in fs::read_dir(process.join("task")).ok()? {
            let thread = thread.ok()?.path();
            let name = fs::read_to_string(thread.join("comm")).ok()?;
            // In nanoseconds, where `stat` counts hundredths of a second.
            let ran = fs::read_to_string(thread.join("schedstat")).ok()?;
            let ran = Duration::from_nanos(ran.split(' ').next()?.parse().ok()?);
            usage.process += ran;
            match name.trim() {
                "front" => usage.front += ran,
                name if name.starts_with("shard-") => usage.shards += ran,
                _ => {}
            }
        }
        Some(usage)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The first and the last of some UDP ports in a row that nobody holds at the moment, below those that the system gives out by itself.
fn free_ports() -> Result<(u16, u16), String> {
    let is_free = |first: &u16| (*first..first + PORTS).all(|port| UdpSocket::bind(("0.0.0.0", port)).is_ok());
    let first = (20_000..30_000).step_by(PORTS.into()).find(is_free).ok_or("no free UDP ports")?;
    Ok((first, first + PORTS - 1))
}

const PORTS: u16 = 100;

/// How long the gateway may take to start, or to forget its agents.
const PATIENCE: Duration = Duration::from_secs(30);
