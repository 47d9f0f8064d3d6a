//! Whether somebody who sends a heartbeat belongs here.
//!
//! Invariants: of two processes under one name only one is taken. While the first is heard the
//! second is not; whoever was followed by another is not taken any more. Nobody is taken whose
//! clock is wrong: what it does would carry wrong times.

use std::time::Duration;

use bytes::Bytes;
use schemas::proto::HeartbeatRequest;
use schemas::task::utc;

/// One process at the same address cannot be there beside another: it is silent for so long, which
/// is two heartbeats, and is taken as gone.
const SILENT_AT_HOME: Duration = Duration::from_millis(2500);
/// Anywhere else: nobody who lives is silent for so long, whatever else counts as dead later.
const SILENT_ELSEWHERE: Duration = Duration::from_secs(10);
/// So many heartbeats in a row must have a wrong clock: one may have waited on its way.
const WRONG_IN_A_ROW: u32 = 2;

/// What is remembered of who has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    /// Empty: of a version that does not tell.
    incarnation: Bytes,
    /// Whoever had the name before.
    before: Bytes,
    /// Heartbeats in a row with a wrong clock.
    wrong: u32,
}

/// Of whom the last heartbeat was taken.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) life: &'a Life,
    pub(crate) address: &'a str,
    pub(crate) alive: bool,
    pub(crate) silent_for: Duration,
}

/// By which it is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Somebody who is silent for so long is taken as dead.
    pub(crate) liveness: Duration,
    pub(crate) clock_skew_max: Duration,
    pub(crate) now_ms: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken(Life),
    /// For its name it may ask again after this time, if that is why.
    NotNow {
        life: Life,
        reason: String,
        name_free_in: Duration,
    },
    Refused(String),
}

pub(crate) fn judge(
    known: Option<&Known<'_>>,
    request: &HeartbeatRequest,
    rules: &Rules,
) -> Verdict {
    let mut life = match of_name(known, request, rules) {
        Ok(life) => life,
        Err(verdict) => return *verdict,
    };
    let off_ms = request.now_ms.abs_diff(rules.now_ms);
    if request.now_ms == 0 || Duration::from_millis(off_ms) <= rules.clock_skew_max {
        life.wrong = 0;
        return Verdict::Taken(life);
    }
    life.wrong += 1;
    if known.is_some_and(|known| known.alive) && life.wrong < WRONG_IN_A_ROW {
        return Verdict::Taken(life);
    }
    let reason = format!(
        "the clock of `{}` says {}, the controller's {}: they are {} s apart, and at most {} s are \
         allowed (`controller.clock_skew_ms_max`); set the wrong one right, then it is taken",
        request.instance,
        shown(request.now_ms),
        shown(rules.now_ms),
        off_ms / 1000,
        rules.clock_skew_max.as_secs_f64(),
    );
    Verdict::NotNow {
        life,
        reason,
        name_free_in: Duration::ZERO,
    }
}

fn shown(ms: i64) -> String {
    utc(ms).unwrap_or_else(|| format!("{ms} ms after 1970"))
}

/// Who has the name from now on.
fn of_name(
    known: Option<&Known<'_>>,
    request: &HeartbeatRequest,
    rules: &Rules,
) -> Result<Life, Box<Verdict>> {
    let incarnation = request.incarnation.clone();
    let fresh = |before: Bytes| Life {
        incarnation: incarnation.clone(),
        before,
        wrong: 0,
    };
    let Some(known) = known else {
        return Ok(fresh(Bytes::new()));
    };
    let own = &known.life.incarnation;
    if own.is_empty() || incarnation.is_empty() || *own == incarnation {
        let life = known.life.clone();
        return Ok(Life {
            incarnation,
            ..life
        });
    }
    let (name, address) = (&request.instance, known.address);
    if known.life.before == incarnation {
        return Err(Box::new(Verdict::Refused(format!(
            "another process, at {address}, has gone on as `{name}` while this one was not heard: \
             only one may have the name, this one ends"
        ))));
    }
    let lease = match known.address == request.address {
        true => SILENT_AT_HOME.min(rules.liveness),
        false => SILENT_ELSEWHERE.min(rules.liveness),
    };
    if !known.alive || known.silent_for >= lease {
        return Ok(fresh(own.clone()));
    }
    let reason = format!(
        "`{name}` lives already, at {address}, and another process, at {}, asks to be it: stop one \
         of them, or give this one an address and a data dir of its own (a copied data dir keeps \
         the name of its server in the file INSTANCE)",
        request.address
    );
    Err(Box::new(Verdict::NotNow {
        life: known.life.clone(),
        reason,
        name_free_in: lease,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_764_250_000_000;
    const RULES: Rules = Rules {
        liveness: Duration::from_secs(5),
        clock_skew_max: Duration::from_secs(60),
        now_ms: NOW_MS,
    };

    fn asks(incarnation: &'static [u8], address: &str, off_ms: i64) -> HeartbeatRequest {
        HeartbeatRequest {
            instance: "Server_1".to_owned(),
            address: address.to_owned(),
            incarnation: incarnation.into(),
            now_ms: NOW_MS + off_ms,
            ..HeartbeatRequest::default()
        }
    }

    fn taken(known: Option<&Known<'_>>, request: &HeartbeatRequest) -> Life {
        match judge(known, request, &RULES) {
            Verdict::Taken(life) => life,
            other => panic!("{other:?}"),
        }
    }

    fn at(life: &Life, alive: bool, silent_ms: u64) -> Known<'_> {
        Known {
            life,
            address: "10.0.0.1:8098",
            alive,
            silent_for: Duration::from_millis(silent_ms),
        }
    }

    #[test]
    fn a_second_process_has_the_name_only_when_the_first_is_silent() {
        let first = taken(None, &asks(b"first", "10.0.0.1:8098", 0));
        let elsewhere = asks(b"second", "10.0.0.2:8098", 0);
        let Verdict::NotNow {
            reason,
            name_free_in,
            ..
        } = judge(Some(&at(&first, true, 900)), &elsewhere, &RULES)
        else {
            panic!("two of one name");
        };
        assert_eq!(name_free_in, RULES.liveness);
        assert!(
            reason.starts_with(
                "`Server_1` lives already, at 10.0.0.1:8098, and another process, at \
                 10.0.0.2:8098, asks to be it: stop one of them"
            ),
            "{reason}"
        );
        let same_place = asks(b"second", "10.0.0.1:8098", 0);
        for (request, silent_ms, is_taken) in [
            (&elsewhere, 4_999, false),
            (&elsewhere, 5_000, true),
            (&same_place, 2_499, false),
            (&same_place, 2_500, true),
        ] {
            let verdict = judge(Some(&at(&first, true, silent_ms)), request, &RULES);
            assert_eq!(
                matches!(verdict, Verdict::Taken(_)),
                is_taken,
                "{silent_ms}"
            );
        }
        taken(Some(&at(&first, false, 10)), &elsewhere);
        // The first slept, and wakes.
        let second = taken(Some(&at(&first, true, 6_000)), &elsewhere);
        let woken = judge(
            Some(&at(&second, true, 10)),
            &asks(b"first", "x", 0),
            &RULES,
        );
        assert!(matches!(woken, Verdict::Refused(_)), "{woken:?}");
    }

    #[test]
    fn who_does_not_tell_is_judged_as_before() {
        let old = taken(None, &asks(b"", "10.0.0.1:8098", -NOW_MS));
        let newer = taken(Some(&at(&old, true, 10)), &asks(b"new", "10.0.0.2:8098", 0));
        taken(Some(&at(&newer, true, 10)), &asks(b"", "10.0.0.3:8098", 0));
    }

    #[test]
    fn a_wrong_clock_is_not_taken_and_one_late_heartbeat_is() {
        let off = asks(b"first", "10.0.0.1:8098", 3_600_000);
        let Verdict::NotNow {
            reason,
            name_free_in,
            ..
        } = judge(None, &off, &RULES)
        else {
            panic!("taken");
        };
        assert_eq!(name_free_in, Duration::ZERO);
        assert_eq!(
            reason,
            "the clock of `Server_1` says 2025-11-27T14:26:40Z, the controller's \
             2025-11-27T13:26:40Z: they are 3600 s apart, and at most 60 s are allowed \
             (`controller.clock_skew_ms_max`); set the wrong one right, then it is taken"
        );
        taken(None, &asks(b"first", "10.0.0.1:8098", -60_000));
        let life = taken(None, &asks(b"first", "10.0.0.1:8098", 0));
        let once = taken(Some(&at(&life, true, 10)), &off);
        let twice = judge(Some(&at(&once, true, 10)), &off, &RULES);
        assert!(matches!(twice, Verdict::NotNow { .. }), "{twice:?}");
        let well = taken(
            Some(&at(&once, true, 10)),
            &asks(b"first", "10.0.0.1:8098", 0),
        );
        taken(Some(&at(&well, true, 10)), &off);
    }
}
