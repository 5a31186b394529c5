//! What handing inputs to a shard costs: push and pop alone, and there and back between two threads of which the one that has nothing to do sleeps,
//! so that each way has a wake in it.

use std::future::poll_fn;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use futures_lite::future::block_on;
use nexus_gateway::call::command::Command;
use nexus_gateway::driver::{ShardInbox, ShardMailbox, mailbox};
use nexus_gateway::ids::SocketId;
use nexus_gateway::limits::{COMMANDS_PER_TICK, MAILBOX};
use nexus_gateway::shard::io::Input;

/// Inputs that arrive while the reader sleeps: one, some, and as many as one tick takes.
const BATCHES: [usize; 3] = [1, 16, COMMANDS_PER_TICK];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    without_a_wake(&mut criterion);
    there_and_back(&mut criterion);
    criterion.final_summary();
}

fn input() -> Input {
    Input::Command { request: None, command: Command::Disconnect { socket: SocketId(1) } }
}

fn without_a_wake(criterion: &mut Criterion) {
    let (mailbox, inbox) = mailbox(MAILBOX);
    let mut group = criterion.benchmark_group("push and pop by one thread");
    group.throughput(Throughput::Elements(1));
    for batch in BATCHES {
        group.bench_function(BenchmarkId::from_parameter(format!("inputs: {batch}")), |bencher| {
            bencher.iter_custom(|inputs| {
                let begun = Instant::now();
                let mut left = inputs as usize;
                while left > 0 {
                    let batch = batch.min(left);
                    (0..batch).for_each(|_| mailbox.push(input()).expect("room"));
                    (0..batch).for_each(|_| drop(inbox.pop().expect("what was pushed")));
                    left -= batch;
                }
                begun.elapsed()
            });
        });
    }
    group.finish();
}

fn there_and_back(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("to a sleeping thread and a word back");
    group.sample_size(20);
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("inputs: {batch}")), |bencher| {
            bencher.iter_custom(|rounds| ping_pong(batch, rounds));
        });
    }
    group.finish();
}

fn ping_pong(batch: usize, rounds: u64) -> Duration {
    let (to_reader, reader) = mailbox(MAILBOX);
    let (to_writer, writer) = mailbox(MAILBOX);
    let answering = thread::spawn(move || {
        for _ in 0..rounds {
            take(&reader, batch);
            put(&to_writer, 1);
        }
    });
    let begun = Instant::now();
    for _ in 0..rounds {
        put(&to_reader, batch);
        take(&writer, 1);
    }
    let elapsed = begun.elapsed();
    answering.join().expect("the reader has read everything");
    elapsed
}

fn put(mailbox: &ShardMailbox, count: usize) {
    (0..count).for_each(|_| mailbox.push(input()).expect("room"));
}

/// As a shard does it: sleeps until something waits, takes all that does, sleeps again.
fn take(inbox: &ShardInbox, mut count: usize) {
    while count > 0 {
        block_on(poll_fn(|cx| inbox.poll_ready(cx)));
        inbox.disarm();
        while count > 0
            && let Some(input) = inbox.pop()
        {
            drop(input);
            count -= 1;
        }
    }
}
