//! Runs models: random steps by proptest, a budget of steps, and a report from which a failing case can be repeated.
//!
//! `NEXUS_MODEL_STEPS` says how many steps all models together run ([`STEPS`] without it; each model has its share). Each case has a seed of
//! its own, counted up from `NEXUS_MODEL_SEED` (1 without it). A failing case is shrunk and printed: `NEXUS_MODEL_SEED=<n>
//! NEXUS_MODEL_STEPS=1` repeats it alone, and its steps are Rust that a named test can keep.

use std::cell::Cell;
use std::fmt::Debug;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Steps of all models together where nothing else is asked for.
pub const STEPS: u64 = 30_000;

/// A model to be checked.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Its name in messages.
    pub name: &'static str,
    /// Its part of all steps, in percent.
    pub share: u64,
}

impl Model {
    /// Runs cases until the model's share of the steps is spent: `run` gets the case's seed, its steps, and whether to say what it does.
    /// Tells how many steps were run.
    ///
    /// # Panics
    /// When a case fails by an error or a panic, with its seed and its shrunk steps.
    pub fn check<T: Clone + Debug>(
        self,
        steps: &impl Strategy<Value = Vec<T>>,
        run: impl Fn(u64, &[T], bool) -> Result<(), String>,
    ) -> u64 {
        let Self { name, share } = self;
        let budget = (number("NEXUS_MODEL_STEPS").unwrap_or(STEPS) * share / 100).max(1);
        let first = number("NEXUS_MODEL_SEED").unwrap_or(1);
        let (started, mut told) = (Instant::now(), Instant::now());
        let (mut seed, mut done) = (first, 0);
        while done < budget {
            let mut runner = runner_of(seed);
            let tree = steps.new_tree(&mut runner).expect("a strategy that filters nothing");
            let length = tree.current().len();
            let outcome = quietly(|| {
                runner.run_one(tree, |steps| match run(seed, &steps, false) {
                    Ok(()) => Ok(()),
                    Err(what) => Err(TestCaseError::fail(what)),
                })
            });
            match outcome {
                Ok(_) => {}
                Err(TestError::Fail(reason, steps)) => {
                    // Once more and aloud: a panic tells where, and a world what led to it.
                    let again = panic::catch_unwind(AssertUnwindSafe(|| run(seed, &steps, true)));
                    println!("once more: {}", again.map_or("panicked".to_owned(), |outcome| format!("{outcome:?}")));
                    let steps: Vec<String> = steps.iter().map(|step| format!("    {step:?},")).collect();
                    panic!("model {name}, seed {seed}: {reason}\nof {length} steps these are enough:\n[\n{}\n]", steps.join("\n"));
                }
                Err(TestError::Abort(reason)) => panic!("model {name}, seed {seed}: {reason}"),
            }
            done += length as u64;
            seed += 1;
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                eprintln!("model {name}: {done} of {budget} steps, {} cases, {:?}", seed - first, started.elapsed());
            }
        }
        eprintln!("model {name}: {done} steps in {} cases from seed {first}, {:?}", seed - first, started.elapsed());
        done
    }
}

fn runner_of(seed: u64) -> TestRunner {
    let config = Config { failure_persistence: None, max_shrink_iters: 20_000, max_shrink_time: 120_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs without a word about panics: shrinking meets the same one hundreds of times.
fn quietly<T>(act: impl FnOnce() -> T) -> T {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = act();
    QUIET.set(false);
    outcome
}

/// How often a long run says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
