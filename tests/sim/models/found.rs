//! What the model has found and what has been mended since: each case with its seed, shrunk.

use super::run;
use super::step::{Ask::*, Number, Pbx, Step, Step::*};

fn holds(seed: u64, steps: &[Step]) {
    if let Err(what) = run(seed, steps, false) {
        // Aloud, for whoever has to mend it once more.
        let _ = run(seed, steps, true);
        panic!("{what}");
    }
}

/// The owner of a session was not told that the far side, which had hung up, refused the REFER: it waited, and its session's key was reused.
#[test]
fn a_refer_that_meets_a_bye_and_is_refused_ends_the_call_at_once() {
    let dial = Dial { number: Number::Answers, own_id: None };
    holds(
        14,
        &[
            Agent { agent: 108, asks: dial },
            Wait(2),
            Agent { agent: 33, asks: Transfer { call: 8 } },
            Pbx(Pbx::Bye { call: 0 }),
            Wait(2),
            Agent { agent: 189, asks: dial },
        ],
    );
}

/// The re-INVITE lay in the user agent until something else made the shard look there.
#[test]
fn a_call_is_held_for_another_one_at_once_also_when_that_one_waits_for_media() {
    let dial = Dial { number: Number::Answers, own_id: None };
    holds(
        16,
        &[
            Connect { agent: 0 },
            OpenMedia { agent: 0 },
            Connect { agent: 0 },
            Agent { agent: 55, asks: dial },
            Agent { agent: 79, asks: CloseTransport { nth: 134 } },
            Wait(2),
            Agent { agent: 100, asks: dial },
        ],
    );
}

/// Whoever ended it during a transfer, the reason became `hangup`.
#[test]
fn a_call_terminated_during_a_transfer_ends_as_terminated() {
    holds(
        35,
        &[
            Agent { agent: 0, asks: Dial { number: Number::Answers, own_id: None } },
            Wait(10),
            Agent { agent: 0, asks: Transfer { call: 0 } },
            Wait(10),
            Terminate { call: 0 },
            Wait(6_000),
        ],
    );
}

/// A NOTIFY of an earlier transfer was taken for the acceptance of the next one, whose refusal was then ignored.
#[test]
fn a_refer_that_is_refused_behind_a_late_notify_fails_the_transfer() {
    let dial = Agent { agent: 0, asks: Dial { number: Number::Answers, own_id: None } };
    let transfer = Agent { agent: 0, asks: Transfer { call: 0 } };
    holds(
        2_012_294,
        &[
            dial,
            Wait(10),
            transfer,
            Wait(10),
            Pbx(Pbx::Notify { call: 0, status: 100 }),
            Wait(10),
            Pbx(Pbx::Notify { call: 0, status: 486 }),
            Wait(40_000),
            transfer,
            Pbx(Pbx::SendAgain { nth: 3 }),
            Pbx(Pbx::Bye { call: 0 }),
            Wait(2),
            dial,
        ],
    );
}
