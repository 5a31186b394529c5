//! Panics on purpose, for the tests of `contain`: only with the feature `inject-panics`, which no production build has.

use crate::ids::CallId;

/// Where the shard is to panic. Without the feature it is empty, and so is every point that asks it.
#[derive(Debug, Default)]
pub(super) struct Injected {
    #[cfg(feature = "inject-panics")]
    wanted: Vec<Wanted>,
}

#[cfg(feature = "inject-panics")]
#[derive(Debug)]
struct Wanted {
    place: String,
    /// Only there in this call.
    call: Option<CallId>,
    times: u32,
}

impl Injected {
    /// Panics if that is wanted here.
    #[inline(always)]
    pub fn point(&mut self, place: &str, call: Option<CallId>) {
        #[cfg(feature = "inject-panics")]
        if let Some(wanted) = self.wanted.iter_mut().find(|wanted| wanted.fits(place, call)) {
            wanted.times -= 1;
            panic!("injected");
        }
        #[cfg(not(feature = "inject-panics"))]
        let _ = (place, call);
    }
}

#[cfg(feature = "inject-panics")]
impl Wanted {
    fn fits(&self, place: &str, call: Option<CallId>) -> bool {
        self.times > 0 && self.place == place && (self.call.is_none() || self.call == call)
    }
}

#[cfg(feature = "inject-panics")]
impl super::Shard {
    /// Panics at these places, each once or as often as it says: `uplink`, `end*2,drop`. With a call only in that call.
    pub fn inject(&mut self, places: &str, call: Option<CallId>) {
        for place in places.split(',') {
            let (place, times) = place.trim().split_once('*').unwrap_or((place.trim(), "1"));
            match place {
                "sip" => self.sip.panic_next(true),
                "sip-stray" => self.sip.panic_next(false),
                _ => self.injected.wanted.push(Wanted { place: place.to_owned(), call, times: times.parse().unwrap_or(1) }),
            }
        }
    }

    /// What the header field `X-Panic` of a dial asks for.
    pub(super) fn inject_by(&mut self, headers: &[(String, String)], call: CallId) {
        for (_, places) in headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("X-Panic")) {
            self.inject(places, Some(call));
        }
    }
}
