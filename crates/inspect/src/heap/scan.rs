//! The sums over a walk: rows, trim gain, pins, the largest hole.
//!
//! Invariant: the rows of a scan sum to the resident bytes between the first
//! piece's header and the end of the last piece: nothing is counted twice or left out.
//!
//! The trim model: free neighbours are one chunk (after `malloc_consolidate`,
//! or after our flush), and of each the whole pages behind its bookkeeping go.

use heapwise_layout::walk::Read;

use super::calm::Calm;
use super::paint::Painting;
use super::pins::{Holder, Pin};
pub use super::sums::{Count, Hole};
use super::sums::{SMALL, Sums};
use super::walker::Form;
use super::{Kind, Piece};
use crate::process::memory::Image;
use crate::process::pages::Pages;
use crate::span::{Span, page_down, page_up};
use crate::tally::Row;

/// A chunk's header word.
const HEADER_WORD: usize = 8;

/// What a trim does to the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopRule {
    /// The break goes down to the first page boundary that leaves this many bytes.
    Lowered(usize),
    /// It stays as it is.
    Kept,
    /// Its pages behind this many bytes go.
    Purged(usize),
}

/// How an allocator trims.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bytes at the start of a free chunk that must stay.
    pub bookkeeping: usize,
    /// Whether cached chunks become free before.
    pub flushes_caches: bool,
    /// What happens to the top.
    pub top: TopRule,
}

/// A walk's sums while it goes on.
pub struct Scan<'a, M: Read> {
    memory: &'a M,
    pages: &'a Pages,
    rules: Rules,
    /// What it comes to so far, without the run of live chunks at its end.
    sums: Sums,
    stretch_end: usize,
    /// Free and fast chunks in a row.
    free_run: Span,
    /// The fast chunks in it.
    fast_in_run: Vec<Span>,
    /// What would be one free chunk after consolidation.
    trim_run: Span,
    holder: Option<Holder>,
    calm: Calm,
    /// Three chunks below this are less than a page.
    small: usize,
    /// Resident pages in a row around the last chunk that was asked about.
    resident_run: Span,
}

impl<'a, M: Read> Scan<'a, M> {
    /// No piece yet.
    #[must_use]
    pub fn new(memory: &'a M, pages: &'a Pages, rules: Rules) -> Self {
        Self {
            memory,
            pages,
            rules,
            sums: Sums::default(),
            stretch_end: usize::MAX,
            free_run: Span::default(),
            fast_in_run: Vec::new(),
            trim_run: Span::default(),
            holder: None,
            calm: Calm::default(),
            small: (pages.page_bytes() / 4).min(SMALL),
            resident_run: Span::default(),
        }
    }

    /// Paints a picture of `span`, too.
    pub fn paint(&mut self, span: Span) {
        self.sums.painting = Some(Painting::new(span, self.pages.page_bytes()));
    }

    /// Takes the next piece, right behind the last one.
    #[inline]
    pub fn push(&mut self, piece: Piece) {
        if !self.calm.take(piece, &mut self.sums) {
            self.push_any(piece);
        }
    }

    /// Takes chunks from `chunk` on, where the last piece has ended, out of memory at hand, as long as
    /// they are small, live or free, and end at `limit` or below; the first one that it leaves.
    #[inline]
    pub fn pass<F: Form>(&mut self, chunk: usize, limit: usize) -> usize
    where
        M: Image,
    {
        let Self { memory, calm, sums, .. } = self;
        if calm.is_open_at(chunk) {
            memory.lend(chunk, |memory| calm.pass::<F>(memory, limit, sums));
            return calm.end;
        }
        chunk
    }

    fn push_any(&mut self, piece: Piece) {
        self.close_calm();
        let count = &mut self.sums.counts[piece.kind as usize];
        count.chunks += 1;
        count.bytes += piece.bytes;
        if piece.kind == Kind::Live {
            self.sums.count_live(piece.bytes);
        }
        if let Some(painting) = &mut self.sums.painting {
            painting.add(piece);
        }
        self.push_rows(piece);
        self.push_trim(piece);
        self.open_calm(piece);
    }

    fn open_calm(&mut self, piece: Piece) {
        let is_small =
            |holder: Holder| piece.bytes < self.small && holder.before.bytes() < self.small;
        // A picture wants each free chunk for itself.
        let is_painted = self.sums.painting.is_some();
        if piece.kind != Kind::Live || is_painted || !self.holder.is_some_and(is_small) {
            return;
        }
        let end = piece.end();
        if !self.resident_run.contains(end) {
            let run = self.pages.runs_in(Span::new(end, end.saturating_add(1))).next();
            self.resident_run = run
                .map_or(Span::default(), |run| Span::new(end, self.pages.run_end(run.span.start)));
        }
        // From its header on it must be resident as far as it reaches into the next chunk.
        let to = self.resident_run.end.min(self.stretch_end).saturating_sub(8);
        if to > end {
            self.calm = Calm::open(end, to, self.small);
        }
    }

    fn close_calm(&mut self) {
        let calm = std::mem::take(&mut self.calm);
        if calm.end == calm.start {
            return;
        }
        let live = calm.end - calm.start - calm.free.bytes;
        let headers = calm.live * HEADER_WORD;
        for (kind, chunks, bytes) in
            [(Kind::Live, calm.live, live), (Kind::Free, calm.free.chunks, calm.free.bytes)]
        {
            self.sums.counts[kind as usize].chunks += chunks;
            self.sums.counts[kind as usize].bytes += bytes;
        }
        self.sums.hole.above.chunks += calm.live;
        self.sums.hole.above.bytes += live;
        // The last free chunk may go on: its row comes with its end.
        let open = Span::new(calm.behind, calm.end);
        self.sums.tally[Row::Headers] += headers;
        self.sums.tally[Row::LiveUser] += live - headers;
        self.sums.tally[Row::FreePinned] += calm.free.bytes - open.bytes();
        if calm.last.bytes() > 0 {
            let (address, bytes) = (calm.last.start, calm.last.bytes());
            let piece = Piece { address, bytes, kind: Kind::Live };
            self.holder = Some(Holder { piece, before: Span::new(calm.before, address) });
        }
        if open.bytes() > 0 {
            self.free_run = open;
            self.trim_run = open;
        }
    }

    /// Pieces up to `end` follow: the last one has no neighbour to lend it a word.
    pub fn begin_stretch(&mut self, end: usize) {
        self.stretch_end = end;
    }

    /// The stretch of chunks ends here; another may follow elsewhere.
    pub fn end_stretch(&mut self) {
        self.close_calm();
        self.close_free_run();
        let after = self.trim_run;
        self.evaluate_holder(after, false);
        self.close_trim_run();
        self.holder = None;
    }

    /// Whether another scan may go on from here, the next chunk being live, as if it were the
    /// first: the last chunk is no part of something free.
    #[must_use]
    pub fn may_be_parted(&mut self) -> bool {
        self.close_calm();
        self.free_run.bytes() == 0 && self.trim_run.bytes() == 0
    }

    /// What it comes to, the stretch being ended.
    #[must_use]
    pub fn into_sums(mut self) -> Sums {
        self.close_calm();
        self.sums.settle();
        self.sums
    }

    /// From the header on: `prev_size` is the neighbour's.
    fn resident_of(&self, piece: Piece) -> usize {
        self.resident(piece.address + 8, piece.end() + 8)
    }

    fn resident(&self, start: usize, end: usize) -> usize {
        self.pages.resident(Span::new(start, end.min(self.stretch_end)))
    }

    fn push_rows(&mut self, piece: Piece) {
        if matches!(piece.kind, Kind::Free | Kind::Fast) {
            if self.free_run.end != piece.address || self.free_run.bytes() == 0 {
                self.close_free_run();
                self.free_run.start = piece.address;
            }
            self.free_run.end = piece.end();
            if piece.kind == Kind::Fast {
                self.fast_in_run
                    .push(Span::new(piece.address + 8, (piece.end() + 8).min(self.stretch_end)));
            }
            return;
        }
        self.close_free_run();
        let resident = self.resident_of(piece);
        match piece.kind {
            Kind::Live => {
                let header = self.resident(piece.address + 8, piece.address + 16);
                self.sums.tally[Row::Headers] += header;
                self.sums.tally[Row::LiveUser] += resident - header;
                self.sums.hole.above.chunks += 1;
                self.sums.hole.above.bytes += piece.bytes;
            }
            Kind::Cached => {
                self.sums.tally[Row::ThreadCaches] += resident;
                self.sums.hole.above.chunks += 1;
                self.sums.hole.above.bytes += piece.bytes;
            }
            Kind::Top => {
                self.sums.top = Span::new(piece.address, piece.end());
                let page_bytes = self.pages.page_bytes();
                let interior = Span::new(piece.address + 32, piece.end()).whole_pages(page_bytes);
                let excess = self.zero_in_huge_pages(interior);
                self.sums.tally[Row::HugeExcess] += excess;
                self.sums.tally[Row::Top] += resident - excess;
            }
            _ => self.sums.tally[Row::AllocatorMetadata] += resident,
        }
    }

    fn close_free_run(&mut self) {
        let run = std::mem::take(&mut self.free_run);
        let fast = std::mem::take(&mut self.fast_in_run);
        if run.bytes() == 0 {
            return;
        }
        let interior = self.interior(run);
        let whole = self.pages.resident(interior);
        let excess = if whole > 0 { self.zero_in_huge_pages(interior) } else { 0 };
        let outside =
            |span: Span| self.pages.resident(span) - self.pages.resident(span.overlap(interior));
        let fast: usize = fast.into_iter().map(outside).sum();
        let all = self.resident(run.start + 8, run.end + 8);
        self.sums.tally[Row::HugeExcess] += excess;
        self.sums.tally[Row::FreeWholePages] += whole - excess;
        self.sums.tally[Row::Fastbins] += fast;
        self.sums.tally[Row::FreePinned] += all - whole - fast;
        if run.bytes() > self.sums.hole.span.bytes() {
            self.sums.hole = Hole { span: run, resident: whole, above: Count::default() };
        }
    }

    /// The whole pages of a free chunk that a trim returns.
    fn interior(&self, run: Span) -> Span {
        Span::new(run.start + self.rules.bookkeeping, run.end).whole_pages(self.pages.page_bytes())
    }

    fn is_trimmed(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Free | Kind::Fast) || kind == Kind::Cached && self.rules.flushes_caches
    }

    fn push_trim(&mut self, piece: Piece) {
        let adjoins = self.trim_run.bytes() > 0 && self.trim_run.end == piece.address;
        if self.is_trimmed(piece.kind) {
            if !adjoins {
                self.close_trim_run();
                self.trim_run.start = piece.address;
            }
            self.trim_run.end = piece.end();
            return;
        }
        if piece.kind == Kind::Top {
            let start = if adjoins { self.trim_run.start } else { piece.address };
            let top = Span::new(start, piece.end());
            self.evaluate_holder(top, true);
            self.holder = None;
            self.trim_run = Span::default();
            self.sums.trim_gain += self.pages.resident(self.trimmed_of_top(top));
            return;
        }
        let before = if adjoins { self.trim_run } else { Span::new(piece.address, piece.address) };
        self.evaluate_holder(before, false);
        self.close_trim_run();
        let can_hold = matches!(piece.kind, Kind::Live | Kind::Cached);
        self.holder = can_hold.then_some(Holder { piece, before });
    }

    fn close_trim_run(&mut self) {
        let run = std::mem::take(&mut self.trim_run);
        if run.bytes() > 0 {
            self.sums.trim_gain += self.pages.resident(self.interior(run));
        }
    }

    fn trimmed_of_top(&self, top: Span) -> Span {
        let page_bytes = self.pages.page_bytes();
        match self.rules.top {
            TopRule::Kept => Span::new(top.end, top.end),
            TopRule::Lowered(left) => {
                let extra = page_down(top.bytes().saturating_sub(left), page_bytes);
                Span::new(top.end - extra, top.end)
            }
            TopRule::Purged(left) => {
                Span::new(page_up(top.start + left, page_bytes), page_down(top.end, page_bytes))
            }
        }
    }

    /// What the last chunk before `after` holds up, `after` being free or the top.
    fn evaluate_holder(&mut self, after: Span, is_top: bool) {
        let Some(holder) = self.holder else { return };
        let after_touches = after.start == holder.piece.end();
        let joined = holder.joined(if after_touches { after } else { Span::default() });
        // Most chunks stand among others: no free neighbour, nothing to hold.
        let neighbours = joined.bytes() - holder.piece.bytes;
        let below_top = is_top && after_touches;
        if neighbours == 0 || joined.bytes() < self.pages.page_bytes() && !below_top {
            return;
        }
        let gain = |span: Span, top: bool| {
            if span.bytes() == 0 {
                return 0;
            }
            let trimmed = if top { self.trimmed_of_top(span) } else { self.interior(span) };
            self.pages.resident(trimmed)
        };
        let apart = gain(holder.before, false) + gain(after, is_top);
        let own = self.resident_of(holder.piece);
        let held_bytes = gain(joined, below_top).saturating_sub(apart + own);
        self.sums.pins.offer(Pin { piece: holder.piece, held_bytes, below_top });
    }

    /// Bytes of all-zero pages of `span` that are parts of huge pages.
    fn zero_in_huge_pages(&self, span: Span) -> usize {
        let page_bytes = self.pages.page_bytes();
        let is_zero = |page: &usize| {
            (*page..*page + page_bytes).step_by(8).all(|word| self.memory.word(word) == Some(0))
        };
        self.pages
            .runs_in(span)
            .filter(|run| run.huge)
            .flat_map(|run| (run.span.start..run.span.end).step_by(page_bytes))
            .filter(is_zero)
            .count()
            * page_bytes
    }
}

#[cfg(test)]
mod tests {
    use heapwise_seed::Rng;

    use super::*;
    use crate::process::pages::Run;
    use crate::tally::Tally;

    struct Nothing;
    impl Read for Nothing {
        fn word(&self, _: usize) -> Option<u64> {
            None
        }
    }

    fn pages(start: usize, end: usize) -> Pages {
        let run = Run { span: Span::new(start, end), of_file: false, huge: false };
        Pages::from_runs(4096, vec![run], true)
    }

    fn scan(pages: &Pages, rules: Rules, pieces: &[(usize, Kind)]) -> (Tally, usize, Vec<Pin>) {
        let mut scan = Scan::new(&Nothing, pages, rules);
        let mut address = 0x10000;
        scan.begin_stretch(address + pieces.iter().map(|(bytes, _)| bytes).sum::<usize>());
        for &(bytes, kind) in pieces {
            scan.push(Piece { address, bytes, kind });
            address += bytes;
        }
        scan.end_stretch();
        let sums = scan.into_sums();
        let expected = pages.resident(Span::new(0x10008, address));
        assert_eq!(sums.tally.sum(), expected, "rows sum to what is resident");
        (sums.tally, sums.trim_gain, sums.pins.largest().to_vec())
    }

    const GLIBC: Rules =
        Rules { bookkeeping: 0x30, flushes_caches: false, top: TopRule::Lowered(33) };

    #[test]
    fn a_free_chunk_gives_its_whole_pages_and_pins_the_rest() {
        use Kind::*;
        let pieces = [(0x20, Live), (0x4000, Free), (0x20, Live), (0x1fc0, Top)];
        let (tally, gain, pins) = scan(&pages(0x10000, 0x20000), GLIBC, &pieces);
        assert_eq!(tally[Row::FreeWholePages], 0x3000);
        assert_eq!(tally[Row::FreePinned], 0x1000);
        assert_eq!(tally[Row::LiveUser], 2 * 0x18);
        assert_eq!(tally[Row::Headers], 16);
        assert_eq!(gain, 0x3000 + 0x1000);
        // Without the chunk below it, the top would begin 0x4020 lower.
        assert!(pins.iter().any(|pin| pin.below_top && pin.held_bytes == 0x1000 - 0x20));
    }

    #[test]
    fn fast_chunks_join_their_neighbours_and_the_top() {
        use Kind::*;
        let pieces =
            [(0x20, Live), (0x800, Free), (0x80, Fast), (0xf80, Free), (0x20, Live), (0x1000, Top)];
        let (tally, gain, _) = scan(&pages(0x10000, 0x20000), GLIBC, &pieces);
        // 0x10020..0x11820 has one whole page behind its bookkeeping at 0x11000? No: it ends at 0x11820.
        assert_eq!(tally[Row::FreeWholePages], 0);
        assert_eq!(tally[Row::Fastbins], 0x80);
        assert_eq!(gain, 0);
        let pieces = [(0x20, Live), (0x80, Fast), (0x2000, Top)];
        let (_, gain, _) = scan(&pages(0x10000, 0x20000), GLIBC, &pieces);
        assert_eq!(gain, 0x2000);
    }

    #[test]
    fn flushing_caches_frees_what_they_hold() {
        use Kind::*;
        let rules = Rules { bookkeeping: 80, flushes_caches: true, top: TopRule::Purged(32) };
        let pieces = [(0x20, Live), (0x2000, Cached), (0x2000, Free), (0x20, Live), (0x3000, Top)];
        let (tally, gain, _) = scan(&pages(0x10000, 0x20000), rules, &pieces);
        assert_eq!(tally[Row::ThreadCaches], 0x2000);
        assert_eq!(tally[Row::FreeWholePages], 0x1000);
        assert_eq!(gain, 0x3000 + 0x2000);
    }

    /// Chunks counted together come to what they come to one by one, and parts to the whole.
    #[test]
    fn short_cuts_change_no_sum() {
        let mut rng = Rng::new(7);
        let mut random = |below: u64| rng.below(below);
        for round in 0..300 {
            let mut pieces = Vec::new();
            let (mut address, mut last) = (0x10000, Kind::Free);
            while address < 0x10000 + 0x20000 {
                use Kind::*;
                let kinds = [Live, Live, Live, Free, Free, Cached, Fast, Metadata];
                let kind = kinds[random(kinds.len() as u64) as usize];
                let kind = if (kind, last) == (Free, Free) { Live } else { kind };
                let most = [4, 20, 100, 700][random(4) as usize];
                let bytes = 32 + 16 * random(most) as usize;
                pieces.push(Piece { address, bytes, kind });
                (address, last) = (address + bytes, kind);
            }
            pieces.push(Piece { address, bytes: 0x3000, kind: Kind::Top });
            let mut runs = Vec::new();
            let mut at = 0x10000;
            while at < address + 0x4000 {
                let end = at + 4096 * (1 + random(9) as usize);
                runs.push(Run { span: Span::new(at, end), of_file: false, huge: false });
                at = end + 4096 * (random(4) / 3) as usize;
            }
            let pages = Pages::from_runs(4096, runs, true);
            let walk = |pieces: &[Piece], one_by_one: bool| {
                let mut scan = Scan::new(&Nothing, &pages, GLIBC);
                scan.begin_stretch(address + 0x3000);
                for &piece in pieces {
                    if one_by_one {
                        scan.calm.close();
                    }
                    scan.push(piece);
                }
                let may_be_parted = scan.may_be_parted();
                scan.end_stretch();
                (scan.into_sums(), may_be_parted)
            };
            let told = |sums: &Sums| {
                let pins: Vec<Pin> = sums.pins.largest().to_vec();
                (sums.tally, sums.counts, sums.classes.clone(), sums.trim_gain, sums.hole, pins)
            };
            let plain = walk(&pieces, true).0;
            assert_eq!(told(&walk(&pieces, false).0), told(&plain), "round {round}");
            let middle = pieces.len() / 2;
            let (mut first, may_be_parted) = walk(&pieces[..middle], false);
            if may_be_parted && pieces[middle].kind == Kind::Live {
                first.append(&walk(&pieces[middle..], false).0);
                assert_eq!(told(&first), told(&plain), "round {round}, in parts");
            }
        }
    }

    #[test]
    fn what_is_not_resident_is_not_counted() {
        use Kind::*;
        let pieces = [(0x20, Live), (0x8000, Free), (0x8000, Live), (0x3000, Top)];
        for end in (0x10000..0x24000).step_by(0x1000) {
            scan(&pages(0x10000, end), GLIBC, &pieces);
        }
    }
}
