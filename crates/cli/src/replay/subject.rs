//! What a trace is played on: a malloc with its settings, for real or simulated.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use heapwise_malloc::tunables::{Setting, TABLE};
use heapwise_replay::launch::Target;

use crate::failure::{Failure, USAGE};
use crate::library;

/// A malloc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// As it is called in tables.
    pub name: String,
    /// What kind.
    pub ground: Ground,
    /// Its settings, as environment variables.
    pub environment: Vec<(String, String)>,
}

/// Where it is played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// In a process, with this library preloaded.
    Real(Option<PathBuf>),
    /// Ours, on the simulated kernel.
    Simulated,
    /// No replay: the program itself.
    Original(Vec<OsString>),
}

impl Subject {
    /// Those that were asked for; ours if none was.
    pub fn choose(
        heapwise: bool,
        glibc: bool,
        preload: &[PathBuf],
        sim: bool,
        environment: &[(String, String)],
    ) -> anyhow::Result<Vec<Self>> {
        let mut subjects = Vec::new();
        let none = !(glibc || sim) && preload.is_empty();
        if heapwise || none {
            subjects.push(Self::heapwise(environment)?);
        }
        if glibc {
            subjects.push(Self::glibc(environment));
        }
        for library in preload {
            subjects.push(Self::peer(library, environment)?);
        }
        if sim {
            subjects.push(Self::simulated(environment));
        }
        Ok(subjects)
    }

    /// Ours.
    pub fn heapwise(environment: &[(String, String)]) -> anyhow::Result<Self> {
        let library = library::locate()?;
        Ok(Self::new("heapwise", Ground::Real(Some(library)), environment))
    }

    /// The C library's.
    pub fn glibc(environment: &[(String, String)]) -> Self {
        Self::new("glibc", Ground::Real(None), environment)
    }

    /// Ours, on the simulated kernel.
    pub fn simulated(environment: &[(String, String)]) -> Self {
        Self::new("simulated", Ground::Simulated, environment)
    }

    /// The recorded program itself, on whatever malloc it has.
    pub fn original(command: &[OsString]) -> Self {
        Self::new("original", Ground::Original(command.to_vec()), &[])
    }

    fn peer(library: &Path, environment: &[(String, String)]) -> Result<Self, Failure> {
        let stem = library.file_name().unwrap_or_default().to_string_lossy();
        let name = stem.trim_start_matches("lib").split('.').next().unwrap_or("malloc").to_owned();
        let found = find(library).ok_or_else(|| {
            Failure::new(USAGE, format!("there is no library {}", library.display()))
        })?;
        Ok(Self::new(&name, Ground::Real(Some(found)), environment))
    }

    fn new(name: &str, ground: Ground, environment: &[(String, String)]) -> Self {
        Self { name: name.to_owned(), ground, environment: environment.to_vec() }
    }

    /// For the launcher; `None` if it is not played for real.
    pub fn target(&self) -> Option<Target> {
        match &self.ground {
            Ground::Real(preload) => {
                Some(Target { preload: preload.clone(), environment: self.environment.clone() })
            }
            Ground::Simulated | Ground::Original(_) => None,
        }
    }

    /// For the simulation: what of the environment our allocator would take.
    pub fn settings(&self) -> Result<Vec<(Setting, usize)>, Failure> {
        let mut settings = Vec::new();
        for (name, value) in &self.environment {
            let mut take = |matches: &dyn Fn(&heapwise_malloc::tunables::Tunable) -> bool,
                            value: &str| {
                let Some(tunable) = TABLE.iter().find(|tunable| matches(tunable)) else {
                    return Ok(());
                };
                let number = heapwise_malloc::tunables::parse(value.as_bytes());
                let number = number
                    .filter(|&number| number <= tunable.max)
                    .ok_or_else(|| Failure::new(USAGE, format!("{name} cannot be {value}")))?;
                settings.push((tunable.setting, number));
                Ok::<_, Failure>(())
            };
            if name == "GLIBC_TUNABLES" {
                for (name, value) in value.split(':').filter_map(|part| part.split_once('=')) {
                    take(&|tunable| tunable.glibc == Some(name), value)?;
                }
            } else {
                take(&|t| t.heapwise == name || t.malloc == Some(name.as_str()), value)?;
            }
        }
        Ok(settings)
    }
}

/// A library by its path, or by its name where the loader would look.
fn find(library: &Path) -> Option<PathBuf> {
    if library.components().count() > 1 {
        return std::fs::canonicalize(library).ok();
    }
    const PLACES: [&str; 6] = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/local/lib",
        "/usr/lib64",
        "/lib/x86_64-linux-gnu",
        "/usr/lib",
        ".",
    ];
    let beside = PLACES.iter().map(|place| Path::new(place).join(library));
    beside.filter_map(|path| std::fs::canonicalize(path).ok()).next()
}

/// `NAME=VALUE`.
pub fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_all_spellings_reach_the_simulation() {
        let environment = [
            (
                "GLIBC_TUNABLES".to_owned(),
                "glibc.malloc.arena_max=2:glibc.malloc.top_pad=64K".to_owned(),
            ),
            ("MALLOC_MMAP_THRESHOLD_".to_owned(), "4096".to_owned()),
            ("HEAPWISE_PURGE".to_owned(), "0".to_owned()),
            ("PATH".to_owned(), "/bin".to_owned()),
        ];
        let settings = Subject::simulated(&environment).settings().unwrap();
        assert_eq!(
            settings,
            [
                (Setting::ArenaMax, 2),
                (Setting::TopPad, 65536),
                (Setting::MmapThreshold, 4096),
                (Setting::Purge, 0)
            ]
        );
        let wrong = [("HEAPWISE_PURGE".to_owned(), "7".to_owned())];
        assert!(Subject::simulated(&wrong).settings().is_err());
    }
}
