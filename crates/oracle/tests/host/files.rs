//! Files mapped shared and private: memory files, and regular ones of a disk.

use super::*;

#[test]
fn one_memfd_mapped_shared_and_private() {
    if !has_oracle() {
        return;
    }
    let (shared, private, hole) = (AREA, AREA + 64 * PAGE, AREA + 128 * PAGE);
    let results = agree(
        STACK,
        &steps(&[
            Op::Memfd(0, 20),
            map_file(shared, 40, RW, 0x11, 0),
            map_file(private, 40, RW, 0x12, 0),
            Op::Write(shared, 11),
            Op::Read(private),
            Op::Write(private, 12),
            Op::Read(shared),
            // The file has 17 pages in memory now: a read maps those around.
            Op::Madvise(shared + 2 * PAGE, 16 * PAGE, 23),
            Op::Read(private + 8 * PAGE),
            Op::Read(private + 20 * PAGE),
            Op::Write(shared + 39 * PAGE, 1),
            Op::Madvise(private, 20 * PAGE, 4),
            Op::Read(private),
            Op::Madvise(private, PAGE, 8),
            Op::Mremap { at: shared, old: 0, new: 8 * PAGE, flags: 3, to: hole },
            Op::Read(hole),
            Op::Mprotect(shared + PAGE, PAGE, 1),
            Op::Write(shared + PAGE, 1),
            Op::Mremap { at: shared, old: PAGE, new: 3 * PAGE, flags: 0, to: 0 },
            Op::Munmap(shared, 40 * PAGE),
            Op::Munmap(private, 40 * PAGE),
        ]),
    );
    assert_eq!(results[4..7], [11, 0, 11]);
    assert_eq!(results[9], signal_result(7, 2));
}

/// A file cut short under its mappings: what is behind its end goes from both processes,
/// private copies too, and comes back as zeros when it grows again.
#[test]
fn truncated_under_its_mappings() {
    if !has_oracle() {
        return;
    }
    let (shared, private) = (AREA, AREA + 64 * PAGE);
    let of = |who, op| Step { who, op, blind: false };
    let mut script = steps(&[
        Op::Memfd(0, 20),
        map_file(shared, 16, RW, 0x11, 4),
        map_file(private, 24, RW, 0x12, 0),
        Op::Madvise(shared, 16 * PAGE, 23),
        Op::Write(shared + 6 * PAGE, 11),
        Op::Write(private + 2 * PAGE, 12),
        Op::Write(private + 15 * PAGE, 13),
        Op::Fork,
        Op::Write(private + 16 * PAGE, 14),
    ]);
    script.push(of(1, Op::Write(private + 15 * PAGE, 15)));
    script.extend(steps(&[
        Op::Truncate(0, 9),
        Op::Read(shared + 5 * PAGE),
        Op::Write(shared + 4 * PAGE, 16),
        Op::Read(private + 2 * PAGE),
        Op::Read(private + 15 * PAGE),
    ]));
    script.push(of(1, Op::Read(private + 15 * PAGE)));
    script.push(of(1, Op::Read(private + 2 * PAGE)));
    script.extend(steps(&[
        Op::Truncate(0, 20),
        Op::Read(shared + 6 * PAGE),
        Op::Read(private + 15 * PAGE),
        Op::Truncate(0, 0),
        Op::Truncate(5, 1),
        Op::Read(private),
    ]));
    let results = agree(STACK, &script);
    let bus = signal_result(7, 2);
    assert_eq!(results[11..17], [bus, 0, 12, bus, bus, 12]);
    assert_eq!(results[18..], [0, 0, 0, -9, bus]);
}

/// Whether files in `/tmp` are regular, on a disk's file system: on tmpfs they are shared memory.
fn tmp_is_on_a_disk() -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of = |line: &str| -> Option<(usize, bool)> {
        let mut words = line.split_whitespace().skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        let inside = Path::new("/tmp").starts_with(at);
        inside.then_some((at.len(), ["ext4", "xfs", "btrfs"].contains(&kind)))
    };
    // The longest path, and of several mounts there the last.
    let disk = mounts.lines().filter_map(of).max_by_key(|mount| mount.0).is_some_and(|m| m.1);
    if !disk {
        println!("left out: /tmp is on no file system of a disk that is known to do alike");
    }
    disk
}

#[test]
fn one_regular_file_mapped_shared_and_private() {
    if !has_oracle() || !tmp_is_on_a_disk() {
        return;
    }
    let (shared, private, reader) = (AREA, AREA + 64 * PAGE, AREA + 128 * PAGE);
    let results = agree(
        STACK,
        &steps(&[
            Op::File(0, 40),
            map_file(shared, 48, RW, 0x11, 0),
            map_file(private, 48, RW, 0x12, 0),
            map_file(reader, 20, 1, 0x11, 20),
            Op::Write(shared + 20 * PAGE, 11),
            // A read maps the pages around.
            Op::Read(reader),
            Op::Read(private + 20 * PAGE),
            Op::Write(private + 20 * PAGE, 12),
            Op::Read(shared + 20 * PAGE),
            Op::Write(reader, 1),
            // Behind the file's end.
            Op::Read(shared + 40 * PAGE),
            Op::Write(private + 47 * PAGE, 1),
            Op::Madvise(private, 48 * PAGE, 4),
            Op::Read(private + 20 * PAGE),
            Op::Madvise(shared, 8 * PAGE, 22),
            Op::Madvise(shared, 8 * PAGE, 8),
            Op::Mprotect(reader, 4 * PAGE, RW),
            Op::Write(reader, 13),
            Op::Read(shared + 20 * PAGE),
            Op::Mremap { at: private, old: 48 * PAGE, new: 16 * PAGE, flags: 1, to: 0 },
            Op::Munmap(shared + 4 * PAGE, 8 * PAGE),
            Op::Munmap(shared, 48 * PAGE),
        ]),
    );
    assert_eq!(results[5..9], [11, 11, 0, 11]);
    assert_eq!(results[9..12], [signal_result(11, 2), signal_result(7, 2), signal_result(7, 2)]);
    assert_eq!(results[18], 13);
}

#[test]
fn random_scripts_with_regular_files_do_the_same() {
    if !has_oracle() || !tmp_is_on_a_disk() {
        return;
    }
    let initial = initial(STACK);
    for seed in 0xf11e..0xf11e + 8 {
        let mut script = ours::with_process(&initial, STACK, ours::NODES, |ours| {
            generate::script(seed, 150, ours)
        });
        for step in &mut script {
            if let Op::Memfd(nth, pages) = step.op {
                step.op = Op::File(nth, pages);
            }
        }
        if let Some(difference) = check(child(), STACK, &script).expect("the child runs") {
            panic!("seed {seed:#x}:\n{}", report(STACK, &script, difference));
        }
    }
}
