//! Named places where a test may kill the process: `FAILPOINTS="seal.after_fsync=1*return"`.
//!
//! Compiled to nothing without the cargo feature `failpoints`. The process dies by SIGKILL, as in
//! a power cut: no destructor runs, no buffer is flushed.

/// Dies here when the point is armed.
#[inline]
pub fn hit(name: &str) {
    #[cfg(feature = "failpoints")]
    if fail::eval(name, |_| ()).is_some() {
        // SAFETY: sends a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = name;
}

/// Arms the points of a list, `name=action` separated by `;`. The action is one of the crate
/// `fail`: `return` dies at the next hit, `3*off->return` at the fourth.
///
/// The name [`FORGETFUL`] is no place but a switch: files then keep in memory what is not synced.
pub fn arm(list: &str) -> Result<(), String> {
    for entry in list
        .split(';')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let (name, action) = entry
            .split_once('=')
            .ok_or_else(|| format!("`{entry}` is not `name=action`"))?;
        arm_one(name, action)?;
    }
    Ok(())
}

#[cfg(feature = "failpoints")]
fn arm_one(name: &str, action: &str) -> Result<(), String> {
    fail::cfg(name, action).map_err(|error| format!("fail point `{name}`: {error}"))
}

#[cfg(not(feature = "failpoints"))]
fn arm_one(name: &str, action: &str) -> Result<(), String> {
    Err(format!(
        "`{name}={action}`: this binary was built without fail points"
    ))
}

/// Armed as `forgetful=return`, the process loses unsynced writes as in a power cut.
pub const FORGETFUL: &str = "forgetful";

/// Whether a switch is armed.
pub fn is_on(name: &str) -> bool {
    #[cfg(feature = "failpoints")]
    return fail::eval(name, |_| ()).is_some();
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = name;
        false
    }
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use super::*;

    #[test]
    fn armed_points_fire_after_their_count() {
        arm("a_switch=2*off->return; ").unwrap();
        assert_eq!(
            [is_on("a_switch"), is_on("a_switch"), is_on("a_switch")],
            [false, false, true]
        );
        assert!(!is_on("another"));
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        assert_eq!(arm("seal").unwrap_err(), "`seal` is not `name=action`");
        assert!(
            arm("seal=sometimes")
                .unwrap_err()
                .starts_with("fail point `seal`")
        );
    }
}
