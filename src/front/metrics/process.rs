//! The process as the system sees it, under the names that all Prometheus clients give it.

use procfs::process::Process;
use procfs::{CurrentSI, KernelStats, ProcResult, page_size, ticks_per_second};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Reads `/proc/self` for each scrape.
#[derive(Debug)]
pub(super) struct ProcessCollector;

struct Facts {
    cpu_seconds: f64,
    start_time_seconds: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    open_fds: i64,
    max_fds: f64,
    threads: i64,
}

impl Facts {
    fn read() -> ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
        let max_fds = match process.limits()?.max_open_files.soft_limit {
            procfs::process::LimitValue::Unlimited => f64::INFINITY,
            procfs::process::LimitValue::Value(most) => most as f64,
        };
        Ok(Self {
            cpu_seconds: seconds(stat.utime + stat.stime),
            start_time_seconds: KernelStats::current()?.btime as f64 + seconds(stat.starttime),
            resident_bytes: (stat.rss * page_size()) as i64,
            virtual_bytes: stat.vsize as i64,
            open_fds: process.fd_count()? as i64,
            max_fds,
            threads: stat.num_threads,
        })
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        // Where /proc is hidden from us there is nothing to tell.
        let Ok(facts) = Facts::read() else { return Ok(()) };
        // Names with their units in them: they are not ours to change.
        let mut write = |name: &str, help: &str, metric: &dyn EncodeMetric| {
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        write("process_cpu_seconds", "Processor time, user and system", &ConstCounter::new(facts.cpu_seconds))?;
        write("process_start_time_seconds", "When the process started, since 1970", &ConstGauge::new(facts.start_time_seconds))?;
        write("process_resident_memory_bytes", "Resident memory", &ConstGauge::new(facts.resident_bytes))?;
        write("process_virtual_memory_bytes", "Address space", &ConstGauge::new(facts.virtual_bytes))?;
        write("process_open_fds", "Open file descriptors", &ConstGauge::new(facts.open_fds))?;
        write("process_max_fds", "File descriptors that may be open", &ConstGauge::new(facts.max_fds))?;
        write("process_threads", "Threads", &ConstGauge::new(facts.threads))
    }
}
