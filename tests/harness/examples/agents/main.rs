//! What an agent costs: connects so many agents to a gateway in a process of its own and prints, for each of them, the memory of that process
//! once their sockets are connected, once both transports are, and once all have gone; then the processor time of coming back.
//!
//! `./dev agents [n]`, or `cargo run -p nexus-harness --example agents -- PATH_OF_THE_GATEWAY [N]`. What the client itself costs is counted nowhere.

mod agent;
mod gateway;

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};

use agent::{Agent, AgentError};
use gateway::{Gateway, Usage};

/// What all agents are asked to have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Asleep,
    /// The Socket.IO connection is up.
    Connected,
    /// Both transports are connected, there is a producer and a consumer.
    WithMedia,
    /// Transports and sockets are closed.
    Gone,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (binary, count) = (arguments.next(), arguments.next().map_or(Ok(DEFAULT_COUNT), |count| count.parse()));
    let (Some(binary), Ok(count @ 1..)) = (binary, count) else {
        eprintln!("usage: agents PATH_OF_THE_GATEWAY [N]");
        return ExitCode::FAILURE;
    };
    match measure(&binary, count).await {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that is measured, in the order of measuring.
struct Figures {
    count: usize,
    before: Usage,
    with_sockets: Usage,
    with_media: Usage,
    /// With media, [`UPKEEP`] later.
    after_upkeep: Usage,
    gone: Usage,
    back: Usage,
    /// From the first socket to the last transport of those who came back.
    back_took: Duration,
}

async fn measure(binary: &str, count: usize) -> Result<Figures, String> {
    let gateway = Gateway::start(binary)?;
    println!("{count} agents, gateway {} (process {})", gateway.authority(), gateway.process());
    let settled = async || {
        tokio::time::sleep(SETTLE).await;
        gateway.usage()
    };
    let before = settled().await?;

    let mut crew = Crew::new(&gateway, count);
    crew.reach(Stage::Connected).await?;
    let with_sockets = settled().await?;
    crew.reach(Stage::WithMedia).await?;
    let with_media = settled().await?;
    tokio::time::sleep(UPKEEP).await;
    let after_upkeep = gateway.usage()?;
    crew.reach(Stage::Gone).await?;
    gateway.wait_empty().await?;
    let gone = settled().await?;

    let begun = Instant::now();
    let mut crew = Crew::new(&gateway, count);
    crew.reach(Stage::WithMedia).await?;
    let back_took = begun.elapsed();
    let back = gateway.usage()?;
    Ok(Figures { count, before, with_sockets, with_media, after_upkeep, gone, back, back_took })
}

/// All agents, each a task of its own that serves its connections between the stages.
struct Crew {
    count: usize,
    stage: watch::Sender<Stage>,
    done: mpsc::Receiver<Result<(), AgentError>>,
}

impl Crew {
    fn new(gateway: &Gateway, count: usize) -> Self {
        let (stage, stages) = watch::channel(Stage::Asleep);
        let (report, done) = mpsc::channel(count);
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        for number in 0..count {
            let (authority, stages, at_once, report) = (gateway.authority().to_owned(), stages.clone(), at_once.clone(), report.clone());
            tokio::spawn(async move {
                if let Err(error) = work(number, &authority, stages, &at_once, &report).await {
                    // An error means that nobody waits any more.
                    let _ = report.send(Err(error)).await;
                }
            });
        }
        Self { count, stage, done }
    }

    /// Returns once every agent has done it.
    async fn reach(&mut self, stage: Stage) -> Result<(), String> {
        self.stage.send_replace(stage);
        for done in 1..=self.count {
            let outcome = tokio::time::timeout(PATIENCE, self.done.recv()).await;
            let outcome = outcome.map_err(|_| format!("{stage:?}: nothing happens after {} of {} agents", done - 1, self.count))?;
            outcome.ok_or("every agent has ended")?.map_err(|error| format!("{stage:?}: {error}"))?;
            if done % (self.count / 10).max(1) == 0 {
                eprintln!("{stage:?}: {done}/{}", self.count);
            }
        }
        Ok(())
    }
}

/// One agent's life.
async fn work(
    number: usize,
    authority: &str,
    mut stages: watch::Receiver<Stage>,
    at_once: &Semaphore,
    report: &mpsc::Sender<Result<(), AgentError>>,
) -> Result<(), AgentError> {
    let asked = asked_for(&mut stages, Stage::Connected).await?;
    let mut turn = at_once.acquire().await;
    let mut agent = Agent::connect(number, authority).await?;
    if asked == Stage::Connected {
        drop(turn);
        done(report).await?;
        agent.serve_until(asked_for(&mut stages, Stage::WithMedia)).await??;
        turn = agent.serve_until(at_once.acquire()).await?;
    }
    agent.connect_media().await?;
    drop(turn);
    done(report).await?;
    agent.serve_until(asked_for(&mut stages, Stage::Gone)).await??;
    agent.leave().await?;
    done(report).await
}

/// Waits until at least this stage is asked for; gives the one that is.
async fn asked_for(stages: &mut watch::Receiver<Stage>, least: Stage) -> Result<Stage, AgentError> {
    stages.wait_for(|&stage| stage >= least).await.map(|stage| *stage).map_err(|_| AgentError::Dismissed)
}

async fn done(report: &mpsc::Sender<Result<(), AgentError>>) -> Result<(), AgentError> {
    report.send(Ok(())).await.map_err(|_| AgentError::Dismissed)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = [
            ("before", self.before),
            ("sockets connected", self.with_sockets),
            ("both transports connected", self.with_media),
            ("all gone", self.gone),
            ("back, with both transports", self.back),
        ];
        writeln!(f, "\n{:<28} {:>14} {:>18}", "memory", "resident KiB", "KiB an agent")?;
        for (what, usage) in memory {
            let more = usage.resident_kib as f64 - self.before.resident_kib as f64;
            writeln!(f, "{what:<28} {:>14} {:>18.1}", usage.resident_kib, more / self.count as f64)?;
        }
        writeln!(f, "\n{:<28} {:>14} {:>18} {:>14}", "processor time, us an agent", "front", "shards", "process")?;
        let stages = [
            ("connecting a socket", self.before, self.with_sockets),
            ("connecting both transports", self.with_sockets, self.with_media),
            ("leaving", self.after_upkeep, self.gone),
            ("coming back, all of it", self.gone, self.back),
        ];
        for (what, from, to) in stages {
            let each = |time: fn(&Usage) -> Duration| (time(&to) - time(&from)).as_secs_f64() * 1e6 / self.count as f64;
            let (front, shards, process) = (each(|usage| usage.front), each(|usage| usage.shards), each(|usage| usage.process));
            writeln!(f, "{what:<28} {front:>14.0} {shards:>18.0} {process:>14.0}")?;
        }
        let upkeep = (self.after_upkeep.process - self.with_media.process).as_secs_f64() / UPKEEP.as_secs_f64();
        writeln!(f, "\nWith {} agents who do nothing the gateway takes {:.1} % of a core.", self.count, 100.0 * upkeep)?;
        write!(f, "All were back after {:.1} s, {AT_ONCE} at a time.", self.back_took.as_secs_f64())
    }
}

const DEFAULT_COUNT: usize = 1000;

/// Agents that connect at the same time: as many as this client can serve before the gateway's and its own flights are repeated.
const AT_ONCE: usize = 8;

/// Until memory is looked at, and for late packets.
const SETTLE: Duration = Duration::from_secs(3);

/// How long agents do nothing, to see what that costs.
const UPKEEP: Duration = Duration::from_secs(10);

/// How long all agents may stand still.
const PATIENCE: Duration = Duration::from_secs(20);
