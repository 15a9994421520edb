//! exec: a described program becomes an address space.
//!
//! ```text
//!   text r-x │ rodata r-- │ data rw- │ bss      brk …      … interpreter │ vdso   stack
//!   └── segments, from the file ─────┘└ zeros      ▲                       strings at its top
//! ```

use crate::addr::{Span, VirtAddr, page_align};
use crate::area::{Placing, Wish};
use crate::error::{Error, FaultError};
use crate::files::OpenMode;
use crate::flags::{Access, MapFlags, Prot, VmFlags};
use crate::layout::Width;
use crate::mm::{Bounds, Env, Mm};
use crate::mmap::{MapRequest, MapSource};
use crate::table::PageTable;
use crate::vma::{Backing, FileId, Special, Vma};
use heapwise_pages::PAGE_SIZE;

/// A part of a program that is loaded (`PT_LOAD`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Its address in the file's own reckoning.
    pub address: u64,
    /// Where it starts in the file, in bytes; congruent to the address, page-wise.
    pub offset: u64,
    /// Bytes from the file.
    pub file_bytes: u64,
    /// Bytes in memory: the rest is zeros.
    pub memory_bytes: u64,
    /// What it allows.
    pub prot: Prot,
}

/// A program or its interpreter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image<'i> {
    /// Its file.
    pub file: FileId,
    /// Its parts, from the lowest up.
    pub segments: &'i [Segment],
    /// Where it starts, in the file's own reckoning.
    pub entry: u64,
    /// Can lie anywhere (`ET_DYN`).
    pub relocatable: bool,
}

/// What a program starts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Start<'i> {
    /// The program.
    pub program: Image<'i>,
    /// What loads it (`PT_INTERP`), if it has one.
    pub interpreter: Option<Image<'i>>,
    /// Bytes of the arguments, each with its end.
    pub argument_bytes: u64,
    /// Bytes of the environment, each with its end.
    pub environment_bytes: u64,
    /// Whether the kernel's vDSO is mapped: 4 + 2 pages of data, 2 of code.
    pub vdso: bool,
}

/// The stack is this much longer than what stands on it.
const STACK_EXPAND: u64 = 128 << 10;

impl Image<'_> {
    /// From the first page to the last, in its own reckoning.
    fn extent(&self) -> Result<Span, Error> {
        let first = self.segments.first().ok_or(Error::Argument)?;
        let end = self.segments.iter().try_fold(0_u64, |end, segment| {
            let after = segment.address.checked_add(segment.memory_bytes)?;
            after.checked_next_multiple_of(PAGE_SIZE).map(|after| after.max(end))
        });
        let end = VirtAddr::new(end.ok_or(Error::Argument)?);
        Ok(Span::new(VirtAddr::new(first.address).page(), end))
    }
}

impl<T: PageTable> Mm<T> {
    /// Replaces whatever is there by a new program; returns where it starts. The
    /// layout is the address space's own, made before. O(segments × log n), plus what
    /// is unmapped.
    ///
    /// All that `mmap` refuses with; [`Error::OutOfFrames`] for the strings and the
    /// page that .bss begins in. The address space is then of no use but for `exit`.
    pub fn exec(&mut self, env: &mut Env<'_, '_>, start: &Start<'_>) -> Result<VirtAddr, Error> {
        self.exit(env);
        self.bounds = Bounds::default();
        self.map_stack(env, start)?;
        let program = &start.program;
        let extent = program.extent()?;
        let base = match (program.relocatable, start.interpreter) {
            (false, _) => 0,
            (true, Some(_)) => self.layout.dyn_base.get(),
            (true, None) => self.free_place(env, extent)?.get(),
        };
        let bias = base.wrapping_sub(if program.relocatable { extent.start.get() } else { 0 });
        let image_end = self.load(env, program, bias)?;
        self.bounds = self.image_bounds(program, bias);
        self.bounds.start_brk = if program.relocatable && start.interpreter.is_none() {
            // Away from the mmap region, into which it was loaded.
            self.layout.moved_brk()
        } else {
            image_end.up(self.layout.brk_offset)
        };
        self.bounds.brk = self.bounds.start_brk;
        let mut entry = program.entry.wrapping_add(bias);
        if let Some(interpreter) = &start.interpreter {
            let extent = interpreter.extent()?;
            let bias = self.free_place(env, extent)?.get().wrapping_sub(extent.start.get());
            self.load(env, interpreter, bias)?;
            entry = interpreter.entry.wrapping_add(bias);
        }
        if start.vdso {
            self.map_vdso(env)?;
        }
        Ok(VirtAddr::new(entry))
    }

    fn free_place(&self, env: &Env<'_, '_>, extent: Span) -> Result<VirtAddr, Error> {
        let (hint, bytes, placing) = (VirtAddr::NULL, extent.bytes(), Placing::File(0));
        self.find_place(env, Wish { hint, bytes, fixed: false, low: false, placing })
    }

    /// Maps the segments; returns the end of the highest.
    fn load(
        &mut self,
        env: &mut Env<'_, '_>,
        image: &Image<'_>,
        bias: u64,
    ) -> Result<VirtAddr, Error> {
        let mut end = VirtAddr::NULL;
        for segment in image.segments {
            let start = VirtAddr::new(segment.address.wrapping_add(bias));
            let in_page = start.get() % PAGE_SIZE;
            if segment.offset % PAGE_SIZE != in_page || segment.file_bytes > segment.memory_bytes {
                return Err(Error::Argument);
            }
            let zeros = start.up(segment.file_bytes);
            if segment.file_bytes > 0 {
                let request = MapRequest {
                    at: start.page(),
                    length: in_page + segment.file_bytes,
                    prot: segment.prot,
                    flags: MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE,
                    source: MapSource::File {
                        file: image.file,
                        offset: segment.offset - in_page,
                        mode: OpenMode::READ,
                    },
                };
                self.mmap(env, request)?;
            }
            let after = start.up(segment.memory_bytes);
            if segment.memory_bytes > segment.file_bytes {
                self.map_zeros(env, segment.prot, zeros, after)?;
            }
            end = end.max(VirtAddr::new(page_align(after.get())));
        }
        Ok(end)
    }

    /// .bss: the rest of the last page from the file, and whole pages after it.
    fn map_zeros(
        &mut self,
        env: &mut Env<'_, '_>,
        prot: Prot,
        zeros: VirtAddr,
        after: VirtAddr,
    ) -> Result<(), Error> {
        if !zeros.is_page() && prot.has(Prot::WRITE) {
            self.access(env, zeros, Access::Write).map_err(no_page)?;
        }
        let whole = Span::new(
            VirtAddr::new(page_align(zeros.get())),
            VirtAddr::new(page_align(after.get())),
        );
        if whole.is_empty() {
            return Ok(());
        }
        let request = MapRequest::anonymous(whole.bytes(), prot | Prot::RW);
        self.mmap(env, request.at(whole.start).with(MapFlags::FIXED_NOREPLACE)).map(drop)
    }

    fn image_bounds(&self, image: &Image<'_>, bias: u64) -> Bounds {
        let mut bounds = Bounds { start_code: VirtAddr::new(u64::MAX), ..self.bounds };
        for segment in image.segments {
            let start = VirtAddr::new(segment.address.wrapping_add(bias));
            let end = start.up(segment.file_bytes);
            if segment.prot.has(Prot::EXEC) {
                bounds.start_code = bounds.start_code.min(start);
                bounds.end_code = bounds.end_code.max(end);
            }
            bounds.start_data = bounds.start_data.max(start);
            bounds.end_data = bounds.end_data.max(end);
        }
        bounds
    }

    /// The stack with the strings on it.
    fn map_stack(&mut self, env: &mut Env<'_, '_>, start: &Start<'_>) -> Result<(), Error> {
        let top = self.layout.stack_top;
        // A null word of the kernel ends the stack; the strings lie below it.
        let word = if self.layout.width == Width::Bits32 { 4 } else { 8 };
        let strings = start.argument_bytes.saturating_add(start.environment_bytes);
        let bytes = page_align(strings.saturating_add(word));
        if bytes == 0 || bytes > self.limits.stack / 4 {
            return Err(Error::StackLimit);
        }
        let length = (bytes + STACK_EXPAND).min(self.limits.stack & !(PAGE_SIZE - 1)).max(bytes);
        let span = Span::new(top.down(length), top);
        let flags = VmFlags::DATA | VmFlags::GROWSDOWN | VmFlags::ACCOUNT;
        self.may_expand(flags, span.pages())?;
        self.charge(env, span.pages())?;
        let vma = Vma { span, flags, offset: span.start.page_number(), ..Vma::default() };
        if let Err(error) = self.add(env, vma) {
            env.commit.uncharge(span.pages());
            return Err(error);
        }
        self.count(flags, span.pages() as i64);
        let env_end = top.down(word);
        let env_start = env_end.down(start.environment_bytes);
        let arg_start = env_start.down(start.argument_bytes);
        self.bounds.env_end = env_end;
        self.bounds.env_start = env_start;
        self.bounds.arg_end = env_start;
        self.bounds.arg_start = arg_start;
        let aligned = arg_start.get() & !(self.layout.width.stack_align() - 1);
        self.bounds.start_stack = VirtAddr::new(aligned);
        let mut page = arg_start.page();
        while page < top {
            self.access(env, page, Access::Write).map_err(no_page)?;
            page = page.up(PAGE_SIZE);
        }
        Ok(())
    }

    fn map_vdso(&mut self, env: &mut Env<'_, '_>) -> Result<(), Error> {
        const PARTS: [(Special, u64); 3] =
            [(Special::Vvar, 4), (Special::VvarVclock, 2), (Special::Vdso, 2)];
        let all: u64 = PARTS.iter().map(|part| part.1 * PAGE_SIZE).sum();
        let mut at = self.free_place(env, Span::at(VirtAddr::NULL, all))?;
        for (special, pages) in PARTS {
            let span = Span::at(at, pages * PAGE_SIZE);
            let flags = if special == Special::Vdso {
                VmFlags::READ | VmFlags::EXEC | VmFlags::MAY_ALL | VmFlags::DONTEXPAND
            } else {
                VmFlags::READ | VmFlags::MAYREAD | VmFlags::SPECIAL | VmFlags::DONTDUMP
            };
            self.may_expand(flags, pages)?;
            self.adopt(
                env,
                Vma { span, flags, backing: Backing::Special(special), ..Vma::default() },
            )?;
            at = span.end;
        }
        Ok(())
    }
}

const fn no_page(error: FaultError) -> Error {
    match error {
        FaultError::OutOfMemory => Error::OutOfFrames,
        FaultError::NotMapped | FaultError::NotAllowed | FaultError::BeyondFile => Error::Fault,
    }
}
