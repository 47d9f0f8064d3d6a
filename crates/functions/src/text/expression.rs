//! A regular expression that is asked of many texts, without memory for each of them.
//!
//! It finds what Rust's `regex` finds, groups among it. Two things make most texts cheap:
//!
//! - Where an expression ends in `.*` or `.*$`, its head, which is all before that, is looked for:
//!   in a text of one line the rest follows. Elsewhere the whole is looked for.
//! - The first bytes of a text decide what is found first: those that an automaton has read when
//!   nothing behind them changes what it finds. A text with the same first bytes, as the next one
//!   of a sorted dictionary has them, is not searched.

use std::ops::Range;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache as DfaCache, DFA};
use regex_automata::meta::{Cache, Regex};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::iter::Searcher;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, Match};
use regex_syntax::hir::{Dot, Hir, HirKind, Look};

/// As `regex` has them.
const PROGRAM_BYTES_MAX: usize = 10 << 20;
const STATES_BYTES_MAX: usize = 2 << 20;
/// After so many texts it is known whether texts are like the ones before.
const TRIED: u32 = 64;

type Place = Option<NonMaxUsize>;

/// Where the whole expression and its groups were found.
#[derive(Debug)]
pub(super) struct Found<'a>(&'a [Place]);

impl Found<'_> {
    /// Group 0 is the whole; nothing for a group that took no part.
    pub(super) fn group(&self, group: usize) -> Option<Range<usize>> {
        let place = |at: usize| Some((*self.0.get(at)?)?.get());
        let start = group.checked_mul(2)?;
        Some(place(start)?..place(start + 1)?)
    }
}

#[derive(Debug)]
pub(super) struct Expression {
    whole: Finder,
    head: Option<Head>,
    /// Nowhere else than at the beginning of a text.
    at_start: bool,
    places: Vec<Place>,
}

/// What is before `.*`.
#[derive(Debug)]
struct Head {
    finder: Finder,
    /// Whether the dot is the end of a line too.
    is_any: bool,
}

impl Expression {
    /// Or what is wrong with it.
    pub(super) fn new(pattern: &str, ignores_case: bool) -> Result<Self, String> {
        let syntax = syntax::Config::new().case_insensitive(ignores_case);
        let hir = syntax::parse_with(pattern, &syntax).map_err(|error| {
            let error = error.to_string();
            error.lines().last().unwrap_or_default().to_owned()
        })?;
        let at_start = hir.properties().look_set_prefix().contains(Look::Start);
        let head = match head_of(&hir) {
            Some((head, is_any)) => Some(Head {
                finder: Finder::new(&head)?,
                is_any,
            }),
            None => None,
        };
        Ok(Self {
            whole: Finder::new(&hir)?,
            head,
            at_start,
            places: vec![None; 2],
        })
    }

    pub(super) fn group_count(&self) -> usize {
        self.whole.regex.group_info().group_len(0.into())
    }

    /// Groups up to this one are told from now on.
    pub(super) fn tell(&mut self, group: usize) {
        let places = 2 * (1 + group.min(self.group_count() - 1));
        if places > self.places.len() {
            self.places.resize(places, None);
            let head = self.head.iter_mut().map(|head| &mut head.finder);
            head.chain([&mut self.whole]).for_each(Finder::forget);
        }
    }

    pub(super) fn is_in(&mut self, text: &str) -> bool {
        let Finder { regex, cache, .. } = &mut self.whole;
        let input = Input::new(text).earliest(true);
        regex.search_half_with(cache, &input).is_some()
    }

    /// In how many places it is found.
    pub(super) fn count(&mut self, text: &str) -> usize {
        let Finder { regex, cache, .. } = &mut self.whole;
        let mut searcher = Searcher::new(Input::new(text));
        let mut next = || searcher.advance_half(|input| Ok(regex.search_half_with(cache, input)));
        std::iter::from_fn(&mut next).count()
    }

    pub(super) fn first(&mut self, text: &str) -> Option<Found<'_>> {
        let is_found = match self.head.as_mut().filter(|head| head.decides(text)) {
            Some(head) => {
                let is_found = head.finder.first(text, &mut self.places);
                self.places[1] = NonMaxUsize::new(text.len());
                is_found
            }
            None => self.whole.first(text, &mut self.places),
        };
        is_found.then_some(Found(&self.places))
    }

    /// Calls `each` for every place where it is found, in their order.
    pub(super) fn all(&mut self, text: &str, mut each: impl FnMut(&Found<'_>)) {
        if self.at_start || self.head.as_ref().is_some_and(|head| head.decides(text)) {
            if let Some(found) = self.first(text) {
                each(&found);
            }
            return;
        }
        let Self { whole, places, .. } = self;
        let mut searcher = Searcher::new(Input::new(text));
        while searcher
            .advance(|input| Ok(whole.search(input, places)))
            .is_some()
        {
            each(&Found(places));
        }
    }
}

impl Head {
    fn decides(&self, text: &str) -> bool {
        self.is_any || !text.as_bytes().contains(&b'\n')
    }
}

/// The expression before `.*` or `.*$` at its end, and whether the dot is any character.
fn head_of(hir: &Hir) -> Option<(Hir, bool)> {
    let HirKind::Concat(parts) = hir.kind() else {
        return None;
    };
    let is_end = |part: &Hir| match part.kind() {
        HirKind::Look(look) => matches!(look, Look::End | Look::EndLF),
        _ => false,
    };
    let (last, before) = parts.split_last()?;
    let (tail, head, at_end) = match is_end(last) {
        true => {
            let (tail, head) = before.split_last()?;
            (tail, head, true)
        }
        false => (last, before, false),
    };
    let HirKind::Repetition(tail) = tail.kind() else {
        return None;
    };
    let is_any = *tail.sub == Hir::dot(Dot::AnyChar);
    let is_all = tail.min == 0
        && tail.max.is_none()
        && (tail.greedy || at_end)
        && (is_any || *tail.sub == Hir::dot(Dot::AnyCharExceptLF));
    // A lazy tail ends at the first end of a line.
    let is_all = is_all && (tail.greedy || !is_any);
    is_all.then(|| (Hir::concat(head.to_vec()), is_any))
}

/// One expression and what its searches need.
#[derive(Debug)]
struct Finder {
    regex: Regex,
    cache: Cache,
    /// Until the first text is searched.
    hir: Option<Hir>,
    before: Option<Before>,
}

impl Finder {
    fn new(hir: &Hir) -> Result<Self, String> {
        let config = Regex::config()
            .nfa_size_limit(Some(PROGRAM_BYTES_MAX))
            .hybrid_cache_capacity(STATES_BYTES_MAX);
        let regex = Regex::builder()
            .configure(config)
            .build_from_hir(hir)
            .map_err(|error| match error.size_limit() {
                Some(limit) => format!("its program is larger than {limit} bytes"),
                None => error.to_string(),
            })?;
        Ok(Self {
            cache: regex.create_cache(),
            regex,
            hir: Some(hir.clone()),
            before: None,
        })
    }

    fn forget(&mut self) {
        if let Some(before) = &mut self.before {
            before.known = None;
        }
    }

    fn first(&mut self, text: &str, places: &mut [Place]) -> bool {
        if let Some(before) = &mut self.before
            && let Some(is_found) = before.tells(text, places)
        {
            return is_found;
        }
        if let Some(hir) = self.hir.take() {
            self.before = Before::new(&hir);
        }
        let is_found = self.search(&Input::new(text), places).is_some();
        if let Some(before) = &mut self.before {
            before.learn(text, is_found, places);
            if before.is_idle() {
                self.before = None;
            }
        }
        is_found
    }

    fn search(&mut self, input: &Input<'_>, places: &mut [Place]) -> Option<Match> {
        places.fill(None);
        let pattern = self
            .regex
            .search_slots_with(&mut self.cache, input, places)?;
        let whole = Found(places).group(0)?;
        Some(Match::new(pattern, whole))
    }
}

/// The text before, as far as it decided what was found in it.
#[derive(Debug)]
struct Before {
    dfa: DFA,
    cache: DfaCache,
    /// One of each kind that makes a difference.
    bytes: Vec<u8>,
    anchored: Anchored,
    known: Option<bool>,
    deciding: Vec<u8>,
    places: Vec<Place>,
    told: u32,
    learnt: u32,
}

impl Before {
    /// `None`: what is found may depend on more than what an automaton reads.
    fn new(hir: &Hir) -> Option<Self> {
        let properties = hir.properties();
        // Within a character nothing is found, which the automaton does not know.
        if properties.minimum_len()? == 0 {
            return None;
        }
        let config = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(PROGRAM_BYTES_MAX));
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(hir)
            .ok()?;
        // States that are compared must not be forgotten.
        let config = DFA::config()
            .unicode_word_boundary(true)
            .minimum_cache_clear_count(Some(0))
            .cache_capacity(STATES_BYTES_MAX);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa).ok()?;
        let classes = *dfa.byte_classes();
        let representatives = classes.representatives(0..=u8::MAX);
        let at_start = properties.look_set_prefix().contains(Look::Start);
        Some(Self {
            cache: dfa.create_cache(),
            bytes: representatives.filter_map(|unit| unit.as_u8()).collect(),
            dfa,
            anchored: match at_start {
                true => Anchored::Yes,
                false => Anchored::No,
            },
            known: None,
            deciding: Vec::new(),
            places: Vec::new(),
            told: 0,
            learnt: 0,
        })
    }

    /// Whether it is found in a text that begins as the one before.
    fn tells(&mut self, text: &str, places: &mut [Place]) -> Option<bool> {
        let is_found = self.known?;
        if !text.as_bytes().starts_with(&self.deciding) {
            return None;
        }
        places.copy_from_slice(&self.places);
        self.told = self.told.saturating_add(1);
        Some(is_found)
    }

    fn learn(&mut self, text: &str, is_found: bool, places: &[Place]) {
        self.learnt = self.learnt.saturating_add(1);
        self.known = None;
        if let Some(length) = self.decided(text) {
            self.known = Some(is_found);
            self.deciding.clear();
            self.deciding.extend(&text.as_bytes()[..length]);
            self.places.clear();
            self.places.extend(places);
        }
    }

    /// How many bytes decide what is found first.
    fn decided(&mut self, text: &str) -> Option<usize> {
        let input = Input::new(text).anchored(self.anchored);
        let mut state = self.dfa.start_state_forward(&mut self.cache, &input).ok()?;
        for (at, byte) in text.bytes().enumerate() {
            if self.is_decided(state)? {
                return Some(at);
            }
            state = self.dfa.next_state(&mut self.cache, state, byte).ok()?;
        }
        self.is_decided(state)?.then_some(text.len())
    }

    /// Whether what comes behind, if anything, changes nothing. A match is told one byte late.
    fn is_decided(&mut self, state: LazyStateID) -> Option<bool> {
        let Self { dfa, cache, .. } = self;
        let mut behind = None;
        for byte in &self.bytes {
            let next = dfa.next_state(cache, state, *byte).ok()?;
            if next.is_quit() || *behind.get_or_insert(next) != next {
                return Some(false);
            }
        }
        let behind = behind?;
        let at_end = dfa.next_eoi_state(cache, state).ok()?;
        if at_end.is_match() != behind.is_match() {
            return Some(false);
        }
        for byte in &self.bytes {
            if !dfa.next_state(cache, behind, *byte).ok()?.is_dead() {
                return Some(false);
            }
        }
        Some(true)
    }

    /// Whether it costs more than it saves: to learn is as dear as a search.
    fn is_idle(&self) -> bool {
        self.learnt > TRIED && self.told < self.learnt
    }
}

#[cfg(test)]
mod tests {
    //! Groups in any text are those of `regex`.

    use regex::{Regex, RegexBuilder};

    use super::*;

    const PATTERNS: &[&str] = &[
        r"^https?://(?:www\.)?([^/]+)/.*$",
        r"^https?://(?:www\.)?([^/]+)/.*",
        r"(?s)^(a|ab)(c?).*$",
        r"(?m)^(\w+)\b.*$",
        r"(?m)(b+)(c)?.*?$",
        r"(?s)(b+).*?$",
        r"(a*)(b)?.*",
        r"a*",
        r"a*?.*$",
        r"(a+)(b+)?",
        r"^$",
        r"(?-u:\b)a|\bä",
        r"(é|e)+?(.)",
        r"(?:)|x",
        r"([^/]+)/(b|.*c)$",
        r"a(.*)(.*)$",
        r"b.+$",
        r"^(a|b|$)",
        r"\Ba",
    ];

    fn texts() -> Vec<String> {
        let letters = ["", "a", "b", "c", "/", "é", "\n", "e", " "];
        let pairs = letters.map(|one| letters.map(|other| format!("{one}{other}")));
        let pairs = pairs.concat();
        let longer = pairs.iter();
        let longer = longer.flat_map(|one| pairs.iter().map(move |other| format!("{one}{other}")));
        let mut texts: Vec<String> = longer.step_by(7).collect();
        let urls = [
            "http://www.a.b/",
            "https://www./c",
            "http://a/b\nc",
            "ftp://a/",
        ];
        texts.extend(urls.map(str::to_owned));
        texts.extend((0..200).map(|at| format!("http://www.a{}.b/c{at}", at / 20)));
        texts.sort();
        texts
    }

    fn of_regex(regex: &Regex, text: &str) -> Vec<Vec<Option<Range<usize>>>> {
        let found = regex.captures_iter(text);
        let groups = found.map(|found| found.iter().map(|group| Some(group?.range())).collect());
        groups.collect()
    }

    #[test]
    fn groups_are_those_of_regex() {
        let mut searched = texts();
        // In another order no text begins as the one before.
        let (sorted, count) = (searched.clone(), searched.len());
        searched.extend((0..count).map(|at| sorted[at * 7919 % count].clone()));
        for pattern in PATTERNS {
            for ignores_case in [false, true] {
                let mut builder = RegexBuilder::new(pattern);
                let regex = builder.case_insensitive(ignores_case).build().unwrap();
                let mut expression = Expression::new(pattern, ignores_case).unwrap();
                let mut firsts = Expression::new(pattern, ignores_case).unwrap();
                let groups = 0..expression.group_count();
                for text in &searched {
                    expression.tell(groups.end - 1);
                    firsts.tell(groups.end - 1);
                    let of = |found: &Found<'_>| groups.clone().map(|g| found.group(g)).collect();
                    let expected = of_regex(&regex, text);
                    let first = firsts.first(text).map(|found| of(&found));
                    assert_eq!(first.as_ref(), expected.first(), "{pattern} {text:?}");
                    let mut all: Vec<Vec<_>> = Vec::new();
                    expression.all(text, |found| all.push(of(found)));
                    assert_eq!(all, expected, "{pattern} {text:?}");
                    assert_eq!(expression.is_in(text), regex.is_match(text));
                    assert_eq!(expression.count(text), expected.len(), "{pattern} {text:?}");
                }
            }
        }
    }

    #[test]
    fn texts_that_begin_alike_are_not_searched() {
        let mut expression = Expression::new(PATTERNS[0], false).unwrap();
        expression.tell(1);
        for at in 0..1000 {
            let text = format!("http://www.host.com/{at}");
            let found = expression.first(&text).unwrap();
            assert_eq!(found.group(0), Some(0..text.len()));
            assert_eq!(found.group(1), Some(11..19));
        }
        let head = expression.head.as_ref().unwrap();
        let before = head.finder.before.as_ref().unwrap();
        assert_eq!((before.learnt, before.told), (1, 999));
    }
}
