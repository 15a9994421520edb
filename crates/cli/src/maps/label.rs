//! What a mapping is, in words.

use std::collections::BTreeMap;

use heapwise_inspect::Survey;
use heapwise_inspect::heap::summary::{Claim, What};
use heapwise_inspect::process::maps::Mapping;
use heapwise_inspect::span::Span;

/// Knows the claims, threads and stacks of a survey.
pub struct Labels<'a> {
    seen: &'a Survey,
    /// In address order.
    claims: Vec<Claim>,
}

/// So many threads of an arena are named.
const THREADS_NAMED: usize = 3;

impl<'a> Labels<'a> {
    /// Those of a survey.
    pub fn new(seen: &'a Survey) -> Self {
        let mut claims = seen.heaps.claims.clone();
        claims.sort_by_key(|claim| claim.span);
        Self { seen, claims }
    }

    /// The words for one mapping: all that lies in it, else what its line says.
    pub fn of(&self, mapping: &Mapping) -> String {
        let mut parts = self.claimed(mapping);
        parts.extend(self.stacks(mapping));
        parts.extend(self.runtimes(mapping));
        if parts.is_empty() {
            self.plain(mapping)
        } else if mapping.is_break() && !parts.iter().any(|part| part.starts_with("main heap")) {
            format!("break: {}", parts.join(", "))
        } else {
            parts.join(", ")
        }
    }

    fn claimed(&self, mapping: &Mapping) -> Vec<String> {
        let mut heaps: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut chunks, mut tables) = (0, false);
        let mut unclaimed = self.seen.pages.resident(mapping.span);
        for claim in self.claims_in(mapping.span) {
            let resident = self.seen.pages.resident(claim.span.overlap(mapping.span));
            unclaimed = unclaimed.saturating_sub(resident);
            match claim.what {
                What::Heap(arena) => *heaps.entry(arena).or_default() += 1,
                What::MappedChunk => chunks += 1,
                What::Tables => tables = true,
            }
        }
        let mut parts: Vec<String> =
            heaps.into_iter().map(|(arena, stretches)| self.heap(arena, stretches)).collect();
        if chunks > 0 {
            parts.push(format!("{chunks} mapped chunk{}", if chunks == 1 { "" } else { "s" }));
        }
        if tables {
            parts.push(
                format!("the allocator's own data {}", mapping.file_name()).trim_end().into(),
            );
        }
        let is_else_told = mapping.inode != 0 || !self.stacks(mapping).is_empty();
        if chunks > 0 && unclaimed > 0 && !is_else_told {
            parts.push("and other anonymous memory".into());
        }
        parts
    }

    /// Claims do not overlap, or the account would not have taken them.
    fn claims_in(&self, span: Span) -> impl Iterator<Item = &Claim> {
        let first = self.claims.partition_point(|claim| claim.span.end <= span.start);
        self.claims[first..].iter().take_while(move |claim| claim.span.start < span.end)
    }

    fn heap(&self, arena: usize, stretches: usize) -> String {
        let pieces = if stretches > 1 { format!(" in {stretches} pieces") } else { String::new() };
        if arena == 0 {
            return format!("main heap (arena 0){pieces}");
        }
        let summary = self.seen.heaps.arenas.iter().find(|summary| summary.index == arena);
        let threads = summary.map(|summary| summary.threads.as_slice()).unwrap_or_default();
        let named: Vec<String> =
            threads.iter().take(THREADS_NAMED).map(|tid| self.thread(*tid)).collect();
        match (named.is_empty(), threads.len() > THREADS_NAMED) {
            (true, _) => format!("heap of arena {arena}{pieces}, no thread"),
            (false, false) => format!("heap of arena {arena}{pieces}, thread {}", named.join(", ")),
            (false, true) => format!(
                "heap of arena {arena}{pieces}, threads {} and {} more",
                named.join(", "),
                threads.len() - THREADS_NAMED
            ),
        }
    }

    fn thread(&self, tid: u32) -> String {
        let thread = self.seen.threads.all.iter().find(|thread| thread.tid == tid);
        // A core has the name of the process alone.
        match thread.map(|thread| thread.name.as_str()) {
            None | Some("") => tid.to_string(),
            Some(name) => format!("{tid} ({name})"),
        }
    }

    fn stacks(&self, mapping: &Mapping) -> Vec<String> {
        let threads = &self.seen.threads;
        let here = |stack: Span| stack.overlap(mapping.span).bytes() > 0;
        let own = threads.all.iter().filter(|thread| thread.stack.is_some_and(here));
        let mut parts: Vec<String> =
            own.map(|thread| format!("stack of thread {}", self.thread(thread.tid))).collect();
        let kept = threads.kept_stacks.iter().filter(|stack| here(**stack)).count();
        if kept > 0 {
            parts.push("stack kept for the next thread".into());
        }
        parts
    }

    /// Heaps of runtimes past malloc.
    fn runtimes(&self, mapping: &Mapping) -> Vec<String> {
        let parts = self.seen.runtimes.iter().flat_map(|runtime| &runtime.parts);
        let here = parts.filter(|part| {
            let first = part.spans.partition_point(|span| span.end <= mapping.span.start);
            part.spans.get(first).is_some_and(|span| span.start < mapping.span.end)
        });
        let reserved = if mapping.readable { "" } else { "reserved for: " };
        here.map(|part| format!("{reserved}{}", part.name)).collect()
    }

    fn plain(&self, mapping: &Mapping) -> String {
        let name = mapping.name.as_str();
        if mapping.inode != 0 {
            let part = match (mapping.executable, mapping.writable) {
                (true, _) => "code",
                (false, true) if mapping.shared => "shared file",
                (false, true) => "data",
                (false, false) => "read-only data",
            };
            return format!("{part} of {name}");
        }
        match name {
            "[vdso]" => "vdso: system calls without the kernel".into(),
            "[vvar]" | "[vvar_vclock]" => "the kernel's clock for the vdso".into(),
            "[vsyscall]" => "vsyscall: the vdso of old".into(),
            "" if !mapping.readable && !mapping.writable => self.reserve(mapping),
            "" if self.is_bss(mapping) => "data behind the file before it (.bss)".into(),
            "" => "anonymous".into(),
            _ => name.to_owned(),
        }
    }

    /// What is kept without rights: the rest of a heap's reservation, or a guard.
    fn reserve(&self, mapping: &Mapping) -> String {
        let before = self.before(mapping);
        let behind_heap = before.is_some_and(|before| {
            self.claims_in(before.span).any(|claim| matches!(claim.what, What::Heap(_)))
        });
        let below_stack = self
            .seen
            .threads
            .all
            .iter()
            .any(|thread| thread.stack.is_some_and(|stack| stack.start == mapping.span.end));
        if behind_heap {
            "reserved for that heap".into()
        } else if below_stack {
            "guard below a stack".into()
        } else {
            "reserved, no access".into()
        }
    }

    fn is_bss(&self, mapping: &Mapping) -> bool {
        mapping.writable
            && self.before(mapping).is_some_and(|before| before.inode != 0 && before.writable)
    }

    fn before(&self, mapping: &Mapping) -> Option<&Mapping> {
        let index = self.seen.maps.partition_point(|other| other.span.end <= mapping.span.start);
        let before = self.seen.maps.get(index.checked_sub(1)?)?;
        (before.span.end == mapping.span.start).then_some(before)
    }
}
