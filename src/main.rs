//! The gateway's program: environment to configuration, threads, signals, and out again.

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use clap::Parser;
use nexus_gateway::config::{Config, LogConfig, LogFormat, Machine, Mode};
use nexus_gateway::driver::{ShardEnd, ShardExit};
use nexus_gateway::start::{Gateway, banner, panics};
use rand::TryRngCore;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// After a signal the program is gone within this time, whatever hangs.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Ended by a signal, as it should.
const EXIT_TOLD: u8 = 0;

/// EX_CONFIG of sysexits(3): the operator has to change something; a supervisor need not try again.
const EXIT_CONFIG: u8 = 78;

/// EX_SOFTWARE of sysexits(3): our own bug; a supervisor should start us again.
const EXIT_BUG: u8 = 70;

/// WebRTC-to-SIP gateway: browser agents on one side, a PBX on the other. Without arguments it serves; the environment configures it.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// A file of KEY=value lines; the environment wins over it
    #[arg(long, default_value = ".env")]
    env_file: PathBuf,
    /// Check the configuration and exit
    #[arg(long)]
    check: bool,
}

/// What ends the program.
enum News {
    Signal(i32),
    Shard(ShardEnd),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match configuration(&arguments.env_file) {
        Ok(config) => config,
        Err(faults) => {
            faults.iter().for_each(|fault| complain(fault));
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    start_logging(config.log);
    panics::log_panics();
    let (news, arrivals) = mpsc::channel();
    if let Err(error) = watch_signals(news.clone()) {
        complain(&format!("cannot watch for signals: {error}"));
        return ExitCode::FAILURE;
    }
    let words = (config.mode == Mode::Dev).then(|| banner::Banner::new(&config));
    let on_end = move |end| drop(news.send(News::Shard(end)));
    let gateway = match Gateway::start(config, on_end) {
        Ok(gateway) => gateway,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if let Some(banner) = words {
        print(&banner.text(gateway.facts(), gateway.demo_pbx()));
    }
    print(&format!("{}\n", gateway.facts()));

    let code = match arrivals.recv() {
        Ok(News::Signal(signal)) => {
            tracing::info!(signal, "stopping");
            EXIT_TOLD
        }
        Ok(News::Shard(ShardEnd { shard, exit: ShardExit::Broken(reason) })) => {
            tracing::error!(%shard, reason, "a shard cannot go on: this is a bug of the gateway, and the program ends");
            EXIT_BUG
        }
        Ok(News::Shard(ShardEnd { shard, exit: ShardExit::Stopped })) => {
            tracing::error!(%shard, "a shard ended without being told to");
            EXIT_BUG
        }
        // The signals' thread holds the other end for as long as the program lives.
        Err(mpsc::RecvError) => EXIT_BUG,
    };
    leave_in_bounded_time(code);
    drop(gateway);
    ExitCode::from(code)
}

/// The environment, then the file where the environment says nothing.
fn configuration(file: &std::path::Path) -> Result<Config, Vec<String>> {
    let mut environment: Vec<(String, String)> =
        std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?))).collect();
    match dotenvy::from_path_iter(file) {
        Ok(entries) => {
            let given: std::collections::HashSet<String> = environment.iter().map(|(key, _)| key.clone()).collect();
            for entry in entries {
                let (key, value) = entry.map_err(|error| vec![format!("{}: {error}", file.display())])?;
                if !given.contains(&key) {
                    environment.push((key, value));
                }
            }
        }
        Err(dotenvy::Error::Io(error)) if error.kind() == ErrorKind::NotFound && file == std::path::Path::new(".env") => {}
        Err(error) => return Err(vec![format!("{}: {error}", file.display())]),
    }
    let mut random = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut random).map_err(|error| vec![format!("the system gives no random bytes: {error}")])?;
    let machine = Machine { cores: thread::available_parallelism().map_or(1, usize::from), host_name: host_name(), random };
    Config::from_env(environment, &machine).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "nexus-gateway".to_owned() } else { name.to_owned() }
}

fn start_logging(log: LogConfig) {
    let builder = tracing_subscriber::fmt().with_max_level(log.level).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Pretty => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}

/// Sends word of every SIGTERM and SIGINT; the second one ends the program at once.
fn watch_signals(news: Sender<News>) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                std::process::exit(0);
            }
            let _ = news.send(News::Signal(signal));
        }
    })?;
    Ok(())
}

/// Ends the program by force if its threads do not end by themselves.
fn leave_in_bounded_time(code: u8) {
    let watchdog = thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        thread::sleep(STOP_PATIENCE);
        tracing::warn!("not all threads ended in time");
        std::process::exit(code.into());
    });
    if let Err(error) = watchdog {
        tracing::warn!(%error, "no thread for the watchdog");
    }
}

/// One line on standard error, for a human.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "nexus-gateway: {line}");
}

/// Text on standard output, at once; whoever closed it does not want it.
fn print(text: &str) {
    let mut output = std::io::stdout();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}
