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
