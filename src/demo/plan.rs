//! What each number of the demo PBX does.

use std::time::Duration;

/// Every number with what a person who dials it gets, for the start's banner and the agent page.
pub const NUMBERS: [(&str, &str); 9] = [
    ("9196", "echo of your own voice"),
    ("9197", "1 kHz tone"),
    ("6486", "busy"),
    ("6404", "does not exist"),
    ("6408", "rings, never answers"),
    ("9180", "calls you back five seconds later"),
    ("9320", "hangs up after 3 s"),
    ("9183", "5 s of ringback as early media, then answers"),
    ("7001", "sends the digits that it hears back"),
];

/// What the PBX does with a call to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Answers with this SIP status, and that is all.
    Refuse(u16),
    /// Rings until the caller gives up.
    RingForEver,
    /// Takes the call.
    Take(Take),
}

/// How the PBX takes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Take {
    /// Whether the caller hears ringback from us while it waits (183 with SDP), or makes its own (180).
    pub early_media: bool,
    /// How long it rings.
    pub answer_after: Duration,
    /// What is heard once it is answered.
    pub programme: Programme,
    /// How long after the answer the PBX hangs up by itself.
    pub hang_up_after: Option<Duration>,
    /// How long after the INVITE the PBX calls the caller's address of record.
    pub call_back_after: Option<Duration>,
}

/// What the PBX sends on an answered call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programme {
    /// Whatever it receives, telephone-events included.
    Echo,
    /// 1 kHz.
    Tone,
    /// Silence, and each digit that it heard.
    Digits,
}

impl Plan {
    /// The plan of a dialled number: the user part of the Request-URI.
    pub fn of(number: &str) -> Self {
        match number {
            "6486" => Plan::Refuse(486),
            "6404" => Plan::Refuse(404),
            "6408" => Plan::RingForEver,
            "9196" => Plan::Take(AT_ONCE),
            "9197" => Plan::Take(Take { programme: Programme::Tone, ..AT_ONCE }),
            "7001" => Plan::Take(Take { programme: Programme::Digits, ..AT_ONCE }),
            "9320" => Plan::Take(Take { hang_up_after: Some(Duration::from_secs(3)), ..AT_ONCE }),
            "9183" => Plan::Take(Take { early_media: true, answer_after: Duration::from_secs(5), ..AT_ONCE }),
            "9180" => Plan::Take(Take { hang_up_after: Some(CALL_BACK_GREETING), call_back_after: Some(CALL_BACK_AFTER), ..AT_ONCE }),
            _ => Plan::Take(Take { answer_after: Duration::from_secs(1), ..AT_ONCE }),
        }
    }
}

/// Answered as quickly as a person would notice: a moment of ringing, then the echo.
const AT_ONCE: Take = Take {
    early_media: false,
    answer_after: Duration::from_millis(100),
    programme: Programme::Echo,
    hang_up_after: None,
    call_back_after: None,
};

/// How long after the INVITE to 9180 the PBX calls back.
const CALL_BACK_AFTER: Duration = Duration::from_secs(5);

/// How long the call to 9180 itself lasts: it is over well before the agent's telephone rings.
const CALL_BACK_GREETING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_announced_number_differs_from_an_ordinary_number() {
        let ordinary = Plan::of("+4930123456");
        assert_eq!(ordinary, Plan::Take(Take { answer_after: Duration::from_secs(1), ..AT_ONCE }));
        assert!(NUMBERS.iter().all(|(number, _)| Plan::of(number) != ordinary));
    }
}
