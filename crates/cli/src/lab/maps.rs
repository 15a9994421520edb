//! `/proc/PID/maps` and `smaps_rollup`, read as far as the lab asks.
//!
//! ```text
//! 5581c0e7a000-5581c0e9b000 rw-p 00000000 00:00 0      [heap]
//! └ start      └ end        └ perms       └ dev └ inode └ path: a file, a [label], or nothing
//! ```

/// One line of the maps.
#[derive(Debug, Clone)]
pub struct Region {
    pub start: usize,
    pub end: usize,
    pub perms: String,
    pub path: String,
    /// The line as the kernel printed it, runs of blanks joined.
    pub line: String,
}

impl Region {
    pub fn bytes(&self) -> usize {
        self.end - self.start
    }

    /// Private memory without a file, not labelled by the kernel, readable and writable.
    /// (`[anon:…]` is a name that a program gave it.)
    pub fn is_anonymous(&self) -> bool {
        (self.path.is_empty() || self.path.starts_with("[anon:")) && self.perms == "rw-p"
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let perms = fields.next()?.to_owned();
        let path = fields.skip(3).collect::<Vec<_>>().join(" ");
        Some(Self {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            perms,
            path,
            line: line.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
        })
    }
}

/// All lines of the maps, in address order.
#[derive(Debug, Clone, Default)]
pub struct Maps(pub Vec<Region>);

impl Maps {
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(Region::parse).collect())
    }

    /// The region that holds `address`.
    pub fn at(&self, address: usize) -> Option<&Region> {
        self.0.iter().find(|region| (region.start..region.end).contains(&address))
    }

    /// The regions with this path or label.
    pub fn named<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Region> {
        self.0.iter().filter(move |region| region.path == path)
    }

    /// Bytes of the lines labelled `[heap]`.
    pub fn heap_bytes(&self) -> usize {
        self.named("[heap]").map(Region::bytes).sum()
    }

    /// Whether `address` lies in `[heap]`.
    pub fn in_heap(&self, address: usize) -> bool {
        self.at(address).is_some_and(|region| region.path == "[heap]")
    }
}

/// Resident memory as `smaps_rollup` counts it.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// All resident pages.
    pub rss_bytes: usize,
    /// Those that belong to no file.
    pub anonymous_bytes: usize,
}

impl Memory {
    pub fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: usize = rest.split_ascii_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        Some(Self { rss_bytes: field("Rss:")?, anonymous_bytes: field("Anonymous:")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
00400000-00401000 r-xp 00000000 08:01 12                 /bin/a program
5581c0e7a000-5581c0e9b000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000021000 rw-p 00000000 00:00 0 
";

    #[test]
    fn reads_ranges_labels_and_paths_with_blanks() {
        let maps = Maps::parse(SAMPLE);
        assert_eq!(maps.0.len(), 3);
        assert_eq!(maps.heap_bytes(), 0x21000);
        assert!(maps.in_heap(0x5581_c0e7_a010));
        assert!(!maps.in_heap(0x5581_c0e9_b000));
        assert_eq!(maps.0[0].path, "/bin/a program");
        assert!(maps.at(0x7f00_0000_0000).is_some_and(Region::is_anonymous));
    }

    #[test]
    fn a_broken_line_is_left_out() {
        assert!(Maps::parse("nonsense\n12-xyz rw-p\n").0.is_empty());
    }

    #[test]
    fn reads_the_rollup() {
        let text = "55-7f ---p 0 00:00 0 [rollup]\nRss:       8 kB\nPss: 3 kB\nAnonymous:  4 kB\n";
        let memory = Memory::parse(text).expect("both fields are there");
        assert_eq!((memory.rss_bytes, memory.anonymous_bytes), (8192, 4096));
        assert!(Memory::parse("Rss: 8 kB\n").is_none());
    }
}
