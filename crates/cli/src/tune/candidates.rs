//! What is tried: values of single settings, and how they are written for each malloc.

use heapwise_malloc::tunables::{Setting, TABLE};

use super::Whose;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A setting with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which.
    pub setting: Setting,
    /// What.
    pub value: usize,
}

/// Some settings; none for the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate(pub Vec<Choice>);

impl Candidate {
    /// As a table shows it.
    pub fn name(&self) -> String {
        if self.0.is_empty() {
            return "defaults".into();
        }
        let names = self.0.iter().map(|choice| {
            let name = TABLE[choice.setting as usize].heapwise.trim_start_matches("HEAPWISE_");
            format!("{}={}", name.to_ascii_lowercase(), short(choice.value))
        });
        names.collect::<Vec<_>>().join(" ")
    }

    /// Both together; `None` if they set one setting twice.
    pub fn with(&self, other: &Self) -> Option<Self> {
        let sets = |choice: &Choice| self.0.iter().any(|own| own.setting == choice.setting);
        (!other.0.iter().any(sets)).then(|| Self([self.0.clone(), other.0.clone()].concat()))
    }

    /// The environment that a run gets.
    pub fn environment(&self, whose: Whose) -> Vec<(String, String)> {
        match whose {
            Whose::Glibc => self.tunables().into_iter().collect(),
            Whose::Heapwise => self.variables(),
        }
    }

    /// `GLIBC_TUNABLES`, if there is something to set.
    pub fn tunables(&self) -> Option<(String, String)> {
        let parts = self.0.iter().filter_map(|choice| {
            let name = TABLE[choice.setting as usize].glibc?;
            Some(format!("{name}={}", choice.value))
        });
        let value = parts.collect::<Vec<_>>().join(":");
        (!value.is_empty()).then(|| ("GLIBC_TUNABLES".into(), value))
    }

    /// glibc's own variables; `None` if one of the settings has none.
    pub fn malloc_variables(&self) -> Option<Vec<(String, String)>> {
        let own = |choice: &Choice| {
            let name = TABLE[choice.setting as usize].malloc?;
            Some((name.to_owned(), choice.value.to_string()))
        };
        self.0.iter().map(own).collect()
    }

    /// Our variables.
    pub fn variables(&self) -> Vec<(String, String)> {
        let own = |choice: &Choice| {
            let name = TABLE[choice.setting as usize].heapwise;
            (name.to_owned(), choice.value.to_string())
        };
        self.0.iter().map(own).collect()
    }

    /// Calls for the beginning of `main`; `None` if one of the settings has no parameter.
    pub fn mallopt(&self) -> Option<String> {
        let call = |choice: &Choice| {
            let parameter = match choice.setting {
                Setting::MmapThreshold => "M_MMAP_THRESHOLD",
                Setting::TrimThreshold => "M_TRIM_THRESHOLD",
                Setting::TopPad => "M_TOP_PAD",
                Setting::MmapMax => "M_MMAP_MAX",
                Setting::ArenaMax => "M_ARENA_MAX",
                Setting::MxFast => "M_MXFAST",
                _ => return None,
            };
            i32::try_from(choice.value).ok().map(|value| format!("mallopt({parameter}, {value});"))
        };
        self.0.iter().map(call).collect::<Option<Vec<_>>>().map(|calls| calls.join(" "))
    }
}

/// "64K".
fn short(value: usize) -> String {
    match value {
        0 => "0".into(),
        value if value.is_multiple_of(MIB) => format!("{}M", value / MIB),
        value if value.is_multiple_of(KIB) => format!("{}K", value / KIB),
        value => value.to_string(),
    }
}

/// What is tried alone. Of two that do equally well the earlier is taken.
pub fn singles(whose: Whose, threads: u32) -> Vec<Candidate> {
    let mut tried: Vec<(Setting, &[usize])> = vec![
        (Setting::MmapThreshold, &[128 * KIB, 64 * KIB, 32 * KIB, MIB, 32 * MIB]),
        (Setting::TrimThreshold, &[64 * KIB, MIB, 16 * MIB]),
        (Setting::TopPad, &[0, MIB, 16 * MIB]),
    ];
    if threads > 1 {
        tried.push((Setting::ArenaMax, &[1, 2, 4]));
    }
    match whose {
        Whose::Glibc => {
            tried.extend([(Setting::CacheCount, &[0, 64][..]), (Setting::MxFast, &[0])])
        }
        Whose::Heapwise => tried.extend([
            (Setting::CacheBytes, &[MIB, 64 * MIB][..]),
            (Setting::PurgeBudget, &[64 * KIB, 16 * MIB]),
            (Setting::PurgeHelper, &[2, 0]),
            (Setting::Purge, &[0]),
        ]),
    }
    let single = |setting, value| Candidate(vec![Choice { setting, value }]);
    tried
        .into_iter()
        .flat_map(|(setting, values)| values.iter().map(move |&value| single(setting, value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_written_in_every_way() {
        let [arena, pad] = [(Setting::ArenaMax, 1), (Setting::TopPad, MIB)]
            .map(|(setting, value)| Candidate(vec![Choice { setting, value }]));
        let both = arena.with(&pad).unwrap();
        assert_eq!(both.name(), "arena_max=1 top_pad=1M");
        assert_eq!(
            both.environment(Whose::Glibc),
            [(
                "GLIBC_TUNABLES".to_owned(),
                "glibc.malloc.arena_max=1:glibc.malloc.top_pad=1048576".to_owned()
            )]
        );
        assert_eq!(
            both.mallopt().unwrap(),
            "mallopt(M_ARENA_MAX, 1); mallopt(M_TOP_PAD, 1048576);"
        );
        assert_eq!(both.malloc_variables().unwrap()[0].0, "MALLOC_ARENA_MAX");
        assert_eq!(both.variables()[1].0, "HEAPWISE_TOP_PAD");
        assert_eq!(arena.with(&arena), None);
        assert!(Candidate::default().environment(Whose::Glibc).is_empty());
        let cache = Candidate(vec![Choice { setting: Setting::CacheCount, value: 0 }]);
        assert_eq!((cache.mallopt(), cache.malloc_variables()), (None, None));
    }

    #[test]
    fn every_candidate_is_allowed_and_known_to_its_malloc() {
        for whose in [Whose::Glibc, Whose::Heapwise] {
            for Candidate(choices) in singles(whose, 8) {
                let tunable = &TABLE[choices[0].setting as usize];
                assert!(choices[0].value <= tunable.max, "{choices:?}");
                assert!(whose == Whose::Heapwise || tunable.glibc.is_some(), "{choices:?}");
            }
        }
        assert!(singles(Whose::Glibc, 1).iter().all(|c| c.0[0].setting != Setting::ArenaMax));
    }
}
