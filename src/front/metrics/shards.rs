//! The shards' figures, as they last published them.

use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use tokio::sync::mpsc::WeakSender;

use crate::driver::{ShardFigures, ShardMailbox};
use crate::histogram::Histogram;
use crate::shard::io::Output;

/// Each shard's way to the front, to see how much waits there.
pub(in crate::front) type Outputs = Vec<WeakSender<Output>>;

/// Shows every shard, in their order.
#[derive(Debug)]
pub(super) struct ShardCollector {
    mailboxes: Vec<ShardMailbox>,
    outputs: Outputs,
}

/// One shard at the moment of a scrape.
struct Shard {
    number: u32,
    figures: ShardFigures,
    mailbox: usize,
    outputs: usize,
}

type Labels<'a> = &'a [(&'static str, &'static str)];

impl ShardCollector {
    pub(super) fn new(mailboxes: Vec<ShardMailbox>, outputs: Outputs) -> Self {
        Self { mailboxes, outputs }
    }

    fn shards(&self) -> Vec<Shard> {
        let waiting = |output: &WeakSender<Output>| output.upgrade().map_or(0, |sender| sender.max_capacity() - sender.capacity());
        let shards = (0..).zip(self.mailboxes.iter().zip(&self.outputs));
        let shard = |(number, (mailbox, output)): (u32, (&ShardMailbox, _))| Shard {
            number,
            figures: mailbox.figures(),
            mailbox: mailbox.waiting(),
            outputs: waiting(output),
        };
        shards.map(shard).collect()
    }
}

impl Collector for ShardCollector {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let shards = self.shards();
        let mut write = Writer { encoder, shards: &shards };

        write.gauge("agents", "Agents, connected or within their grace time", |shard| shard.figures.core.agents)?;
        write.gauge("agents_connected", "Agents with a socket", |shard| shard.figures.core.agents_connected)?;
        write.gauge("transports", "Browser transports", |shard| shard.figures.core.transports)?;
        write.gauge("calls", "Live calls", |shard| shard.figures.core.calls)?;
        write.gauge("sip_transactions", "Open SIP transactions", |shard| shard.figures.core.sip_transactions)?;
        write.gauge("sip_dialogs", "Established SIP dialogs", |shard| shard.figures.core.sip_dialogs)?;
        write.gauge("port_pairs_in_use", "Port pairs that a SIP leg has for its own", |shard| shard.figures.core.port_pairs_in_use)?;
        write.gauge("deadlines", "Pending deadlines", |shard| shard.figures.core.deadlines)?;
        write.gauge("mailbox_inputs", "Inputs that wait for the shard", |shard| shard.mailbox)?;
        write.gauge("outputs_waiting", "Outputs of the shard that wait for the front", |shard| shard.outputs)?;
        write.gauge("outputs_held", "Outputs that the shard holds back because the front is slow", |shard| {
            shard.figures.thread.outputs_held
        })?;

        write.counter("calls_started", "Calls that began", |shard, add| {
            for (direction, calls) in directions(shard) {
                add(&[("direction", direction)], calls.started);
            }
        })?;
        write.counter("calls_answered", "Calls that were answered", |shard, add| {
            for (direction, calls) in directions(shard) {
                add(&[("direction", direction)], calls.answered_total());
            }
        })?;
        write.counter("calls_finished", "Calls that are over, by their last event and its reason or code", |shard, add| {
            for (direction, calls) in directions(shard) {
                for (result, reason, count) in calls.results() {
                    add(&[("direction", direction), ("result", result), ("reason", reason)], count);
                }
            }
        })?;
        write.histogram("call_setup", "From the agent's dial or the PBX's INVITE to the answer", |shard, add| {
            for (direction, calls) in directions(shard) {
                add(&[("direction", direction)], &Buckets::from(&calls.setup));
            }
        })?;

        write.counter("datagrams_received", "Datagrams taken from the kernel", |shard, add| add(&[], shard.figures.thread.received))?;
        write.counter("datagrams_sent", "Datagrams that the kernel took", |shard, add| add(&[], shard.figures.thread.sent))?;
        write.counter("datagrams_dropped", "Datagrams dropped, by reason", |shard, add| {
            for &(reason, count) in &shard.figures.core.dropped {
                add(&[("reason", reason)], count);
            }
            add(&[("reason", "unsent")], shard.figures.thread.unsent);
            add(&[("reason", "sip_source_not_allowed")], shard.figures.thread.foreign_sip);
        })?;
        write.counter("sip_requests", "SIP requests, retransmissions included", |shard, add| {
            for (direction, counts) in [("in", &shard.figures.core.sip_received), ("out", &shard.figures.core.sip_sent)] {
                counts.requests().for_each(|(method, count)| add(&[("direction", direction), ("method", method)], count));
            }
        })?;
        write.counter("sip_responses", "SIP responses, retransmissions included", |shard, add| {
            for (direction, counts) in [("in", &shard.figures.core.sip_received), ("out", &shard.figures.core.sip_sent)] {
                counts.responses().for_each(|(class, count)| add(&[("direction", direction), ("class", class)], count));
            }
        })?;

        write.counter("panics", "Panics that were contained: bugs of the gateway", |shard, add| add(&[], shard.figures.core.panics))?;
        write.counter("restarts", "Shards that died and were replaced", |shard, add| add(&[], shard.figures.thread.restarts))?;
        write.histogram("tick", "How long the shard's ticks took: all that it worked", |shard, add| {
            add(&[], &Buckets::from(&shard.figures.thread.ticks));
        })?;
        write.seconds("asleep", "How long the shard slept between its ticks", |shard| shard.figures.thread.asleep)
    }
}

fn directions(shard: &Shard) -> [(&'static str, &crate::shard::CallFigures); 2] {
    [("outbound", &shard.figures.core.outbound), ("inbound", &shard.figures.core.inbound)]
}

/// A histogram in the encoder's words.
struct Buckets {
    sum: f64,
    count: u64,
    buckets: Vec<(f64, u64)>,
}

impl<const N: usize> From<&Histogram<N>> for Buckets {
    fn from(histogram: &Histogram<N>) -> Self {
        let bound = |bound: Option<Duration>| bound.map_or(f64::INFINITY, |bound| bound.as_secs_f64());
        let buckets = histogram.buckets().map(|(upper, count)| (bound(upper), count)).collect();
        Self { sum: histogram.sum().as_secs_f64(), count: histogram.count(), buckets }
    }
}

/// Writes one metric of all shards at a time. Those with labels of their own are named by the closure that gives their values.
struct Writer<'e, 's> {
    encoder: DescriptorEncoder<'e>,
    shards: &'s [Shard],
}

impl Writer<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: impl Fn(&Shard) -> usize) -> Result<(), std::fmt::Error> {
        self.family(name, help, None, MetricType::Gauge, |shard, write| {
            write(&[], &mut |encoder| ConstGauge::new(value(shard) as i64).encode(encoder))
        })
    }

    fn counter(&mut self, name: &str, help: &str, values: impl Fn(&Shard, &mut dyn FnMut(Labels, u64))) -> Result<(), std::fmt::Error> {
        self.family(name, help, None, MetricType::Counter, |shard, write| {
            let mut written = Ok(());
            values(shard, &mut |labels, count| {
                written = written.and_then(|()| write(labels, &mut |encoder| ConstCounter::new(count).encode(encoder)));
            });
            written
        })
    }

    fn seconds(&mut self, name: &str, help: &str, value: impl Fn(&Shard) -> Duration) -> Result<(), std::fmt::Error> {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Counter, |shard, write| {
            write(&[], &mut |encoder| ConstCounter::new(value(shard).as_secs_f64()).encode(encoder))
        })
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        values: impl Fn(&Shard, &mut dyn FnMut(Labels, &Buckets)),
    ) -> Result<(), std::fmt::Error> {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram, |shard, write| {
            let mut written = Ok(());
            values(shard, &mut |labels, Buckets { sum, count, buckets }| {
                let mut encode = |mut encoder: MetricEncoder| encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None);
                written = written.and_then(|()| write(labels, &mut encode));
            });
            written
        })
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        values: impl Fn(
            &Shard,
            &mut dyn FnMut(Labels, &mut dyn FnMut(MetricEncoder) -> Result<(), std::fmt::Error>) -> Result<(), std::fmt::Error>,
        ) -> Result<(), std::fmt::Error>,
    ) -> Result<(), std::fmt::Error> {
        let mut metric = self.encoder.encode_descriptor(name, help, unit, kind)?;
        for shard in self.shards {
            values(shard, &mut |labels, encode| {
                let number = shard.number.to_string();
                let mut all = vec![("shard", number.as_str())];
                all.extend_from_slice(labels);
                encode(metric.encode_family(&all)?)
            })?;
        }
        Ok(())
    }
}
