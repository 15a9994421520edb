//! A look in a file: what goes in comes out; whatever else stands there is one clear error.
//! Seeded: `HEAPWISE_SEED` replays a failure.

mod common;

use std::io::{self, Read, Write};

use common::image::Random;
use common::{Target, library, seed};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use heapwise_inspect::snapshot::{self, MAGIC, SnapshotError, VERSION};
use heapwise_inspect::wire::MOST;
use heapwise_inspect::{Options, Survey, survey, verdict};
use serde_json::Value;

fn kept(seen: &Survey) -> Vec<u8> {
    let mut file = Vec::new();
    snapshot::write(seen, &mut file).expect("a vector takes all");
    file
}

fn content(file: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    GzDecoder::new(&file[MAGIC.len() + 4..]).read_to_end(&mut content).expect("gzip");
    content
}

/// A file with this content and everything around it in order.
fn file_of(content: &[u8]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    let mut encoder = GzEncoder::new(file, Compression::fast());
    encoder.write_all(content).expect("a vector takes all");
    encoder.finish().expect("a vector takes all")
}

#[test]
fn what_goes_in_comes_out() {
    let preload = library().map(|library| [("LD_PRELOAD", library.to_str().unwrap())]);
    for (shape, environment) in [
        ("lists", &[][..]),
        ("threads", &[]),
        ("mapped", &[]),
        ("threads", preload.as_ref().map(|pair| &pair[..]).unwrap_or_default()),
    ] {
        let Some(target) = Target::start(shape, environment) else { return };
        let seen = survey(target.pid(), Options::ALL).unwrap();
        let file = kept(&seen);
        let read = snapshot::read(&file[..]).unwrap();
        let value = |seen: &Survey| serde_json::to_value(seen).expect("JSON");
        let (read_value, seen_value) = (value(&read), value(&seen));
        for (name, field) in seen_value.as_object().expect("fields") {
            assert!(read_value[name] == *field, "{shape}: {name}");
        }
        assert_eq!(verdict::judge(&read), verdict::judge(&seen), "{shape}");
        assert!(!seen.origin.command.is_empty() && seen.origin.took_ns > 0);
        assert!(seen.heaps.arenas.iter().any(|arena| !arena.heaps[0].states.is_empty()));
        let with_bytes = seen.holders.iter().filter(|holder| !holder.first.is_empty()).count();
        assert_eq!(with_bytes, seen.holders.len(), "{shape}");
        assert!(with_bytes > 0 || shape == "mapped", "{shape}");
        assert_eq!(seen.mapping_figures.len(), seen.maps.len(), "{shape}");
    }
}

#[test]
fn a_heap_whose_counters_say_nonsense_is_kept_too() {
    let Some(target) = Target::start("lists", &[]) else { return };
    let mut seen = survey(target.pid(), Options::ALL).unwrap();
    seen.heaps.arenas[0].system_bytes = usize::MAX;
    seen.heaps.arenas[0].flaws = usize::MAX - 5;
    let read = snapshot::read(&kept(&seen)[..]).unwrap();
    assert_eq!(read.heaps.arenas[0].system_bytes, MOST);
    assert!(read.flaws() >= MOST);
}

#[test]
fn other_files_are_told_from_ours() {
    for foreign in [&b""[..], b"\x89HWSNA", b"\x7fELF\x02\x01\x01", b"{}"] {
        assert!(matches!(snapshot::read(foreign), Err(SnapshotError::Foreign)), "{foreign:?}");
    }
    let mut newer = file_of(b"{}");
    newer[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&(VERSION + 6).to_le_bytes());
    let error = snapshot::read(&newer[..]).unwrap_err();
    assert!(matches!(error, SnapshotError::Newer(version) if version == VERSION + 6));
    assert!(error.to_string().contains("newer heapwise"), "{error}");
    assert!(matches!(snapshot::read(&MAGIC[..]), Err(SnapshotError::Damaged(_))));
}

#[test]
fn cut_and_bent_files_are_refused() {
    let Some(target) = Target::start("lists", &[]) else { return };
    let file = kept(&survey(target.pid(), Options::ALL).unwrap());
    for length in (0..file.len()).step_by(file.len() / 200 + 1).chain(file.len() - 9..file.len()) {
        assert!(snapshot::read(&file[..length]).is_err(), "cut to {length} of {}", file.len());
    }
    let mut random = Random(seed());
    println!("HEAPWISE_SEED={}", seed());
    for _ in 0..300 {
        let mut bent = file.clone();
        let at = random.below(bent.len());
        bent[at] ^= 1 << random.below(8);
        // Some bits say nothing: in gzip's head, in codes that no byte uses, in copies from
        // another place of the same bytes. Then the content is what it was.
        if let Ok(same) = snapshot::read(&bent[..]) {
            assert!(kept(&same) == file, "byte {at} of {}", bent.len());
        }
    }
}

#[test]
fn a_bomb_needs_no_more_memory_than_any_snapshot() {
    struct Blanks(usize);
    impl Read for Blanks {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let length = into.len().min(self.0);
            into[..length].fill(b' ');
            self.0 -= length;
            Ok(length)
        }
    }
    let mut encoder = GzEncoder::new(file_of(b"")[..MAGIC.len() + 4].to_vec(), Compression::fast());
    io::copy(&mut Blanks(130 << 20), &mut encoder).unwrap();
    let file = encoder.finish().unwrap();
    assert!(file.len() < 2 << 20);
    assert!(matches!(snapshot::read(&file[..]), Err(SnapshotError::TooLarge)));
}

/// Replaces something somewhere below `value` by what could mislead.
fn mislead(value: &mut Value, random: &mut Random) {
    let inside = match value {
        Value::Array(items) if !items.is_empty() && random.below(8) > 0 => {
            let index = random.below(items.len());
            if random.below(20) == 0 {
                let twin = items[index].clone();
                items.insert(random.below(index + 1), twin);
                return;
            }
            Some(&mut items[index])
        }
        Value::Object(fields) if !fields.is_empty() && random.below(20) > 0 => {
            let index = random.below(fields.len());
            fields.iter_mut().nth(index).map(|(_, value)| value)
        }
        _ => None,
    };
    if let Some(inside) = inside {
        return mislead(inside, random);
    }
    let number = value.as_u64().unwrap_or(4096);
    *value = match random.below(12) {
        0 => Value::Null,
        1 => 0.into(),
        2 => u64::MAX.into(),
        3 => (u64::MAX / 2 + 1).into(),
        4 => (1u64 << 47).into(),
        5 => ((1u64 << 57) - 1).into(),
        6 => (-1).into(),
        7 => number.wrapping_add(1).into(),
        8 => number.wrapping_mul(4096).into(),
        9 => Value::Array(Vec::new()),
        10 => "\u{1b}[2Jx".into(),
        _ => number.wrapping_sub(16).into(),
    };
}

#[test]
fn hostile_content_is_refused_or_harmless() {
    let Some(target) = Target::start("threads", &[]) else { return };
    let sound: Value =
        serde_json::from_slice(&content(&kept(&survey(target.pid(), Options::ALL).unwrap())))
            .unwrap();
    let mut random = Random(seed());
    println!("HEAPWISE_SEED={}", seed());
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..300 {
        let mut bent = sound.clone();
        for _ in 0..1 + random.below(3) {
            mislead(&mut bent, &mut random);
        }
        match snapshot::read(&file_of(&serde_json::to_vec(&bent).unwrap())[..]) {
            Ok(seen) => {
                taken += 1;
                assert_eq!(seen.account.tally.sum(), seen.rss);
                let _ = (verdict::judge(&seen), seen.trim_gain(), seen.flaws(), seen.classes());
                for mapping in &seen.maps {
                    let _ = seen.pages.resident(mapping.span);
                }
                let _ = seen.holders.iter().map(|holder| holder.pointer()).max();
            }
            Err(SnapshotError::Damaged(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 25 && refused > 25, "{taken} taken, {refused} refused");
}
