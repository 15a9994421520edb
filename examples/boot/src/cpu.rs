//! The processor and the two devices: traps, control registers, a serial line, the exit.
//!
//! ```text
//!   #PF ─► IST stack ─► save registers and SSE state ─► page_fault(code, cr2, rip) ─► again
//!   #UD #GP #DF …    ─► one line, exit
//! ```

use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::mem::size_of;

global_asm!(
    r#"
    .macro trap name, number, code
    .globl \name
\name:
    .if \code == 0
    push 0
    .endif
    mov rdi, \number
    mov rsi, [rsp]
    mov rdx, [rsp + 8]
    call trap_fatal
    ud2
    .endm
    trap trap_ud, 6, 0
    trap trap_df, 8, 1
    trap trap_gp, 13, 1

    .globl trap_pf
trap_pf:
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    sub rsp, 520
    fxsave64 [rsp]
    mov rdi, [rsp + 520 + 72]
    mov rsi, cr2
    mov rdx, [rsp + 520 + 80]
    cld
    call trap_page_fault
    fxrstor64 [rsp]
    add rsp, 520
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    add rsp, 8
    iretq
    "#
);

unsafe extern "C" {
    fn trap_ud();
    fn trap_df();
    fn trap_gp();
    fn trap_pf();
    static boot_gdt: UnsafeCell<[u64; 5]>;
}

/// A static that only the boot writes, on the one processor there is.
#[repr(C, align(16))]
struct Once<T>(UnsafeCell<T>);

// SAFETY: there is one processor, and interrupts stay off.
unsafe impl<T> Sync for Once<T> {}

const TRAP_STACK_BYTES: usize = 64 << 10;

static IDT: Once<[[u64; 2]; 32]> = Once(UnsafeCell::new([[0; 2]; 32]));
static TSS: Once<[u32; 26]> = Once(UnsafeCell::new([0; 26]));
static TRAP_STACK: Once<[u8; TRAP_STACK_BYTES]> = Once(UnsafeCell::new([0; TRAP_STACK_BYTES]));

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Points the processor at the trap table, each trap on the IST stack: compiled
/// code may keep data below its stack pointer.
///
/// # Safety
/// Once, at boot.
pub unsafe fn set_traps() {
    let tss = TSS.0.get();
    let stack_top = TRAP_STACK.0.get().addr() as u64 + TRAP_STACK_BYTES as u64;
    // SAFETY: the statics are ours at boot; offset 36 of a TSS is IST 1, 102 the I/O
    // map's offset. The GDT has room for the descriptor at 0x18.
    unsafe {
        (*tss)[9] = stack_top as u32;
        (*tss)[10] = (stack_top >> 32) as u32;
        (*tss)[25] = (size_of::<[u32; 26]>() as u32) << 16;
        let (base, limit) = (tss.addr() as u64, size_of::<[u32; 26]>() as u64 - 1);
        let gdt = boot_gdt.get();
        (*gdt)[3] = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        (*gdt)[4] = base >> 32;
        let idt = IDT.0.get();
        let traps: [(usize, unsafe extern "C" fn()); 4] =
            [(6, trap_ud), (8, trap_df), (13, trap_gp), (14, trap_pf)];
        for (number, handler) in traps {
            let at = handler as usize as u64;
            // An interrupt gate in segment 8, on IST 1.
            (*idt)[number] =
                [at & 0xffff | 0x08 << 16 | 0x8e01 << 32 | (at >> 16 & 0xffff) << 48, at >> 32];
        }
        let pointer = TablePointer { limit: 32 * 16 - 1, base: idt.addr() as u64 };
        asm!("lidt [{}]", "ltr {:x}", in(reg) &pointer, in(reg) 0x18_u16, options(nostack));
    }
}

#[unsafe(no_mangle)]
extern "C" fn trap_fatal(number: u64, code: u64, rip: u64) -> ! {
    println!("trap {number}, code {code:#x}, at {rip:#x}");
    exit(false)
}

/// The root of the page table in use.
pub fn root() -> u64 {
    let root: u64;
    // SAFETY: reading cr3 changes nothing.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) };
    root & !0xfff
}

/// Uses another page table; forgets everything remembered of the old one.
///
/// # Safety
/// It maps the image, the stack and the direct map as the old one does.
pub unsafe fn set_root(root: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// Forgets what is remembered of one page.
pub fn forget(at: u64) {
    // SAFETY: invlpg changes no memory.
    unsafe { asm!("invlpg [{}]", in(reg) at, options(nostack, preserves_flags)) };
}

/// Cycles since the machine started.
pub fn cycles() -> u64 {
    // SAFETY: reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

fn out8(port: u16, byte: u8) {
    // SAFETY: the two ports below are a serial line and the exit.
    unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack)) };
}

fn in8(port: u16) -> u8 {
    let byte;
    // SAFETY: as above.
    unsafe { asm!("in al, dx", in("dx") port, out("al") byte, options(nomem, nostack)) };
    byte
}

/// The first serial line.
pub struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const LINE: u16 = 0x3f8;
        for byte in text.bytes() {
            while in8(LINE + 5) & 0x20 == 0 {}
            out8(LINE, byte);
        }
        Ok(())
    }
}

/// Ends the machine by QEMU's `isa-debug-exit`: status 33 for success, 35 else.
pub fn exit(success: bool) -> ! {
    out8(0xf4, if success { 16 } else { 17 });
    loop {
        // SAFETY: without that device, nothing more happens.
        unsafe { asm!("cli", "hlt") };
    }
}

macro_rules! println {
    ($($text:tt)*) => {{
        use core::fmt::Write as _;
        let _ = writeln!($crate::cpu::Serial, $($text)*);
    }};
}
pub(crate) use println;
