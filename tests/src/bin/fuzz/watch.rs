//! What was found, and what the process took.

use std::collections::BTreeMap;
use std::sync::Mutex;

use tests::memory;

/// Statements this small need no more in all.
const PEAK_MAX_MIB: u64 = 1_500;

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Every panic is told, also one that somebody catches.
pub(crate) fn hook() {
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut panics) = PANICS.lock() {
            panics.push(panic.to_string());
        }
    }));
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By what it is, without its numbers: how often, and the first of them.
    faults: Mutex<BTreeMap<String, (u64, String)>>,
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Found {
    pub(crate) fn add(&self, kind: &str, number: u64, why: &str) {
        let shape: String = why
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .take(60)
            .collect();
        let Ok(mut faults) = self.faults.lock() else {
            return;
        };
        let known = faults.entry(format!("{kind}: {shape}"));
        let (count, _) = known.or_insert_with(|| {
            println!("--only {number}: {kind}: {}", cut(why, 600));
            (0, why.to_owned())
        });
        *count += 1;
    }

    pub(crate) fn count(&self, kind: String) {
        if let Ok(mut answers) = self.answers.lock() {
            *answers.entry(kind).or_default() += 1;
        }
    }

    pub(crate) fn tell(&self) {
        println!(
            "{:#?}",
            self.answers
                .lock()
                .map(|all| all.clone())
                .unwrap_or_default()
        );
        for panic in PANICS.lock().iter().flat_map(|all| all.iter()) {
            println!("panic: {}", cut(panic, 600));
        }
        for (shape, (count, _)) in self.faults.lock().iter().flat_map(|all| all.iter()) {
            println!("{count} times {shape}");
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        let is_empty = |panics: &Vec<String>| panics.is_empty();
        let no_panic = PANICS.lock().is_ok_and(|panics| is_empty(&panics));
        let no_fault = self.faults.lock().is_ok_and(|faults| faults.is_empty());
        no_panic && no_fault && memory::peak_mib() < PEAK_MAX_MIB
    }
}

pub(crate) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
