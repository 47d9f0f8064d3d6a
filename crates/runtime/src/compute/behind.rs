//! Threads that give way to those of queries: the operating system lets whoever answers go first
//! where both want a core, and shares the rest between them.
//!
//! A thread can only be made less urgent, never more urgent again, so these do nothing else.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// Added to the niceness of the process: a third of the weight of other threads.
const NICER: i32 = 5;

/// Where blocking jobs run on such threads; `None`: the system gives none.
pub(super) fn handle() -> Option<&'static Handle> {
    // Never dropped: that would wait for its jobs, in whatever place the last pool ends.
    static THREADS: OnceLock<Option<Runtime>> = OnceLock::new();
    let threads = THREADS.get_or_init(|| {
        let mut builder = Builder::new_current_thread();
        builder.thread_name("behind").on_thread_start(give_way);
        match builder.build() {
            Ok(threads) => Some(threads),
            Err(error) => {
                tracing::warn!(%error, "no threads that give way to queries");
                None
            }
        }
    });
    threads.as_ref().map(Runtime::handle)
}

/// On Linux niceness is one of the thread, elsewhere of the whole process.
#[cfg(target_os = "linux")]
fn give_way() {
    use rustix::process::{getpriority_process, setpriority_process};
    let nicer = getpriority_process(None).map(|own| own.saturating_add(NICER));
    if let Err(error) = nicer.and_then(|nicer| setpriority_process(None, nicer)) {
        tracing::debug!(%error, "a thread that should give way to queries does not");
    }
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}
