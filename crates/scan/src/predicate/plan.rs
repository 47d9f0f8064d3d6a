//! How the predicates of a segment work together: what comes first, and what each is asked by.
//!
//! Rows are first narrowed by what an index names cheaply. The fewer rows are left, the more it
//! pays to look up their values instead of asking the next index or scanning. The rest runs in the
//! order that drops the most rows for its cost.

use datafusion::common::Result;

use super::candidate::{Candidate, union};
use super::conjunct::{Access, Conjunct};
use super::note::Note;
use super::tree::Tree;
use super::{Compiler, Decided};

/// What is left of a tree in one segment.
#[derive(Debug)]
pub(super) enum Part<'a> {
    Always,
    Never,
    Rows(Vec<Conjunct<'a>>),
}

impl<'a> Compiler<'a, '_> {
    /// All branches are true. About `rows` rows are left by what stands around them.
    pub(super) fn all(&self, branches: &[Tree], rows: f64) -> Result<Part<'a>> {
        let (mut candidates, mut groups) = (Vec::new(), Vec::new());
        for branch in branches {
            if !self.sort_out(branch, &mut candidates, &mut groups)? {
                return Ok(Part::Never);
            }
        }
        let mut planned = Planned {
            total: f64::from(self.view.row_count()).max(1.0),
            rows,
            conjuncts: Vec::new(),
        };
        candidates.sort_by(|a, b| {
            let key = |c: &Candidate<'_>| if c.is_sorted() { -1.0 } else { c.estimate };
            key(a).total_cmp(&key(b))
        });
        let mut scans = Vec::new();
        for candidate in candidates {
            if candidate.prefers_index(planned.rows, planned.total) {
                let (told, conjuncts) = candidate.into_indexed()?;
                self.counters.index(told);
                planned.narrow(conjuncts);
            } else {
                scans.push(candidate);
            }
        }
        let mut ranked: Vec<(f64, Conjunct<'a>)> = Vec::new();
        for group in groups {
            match self.any(group, planned.rows)? {
                Part::Always => {}
                Part::Never => return Ok(Part::Never),
                Part::Rows(conjuncts) if conjuncts.iter().all(Conjunct::is_by_index) => {
                    planned.narrow(conjuncts);
                }
                Part::Rows(conjuncts) => {
                    // About as much as one scan for each alternative.
                    let ns = group.len() as f64 * 0.1;
                    ranked.extend(
                        conjuncts
                            .into_iter()
                            .map(|one| (planned.rank(ns, &one), one)),
                    );
                }
            }
        }
        for candidate in scans {
            let ns = candidate.scan_ns(planned.rows, planned.total) / planned.rows.max(1.0);
            let (told, conjunct) = candidate.into_scan();
            self.counters.index(told);
            ranked.push((planned.rank(ns, &conjunct), conjunct));
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        planned
            .conjuncts
            .extend(ranked.into_iter().map(|(_, conjunct)| conjunct));
        Ok(planned.finish())
    }

    /// Sorts a branch of an AND by what can be done with it. `false`: it is never true.
    fn sort_out<'t>(
        &self,
        tree: &'t Tree,
        candidates: &mut Vec<Candidate<'a>>,
        groups: &mut Vec<&'t [Tree]>,
    ) -> Result<bool> {
        match self.decide(tree)? {
            Decided::Always => return Ok(true),
            Decided::Never => return Ok(false),
            Decided::Rows(candidate) => {
                candidates.push(*candidate);
                return Ok(true);
            }
            Decided::Parts => {}
        }
        match tree {
            Tree::All(branches) => {
                for branch in branches {
                    if !self.sort_out(branch, candidates, groups)? {
                        return Ok(false);
                    }
                }
            }
            Tree::Any(branches) => groups.push(branches),
            Tree::Leaf(_) => candidates.push(self.evaluated(tree)?),
        }
        Ok(true)
    }

    fn any(&self, branches: &[Tree], rows: f64) -> Result<Part<'a>> {
        let mut alternatives = Vec::new();
        for branch in branches {
            match self.all(std::slice::from_ref(branch), rows)? {
                Part::Always => return Ok(Part::Always),
                Part::Never => {}
                Part::Rows(conjuncts) => alternatives.push(conjuncts),
            }
        }
        if alternatives.len() <= 1 {
            return Ok(alternatives.pop().map_or(Part::Never, Part::Rows));
        }
        if let Some(conjunct) = union(&alternatives) {
            return Ok(match conjunct.estimate {
                0 => Part::Never,
                _ => Part::Rows(vec![conjunct]),
            });
        }
        let kept = |conjuncts: &Vec<Conjunct<'_>>| {
            let kept = conjuncts.iter().map(|conjunct| conjunct.estimate).min();
            kept.unwrap_or(0)
        };
        // What keeps most comes first: the others look at fewer rows.
        alternatives.sort_by_key(|conjuncts| std::cmp::Reverse(kept(conjuncts)));
        let estimate: u64 = alternatives.iter().map(kept).sum();
        Ok(Part::Rows(vec![Conjunct {
            estimate: estimate.min(u64::from(self.view.row_count())),
            is_exact: false,
            note: self
                .text_of(|| "any of".to_owned())
                .map(|text| Note::new(text, "")),
            access: Access::Any(alternatives),
        }]))
    }
}

impl Conjunct<'_> {
    fn is_by_index(&self) -> bool {
        matches!(self.access, Access::Documents(_) | Access::Ranges(_))
    }
}

struct Planned<'a> {
    total: f64,
    /// Rows that are left, about.
    rows: f64,
    conjuncts: Vec<Conjunct<'a>>,
}

impl<'a> Planned<'a> {
    fn narrow(&mut self, conjuncts: Vec<Conjunct<'a>>) {
        for conjunct in &conjuncts {
            self.rows *= self.share(conjunct);
        }
        self.conjuncts.extend(conjuncts);
    }

    fn share(&self, conjunct: &Conjunct<'_>) -> f64 {
        (conjunct.estimate as f64 / self.total).min(1.0)
    }

    /// Cost of a row by the rows that it drops: the least comes first.
    fn rank(&self, ns: f64, conjunct: &Conjunct<'_>) -> f64 {
        ns / (1.0 - self.share(conjunct)).max(0.001)
    }

    /// Lists of documents are one, and nothing is looked at when they have nothing in common.
    fn finish(self) -> Part<'a> {
        let (mut documents, mut note): (_, Option<Box<Note>>) = (None, None);
        let mut rest = Vec::with_capacity(self.conjuncts.len());
        for conjunct in self.conjuncts {
            match conjunct.access {
                Access::Documents(more) => {
                    documents = Some(match documents {
                        Some(documents) => documents & more,
                        None => more,
                    });
                    note = Note::joined(note.as_deref(), conjunct.note.as_deref(), "AND");
                }
                access => rest.push(Conjunct { access, ..conjunct }),
            }
        }
        if let Some(documents) = documents {
            if documents.is_empty() {
                return Part::Never;
            }
            let found = Conjunct {
                note,
                ..Conjunct::documents(documents)
            };
            rest.insert(0, found);
        }
        let has_none = |conjunct: &Conjunct<'_>| match &conjunct.access {
            Access::Ranges(ranges) => ranges.is_empty(),
            _ => false,
        };
        match (rest.is_empty(), rest.iter().any(has_none)) {
            (true, _) => Part::Always,
            (_, true) => Part::Never,
            _ => Part::Rows(rest),
        }
    }
}
