//! The model of the call: a shard, agents, a PBX and a network do random things, and after every step everything that api.md promises has to
//! hold. `NEXUS_MODEL_STEPS` and `NEXUS_MODEL_SEED` are told of in `nexus_harness::model`.

mod apply;
mod browser;
mod found;
mod ledger;
mod pbx;
mod reference;
mod step;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;

use nexus_harness::model::Model;

use step::Step;
use world::World;

#[test]
fn whatever_happens_to_calls_nothing_leaks_and_each_ends_once() {
    let seen = RefCell::new(BTreeMap::new());
    let model = Model { name: "call", share: 70 };
    let steps = model.check(&step::steps(), |seed, steps, loud| run_counting(seed, steps, loud, &mut seen.borrow_mut()));
    eprintln!("model call: {:#?}", seen.borrow());
    // A model that no longer gets anywhere finds nothing.
    let missed: Vec<_> = REACHED.iter().filter(|what| !seen.borrow().contains_key(**what)).collect();
    assert!(steps < ENOUGH || missed.is_empty(), "in {steps} steps there was never: {missed:?}");
}

/// Steps in which each of [`REACHED`] happens, many times.
const ENOUGH: u64 = 15_000;

const REACHED: [&str; 18] = [
    "answered",
    "digit",
    "ended by Admin, Terminated",
    "ended by Agent, Cancelled",
    "ended by Agent, Hangup",
    "ended by Agent, Rejected",
    "ended by Agent, Transferred",
    "ended by Gateway, MediaTimeout",
    "ended by Gateway, NoAnswer",
    "ended by Remote, Cancelled",
    "ended by Remote, Hangup",
    "failed SipRejected",
    "failed SipTimeout",
    "held false by Local",
    "held true by Remote",
    "ringing, early media true",
    "transfer failed",
    "transport Disconnected",
];

fn run(seed: u64, steps: &[Step], loud: bool) -> Result<(), String> {
    run_counting(seed, steps, loud, &mut BTreeMap::new())
}

/// Runs one case. The seed is that of the network and of all names.
fn run_counting(seed: u64, steps: &[Step], loud: bool, seen: &mut BTreeMap<String, u64>) -> Result<(), String> {
    let mut world = World::new(seed, loud);
    world.open();
    world.check()?;
    for step in steps {
        world.say(&|| format!("{step:?}"));
        world.apply(*step)?;
        world.check()?;
    }
    world.close()?;
    for (what, times) in world.seen {
        *seen.entry(what).or_default() += times;
    }
    Ok(())
}
